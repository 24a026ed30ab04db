"""Time contestants in turn, and compare with the rates that the machine reaches at best."""

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

SAMPLE_SECONDS = 1.0  # a sample is the mean of as many steps as take about this long ...
MOST_STEPS = 100  # ... but of at most this many, which lie between two evaluations
SIDE = 2048  # of the square matrices whose product gives the matrix rate


def seconds(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@dataclass
class Entry:
    """A contestant and its samples, in seconds.

    The constructor makes the first calls, which compile, and determines the number of steps in a
    sample.

    Attributes:
        name: of the contestant.
        widths: of the networks that it trains.
        contestant: what is timed.
        variant: how it is implemented, where there was a choice.
        evaluations: how many evaluations to time.
        first_calls: seconds of the first training step and the first evaluation.
        steps: seconds of a step, one for each sample.
        tests: seconds of each evaluation.
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
        # Where only one evaluation is timed (of a rival that compiles nothing, and is slow), the
        # first one is the sample.
        if self.evaluations > 1:
            self.first_calls += seconds(self.contestant.evaluate)
        one = seconds(lambda: self.contestant.train(1))
        self.steps_a_sample = min(MOST_STEPS, max(1, math.ceil(SAMPLE_SECONDS / one)))

    def sample(self) -> None:
        """Take one sample of a step and, until there are enough, one of an evaluation."""
        count = self.steps_a_sample
        self.steps.append(seconds(lambda: self.contestant.train(count)) / count)
        if len(self.tests) < self.evaluations:
            self.tests.append(seconds(self.contestant.evaluate))

    def timing(self) -> Timing:
        """The medians of the samples."""
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
    """The variant whose faster one of two warm steps is the fastest of all.

    A variant that raises an error is left out, such as torch.compile without a C++ compiler.

    Args:
        name: of the contestant, for the error message.
        choices: functions that make an entry for each variant.

    Raises:
        RuntimeError: if no variant works.
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

    For a contestant that trains one network after another, the seconds are summed over the widths.
    Where not all widths were timed, the others are interpolated linearly in the width.

    Args:
        name: of the contestant.
        timings: its measurements: one for all networks, or one for each measured width.
        widths: of all networks of the sweep.
        log_every: number of steps for each evaluation.
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
    """Floating-point operations per second of a 2048³ float32 product, all local devices together.

    At the precision with which we train. Each device computes one product, all at the same time.
    """
    devices = jax.local_devices()
    product = jax.jit(lambda x: jnp.matmul(x, x, precision=PRECISION))
    factors = [jax.device_put(jnp.ones((SIDE, SIDE), jnp.float32), device) for device in devices]
    with ThreadPoolExecutor(len(devices)) as threads:

        def call() -> object:
            return list(threads.map(lambda x: product(x).block_until_ready(), factors))

        return len(devices) * 2 * SIDE**3 / _shortest(call)


def copy_rate() -> float:
    """Bytes per second, read plus written, when 1 is added to an array of 2^26 floats (268 MB)."""
    a = jnp.ones(2**26, jnp.float32)
    change = jax.jit(lambda x: x + 1)
    return 2 * a.nbytes / _shortest(lambda: change(a).block_until_ready())


def _shortest(call: Callable[[], object]) -> float:
    """The shortest time of eight calls, after one that compiles."""
    call()
    return min(seconds(call) for _ in range(8))


def bound(runs: Sequence[RunConfig], matmul: float, copy: float, step: float) -> Bound:
    """A lower bound for the time of a training step (a roofline), and how near our step is to it.

    Args:
        runs: the networks of the sweep, which share the batches.
        matmul: floating-point operations per second of a large product.
        copy: bytes per second of a copy.
        step: seconds of our step.
    """
    # Two matrix products with the task bits (forward, and the gradient of the kernel) of
    # batch · bits · units multiplications and additions each; and each parameter is read and
    # written with Adam's two moments, 6 numbers of 4 bytes.
    units = sum(run.network.width for run in runs)
    operations = 4.0 * runs[0].batch_size * runs[0].task.n_bits * units
    traffic = 6 * 4.0 * sum(run.n_params for run in runs)
    least = max(operations / matmul, traffic / copy)
    return Bound(operations, traffic, matmul, copy, least, operations / matmul / step)
