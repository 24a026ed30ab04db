"""How close samples are to the middle of their cluster, from cosines alone (no gradients)."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Closeness(NamedTuple):
    """What the cosines say of clusters, for each count C."""

    centrality: NDArray[np.float32]
    """[C, Q] cosine between a sample's gradient and the mean unit gradient of its cluster."""
    tightness: tuple[NDArray[np.float32], ...]
    """[k] mean cosine between two samples of a cluster, for each count; NaN for one sample."""


def closeness(
    tiles: Iterable[tuple[int, NDArray[np.float32]]], labels: NDArray[np.int32]
) -> Closeness:
    """Centrality of samples and tightness of clusters.

    With unit gradients g, the mean m of cluster c has |m| = sqrt(Σ_ij cos_ij) / n over its members,
    and so cos(g_i, m) = Σ_j cos_ij / sqrt(Σ_ij cos_ij): one pass over the matrix, and only over its
    blocks within clusters.

    Args:
        tiles: rows of the [Q, Q] cosines, each with the number of its first.
        labels: [C, Q] clusters from 0, for each count.

    Returns:
        NaN where a cluster's mean gradient is zero, or a cosine is NaN.
    """
    order = np.argsort(labels, axis=1, kind="stable")
    sizes = [np.bincount(row) for row in labels]
    members = [np.split(o, np.cumsum(n)[:-1]) for o, n in zip(order, sizes, strict=True)]
    sums = np.zeros(labels.shape)
    diagonal = np.zeros(labels.shape[1])
    for start, tile in tiles:
        stop = start + len(tile)
        diagonal[start:stop] = np.diagonal(tile, start)
        for c, label in enumerate(labels):
            for cluster in np.unique(label[start:stop]):
                mine = members[c][cluster]
                rows = mine[np.searchsorted(mine, start) : np.searchsorted(mine, stop)]
                block = tile[np.ix_(rows - start, mine)]
                sums[c, rows] = block.sum(1, dtype=np.float64)
    centrality = np.empty(labels.shape, np.float32)
    tightness = []
    for c, (label, n) in enumerate(zip(labels, sizes, strict=True)):
        total = np.bincount(label, sums[c])
        with np.errstate(invalid="ignore", divide="ignore"):
            centrality[c] = sums[c] / np.sqrt(total)[label]
            pairs = total - np.bincount(label, diagonal)
            tightness.append((pairs / (n * (n - 1))).astype(np.float32))
    centrality[~np.isfinite(centrality)] = np.nan
    return Closeness(centrality, tuple(tightness))
