"""Contestants timed in turn, and what the machine could do at best."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.ours import Contestant
from benchmarks.record import Bound, Score, Timing
from jquanta.parity.config import RunConfig
from jquanta.parity.network import PRECISION

SAMPLE_SECONDS = 1.0  # a sample is as many steps as take about this long ...
MOST_STEPS = 100  # ... and no more than lie between two evaluations
SIDE = 2048  # of the product whose rate is the measure


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@dataclass
class Entry:
    """A contestant and its samples, in seconds.

    Making one makes the first calls, which compile, and finds how many steps make a sample.
    """

    name: str
    widths: tuple[int, ...]
    contestant: Contestant
    variant: str = ""
    evaluations: int = 1
    first_calls: float = field(init=False)
    steps: list[float] = field(init=False, default_factory=list)
    tests: list[float] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.first_calls = seconds(lambda: self.contestant.train(1))
        if self.evaluations > 1:  # a single one, of a rival that compiles nothing, is a sample
            self.first_calls += seconds(self.contestant.evaluate)
        one = seconds(lambda: self.contestant.train(1))
        self.steps_a_sample = min(MOST_STEPS, max(1, math.ceil(SAMPLE_SECONDS / one)))

    def sample(self) -> None:
        """One sample of a step and, until there are enough, of an evaluation."""
        count = self.steps_a_sample
        self.steps.append(seconds(lambda: self.contestant.train(count)) / count)
        if len(self.tests) < self.evaluations:
            self.tests.append(seconds(self.contestant.evaluate))

    def timing(self) -> Timing:
        """The medians."""
        return Timing(
            self.widths,
            self.variant,
            statistics.median(self.steps),
            tuple(self.steps),
            statistics.median(self.tests),
            tuple(self.tests),
            self.first_calls,
        )


def fastest(name: str, choices: Sequence[Callable[[], Entry]]) -> Entry:
    """The choice with the shortest of two warm steps; it keeps none of its samples.

    A choice that does not work here, as torch.compile without a compiler, is out.
    """
    best: tuple[float, Entry] | None = None
    failure: Exception | None = None
    for make in choices:
        try:
            entry = make()
            shortest = min(seconds(lambda e=entry: e.contestant.train(1)) for _ in range(2))  # type: ignore[misc]
        except Exception as error:
            failure = error
            continue
        if best is None or shortest < best[0]:
            best = shortest, entry
    if best is None:
        raise RuntimeError(f"no variant of {name} works") from failure
    return best[1]


def score(name: str, timings: Sequence[Timing], widths: Sequence[int], log_every: int) -> Score:
    """A contestant's seconds for the whole sweep.

    One that trains networks one after another is summed over the widths; those between the
    measured ones are interpolated, piecewise linearly in the width.
    """
    if len(timings[0].widths) == len(widths):
        step, evaluation = timings[0].step, timings[0].evaluation
    else:
        known = [timing.widths[0] for timing in timings]
        step, evaluation = (
            float(np.interp(widths, known, [getattr(timing, part) for timing in timings]).sum())
            for part in ("step", "evaluation")
        )
    return Score(name, step, evaluation, step + evaluation / log_every, tuple(timings))


def matmul_rate() -> float:
    """Operations a second of 2048³ float32 products, at the precision that we train with.

    One product on each local device, all at once.
    """
    devices = jax.local_devices()
    product = jax.jit(lambda x: jnp.matmul(x, x, precision=PRECISION))
    factors = [jax.device_put(jnp.ones((SIDE, SIDE), jnp.float32), device) for device in devices]
    with ThreadPoolExecutor(len(devices)) as threads:

        def call() -> object:
            return list(threads.map(lambda x: product(x).block_until_ready(), factors))

        return len(devices) * 2 * SIDE**3 / _shortest(call)


def copy_rate() -> float:
    """Bytes a second, read and written, of 256 MB that are copied with a change."""
    a = jnp.ones(2**26, jnp.float32)
    change = jax.jit(lambda x: x + 1)
    return 2 * a.nbytes / _shortest(lambda: change(a).block_until_ready())


def _shortest(call: Callable[[], object]) -> float:
    call()
    return min(seconds(call) for _ in range(8))


def bound(runs: Sequence[RunConfig], matmul: float, copy: float, step: float) -> Bound:
    """The least time of a step, given the machine's rates, and our step's share of it."""
    units = sum(run.network.width for run in runs)
    operations = 4.0 * runs[0].batch_size * runs[0].task.n_bits * units
    traffic = 6 * 4.0 * sum(run.n_params for run in runs)
    least = max(operations / matmul, traffic / copy)
    return Bound(operations, traffic, matmul, copy, least, operations / matmul / step)
