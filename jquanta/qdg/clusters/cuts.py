"""How well a set of samples is set apart from all others: conductance, and mean cosines within and
to the rest. And of sets that a cloud without clusters offers: a sample and those nearest to it.

A is the affinity that the clustering used, without its diagonal; the degree of a sample is the sum
of its row, and the volume of a set the sum of its degrees. The conductance of a set S is

    φ(S) = cut(S, rest) / min(vol S, vol rest),    cut(S, rest) = vol S - Σ_{i, j in S} A_ij

(Kannan, Vempala and Vetta, 2004): the share of a set's affinity that leads out of it. A small set
of a dense affinity has a φ near 1, whatever it is; hence what chance gives sets of the same size is
to be known beside it. No product with all labels is needed: row sums, once, and sums within sets.

The affinity is dense where there is a matrix of all pairs, the sparse graph of nearest neighbours
where that was clustered, and 1 + cosine where k-means on the sphere had none.

Shapes: Q samples, F features, K clusters, ``counts`` numbers of clusters, ``n`` chosen samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy.sparse import csr_array

from jquanta.errors import BadInput
from jquanta.qdg.clusters.affinity import affinity_of, joined, neighbour_graph, normalised
from jquanta.qdg.clusters.centres import centres_of_counts, centres_of_vectors
from jquanta.qdg.clusters.likeness import Cosines, Vectors
from jquanta.qdg.config import SPHERICAL
from jquanta.run.progress import Monitor, Silence

DRAWS = 199
"""Samples of the null model around which sets are grown. The least p-value is 1 / 200."""


class Cut(NamedTuple):
    """Of each of some sets.

    Attributes:
        size: samples.
        within: mean cosine of two different samples of the set; NaN for a single sample.
        outside: mean cosine of one of its samples and one of the rest; NaN where there is no rest.
        conductance: φ, from 0 (nothing leads out) to 1; NaN where the set is all, or has no
            affinity.
    """

    size: Int[np.ndarray, "*sets"]
    within: Float64[np.ndarray, "*sets"]
    outside: Float64[np.ndarray, "*sets"]
    conductance: Float64[np.ndarray, "*sets"]

    @property
    def contrast(self) -> Float64[np.ndarray, "*sets"]:
        """How much more alike the samples of a set are than they are to the rest."""
        return np.asarray(self.within - self.outside)


class Dense:
    """The weight of two different samples: their entry in a symmetric matrix [Q, Q].

    Attributes:
        degrees: [Q] sum of each sample's weights to all others.
    """

    def __init__(self, matrix: Float[np.ndarray, "Q Q"]):
        self.matrix = matrix
        self.degrees = matrix.sum(1, dtype=np.float64) - np.diagonal(matrix)

    def inside(
        self, labels: Int[np.ndarray, "counts labels"], monitor: Monitor
    ) -> list[Float64[np.ndarray, " K"]]:
        """Sums of the weights within each cluster, each pair twice."""
        found = centres_of_counts(self.matrix, labels, monitor=monitor)
        return [np.bincount(one.label, one.sums - one.own) for one in found]

    def nested(self, order: Int[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """The same within the first 1, 2, … n of some samples."""
        return _nested(np.tril(self.matrix[np.ix_(order, order)], -1).sum(1, dtype=np.float64))


class Graph:
    """As ``Dense``: the edges of a symmetric graph [Q, Q] without a diagonal."""

    def __init__(self, graph: csr_array):
        self.graph = graph
        self.degrees = np.asarray(graph.sum(1, dtype=np.float64))

    def inside(
        self, labels: Int[np.ndarray, "counts labels"], monitor: Monitor
    ) -> list[Float64[np.ndarray, " K"]]:
        """See ``Dense``."""
        edges = self.graph.tocoo()
        one, other = (np.asarray(ends) for ends in edges.coords)
        return [
            np.bincount(label[one], edges.data * (label[one] == label[other])) for label in labels
        ]

    def nested(self, order: Int[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """See ``Dense``."""
        edges = self.graph[order][:, order].tocoo()
        # An edge is within the first n from its later end on.
        later = np.maximum(*(np.asarray(ends) for ends in edges.coords))
        return np.cumsum(np.bincount(later, edges.data.astype(np.float64), len(order)))


class Products:
    """As ``Dense``: ``shift`` + the inner product of two vectors of [Q, F]. No pair is made."""

    def __init__(self, unit: Float[np.ndarray, "Q F"], shift: float = 0.0):
        self.unit, self.shift = unit, shift
        self.own = np.einsum("if,if->i", unit, unit, dtype=np.float64)
        total = unit.sum(0, dtype=np.float64)
        self.degrees = unit @ total - self.own + shift * (len(unit) - 1)

    def inside(
        self, labels: Int[np.ndarray, "counts labels"], monitor: Monitor
    ) -> list[Float64[np.ndarray, " K"]]:
        """See ``Dense``."""
        found = centres_of_vectors(self.unit, labels, monitor=monitor)
        return [
            np.bincount(one.label, one.sums - one.own) + self.shift * one.size * (one.size - 1)
            for one in found
        ]

    def nested(self, order: Int[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """See ``Dense``."""
        some = self.unit[order].astype(np.float64)
        before = np.cumsum(some, axis=0) - some
        return _nested(np.einsum("if,if->i", some, before) + self.shift * np.arange(len(order)))


@dataclass(frozen=True, eq=False)
class Apart:
    """All that cuts of sets of some samples need.

    Attributes:
        cosine: how alike two samples are.
        affinity: the weights that were cut; ``cosine`` itself where they are the same.
    """

    cosine: Dense | Products
    affinity: Dense | Graph | Products

    def clusters(
        self, labels: Int[np.ndarray, "counts Q"], monitor: Monitor | None = None
    ) -> list[Cut]:
        """The clusters of every count.

        Args:
            labels: clusters from 0; every number up to the largest is taken.
            monitor: receives the progress.

        Raises:
            BadInput: for labels of another number of samples.
        """
        monitor = monitor or Silence()
        within = self.cosine.inside(labels, monitor)
        inside = self.affinity.inside(labels, monitor)
        return [
            self._cut(
                np.bincount(label),
                (w, np.bincount(label, self.cosine.degrees)),
                (a, np.bincount(label, self.affinity.degrees)),
            )
            for label, w, a in zip(labels, within, inside, strict=True)
        ]

    def around(self, sample: int, sizes: Int[np.ndarray, " n"]) -> Cut:
        """Sets that a sample and those nearest to it make, of each of these sizes, up to Q."""
        most = int(sizes.max())
        order = self.nearest(sample, most)
        at = sizes - 1

        def of(weights: Dense | Graph | Products) -> tuple[np.ndarray, np.ndarray]:
            return weights.nested(order)[at], np.cumsum(weights.degrees[order])[at]

        return self._cut(sizes, of(self.cosine), of(self.affinity))

    def nearest(self, sample: int, count: int) -> Int[np.ndarray, " n"]:
        """A sample and those most alike to it, the most alike first."""
        weights = self.cosine
        if isinstance(weights, Dense):
            cosine = weights.matrix[sample].copy()
        else:
            cosine = weights.unit @ weights.unit[sample]
        cosine[sample] = np.inf  # rounding may leave another one nearer than itself
        some = np.argpartition(-cosine, count - 1)[:count]
        return np.asarray(some[np.argsort(-cosine[some], kind="stable")])

    def _cut(
        self,
        size: Int[np.ndarray, " n"],
        cosine: tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]],
        affinity: tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]],
    ) -> Cut:
        """From the sums of weights within sets, and of their degrees."""
        samples = len(self.cosine.degrees)
        (within, rows), (inside, volume) = cosine, affinity
        rest = self.affinity.degrees.sum() - volume
        with np.errstate(invalid="ignore", divide="ignore"):
            return Cut(
                size,
                within / (size * (size - 1)),
                (rows - within) / (size * (samples - size)),
                np.where(size < samples, (volume - inside) / np.minimum(volume, rest), np.nan),
            )


def apart_of(
    likeness: Cosines | Vectors, made: Mapping[Any, Any], monitor: Monitor | None = None
) -> Apart:
    """What clusters with the attributes ``made`` were cut from. Everything is held in memory.

    Args:
        likeness: the samples' matrix, checked, or their vectors.
        made: attributes of ``cluster`` or ``cluster_features``.
        monitor: receives the progress.

    Raises:
        BadInput: where ``made`` does not tell, as of clusters made elsewhere.
    """
    if isinstance(likeness, Vectors):
        unit = normalised(likeness.unit)
        if made.get("method") == SPHERICAL:
            return Apart(Products(unit), Products(unit, 1.0))
        _require(made, "neighbours")
        graph = neighbour_graph(unit, int(made["neighbours"]), monitor=monitor)
        return Apart(Products(unit), Graph(joined(graph, unit)))
    _require(made, "affinity")
    cosine = np.asarray(likeness.matrix)
    return Apart(Dense(cosine), Dense(affinity_of(cosine, made["affinity"])))


def _require(made: Mapping[Any, Any], name: str) -> None:
    if name not in made:
        raise BadInput(
            f"the clusters do not tell their {name}, as those made elsewhere; give some of cluster"
        )


def sets_of(
    apart: Apart,
    sizes: Sequence[int],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    monitor: Monitor | None = None,
) -> Cut:
    """Around each of some random samples: sets of these sizes, of the samples nearest to it.

    In a cloud without clusters they tell what is found by looking for alike samples where there is
    nothing to find. They are tighter than what clustering finds there, which has to place every
    sample somewhere.

    Args:
        apart: of a null model.
        sizes: of the sets, up to Q.
        draws: samples, drawn without replacement; all of them where there are fewer.
        seed: of the drawing.
        monitor: receives the progress.

    Returns:
        Arrays [draws, sizes].
    """
    samples = len(apart.cosine.degrees)
    monitor, wanted = monitor or Silence(), np.asarray(sizes, np.int64)
    if not wanted.size or wanted.min() < 1 or wanted.max() > samples:
        raise BadInput(f"sizes = {list(sizes)}: give sizes from 1 to {samples}")
    drawn = np.random.default_rng(seed).permutation(samples)[:draws].tolist()
    found = []
    for number, sample in enumerate(drawn, 1):
        found.append(apart.around(sample, wanted))
        monitor.work("chance", number / len(drawn))
    return Cut(*(np.stack(column) for column in zip(*found, strict=True)))


def p_values(
    values: Float64[np.ndarray, " sets"], null: Float64[np.ndarray, "draws sets"]
) -> Float64[np.ndarray, " sets"]:
    """How often chance does as well: (1 + draws with at least the value) / (1 + draws), NaN where
    the value is (Davison and Hinkley, 1997, 4.2)."""
    better = (null >= values).sum(axis=0)
    return np.where(np.isnan(values), np.nan, (1 + better) / (1 + len(null)))


def _nested(rows: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Sums within the first 1, 2, … n samples, each pair twice, from each one's sum to those
    before it."""
    return np.asarray(2 * np.cumsum(rows))
