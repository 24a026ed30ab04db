"""The tiled product against a plain one, whatever the tiles; what continues; what is refused.

Rows of unit length: each product is a sum of 300 to 1,000 float32 numbers of size 1/P, off by some
1e-7 whatever the order. 2e-6 is asked.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from jquanta.errors import BadInput, Interrupted
from jquanta.qdg.cosines import matrix as on_disk
from jquanta.qdg.cosines.blockwise import Rows, Tiling, exact, fill, tiling
from jquanta.qdg.cosines.matrix import OnDisk, strip_shape
from jquanta.run.arrays import Variable
from tests.monitors import Watch
from tests.qdg.cosines.reference import cosines

ROUNDING = 2e-6
N, P = 53, 300
ROWS = np.random.default_rng(0).normal(size=(N, P)).astype(np.float32)
ROWS[:, :40] += np.repeat(np.eye(4, 10, dtype=np.float32) * 3, 4, 1).sum(
    0
)  # not all at right angles


@pytest.fixture(autouse=True)
def _one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which rows are asked for, in which order, and what that takes, on any machine."""
    monkeypatch.setattr("jquanta.qdg.cosines.blockwise.at_once", lambda: 1)
    monkeypatch.setattr("jquanta.qdg.views.source.at_once", lambda: 1)


class Source:
    """Rows at hand, and which were asked for."""

    def __init__(self, rows: np.ndarray = ROWS):
        self.rows, self.asked = rows, list[int]()

    def __call__(self, start: int, stop: int) -> np.ndarray:
        self.asked += range(start, stop)
        return self.rows[start:stop]


def row_bytes(rows: int) -> int:
    return 4 * P * rows


