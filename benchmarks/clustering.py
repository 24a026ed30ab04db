"""Spectral clustering for all numbers of clusters: ours against a fit of scikit-learn for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score

from benchmarks.command import say
from benchmarks.stopwatch import timed
from jquanta.qdg.clusters.affinity import affinity_of, normalised
from jquanta.qdg.clusters.kmeans import kmeans
from jquanta.qdg.clusters.spectral import embed
from jquanta.qdg.config import COUNTS
from jquanta.qdg.known.toy import LIKE_MODELS, Cell, sizes, vectors


@dataclass(frozen=True)
class Count:
    """The results for one number of clusters.

    Attributes:
        count: number of clusters, k.
        ours: seconds of our k-means.
        theirs: seconds of a fit of ``SpectralClustering``, with its own embedding.
        inertia: our inertia divided by theirs, both computed in our embedding.
        agreement: adjusted Rand index of the two clusterings.
    """

    count: int
    ours: float
    theirs: float
    inertia: float
    agreement: float


@dataclass(frozen=True)
class Clustering:
    """The results for all numbers of clusters.

    Attributes:
        samples: Q, number of samples.
        restarts: of k-means, on both sides.
        embedding: seconds of our eigendecomposition, which all numbers of clusters share.
        first: seconds by which the first calls of our programs were longer than the second ones,
            which is the time of compiling.
        counts: the result for each number of clusters.
    """

    samples: int
    restarts: int
    embedding: float
    first: float
    counts: tuple[Count, ...]

    @property
    def ours(self) -> float:
        """Seconds for all numbers of clusters, without compiling."""
        return self.embedding + sum(count.ours for count in self.counts)

    @property
    def theirs(self) -> float:
        """Seconds of all fits of scikit-learn."""
        return sum(count.theirs for count in self.counts)

    @property
    def ratio(self) -> float:
        """Their seconds divided by ours: above 1 where we are faster."""
        return self.theirs / self.ours

    @property
    def worst_inertia(self) -> float:
        """The largest ratio of inertia, ours over theirs: above 1 where our clusters are worse."""
        return max(count.inertia for count in self.counts)


def counts_for(samples: int, step: int = 1) -> tuple[int, ...]:
    """Numbers of clusters: the paper's thirty for 10,000 samples, in proportion to the samples.

    Args:
        samples: Q.
        step: take only every ``step``-th number, with the last among them.
    """
    kept = COUNTS[step - 1 :: step]
    return tuple(sorted({max(2, round(count * samples / 10_000)) for count in kept}))


def contest(samples: int, counts: Sequence[int], restarts: int) -> Clustering:
    """Time our clusterings and scikit-learn's, in turn for each number of clusters.

    Ours is one embedding and a k-means in JAX for each number. Theirs is
    ``SpectralClustering(k, affinity="precomputed", n_init=restarts)``, fitted anew for each number
    as in the paper's public code. The affinity is the angular one, of vectors that resemble
    gradients of language models (the toy model of the paper's Appendix D.2: d = 1000, noise 2,
    sizes of subtasks proportional to 1 / rank).

    Args:
        samples: Q.
        counts: numbers of clusters, ascending.
        restarts: of k-means; the public code uses 30.
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
    """[Q, Q] cosines of vectors that resemble gradients of language models, in random order."""
    # The smallest number of subtasks with enough points together, of which ``samples`` are kept.
    subtasks = next(s for s in range(10, samples) if sizes(1.0, s).sum() >= samples)
    points, _ = vectors(Cell(1.0, *LIKE_MODELS, subtasks, (), 0))
    kept = np.random.default_rng(0).permutation(len(points))[:samples]
    unit = normalised(points[kept])
    return unit @ unit.T


def inertia(points: np.ndarray, label: np.ndarray) -> float:
    """Sum of squared distances of the points [Q, k] to the means of their clusters."""
    sums = np.zeros((label.max() + 1, points.shape[1]))
    np.add.at(sums, label, points)
    means = sums / np.maximum(np.bincount(label), 1)[:, None]
    return float(((points - means[label]) ** 2).sum())
