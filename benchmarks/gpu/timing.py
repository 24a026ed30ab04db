"""Times of calls on a device, compiled programs, and peak memory."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax

from benchmarks.gpu.record import Row
from benchmarks.memory import resident
from benchmarks.stopwatch import timed

COMPILED = "/jax/core/compile/backend_compile_duration"
CACHE_HIT = "/jax/compilation_cache/cache_hits"
LONG = 0.5  # seconds: programs that compile faster are trivial, such as the sum of two arrays


UNSUPPORTED = (ValueError, NotImplementedError, jax.errors.JaxRuntimeError)
"""What compiling raises for an algorithm of products that the device does not support."""


def unsupported(name: str, error: Exception) -> Row:
    """That the device does not support an algorithm, in a line."""
    reason = " ".join(str(error).split())[:200]
    return Row(name, None, note=f"not supported here: {reason}", shown=False)


def seconds_each(call: Callable[[], Any], count: int, samples: int) -> tuple[float, ...]:
    """Seconds of a call, measured several times.

    A sample is the mean of ``count`` calls in a row. JAX dispatches them asynchronously, so the
    time of dispatching is hidden. A first call, which compiles, is not counted.

    Args:
        call: dispatches a computation and returns its result.
        count: calls in a sample.
        samples: number of samples.
    """
    jax.block_until_ready(call())

    def several() -> None:
        for _ in range(count - 1):
            call()
        jax.block_until_ready(call())  # a device computes in order, so all are finished

    return tuple(timed(several)[0] / count for _ in range(samples))


def median_row(name: str, seconds: tuple[float, ...], **others: Any) -> Row:
    """A row with the median of samples, in milliseconds."""
    each = tuple(1e3 * x for x in seconds)
    return Row(name, statistics.median(each), "ms", samples=each, **others)


class Programs:
    """Counts the programs that this process compiles from now on, by JAX's monitoring events."""

    def __init__(self) -> None:
        self.begun = time.perf_counter()
        self.seconds: list[float] = []
        self.found = 0
        jax.monitoring.register_event_duration_secs_listener(self._compiled)
        jax.monitoring.register_event_listener(self._happened)

    def _compiled(self, event: str, duration_secs: float, **_: Any) -> None:
        if event == COMPILED:
            self.seconds.append(duration_secs)

    def _happened(self, event: str, **_: Any) -> None:
        self.found += event == CACHE_HIT

    def row(self, what: str) -> Row:
        """Seconds of compiling until now; those of programs compiled in parallel are added."""
        long = sum(x >= LONG for x in self.seconds)
        return Row(
            f"{what}: compiling",
            sum(self.seconds),
            "s",
            note=f"{len(self.seconds)} programs, {long} of {LONG} s or more; "
            f"{self.found} from the cache",
            samples=tuple(self.seconds),
        )


def peak_row() -> Row:
    """The peak memory of the GPU, or of this process on a CPU."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return Row("peak memory of the device", stats["peak_bytes_in_use"] / 1e9, "GB")
    return Row("peak memory of the process", resident()["VmHWM"] / 1e9, "GB")
