"""Spectral clustering of one similarity matrix for all thirty numbers of clusters."""

import time
from collections.abc import Iterator

from benchmarks.clustering import cosines, counts_for
from benchmarks.gpu.record import Row
from benchmarks.gpu.timing import Programs, peak_row
from benchmarks.stopwatch import timed
from jquanta.qdg.clusters.cluster import cluster
from jquanta.qdg.config import COUNTS
from jquanta.run.progress import Silence

SAMPLES, SMALL_SAMPLES = 10_000, 200
RESTARTS, SMALL_RESTARTS = 30, 2


class _Laps(Silence):
    """A monitor that notes when each number of clusters was finished."""

    def __init__(self) -> None:
        self.began, self.ends = time.perf_counter(), list[float]()

    def work(self, stage: str, share: float, detail: str = "", *, measured: bool = True) -> None:
        """See ``Monitor``."""
        if stage == "clusters":
            self.ends.append(time.perf_counter() - self.began)


def measure(small: bool) -> Iterator[Row]:
    """Time the clustering for the paper's thirty numbers of clusters, with the embedding.

    A first time, which includes compiling, and a second time.
    """
    samples, restarts = (SMALL_SAMPLES, SMALL_RESTARTS) if small else (SAMPLES, RESTARTS)
    counts = counts_for(samples, 10) if small else COUNTS
    matrix, programs = cosines(samples), Programs()
    for name in ("compiling included", "again"):
        laps = _Laps()
        seconds, _ = timed(lambda: cluster(matrix, counts, n_init=restarts, monitor=laps))  # noqa: B023
        yield Row(
            f"{len(counts)} counts of {samples:,} samples, {name}",
            seconds,
            "s",
            note=f"{laps.ends[0]:.3g} s until the first count, embedding included",
            samples=tuple(laps.ends),
        )
        if name != "again":
            yield programs.row("first time")
    yield peak_row()
