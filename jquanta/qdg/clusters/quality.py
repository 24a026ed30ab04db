"""How good clusters are: agreement of two clusterings, tightness, and null models to compare with.

A null model is a similarity with the same gross statistics and without clusters: what clustering
finds there is what it finds anywhere.

Shapes: Q samples, F features, ``counts`` numbers of clusters.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Float64, Int
from numpy.typing import ArrayLike
from sklearn.metrics import adjusted_rand_score

from jquanta.masks import unmasked
from jquanta.qdg.clusters.affinity import normalised, symmetric
from jquanta.qdg.clusters.centres import Centres


def agreement(
    labels: Int[np.ndarray, "counts Q"], others: Int[np.ndarray, "counts Q"]
) -> Float64[np.ndarray, " counts"]:
    """The adjusted Rand index of each row of ``labels`` with the same row of ``others``.

    Of all pairs of samples, the share on which two partitions agree (together in both, or apart in
    both), rescaled so that equal partitions have 1 and random ones 0 on average (Hubert and Arabie,
    1985).
    """
    pairs = zip(unmasked(labels, "labels"), unmasked(others, "others"), strict=True)
    return np.array([adjusted_rand_score(a, b) for a, b in pairs])


def found_again(
    label: Int[np.ndarray, " Q"], other: Int[np.ndarray, " Q"]
) -> Float64[np.ndarray, " K"]:
    """Of each cluster, how much of it another clustering has as one cluster: the largest Jaccard
    index (samples in both over samples in either) with any of the other's (Hennig, 2007).

    At most one cluster has an index above a half with the same one of the other's: its halves are
    not both found again in it.

    Args:
        label: clusters from 0; of a number that no sample has, NaN.
        other: of the same samples.
    """
    size, others = np.bincount(label), np.bincount(other)
    pairs, both = np.unique(label.astype(np.int64) * len(others) + other, return_counts=True)
    mine, theirs = np.divmod(pairs, len(others))
    found = np.where(size > 0, 0.0, np.nan)
    np.maximum.at(found, mine, both / (size[mine] + others[theirs] - both))
    return found


def tightness(found: Sequence[Centres]) -> Float64[np.ndarray, " counts"]:
    """For the clusters of each count: the mean over samples of their mean cosine to the others of
    their cluster. Samples that are a cluster by themselves do not count."""
    return np.array([np.nanmean(centres.to_others) for centres in found])


def by_chance(
    score: Float64[np.ndarray, " sets"], null: Sequence[Float64[np.ndarray, " _"]]
) -> Float64[np.ndarray, " sets"]:
    """Of the sets with at least a set's score, the share that chance would have offered: the false
    discovery rate from decoys (Storey, 2002; Elias and Gygi, 2007).

    At a threshold it is the mean number of sets of a null model above it, over the number of those
    that were found; of a set, the least over all thresholds that it passes. 0 says that no null
    model has a set as good. At most 1.

    Args:
        score: of the sets that were found.
        null: of those that the same search finds in each null model.
    """
    decoys = np.sort(np.concatenate(null))
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    offered = (len(decoys) - np.searchsorted(decoys, ranked)) / len(null)
    # Sets of one score pass the same thresholds.
    passed = len(ranked) - np.searchsorted(ranked[::-1], ranked)
    share = np.minimum(1, offered / passed)
    found = np.empty(len(score))
    found[order] = np.minimum.accumulate(share[::-1])[::-1]
    return found


def shuffled(features: ArrayLike, seed: int = 0) -> Float[np.ndarray, "Q F"]:
    """Null model: vectors of unit length after each feature was permuted among the samples, each
    feature by a permutation of its own.

    Kept: the values of each feature, hence its distribution, and the mean gradient. Lost: which
    values belong to one sample, hence every dependence between features, clusters among them; and
    the norms of samples, on which cosines do not depend.

    Args:
        features: [Q, F].
        seed: of the permutations.

    Raises:
        BadInput: as ``affinity.normalised``.
    """
    matrix = np.array(unmasked(features, "features"), np.float32)
    normalised(matrix)  # refuses samples that have no direction
    np.random.default_rng(seed).permuted(matrix, axis=0, out=matrix)
    return normalised(matrix)


def rotated(cosine: ArrayLike, seed: int = 0) -> Float[np.ndarray, "Q Q"]:
    """Null model: R C Rᵀ, with R a random rotation of the samples that leaves (1, …, 1) in place.

    Kept: all eigenvalues of C, that is in how many directions the gradients vary and how strongly,
    and the mean over all pairs. Lost: which samples a direction belongs to; each direction is
    spread evenly over all samples, as in a cloud without clusters. The diagonal is then only about
    1; it is set to 1 by scaling samples, which changes the eigenvalues by about as much.

    Args:
        cosine: [Q, Q], symmetric.
        seed: of the rotation.
    """
    turned = _turned(symmetric(cosine).astype(np.float64), seed)
    norm = np.sqrt(np.maximum(np.diagonal(turned), np.finfo(np.float32).tiny))
    return np.asarray((turned / np.outer(norm, norm)).astype(np.float32))


def _turned(matrix: Float64[np.ndarray, "Q Q"], seed: int) -> Float64[np.ndarray, "Q Q"]:
    """R C Rᵀ in float64, exactly symmetric.

    R is a product of three: a Householder reflection that takes (1, …, 1) / √Q to the first axis,
    a random orthogonal matrix on all other axes, and the same reflection back.
    """
    samples = len(matrix)
    reflected = _reflection_to_first_axis(samples)
    # Q of the QR decomposition of normal numbers is uniformly distributed over the orthogonal
    # matrices once the diagonal of R is made positive (Mezzadri, 2007).
    normal = np.random.default_rng(seed).standard_normal((samples - 1, samples - 1))
    turn, upper = np.linalg.qr(normal)
    turn *= np.sign(np.diagonal(upper))
    inner = reflected(reflected(matrix).T)
    inner[1:] = turn @ inner[1:]
    inner[:, 1:] = inner[:, 1:] @ turn.T
    outer = reflected(reflected(inner).T)
    return (outer + outer.T) / 2


def _reflection_to_first_axis(samples: int) -> Callable[[np.ndarray], np.ndarray]:
    """H X for a matrix X, where H = 1 - 2 v vᵀ / v·v swaps (1, …, 1) / √Q and the first axis."""
    mirror = np.full(samples, 1 / np.sqrt(samples))
    mirror[0] -= 1
    square = mirror @ mirror

    def reflected(of: np.ndarray) -> np.ndarray:
        return of - np.outer(mirror, 2 / square * (mirror @ of))

    return reflected
