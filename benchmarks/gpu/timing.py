"""How long calls take on a device, what was compiled, and how much memory it took."""

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
LONG = 0.5  # seconds: programs that take less are such as an addition of two arrays


def seconds_each(call: Callable[[], Any], count: int, samples: int) -> tuple[float, ...]:
    """Seconds of a call: in each sample the mean of ``count`` in a row, which a GPU queues.

    A first call, which compiles, is not counted.
    """
    jax.block_until_ready(call())

    def several() -> None:
        for _ in range(count - 1):
            call()
        jax.block_until_ready(call())  # a device computes in order: the others are done, too

    return tuple(timed(several)[0] / count for _ in range(samples))


def median_row(name: str, seconds: tuple[float, ...], **others: Any) -> Row:
    """A row of milliseconds."""
    each = tuple(1e3 * x for x in seconds)
    return Row(name, statistics.median(each), "ms", samples=each, **others)


class Programs:
    """What this process compiles from now on."""

    def __init__(self) -> None:
        self.begun = time.perf_counter()
        self.seconds: list[float] = []
        self.found = 0
        jax.monitoring.register_event_duration_secs_listener(self._compiled)
        jax.monitoring.register_event_listener(self._told)

    def _compiled(self, event: str, duration_secs: float, **_: Any) -> None:
        if event == COMPILED:
            self.seconds.append(duration_secs)

    def _told(self, event: str, **_: Any) -> None:
        self.found += event == CACHE_HIT

    def row(self, what: str) -> Row:
        """Seconds of compiling until now, programs that were compiled at once added up."""
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
    """The most memory that was in use: of the GPU, or of this process on a CPU."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return Row("peak memory of the device", stats["peak_bytes_in_use"] / 1e9, "GB")
    return Row("peak memory of the process", resident()["VmHWM"] / 1e9, "GB")