def test_all_at_once() -> None:
    signed, absolute = cosines(ROWS)
    assert np.abs(signed - np.eye(N)).max() > 0.3
    source = Source()
    found = exact(source, N, absolute=True, batch=8)
    np.testing.assert_allclose(found["cosine"], signed, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(found["cosine_abs"], absolute, rtol=0, atol=ROUNDING)
    for matrix in found.values():
        assert matrix.dtype == np.float32
        assert (matrix == matrix.T).all()
        assert (np.diag(matrix) == 1).all()
        assert (np.abs(matrix) <= 1).all()
    assert list(exact(source, N)) == ["cosine"]


@pytest.mark.parametrize(("batch", "panel"), [(1, 1), (1, 5), (4, 8), (5, 8), (16, 7), (64, 64)])
def test_tiles_change_nothing_but_rounding(batch: int, panel: int) -> None:
    """Panels that batches fill, that they do not fill, that are smaller than a batch."""
    wanted = exact(Source(), N, absolute=True)
    # Room for the result, two batches, and four panels, of which two are held.
    memory = 8 * N * N + row_bytes(2 * min(batch, N) + 4 * max(panel, min(batch, N)))
    found = exact(Source(), N, absolute=True, batch=batch, panel=panel, memory=memory)
    for name, matrix in found.items():
        np.testing.assert_allclose(matrix, wanted[name], rtol=0, atol=ROUNDING)


def test_trees_of_arrays_are_added_up() -> None:
    def source(start: int, stop: int) -> dict[str, Any]:
        rows = ROWS[start:stop]
        return {"a": rows[:, :40].reshape(-1, 4, 10), "b": (rows[:, 40], rows[:, 41:])}

    found = exact(source, N, batch=6, panel=12)["cosine"]
    np.testing.assert_allclose(found, cosines(ROWS)[0], rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(("held", "rounds"), [(1, 7), (2, 4), (4, 2), (7, 1)])
def test_rows_are_made_as_few_times_as_memory_allows(held: int, rounds: int) -> None:
    """With T rounds, a row of panel i is made in each round up to its own: (T + 1)/2 on average."""
    source = Source()
    passing = 0 if held == 7 else 2
    memory = 4 * N * N + row_bytes(2 * 8 + 8 * (held + passing))
    exact(source, N, batch=8, panel=8, memory=memory)
    asked = np.bincount(source.asked, minlength=N)[8:]  # the first batch is asked once more
    wanted = np.arange(8, N) // 8 // held + 1
    assert asked.tolist() == wanted.tolist()
    assert asked.max() == rounds


def test_tilings() -> None:
    sizes = [8] * 125
    fits = tiling(sizes, numbers=1000, width=4, memory=10**9)
    assert fits == Tiling(256, 4)
    tight = tiling(sizes, numbers=10**6, width=4, memory=400 * 4 * 10**6)
    assert tight.panel == 64  # four of them beside two batches
    assert tight.held == 4
    half = tiling(sizes, numbers=10**6, width=2, memory=400 * 4 * 10**6)
    assert half.panel * half.held > tight.panel * tight.held
    assert tiling(sizes, numbers=10, width=4, memory=10**9, devices=6, panel=100).panel == 102


def test_too_little_memory_is_one_line() -> None:
    with pytest.raises(BadInput, match=r"memory: 2e-05 GB do not take rows of 300 numbers; give "):
        exact(Source(), N, batch=4, memory=20_000)
    with pytest.raises(BadInput, match=r"memory = 'much': give a size such as"):
        exact(Source(), N, memory="much")
    with pytest.raises(BadInput, match=r"dtype = float16: give float32 or bfloat16"):
        exact(Source(), N, dtype="float16")
    with pytest.raises(BadInput, match=r"n = 0"):
        exact(Source(), 0)


def test_rows_without_direction_are_named() -> None:
    rows = ROWS.copy()
    rows[[3, 17, 50]] = 0
    rows[[20, 41], 7] = np.nan, np.inf
    with pytest.raises(BadInput) as caught:
        exact(Source(rows), N, batch=4, panel=8)
    line = str(caught.value)
    assert line == (
        "3 zero: row 3, 17, 50; 2 not finite: row 20, 41; a cosine needs a direction: leave them "
        "out"
    )
    rows[:] = 0
    with pytest.raises(BadInput, match=r"53 zero: row 0, 1, 2, 3, 4, 5, 6, 7 and 45 more; a"):
        exact(Source(rows), N)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_tiny_and_huge_rows(size: float) -> None:
    """Squares of such numbers are 0 or infinite in float32."""
    found = exact(Source(ROWS * np.float32(size)), N)["cosine"]
    np.testing.assert_allclose(found, cosines(ROWS)[0], rtol=0, atol=ROUNDING)


def test_bfloat16_is_less_exact_and_only_by_choice() -> None:
    """Eight bits a number: each is off by up to 2^-9 of itself, products of 300 by less."""
    wanted = cosines(ROWS)[0]
    found = exact(Source(), N, dtype="bfloat16")["cosine"]
    assert ROUNDING < np.abs(found - wanted).max() < 2**-9
    assert (np.diag(found) == 1).all()


ORDER = np.random.default_rng(1).permutation(N)
"""Of the samples, as they are computed: not that of their numbers."""


class Scattered(Rows):
    """Rows whose samples are in another order than the rows are computed in."""

    @property
    def batches(self) -> list[np.ndarray]:
        return np.split(ORDER, self.stops[:-1])

    def __call__(self, number: int) -> Any:
        samples = self.batches[number]
        found = [self.function(int(sample), int(sample) + 1)[0] for sample in samples]
        return np.stack(found)

    row = np.empty(P, np.float32)


def variables(names: tuple[str, ...]) -> dict[str, Variable]:
    return {
        name: Variable(("sample", "other"), (N, N), "float32", (), {}, strip_shape(N))
        for name in names
    }


BOTH = ("cosine", "cosine_abs")


def start(
    path: Path, watch: Watch, source: Source, names: tuple[str, ...] = BOTH, **changes: Any
) -> dict[str, np.ndarray]:
    """A run on disk: panels of 8 of which one is held. What Zarr reads of it."""
    path.mkdir(exist_ok=True)
    found = OnDisk(path, variables(names), {"rows": "these"})
    rows = Scattered(source, [*range(4, N, 4), N])
    settings = {"panel": 8, "memory": row_bytes(2 * 4 + 3 * 8)} | changes
    fill(found, rows, monitor=watch, **settings)
    group = zarr.open_group(str(found.group), mode="r")
    return {name: np.asarray(group[name]) for name in names}


def whole(tmp_path: Path) -> tuple[dict[str, bytes], Source]:
    source = Source()
    found = start(tmp_path / "whole", Watch(), source)
    return {name: x.tobytes() for name, x in found.items()}, source


@pytest.mark.parametrize(("chunk", "strip"), [(8, 1), (20, 4), (100, N)])
def test_matrices_on_disk_are_those_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, strip: int
) -> None:
    """In the order of the samples, whatever the chunks."""
    monkeypatch.setattr(on_disk, "CHUNK", chunk)
    assert strip_shape(N)[0] == strip
    found = start(tmp_path / "run", Watch(), Source())
    for name, wanted in zip(BOTH, cosines(ROWS), strict=True):
        np.testing.assert_allclose(found[name], wanted, rtol=0, atol=ROUNDING)
        assert (found[name] == found[name].T).all()
        assert (np.diag(found[name]) == 1).all()


@pytest.mark.parametrize("stop_at", [1, 9, 30, 52])
def test_an_interrupted_run_continues_with_the_same_bits(tmp_path: Path, stop_at: int) -> None:
    bits, everything = whole(tmp_path)
    with pytest.raises(Interrupted, match="the same command continues"):
        start(tmp_path / "run", Watch(stop_at=stop_at), Source())
    watch, source = Watch(), Source()
    found = start(tmp_path / "run", watch, source)
    assert {name: x.tobytes() for name, x in found.items()} == bits
    assert len(source.asked) < len(everything.asked) or stop_at == 1
    assert "continuing after" in watch.lines[0]
    shares = [share for _, share, *_ in watch.reports]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


def test_a_crash_costs_what_is_not_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bits, everything = whole(tmp_path)
    with pytest.raises(RuntimeError):  # before anything is marked
        start(tmp_path / "run", Watch(40, RuntimeError), Source())
    source = Source()
    start(tmp_path / "run", Watch(), source)
    assert source.asked == everything.asked
    monkeypatch.setattr(on_disk, "LEAST_INTERVAL", 0.0)
    monkeypatch.setattr(on_disk, "COST_SHARE", np.inf)  # whatever saving costs
    with pytest.raises(RuntimeError):
        start(tmp_path / "again", Watch(40, RuntimeError), Source())
    source = Source()
    found = start(tmp_path / "again", Watch(), source)
    assert len(source.asked) < len(everything.asked) / 2
    assert {name: x.tobytes() for name, x in found.items()} == bits


def test_other_memory_continues_too(tmp_path: Path) -> None:
    """What is held decides the order of the blocks only; the panels' size is kept."""
    bits, _ = whole(tmp_path)
    with pytest.raises(Interrupted):
        start(tmp_path / "run", Watch(stop_at=30), Source())
    watch = Watch()
    found = start(tmp_path / "run", watch, Source(), panel=None, memory=10**9)
    assert {name: x.tobytes() for name, x in found.items()} == bits
    assert "continuing after" in watch.lines[0]


def test_other_panels_start_again_and_say_so(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        start(tmp_path / "run", Watch(stop_at=30), Source())
    watch = Watch()
    found = start(tmp_path / "run", watch, Source(), panel=16, memory=10**9)
    assert watch.lines == ["similarity: starting again, since rows are now cut into other panels"]
    wanted = exact(Source(), N, absolute=True)
    for name, matrix in found.items():
        np.testing.assert_allclose(matrix, wanted[name], rtol=0, atol=ROUNDING)


def test_another_runs_beginnings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        start(tmp_path / "run", Watch(stop_at=9), Source())
    with pytest.raises(BadInput, match=r"begun with another rows \(these, not those\); delete "):
        OnDisk(tmp_path / "run", variables(BOTH), {"rows": "those"})
    (tmp_path / "run" / "state.json").write_text("{")
    with pytest.raises(BadInput, match=r"state\.json: damaged"):
        OnDisk(tmp_path / "run", variables(BOTH), {"rows": "these"})


def test_other_matrices_start_again_and_say_so(tmp_path: Path) -> None:
    """Those of absolute values are not asked for any more, or were not yet."""
    bits, _ = whole(tmp_path)
    for first, second in ((BOTH, BOTH[:1]), (BOTH[:1], BOTH)):
        path = tmp_path / "-".join(first)
        with pytest.raises(Interrupted):
            start(path, Watch(stop_at=30), Source(), first)
        watch = Watch()
        found = start(path, watch, Source(), second)
        assert watch.lines == ["similarity: starting again, since other matrices are asked for"]
        assert {name: x.tobytes() for name, x in found.items()} == {n: bits[n] for n in second}
        assert {p.name for p in (path / "matrices.zarr").iterdir() if p.is_dir()} == set(second)


def test_the_work_of_an_earlier_version_is_begun_anew(tmp_path: Path) -> None:
    """It kept matrices in the order in which the samples were computed, in files of their own."""
    bits, everything = whole(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    starts = [*range(0, N, 8), N]
    state = {"identity": {"rows": "these"}, "panel": 8, "starts": starts}
    (run / "state.json").write_text(json.dumps(state))
    for name in BOTH:
        np.zeros((N, N), "<f4").tofile(run / f"{name}.f32")
    with (run / "done").open("wb") as file:
        np.save(file, np.ones((len(starts) - 1, len(starts) - 1), bool))
    watch, source = Watch(), Source()
    found = start(run, watch, source)
    assert watch.lines == [
        "similarity: starting again, since an earlier version of jquanta began it"
    ]
    assert source.asked == everything.asked
    assert {name: x.tobytes() for name, x in found.items()} == bits
    assert {path.name for path in run.iterdir()} == {"state.json", "done", "matrices.zarr"}
