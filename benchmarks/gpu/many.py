"""100,000 samples without a matrix of all pairs: sketches, spherical k-means, neighbours."""

import time
from collections.abc import Iterator

import jax
import numpy as np

from benchmarks.gpu.models import samples_of, subject, tokens_for
from benchmarks.gpu.record import Row
from benchmarks.gpu.timing import Programs, peak_row
from benchmarks.stopwatch import timed
from jquanta.lm.models.model import Model
from jquanta.qdg.clusters.affinity import neighbour_graph
from jquanta.qdg.clusters.spherical import points, spherical
from jquanta.qdg.views.per_sample import view_of
from jquanta.qdg.views.sketch import Sketch
from jquanta.qdg.views.source import computed

SAMPLES, SMALL_SAMPLES = 100_000, 300
FEATURES, SMALL_FEATURES = 6144, 32
"""Of a sketch of 16 × 16 of 24 matrices: Pythia-70m."""
COUNTS, SMALL_COUNTS = (400, 1000, 4000), (5, 20)
SKETCHED, SMALL_SKETCHED = 2048, 4


def vectors(samples: int, numbers: int, groups: int) -> np.ndarray:
    """Unit vectors [Q, F], float32, around random means; two of one group have a cosine of 0.5."""
    chance = np.random.default_rng(0)
    means = chance.standard_normal((groups, numbers), np.float32)
    found = chance.standard_normal((samples, numbers), np.float32)
    found += means[chance.integers(groups, size=samples)]
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def measure(small: bool) -> Iterator[Row]:
    """Time sketches of random predictions, the clusters of random vectors of the same size by
    spherical k-means, and their nearest neighbours; each a first time, which compiles, and again.
    """
    yield from _sketches(SMALL_SKETCHED if small else SKETCHED, small)
    samples, numbers = (SMALL_SAMPLES, SMALL_FEATURES) if small else (SAMPLES, FEATURES)
    counts = SMALL_COUNTS if small else COUNTS
    unit = vectors(samples, numbers, counts[-1])
    there = points(unit)
    for k in counts:
        for name in ("compiling included", "again"):
            seconds, found = timed(lambda: spherical(there, k))  # noqa: B023
            note = f"{found.iterations} iterations"
            yield Row(f"{k:,} clusters of {samples:,} samples, {name}", seconds, "s", note=note)
    del there
    seconds, graph = timed(lambda: neighbour_graph(unit, min(50, samples - 1)))
    yield Row(f"50 nearest neighbours of {samples:,} samples", seconds, "s", note=f"{graph.nnz:,}")
    yield peak_row()


def _sketches(count: int, small: bool) -> Iterator[Row]:
    with subject("70m", tokens_for(count), small) as (config, params, corpus):
        predictions = samples_of(corpus, count)
        programs = Programs()
        source = view_of(Model(config, params), predictions, Sketch())
        for name in ("compiling included", "again"):
            began = time.perf_counter()
            for _, found in computed(source):
                jax.block_until_ready(found)
            seconds = time.perf_counter() - began
            yield Row(f"{count:,} sketches, {name}", seconds, "s")
            if name != "again":
                yield programs.row("first time")
    yield Row("sketches", count / seconds, "samples/s")
