"""Are clusters real? How much they hang on the seed, on the samples and on the count, and what
clustering finds where there is nothing to find.

Agreement is the adjusted Rand index (ARI): 1 for equal partitions, 0 for what chance gives.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float64
from numpy.typing import ArrayLike

from jquanta.errors import BadInput
from jquanta.qdg.clusters.affinity import normalised, symmetric
from jquanta.qdg.clusters.cluster import centrality, cluster
from jquanta.run.progress import Monitor, Silence

if TYPE_CHECKING:
    import xarray as xr

SUBSAMPLE = 0.8
"""Of the samples, drawn without replacement: a sample drawn twice would be a cluster of its own."""


def stability(
    cosine: ArrayLike,
    counts: Sequence[int],
    *,
    features: ArrayLike | None = None,
    seeds: int = 5,
    subsamples: int = 5,
    n_init: int = 30,
    seed: int = 0,
    monitor: Monitor | None = None,
) -> "xr.Dataset":
    """How stable the clusters of ``cosine`` are, beside those of a null model.

    Args:
        cosine: [Q, Q].
        counts: numbers of clusters, ascending.
        features: [Q, F], such as sketches of the gradients: the null model then shuffles them,
            else it rotates ``cosine``; see ``shuffled`` and ``rotated``.
        seeds: further seeds of k-means.
        subsamples: of ``SUBSAMPLE`` of the samples.
        n_init: restarts of k-means.
        seed: of the clustering that others are compared with, and of all that is drawn.
        monitor: told how far it is.

    Returns:
        ARI by ``count``: ``ari_seed`` (count, other seed); ``ari_subsample`` (count, subsample),
        on the samples in both; ``ari_next`` (count), with the next larger count, which cannot be 1
        and is NaN for the last; ``null_ari_seed`` (count, other seed), of the null model.
        ``tightness`` and ``null_tightness`` (count): the mean over samples of their mean cosine to
        the others of their cluster, where there are others.

    Raises:
        BadInput: as ``cluster``.
    """
    import xarray as xr

    if min(seeds, subsamples) < 1:
        raise BadInput("seeds and subsamples: give at least 1 of each")
    matrix = symmetric(cosine)
    null = rotated(matrix, seed) if features is None else shuffled(features, seed)
    steps = _Steps(2 * (seeds + 1) + subsamples, monitor or Silence())

    def labels(of: np.ndarray, at_seed: int) -> np.ndarray:
        found = cluster(of, counts, seed=at_seed, n_init=n_init).label.to_numpy()
        steps.one_more()
        return found

    def against(first: np.ndarray, others: Sequence[np.ndarray]) -> Float64[np.ndarray, "C n"]:
        return np.stack([agreement(first, other) for other in others], axis=1)

    further = range(seed + 1, seed + 1 + seeds)
    base, null_base = labels(matrix, seed), labels(null, seed)
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(subsamples):
        kept = np.sort(random.permutation(len(matrix))[: round(SUBSAMPLE * len(matrix))])
        part = labels(matrix[np.ix_(kept, kept)], seed)
        drawn.append(agreement(base[:, kept], part))
    following = np.append(agreement(base[:-1], base[1:]), np.nan)
    return xr.Dataset(
        {
            "ari_seed": (("count", "seed"), against(base, [labels(matrix, s) for s in further])),
            "ari_subsample": (("count", "subsample"), np.stack(drawn, axis=1)),
            "ari_next": ("count", following),
            "null_ari_seed": (
                ("count", "seed"),
                against(null_base, [labels(null, s) for s in further]),
            ),
            "tightness": ("count", tightness(matrix, base)),
            "null_tightness": ("count", tightness(null, null_base)),
        },
        {"count": np.asarray(counts), "seed": list(further)},
        {"null": "rotated" if features is None else "shuffled", "base_seed": seed},
    )


def agreement(labels: np.ndarray, others: np.ndarray) -> Float64[np.ndarray, " C"]:
    """ARI of each row of ``labels`` [C, Q] with the same row of ``others``."""
    from sklearn.metrics import adjusted_rand_score

    return np.array([adjusted_rand_score(a, b) for a, b in zip(labels, others, strict=True)])


def tightness(cosine: np.ndarray, labels: np.ndarray) -> Float64[np.ndarray, " C"]:
    """Mean over samples of their mean cosine to the others of their cluster, for each row."""
    return np.array([np.nanmean(centrality(cosine, row)[0]) for row in labels])


def shuffled(features: ArrayLike, seed: int = 0) -> Float[np.ndarray, "Q Q"]:
    """Cosines of samples whose every feature was dealt anew among the samples.

    Kept: the values of each feature, so its distribution and the mean gradient. Lost: which values
    belong to one sample, so every dependence between features, clusters among them; and the
    samples' norms, which cosines do not see.

    Raises:
        BadInput: as ``affinity.normalised``.
    """
    matrix = np.array(features, np.float32)
    normalised(matrix)  # refuses what has no cosines
    np.random.default_rng(seed).permuted(matrix, axis=0, out=matrix)
    unit = normalised(matrix)
    return unit @ unit.T


def rotated(cosine: ArrayLike, seed: int = 0) -> Float[np.ndarray, "Q Q"]:
    """A surrogate R C Rᵀ, with R a random rotation of the samples that leaves (1, …, 1) in place.

    Kept: all eigenvalues of C, so how many directions the gradients take and how strongly, and the
    mean over all pairs. Lost: which samples a direction belongs to; each is spread evenly over
    all, as in a cloud without clusters. The diagonal, then only about 1, is set to 1 by scaling
    samples, which changes eigenvalues by about as much.
    """
    turned = _turned(symmetric(cosine).astype(np.float64), seed)
    norm = np.sqrt(np.maximum(np.diagonal(turned), np.finfo(np.float32).tiny))
    return np.asarray((turned / np.outer(norm, norm)).astype(np.float32))


def _turned(matrix: Float64[np.ndarray, "Q Q"], seed: int) -> Float64[np.ndarray, "Q Q"]:
    """R C Rᵀ, exactly symmetric.

    A reflection swaps (1, …, 1) / √Q with the first axis; between two of them all other axes turn,
    by an orthogonal matrix without preference (QR of normal numbers, with its signs).
    """
    samples = len(matrix)
    mirror = np.full(samples, 1 / np.sqrt(samples))
    mirror[0] -= 1
    square = mirror @ mirror

    def reflected(of: np.ndarray) -> np.ndarray:
        return of - np.outer(mirror, 2 / square * (mirror @ of))

    normal = np.random.default_rng(seed).standard_normal((samples - 1, samples - 1))
    turn, upper = np.linalg.qr(normal)
    turn *= np.sign(np.diagonal(upper))
    inner = reflected(reflected(matrix).T)
    inner[1:] = turn @ inner[1:]
    inner[:, 1:] = inner[:, 1:] @ turn.T
    outer = reflected(reflected(inner).T)
    return (outer + outer.T) / 2


class _Steps:
    """Tells a monitor of clusterings made."""

    def __init__(self, total: int, monitor: Monitor):
        self.total, self.monitor, self.done = total, monitor, 0

    def one_more(self) -> None:
        self.done += 1
        self.monitor.work("stability", self.done / self.total)
