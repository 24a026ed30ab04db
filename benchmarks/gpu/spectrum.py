"""Sigmoids of a million loss curves, and the sums of their spectrum."""

from collections.abc import Iterator

from benchmarks.gpu.record import Row
from benchmarks.gpu.timing import peak_row
from benchmarks.spectrum import planted
from benchmarks.stopwatch import timed
from jquanta.spectrum import Spectrum

CURVES, SMALL_CURVES = 1_000_000, 10_000


def measure(small: bool) -> Iterator[Row]:
    """Time the fit, a first time, which includes compiling, and a second time; then the sums."""
    checkpoints, losses = planted(SMALL_CURVES if small else CURVES, 32)
    name = f"sigmoids of {len(losses):,} curves at 32 checkpoints"
    for which in ("compiling included", "again"):
        seconds, fits = timed(lambda: checkpoints.fit(losses, 0.3))
        yield Row(f"{name}, {which}", seconds, "s")
    yield Row(
        "sums of the spectrum", timed(lambda: Spectrum(checkpoints).add(losses, fits))[0], "s"
    )
    yield peak_row()
