"""The centres of clusters and how close samples are to them, from cosines alone (no gradients), or
from a vector for each sample where there is no matrix of cosines.

Notation: the n samples of a cluster have unit gradients g_i, and c_ij = g_i · g_j are their
cosines. The cluster's centre is the mean m = Σ_j g_j / n. With the row sums s_i = Σ_j c_ij over the
members of the cluster,

    n |m|          = √(Σ_i s_i)                          the length of the sum of gradients
    cos(g_i, m)    = s_i / √(Σ_i s_i)                    cosine to the centre
    cos(g_i, m_-i) = (s_i - c_ii) / √(Σ_k s_k - 2 s_i + c_ii)    to the centre of the others

so the row sums of the blocks within clusters and the diagonal are all that is needed. From vectors
they are s_i = g_i · Σ_j g_j, without any cosine of a pair.

Shapes: Q samples, F features, ``counts`` numbers of clusters, K clusters of one count, ``new``
gradients.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from jaxtyping import Float, Float64, Int

from jquanta.errors import BadInput
from jquanta.masks import unmasked
from jquanta.run.arrays import CHUNK
from jquanta.run.progress import Monitor, Silence

STRIP = CHUNK
"""Rows of the matrix in memory at a time. A strip is a row of chunks, so that each is read once."""


ROWS = 2**12
"""Vectors in memory at a time."""


@dataclass(frozen=True, eq=False)
class Centres:
    """The clusters of one count.

    Attributes:
        label: [Q] cluster of each sample, from 0.
        sums: [Q] s_i, the sum of a sample's cosines to all samples of its cluster, itself included.
        own: [Q] c_ii, its cosine to itself: 1, but for rounding.
    """

    label: Int[np.ndarray, " Q"]
    sums: Float64[np.ndarray, " Q"]
    own: Float64[np.ndarray, " Q"]

    @cached_property
    def size(self) -> Int[np.ndarray, " K"]:
        """n, samples of each cluster."""
        return np.bincount(self.label)

    @cached_property
    def squares(self) -> Float64[np.ndarray, " K"]:
        """(n |m|)² = Σ_i s_i of each cluster."""
        # Where gradients cancel, rounding may leave a sum slightly below zero.
        return np.maximum(np.bincount(self.label, self.sums), 0)

    @cached_property
    def lengths(self) -> Float64[np.ndarray, " K"]:
        """n |m|, the length of the sum of each cluster's gradients; 0 where they cancel."""
        return np.sqrt(self.squares)

    @cached_property
    def to_centre(self) -> Float64[np.ndarray, " Q"]:
        """Cosine of each sample to the centre of its cluster; NaN where the gradients cancel."""
        length = self.lengths[self.label]
        return self.sums / np.where(length > 0, length, np.nan)

    @cached_property
    def apart(self) -> Float64[np.ndarray, " Q"]:
        """Cosine of each sample to the centre of the *others* of its cluster; NaN for one alone."""
        squares = self.squares[self.label] - 2 * self.sums + self.own
        with np.errstate(invalid="ignore", divide="ignore"):
            found = (self.sums - self.own) / np.sqrt(squares)
        return np.where(self.size[self.label] == 1, np.nan, found)

    @cached_property
    def to_others(self) -> Float64[np.ndarray, " Q"]:
        """Mean cosine of each sample to the others of its cluster; NaN for one alone."""
        others = self.size[self.label] - 1
        return (self.sums - self.own) / np.where(others > 0, others, np.nan)

    @cached_property
    def tightness(self) -> Float64[np.ndarray, " K"]:
        """Mean cosine between two different samples of each cluster; NaN for a single one."""
        total = np.bincount(self.label, self.sums) - np.bincount(self.label, self.own)
        pairs = self.size * (self.size - 1)
        return total / np.where(pairs > 0, pairs, np.nan)


def centres(
    cosine: xr.DataArray | Float[np.ndarray, "Q Q"], label: Int[np.ndarray, " labels"]
) -> Centres:
    """The clusters of one count; see ``centres_of_counts``."""
    return centres_of_counts(cosine, unmasked(label, "label")[None])[0]


