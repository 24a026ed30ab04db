"""Local clusters: around each sample the set of samples out of which least of a graph leads, grown
without a number of clusters. Samples around which there is no such set stay in none.

The graph joins each sample to its nearest neighbours. From each sample the approximate personalised
PageRank is computed by pushing (Andersen, Chung and Lang, 2006): p is where a walk is that starts
at the sample and at each step ends with the probability α. Samples in the order of p / degree are
then swept: each first n of them is a set with a conductance φ(n), the share of its volume that
leads out.

φ falls with n whatever the samples are, so that its least value tells little. It is compared with
what the same procedure finds around the samples of null models: the set of a sample is that with
the least φ(n) / mean of φ(n) over these samples, and its score is

    score = (mean of φ(n) - φ(n)) / standard deviation of φ(n), over the same samples.

Of sets that share samples the one with the largest score stays. Null models are searched in the
same way, which tells how many sets of such a score chance offers (``quality.by_chance``).

Shapes: Q samples, F features, ``sizes`` up to the largest set, ``sets``.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int32
from scipy.sparse import coo_array, csr_array

from jquanta.errors import BadInput
from jquanta.qdg.clusters.affinity import affinity_of, neighbour_graph
from jquanta.qdg.clusters.cuts import Graph
from jquanta.qdg.clusters.likeness import Cosines, Vectors
from jquanta.run.progress import Monitor, Silence

END = 0.1
"""α, the probability that the walk ends at a step: it makes 10 steps on average."""

BATCH = 512
"""Samples from which is pushed at once."""

HALF = 2
"""Pushing is this much finer than what finds the largest set, or the walk misses its edges."""

APART = 0.75
"""A set keeps its place if at least this share of it is in no better set."""


def graph_of(
    likeness: Cosines | Vectors,
    neighbours: int,
    affinity: str = "angular",
    monitor: Monitor | None = None,
) -> csr_array:
    """The graph that joins each sample to its nearest ``neighbours``, and to those that it is one
    of the nearest of; weights are affinities.

    Args:
        likeness: the samples' matrix, checked, or their vectors (as ``affinity.neighbour_graph``,
            whose graph is the same).
        neighbours: of each sample, below Q.
        affinity: of the matrix.
        monitor: receives the progress.
    """
    if isinstance(likeness, Vectors):
        return neighbour_graph(likeness.unit, neighbours, monitor=monitor)
    samples = len(likeness)
    if not 1 <= neighbours < samples:
        raise BadInput(f"neighbours = {neighbours} of {samples} samples: give 1 to {samples - 1}")
    matrix = affinity_of(likeness.matrix, affinity)
    np.fill_diagonal(matrix, -1)  # a sample is not its own neighbour
    near = np.argpartition(-matrix, neighbours - 1, axis=1)[:, :neighbours]
    weight = np.take_along_axis(matrix, near, axis=1)
    sample = np.repeat(np.arange(samples), neighbours)
    graph = coo_array((weight.ravel(), (sample, near.ravel())), (samples, samples)).tocsr()
    return graph.maximum(graph.T)


def pagerank(
    graph: csr_array, samples: Int[np.ndarray, " n"], error: float, end: float = END
) -> csr_array:
    """Approximate personalised PageRank of some samples, by pushing.

    Each round pushes all residuals of at least ``error`` × degree at once: a share ``end`` of each
    stays, the rest goes to the neighbours. What stays grows by at least ``end`` × ``error`` ×
    degree with each push, and is 1 at the end at most; so the edges that are looked at from one
    sample, as those of samples in the result, have a weight of 1 / (``end`` × ``error``) at most,
    however large the graph is (Andersen, Chung and Lang, 2006, theorem 1).

    Args:
        graph: symmetric [Q, Q], every sample with a neighbour.
        samples: where walks start.
        error: by which p / degree is too small at most.
        end: α.

    Returns:
        Sparse [n, Q] float64: p of each of ``samples``, from 0 to 1.
    """
    degree = np.asarray(graph.sum(1, dtype=np.float64))
    # Where the walk goes next: row i of the graph over its sum.
    step = csr_array(graph, dtype=np.float64, copy=True)
    step.data /= np.repeat(degree, np.diff(step.indptr))
    step *= 1 - end
    shape = (len(samples), graph.shape[0])
    residual = csr_array((np.ones(len(samples)), samples, np.arange(len(samples) + 1)), shape)
    settled = csr_array(shape)
    while True:
        large = residual.data >= error * degree[residual.indices]
        if not large.any():
            return settled
        pushed = _chosen(residual, large)
        settled = settled + end * pushed
        residual = _chosen(residual, ~large) + pushed @ step


def _chosen(matrix: csr_array, chosen: Bool[np.ndarray, " entries"]) -> csr_array:
    """Some entries of a sparse matrix."""
    before = np.append(0, np.cumsum(chosen))[matrix.indptr]
    return csr_array((matrix.data[chosen], matrix.indices[chosen], before), matrix.shape)


class Sweeps(NamedTuple):
    """The sweep of each sample.

    Attributes:
        order: of each sample, the samples that its walk reaches, by p / degree, largest first.
        conductance: [Q, sizes] φ of the first 1, 2, … of them; NaN where there are fewer.
    """

    order: list[Int[np.ndarray, " _"]]
    conductance: Float[np.ndarray, "Q sizes"]


def sweeps(graph: csr_array, largest: int, monitor: Monitor | None = None) -> Sweeps:
    """The sweep of every sample, up to sets of ``largest`` samples.

    Args:
        graph: symmetric [Q, Q], every sample with a neighbour.
        largest: samples of a set, at most half of all.
        monitor: receives the progress.
    """
    monitor, weights = monitor or Silence(), Graph(graph)
    samples = graph.shape[0]
    # A walk that is spread evenly over the largest set has 1 / (largest × degree) at each sample.
    error = 1 / (HALF * largest * float(weights.degrees.mean()))
    order: list[np.ndarray] = []
    conductance = np.full((samples, largest), np.nan, np.float32)
    for start in range(0, samples, BATCH):
        reached = pagerank(graph, np.arange(start, min(start + BATCH, samples)), error)
        for first, last in zip(reached.indptr[:-1], reached.indptr[1:], strict=True):
            found, p = reached.indices[first:last], reached.data[first:last]
            found = found[np.argsort(-p / weights.degrees[found], kind="stable")][:largest]
            conductance[len(order), : len(found)] = conductances(weights, found)
            order.append(found.astype(np.int32))
        monitor.work("local clusters", len(order) / samples)
    return Sweeps(order, conductance)


def conductances(weights: Graph, order: Int[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """φ of the first 1, 2, … n of some samples; NaN of all samples."""
    volume = np.cumsum(weights.degrees[order])
    smaller = np.minimum(volume, weights.degrees.sum() - volume)
    cut = volume - weights.nested(order)
    return np.where(smaller > 0, cut / np.where(smaller > 0, smaller, 1), np.nan)


class Chance(NamedTuple):
    """φ over the samples of null models.

    Attributes:
        mean, spread: [sizes] mean and standard deviation; NaN where no sample has such a set.
    """

    mean: Float64[np.ndarray, " sizes"]
    spread: Float64[np.ndarray, " sizes"]


def chance_of(null: Sequence[Sweeps]) -> Chance:
    """What the sweeps of null models offer at each size."""
    every = np.concatenate([one.conductance for one in null]).astype(np.float64)
    told = ~np.isnan(every)
    count = told.sum(axis=0)
    number = np.where(count > 0, count, np.nan)
    mean = np.where(told, every, 0).sum(axis=0) / number
    spread = np.sqrt((np.where(told, every - mean, 0) ** 2).sum(axis=0) / number)
    return Chance(mean, spread)


class Sets(NamedTuple):
    """Sets that share no sample, by score, largest first.

    Attributes:
        label: [Q] the set of each sample, -1 in none.
        score: [sets] how far φ is below chance, in standard deviations.
        size: [Q] samples of the set that each sample grows; 0 for none.
    """

    label: Int32[np.ndarray, " Q"]
    score: Float64[np.ndarray, " sets"]
    size: Int[np.ndarray, " Q"]


def sets_of_sweeps(found: Sweeps, chance: Chance, least: int) -> Sets:
    """Of each sample's sweep the best set, and of sets that share samples the better one.

    A set of which less than ``APART`` is free of better ones is dropped: mostly it is nearly the
    same. Of the others the free samples stay.

    Args:
        found: of every sample.
        chance: what null models offer.
        least: samples of a set.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = found.conductance / chance.mean
        score = (chance.mean - found.conductance) / chance.spread
    ratio[:, : least - 1] = np.inf
    ratio[np.isnan(ratio)] = np.inf
    at = ratio.argmin(axis=1)
    every = np.arange(len(ratio))
    grown = np.isfinite(ratio[every, at])
    own = np.where(grown, score[every, at], -np.inf)
    size = np.where(grown, at + 1, 0)
    label = np.full(len(own), -1, np.int32)
    scores: list[float] = []
    for sample in np.argsort(-own, kind="stable").tolist():
        members = found.order[sample][: size[sample]]
        free = members[label[members] < 0]
        if len(free) >= max(least, APART * len(members)):
            label[free] = len(scores)
            scores.append(float(own[sample]))
    return Sets(label, np.array(scores), size)


def returns(
    found: Sweeps, size: Int[np.ndarray, " Q"], label: Int[np.ndarray, " Q"]
) -> Float64[np.ndarray, " Q"]:
    """How nearly the set that each sample grows is its group: the Jaccard index of both, NaN in
    none."""
    groups = np.bincount(label[label >= 0])
    index = np.full(len(label), np.nan)
    for sample in np.flatnonzero(label >= 0).tolist():
        own = found.order[sample][: size[sample]]
        both = int((label[own] == label[sample]).sum())
        index[sample] = both / (len(own) + groups[label[sample]] - both)
    return index
