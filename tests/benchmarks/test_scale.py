"""The arithmetic of large runs: how it grows, and where it stops; and the picture of scaling."""

from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.scale import __main__ as command
from benchmarks.scale import arithmetic, drawing, tables
from benchmarks.scale.arithmetic import EXACT, GPUS, SKETCH, SPHERICAL, Row, block_of
from benchmarks.scale.drawing import COUNTS, Cost, Peak, Scaled
from jquanta.lm.models.pythia import pythia
from jquanta.machine.computer import H200
from jquanta.sweep.config import load_config
from jquanta.sweep.estimate import LEAST_SECONDS

ROOT = Path(__file__).parents[2]
STORED = tables.from_json(tables.RECORD.read_text(encoding="utf-8"))
PICTURE = ROOT / "benchmarks" / "records" / "scale-cpu-2-cores.json"
FEW = (1, 64)


def losses(tokens: int) -> Row:
    return arithmetic.loss_row("70m", tokens, "float32", FEW)


def quanta(samples: int, way: str = EXACT) -> Row:
    return arithmetic.qdg_row("70m", pythia("70m"), way, samples, FEW)


def test_twice_the_tokens_are_twice_the_work() -> None:
    """To 3%: a last batch that is not full is one of 30."""
    one, two = losses(2 * 10**6), losses(4 * 10**6)
    assert two.operations == pytest.approx(2 * one.operations, rel=0.03)
    assert two.times[1].work == pytest.approx(2 * one.times[1].work, rel=0.03)
    assert two.disk == 2 * one.disk
    assert two.memory == one.memory


def test_twice_the_samples_are_four_times_the_products() -> None:
    """To 5%: of 40 panels, 820 pairs with those on the diagonal; of 79, 3,160."""
    _, few = arithmetic.made(EXACT, 10_000, pythia("14m"), 1024)
    _, many = arithmetic.made(EXACT, 20_000, pythia("14m"), 1024)
    assert many.operations == pytest.approx(4 * few.operations, rel=0.05)
    assert many.disk == 4 * few.disk


@pytest.mark.parametrize("shards", [2, 8, 18, 32, 64])
def test_blocks_of_all_shards_are_all_pairs(shards: int) -> None:
    """Of samples in two halves a block has a quarter of the pairs; all pairs are half of Q²."""
    block = block_of(10**6, shards)
    assert shards * (block / 2) ** 2 == pytest.approx(10**12 / 2, rel=1e-4)


@pytest.mark.parametrize(
    "row",
    [arithmetic.sweep("width-k", FEW), losses(10**6), quanta(10**4), quanta(10**4, SPHERICAL)],
    ids=lambda row: f"{row.name} {row.way}",
)
def test_no_shard_computes_more_than_all(row: Row) -> None:
    assert row.times[64].work <= row.times[1].work
    assert row.times[64].alone == row.times[1].alone
    assert row.seconds(64) <= row.seconds(1) == row.times[1].total


def test_more_shards_than_networks_are_of_no_use() -> None:
    """The steps of one network come one after another."""
    (run,) = load_config("fig15").runs()
    times = arithmetic.sweep("fig15").times
    assert len(set(times.values())) == 1
    assert times[512].work >= run.train.steps * LEAST_SECONDS


def test_a_batch_is_the_least() -> None:
    """Where a shard has less than a batch, it still compiles and reads the weights."""
    row = losses(10**5)
    assert row.times[64].start == row.times[1].start > row.times[64].work
    assert row.useful == 1
    assert row.why == "compiling and reading weights"


def test_clusters_of_a_matrix_end_at_the_memory_of_one_process() -> None:
    most = int((H200.memory / 20) ** 0.5)  # in float32 and float64, and the solver's copy
    assert not quanta(most - 1, SKETCH).limit
    assert quanta(most + 1, SKETCH).limit == "clusters take 136 GB in one process"
    beyond = quanta(10**6, SKETCH)
    assert not beyond.times
    assert beyond.limit == "clusters take 20 TB in one process"


def test_rows_that_do_not_fit_are_told() -> None:
    row = arithmetic.qdg_row("12b", pythia("12b"), EXACT, 1_000, (1,))
    assert row.limit == "rows of 44.4 GB do not fit on a GPU"


def test_how_many_are_of_use_follows_from_the_times() -> None:
    for row in STORED:
        if row.times:
            one = row.times[1].total
            assert 2 * one >= row.useful * row.times[row.useful].total
            assert all(2 * one < n * row.times[n].total for n in GPUS if n > row.useful)
            assert (row.why == "") == (row.useful == GPUS[-1])


def test_what_is_stored_is_what_is_computed() -> None:
    """Of a few rows; ``python -m benchmarks.scale table`` makes all."""
    fresh = [arithmetic.sweep("fig2-width"), arithmetic.loss_row("70m", 10**7, "float32")]
    kept = {(r.group, r.name, r.way, r.amount, r.paper): r for r in STORED}
    for row in tables.from_json(tables.as_json(fresh)):
        assert kept[row.group, row.name, row.way, row.amount, row.paper] == row


def test_the_document_shows_what_is_stored() -> None:
    document = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert [table for table in tables.markdown(STORED) if table not in document] == []


def test_what_to_make_has_to_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 2
    assert "give table or draw" in capsys.readouterr().err


def planted() -> tuple[list[Scaled], list[Cost], list[Peak]]:
    """Devices that cost a tenth more each doubling; shards of equal work, and 0.1 s of joining."""
    times = []
    for what in ("sweep", "losses"):
        for kind in ("strong", "weak"):
            for doubling, count in enumerate(COUNTS):
                work = 8.0 if kind == "strong" else float(count)
                together = (work * 1.1**doubling,)
                times.append(Scaled(what, kind, "devices", count, together))
                shards = (*(work / count,) * count, *(0.1,) * (count > 1))
                times.append(Scaled(what, kind, "shards", count, shards))
    costs = [Cost(r, w, s, 1e-5 * (r * w * (s - 1)) ** 0.9, 0.3) for r, w, s in drawing.COSTS]
    peaks = [Peak(what, 10**i, 5e8) for what in ("sweep", "losses") for i in range(3)]
    return times, costs, peaks


def test_what_is_drawn_is_what_was_planted(tmp_path: Path) -> None:
    times, costs, _ = planted()
    for kind in ("strong", "weak"):
        found = drawing.relative(times, "sweep", kind, "devices")
        assert found == pytest.approx([1, 1.1, 1.21, 1.331])
    assert drawing.relative(times, "losses", "strong", "shards") == pytest.approx(
        [1, 4.1 / 8, 2.1 / 8, 1.1 / 8]
    )
    assert drawing.relative(times, "losses", "weak", "shards") == pytest.approx([1, 1.1, 1.1, 1.1])
    assert drawing.exponent(costs) == pytest.approx(0.9)
    assert {path.suffix for path in drawing.draw(planted(), tmp_path)} == {".png", ".pdf"}


def test_the_costs_span_a_factor_of_a_hundred() -> None:
    work = sorted(r * w * s for r, w, s in drawing.COSTS)
    assert work[-1] >= 100 * work[0]
    assert all(b <= 10 * a for a, b in pairwise(work))


def test_the_document_tells_the_stored_slope() -> None:
    _, costs, _ = drawing.read(PICTURE)
    said = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert f"slope {drawing.exponent(costs):.2f}" in said
