"""Steps and evaluations of whole packs: the networks of Figure 2, and one of the 480-run grid."""

import statistics
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks.gpu.record import Row
from benchmarks.gpu.timing import Programs, median_row, peak_row
from benchmarks.parity import WORKLOAD
from benchmarks.stopwatch import timed
from jquanta.machine.memory import usable
from jquanta.parity.config import RunConfig
from jquanta.sweep.config import load_config
from jquanta.sweep.estimate import pack_operations
from jquanta.sweep.plan import plan, trainer_of

GRID = Path(__file__).resolve().parents[2] / "configs" / "fig10-width.toml"
SAMPLES = 5
SAMPLE_SECONDS = 1.0  # a sample is the mean of as many steps as take about this long ...
MOST_STEPS = 300  # ... but of at most this many
EVALUATIONS = 9

SMALL: dict[str, Any] = {
    "network.width": "log(3, 30, 4)",
    "task.n_tasks": 20,
    "train.batch_size": 200,
    "eval.points_per_task": 50,
}

SMALL_GRID = SMALL | {"task.alpha": [0.2, 0.4]}


def figure2(small: bool) -> list[RunConfig]:
    """The configurations of the networks of Figure 2, in ascending order of width."""
    runs = load_config({}, flags=WORKLOAD | (SMALL if small else {})).runs()
    return sorted(runs, key=lambda run: run.network.width)


def measure(small: bool, what: str) -> Iterator[Row]:
    """Measure ``step`` (the networks of Figure 2) or ``grid`` (a pack of the grid)."""
    return {"step": _figure2, "grid": _grid}[what](small)


def _figure2(small: bool) -> Iterator[Row]:
    """Time the networks of Figure 2, and extrapolate to its 200,000 steps."""
    step, evaluation, first = yield from pack_rows(figure2(small))
    steps, evaluations = 200_000, 2001
    yield Row(
        f"{steps:,} steps, {evaluations:,} evaluations",
        (first + steps * step + evaluations * evaluation) / 60,
        "min",
        note="first calls + steps × step + evaluations × evaluation",
    )


def _grid(small: bool) -> Iterator[Row]:
    """Time the largest pack of the grid, and extrapolate to all packs by their operations."""
    runs = load_config(GRID, flags=SMALL_GRID if small else {}).runs()
    packs = [[runs[i] for i in pack.members] for pack in plan(runs, usable())]
    # The largest pack is timed; the others are assumed to take time in proportion to operations.
    work = [pack_operations(pack) for pack in packs]
    largest = work.index(max(work))
    units = sum(run.network.width for run in packs[largest])
    yield Row(
        "packs",
        len(packs),
        note=f"{len(runs)} runs; the one timed: {len(packs[largest])} networks, {units:,} units",
    )
    step, evaluation, first = yield from pack_rows(packs[largest])
    one = packs[largest][0]
    evaluations = len(one.evaluation_steps)
    seconds = one.train.steps * step + evaluations * evaluation
    yield Row(
        f"{one.train.steps:,} steps of all packs, one after another",
        (len(packs) * first + seconds * sum(work) / work[largest]) / 60,
        "min",
        note=f"{sum(work) / work[largest]:.3g} times the timed pack's, by operations; "
        f"{evaluations} evaluations; each pack compiles",
    )


def pack_rows(
    runs: Sequence[RunConfig],
) -> Generator[Row, None, tuple[float, float, float]]:
    """Time the steps (with drawing the samples) and evaluations of a pack.

    Yields:
        Rows for the first calls, the programs compiled, a step, an evaluation and the memory.

    Returns:
        Seconds of a step, of an evaluation, and of the first calls of both.
    """
    programs = Programs()
    making, (pack, state) = timed(lambda: _made(runs))
    yield Row("networks and their weights made", making, "s", shown=False)
    compiling, state = timed(lambda: jax.block_until_ready(pack.advance(state, 1)))
    yield Row("first step, compiling included", compiling, "s")
    testing, _ = timed(lambda: jax.block_until_ready(pack.evaluate(state, 0)))
    yield Row("first evaluation, compiling included", testing, "s", shown=False)
    yield programs.row("both")

    # A compiled step, to determine how many of them make a sample.
    one, state = timed(lambda: jax.block_until_ready(pack.advance(state, 1)))
    count = max(1, min(MOST_STEPS, int(SAMPLE_SECONDS / one)))
    steps = []
    for _ in range(SAMPLES):
        began = time.perf_counter()
        state = jax.block_until_ready(pack.advance(state, count))
        steps.append((time.perf_counter() - began) / count)
    yield median_row("a step", tuple(steps), note=f"{count} in a row, drawing included")
    tests = [
        timed(lambda n=number: jax.block_until_ready(pack.evaluate(state, n)))[0]  # type: ignore[misc]
        for number in range(1, 1 + EVALUATIONS)
    ]
    yield median_row("an evaluation", tuple(tests))
    yield peak_row()
    return statistics.median(steps), statistics.median(tests), making + compiling + testing


def _made(runs: Sequence[RunConfig]) -> tuple[Any, Any]:
    pack = trainer_of(runs)
    return pack, jax.block_until_ready(pack.start())
