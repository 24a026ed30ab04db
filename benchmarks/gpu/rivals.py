"""A step and an evaluation of the networks of Figure 2, compared with three rivals in torch."""

from collections.abc import Iterator

from benchmarks import machine, parity
from benchmarks.gpu.record import Row
from benchmarks.gpu.trainer import figure2

REPEATS = 3


def measure(small: bool) -> Iterator[Row]:
    """Measure as the quick mode of ``benchmarks.parity`` does.

    Rivals that train one network at a time are timed at three widths, and the others interpolated.
    """
    runs = figure2(small)
    device = machine.torch_device()
    teams, _ = parity.compete(runs, device, quick=True, repeats=1 if small else REPEATS)
    scores = parity.scored(teams, runs)
    ours = scores["ours"].total
    for name, score in scores.items():
        yield Row(
            f"{name}: a step with its share",
            1e3 * score.total,
            "ms",
            note=f"of evaluations; step {1e3 * score.step:.4g} ms, evaluation "
            f"{1e3 * score.evaluation:.4g} ms",
            samples=tuple(1e3 * x for timing in score.timings for x in timing.step_samples),
        )
        if name != "ours":
            yield Row(f"{name} over ours", score.total / ours, "×")
    for note in parity.notes(teams, len(runs), quick=True):
        yield Row("note", note, shown=False)
