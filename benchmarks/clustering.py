"""All cluster counts by ours against a fresh scikit-learn fit for each, on the same affinity."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score

from benchmarks.command import say
from benchmarks.stopwatch import timed
from jquanta.qdg.clusters.affinity import affinity_of, normalised
from jquanta.qdg.clusters.cluster import COUNTS
from jquanta.qdg.clusters.kmeans import kmeans
from jquanta.qdg.clusters.spectral import embed
from jquanta.qdg.known.toy import LIKE_MODELS, Cell, sizes, vectors


@dataclass(frozen=True)
class Count:
    """One number of clusters.

    Attributes:
        count: k.
        ours: seconds of our k-means.
        theirs: seconds of a fresh ``SpectralClustering``.
        inertia: ours over theirs, both of their labels in our embedding.
        agreement: adjusted Rand index of the two.
    """

    count: int
    ours: float
    theirs: float
    inertia: float
    agreement: float


@dataclass(frozen=True)
class Clustering:
    """All counts.

    Attributes:
        samples: Q.
        restarts: of k-means, on both sides.
        embedding: seconds of our one eigendecomposition.
        first: seconds that the first calls of our programs took beyond the second: compiling.
        counts: each count.
    """

    samples: int
    restarts: int
    embedding: float
    first: float
    counts: tuple[Count, ...]

    @property
    def ours(self) -> float:
        """Seconds of all counts, without compiling."""
        return self.embedding + sum(count.ours for count in self.counts)

    @property
    def theirs(self) -> float:
        """Seconds of all fresh fits."""
        return sum(count.theirs for count in self.counts)

    @property
    def ratio(self) -> float:
        """Their seconds over ours."""
        return self.theirs / self.ours

    @property
    def worst_inertia(self) -> float:
        """The largest of the counts' ratios, ours over theirs."""
        return max(count.inertia for count in self.counts)


def counts_for(samples: int, step: int = 1) -> tuple[int, ...]:
    """The paper's thirty, or every so many-th of them up to the last, in proportion to 10,000."""
    kept = COUNTS[step - 1 :: step]
    return tuple(sorted({max(2, round(count * samples / 10_000)) for count in kept}))


def contest(samples: int, counts: Sequence[int], restarts: int) -> Clustering:
    """Time our clusters for all counts against scikit-learn's, count by count in turns.

    Ours is one embedding and the JAX k-means of every count; theirs is
    ``SpectralClustering(k, affinity="precomputed", n_init=restarts)`` called afresh for each count,
    as the public code does. The affinity is angular, of vectors like language models' (the toy
    model of D.2: d = 1000, noise 2, subtasks of sizes like 1 / rank).

    Args:
        samples: Q.
        counts: ascending.
        restarts: of k-means; the public code's are 30.
    """
    affinity = affinity_of(cosines(samples))
    solve_all = partial(embed, affinity, counts[-1])
    once, _ = timed(solve_all)
    embedding, embedded = timed(solve_all)
    first, results = max(0.0, once - embedding), []
    for count in counts:
        say(f"clusters: {samples} samples, {count} clusters")
        points = embedded.vectors[:, :count]
        solve = partial(kmeans, points, count, n_init=restarts)
        once, _ = timed(solve)
        ours, mine = timed(solve)
        first += max(0.0, once - ours)
        fresh = SpectralClustering(count, affinity="precomputed", n_init=restarts, random_state=0)
        theirs, fitted = timed(partial(fresh.fit, affinity))
        results.append(
            Count(
                count,
                ours,
                theirs,
                inertia(points, mine.label) / inertia(points, fitted.labels_),
                float(adjusted_rand_score(mine.label, fitted.labels_)),
            )
        )
    return Clustering(samples, restarts, embedding, first, tuple(results))


def cosines(samples: int) -> np.ndarray:
    """[Q, Q] of vectors like gradients of language models, in no order."""
    subtasks = next(s for s in range(10, samples) if sizes(1.0, s).sum() >= samples)
    points, _ = vectors(Cell(1.0, *LIKE_MODELS, subtasks, (), 0))
    kept = np.random.default_rng(0).permutation(len(points))[:samples]
    unit = normalised(points[kept])
    return unit @ unit.T


def inertia(points: np.ndarray, label: np.ndarray) -> float:
    """Sum of squared distances to the means of clusters."""
    sums = np.zeros((label.max() + 1, points.shape[1]))
    np.add.at(sums, label, points)
    means = sums / np.maximum(np.bincount(label), 1)[:, None]
    return float(((points - means[label]) ** 2).sum())
