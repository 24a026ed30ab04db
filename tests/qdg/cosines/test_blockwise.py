"""The tiled product against a plain one, whatever the tiles; what continues; what is refused.

Rows of unit length: each product is a sum of 300 to 1,000 float32 numbers of size 1/P, off by some
1e-7 whatever the order. 2e-6 is asked.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jquanta.errors import BadInput, Interrupted
from jquanta.qdg.cosines import matrices as on_disk
from jquanta.qdg.cosines.blockwise import Layout, exact, fill, plan
from jquanta.qdg.cosines.matrices import Matrices
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
    monkeypatch.setattr("jquanta.qdg.views.per_sample.at_once", lambda: 1)


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


def test_layouts() -> None:
    stops = list(range(8, 1001, 8))
    fits = plan(stops, numbers=1000, width=4, memory=10**9)
    assert fits == Layout(256, 4)
    tight = plan(stops, numbers=10**6, width=4, memory=400 * 4 * 10**6)
    assert tight.panel == 64  # four of them beside two batches
    assert tight.held == 4
    half = plan(stops, numbers=10**6, width=2, memory=400 * 4 * 10**6)
    assert half.panel * half.held > tight.panel * tight.held
    assert plan(stops, numbers=10, width=4, memory=10**9, devices=6, panel=100).panel == 102


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


def start(path: Path, watch: Watch, source: Source, **changes: Any) -> Matrices:
    """A run on disk: panels of 8 of which one is held."""
    path.mkdir(exist_ok=True)
    found = Matrices.on_disk(path, N, True, {"rows": "these"})
    stops = [*range(4, N, 4), N]
    settings = {"panel": 8, "memory": row_bytes(2 * 4 + 3 * 8)} | changes
    fill(found, source, stops, row=np.empty(P, np.float32), monitor=watch, **settings)
    return found


def whole(tmp_path: Path) -> tuple[dict[str, bytes], Source]:
    source = Source()
    found = start(tmp_path / "whole", Watch(), source)
    return {name: x.tobytes() for name, x in found.arrays.items()}, source


@pytest.mark.parametrize("stop_at", [1, 9, 30, 52])
def test_an_interrupted_run_continues_with_the_same_bits(tmp_path: Path, stop_at: int) -> None:
    bits, everything = whole(tmp_path)
    with pytest.raises(Interrupted, match="the same command continues"):
        start(tmp_path / "run", Watch(stop_at=stop_at), Source())
    watch, source = Watch(), Source()
    found = start(tmp_path / "run", watch, source)
    assert {name: x.tobytes() for name, x in found.arrays.items()} == bits
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
    with pytest.raises(RuntimeError):
        start(tmp_path / "again", Watch(40, RuntimeError), Source())
    source = Source()
    found = start(tmp_path / "again", Watch(), source)
    assert len(source.asked) < len(everything.asked) / 2
    assert {name: x.tobytes() for name, x in found.arrays.items()} == bits


def test_other_memory_continues_too(tmp_path: Path) -> None:
    """What is held decides the order of the blocks only; the panels' size is kept."""
    bits, _ = whole(tmp_path)
    with pytest.raises(Interrupted):
        start(tmp_path / "run", Watch(stop_at=30), Source())
    watch = Watch()
    found = start(tmp_path / "run", watch, Source(), panel=None, memory=10**9)
    assert {name: x.tobytes() for name, x in found.arrays.items()} == bits
    assert "continuing after" in watch.lines[0]


def test_other_panels_start_again_and_say_so(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        start(tmp_path / "run", Watch(stop_at=30), Source())
    watch = Watch()
    found = start(tmp_path / "run", watch, Source(), panel=16, memory=10**9)
    assert watch.lines == ["similarity: starting again, since rows are now cut into other panels"]
    wanted = exact(Source(), N, absolute=True)
    for name, matrix in found.arrays.items():
        np.testing.assert_allclose(matrix, wanted[name], rtol=0, atol=ROUNDING)


def test_another_runs_beginnings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        start(tmp_path / "run", Watch(stop_at=9), Source())
    with pytest.raises(BadInput, match=r"begun with another rows \(these, not those\); delete "):
        Matrices.on_disk(tmp_path / "run", N, True, {"rows": "those"})
    (tmp_path / "run" / "state.json").write_text("{")
    with pytest.raises(BadInput, match=r"state\.json: damaged"):
        Matrices.on_disk(tmp_path / "run", N, True, {"rows": "these"})