def centres_of_counts(
    cosine: xr.DataArray | Float[np.ndarray, "Q Q"],
    labels: Int[np.ndarray, "counts labels"],
    *,
    monitor: Monitor | None = None,
) -> list[Centres]:
    """The clusters of every count, in one pass over the matrix.

    The matrix may be on disk: ``STRIP`` of its rows are in memory at a time. Of each strip only the
    blocks within clusters are added up, in float64.

    Args:
        cosine: [Q, Q], symmetric.
        labels: [counts, Q] clusters from 0, for each count.
        monitor: receives the progress.

    Raises:
        BadInput: for labels of another number of samples.
    """
    monitor = monitor or Silence()
    samples, labels = len(cosine), unmasked(labels, "labels")
    if labels.shape[1] != samples:
        raise BadInput(f"{labels.shape[1]} labels for {samples} samples; give one a sample")
    members = [_members(label) for label in labels]
    sums, own = np.empty(labels.shape), np.empty(samples)
    for start in range(0, samples, STRIP):
        strip = unmasked(cosine[start : start + STRIP], "cosine")
        stop = start + len(strip)
        own[start:stop] = np.diagonal(strip, start)
        for label, of_cluster, found in zip(labels, members, sums, strict=True):
            for cluster in np.unique(label[start:stop]):
                # The cluster's members, ascending, and those of them whose rows are in the strip.
                mine = of_cluster[cluster]
                here = mine[np.searchsorted(mine, start) : np.searchsorted(mine, stop)]
                found[here] = strip[np.ix_(here - start, mine)].sum(1, dtype=np.float64)
        monitor.work("similarity", stop / samples)
    return [Centres(label, found, own) for label, found in zip(labels, sums, strict=True)]


def centres_of_vectors(
    unit: xr.DataArray | Float[np.ndarray, "Q F"],
    labels: Int[np.ndarray, "counts labels"],
    *,
    monitor: Monitor | None = None,
) -> list[Centres]:
    """The clusters of every count, in two passes over the samples' vectors: sums over clusters,
    then products with them, in float64.

    Args:
        unit: [Q, F] vectors of unit length. They may be on disk: ``ROWS`` are in memory at a time.
        labels, monitor: as of ``centres_of_counts``.

    Raises:
        BadInput: for labels of another number of samples.
    """
    monitor = monitor or Silence()
    samples, labels = len(unit), unmasked(labels, "labels")
    if labels.shape[1] != samples:
        raise BadInput(f"{labels.shape[1]} labels for {samples} samples; give one a sample")
    starts = range(0, samples, ROWS)
    totals = [np.zeros((int(label.max()) + 1, unit.shape[1])) for label in labels]
    for start in starts:
        rows = unmasked(unit[start : start + ROWS], "unit")
        for label, total in zip(labels, totals, strict=True):
            own = label[start : start + len(rows)]
            # Sorted by cluster, each cluster's rows are one run, which reduceat adds up.
            order = np.argsort(own, kind="stable")
            there, first = np.unique(own[order], return_index=True)
            total[there] += np.add.reduceat(rows[order], first, axis=0, dtype=np.float64)
        monitor.work("centres", 0.5 * (start + len(rows)) / samples)
    sums, squares = np.empty(labels.shape), np.empty(samples)
    for start in starts:
        rows = unmasked(unit[start : start + ROWS], "unit").astype(np.float64)
        place = slice(start, start + len(rows))
        squares[place] = np.einsum("if,if->i", rows, rows)
        for label, total, found in zip(labels, totals, sums, strict=True):
            found[place] = np.einsum("if,if->i", rows, total[label[place]])
        monitor.work("centres", 0.5 + 0.5 * place.stop / samples)
    return [Centres(label, found, squares) for label, found in zip(labels, sums, strict=True)]


def to_centres(cosines: Float[np.ndarray, "new Q"], centres: Centres) -> Float[np.ndarray, "new K"]:
    """Cosines of new unit gradients to the centres, from their cosines to the samples.

    cos(x, m) = Σ_j x · g_j / (n |m|) over the members of a cluster. NaN where |m| = 0.
    """
    # With the columns sorted by cluster, reduceat adds up each cluster's run of them.
    order = np.argsort(centres.label, kind="stable")
    starts = np.searchsorted(centres.label[order], np.arange(len(centres.lengths)))
    sums = np.add.reduceat(cosines[:, order], starts, axis=1)
    return sums / np.where(centres.lengths > 0, centres.lengths, np.nan)


def _members(label: Int[np.ndarray, " Q"]) -> list[Int[np.ndarray, " n"]]:
    """The samples of each cluster, ascending."""
    order = np.argsort(label, kind="stable")
    return np.split(order, np.cumsum(np.bincount(label))[:-1])
