"""Two clusterings of the same samples: how far they agree, beyond chance and beyond what is known
of the samples, and which cluster of one is which of the other.

What is known of a sample is a group, such as the token that it predicts.

Shapes: Q samples, K clusters of one clustering, L of the other, G groups.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.stats import entropy, hypergeom, norm
from sklearn.metrics import mutual_info_score

from jquanta.masks import unmasked

SHARED = 0.5
"""Above this Jaccard index two clusters are the same one: no third has as much with either."""

CHANCE = 0.05
"""How often any cluster at all may be found in a clustering that has nothing to do with it."""

NONE = -1
"""The match of a cluster that has none."""

WIDTH = float(norm.ppf(0.975))
"""Standard errors from the middle of a 95% interval to its ends."""

ROUNDING = 1e-12
"""Of numbers of pairs, which are exact, over each other."""


class Rand(NamedTuple):
    """An adjusted Rand index with its 95% interval; NaN where it is 0 / 0, as of two clusterings
    that leave all samples together."""

    value: float
    low: float
    high: float


class Information(NamedTuple):
    """How much one clustering tells of another, over the mean of what each tells of itself.

    Attributes:
        adjusted: the adjusted mutual information (AMI), 1 for equal partitions and 0 on average by
            chance: (normalised - chance) / (1 - chance). NaN for 0 / 0.
        normalised: the normalised mutual information (NMI), by the arithmetic mean of entropies.
        chance: its mean over permutations of the labels: far above 0 for many small clusters.
    """

    adjusted: float
    normalised: float
    chance: float


class Matches(NamedTuple):
    """The cluster of the other clustering that is each cluster's match; arrays [K].

    Attributes:
        other: its number; ``NONE`` where a cluster is left over, or shares no sample.
        size, other_size, both: samples of the cluster, of its match, and in both.
        jaccard: samples in both over samples in either; NaN for a number that no sample has.
        p: L times the chance that a random set of the cluster's size has as many samples of the
            match (hypergeometric), at most 1: Bonferroni's bound for the best of the other's L
            clusters. NaN as ``jaccard``.
    """

    other: NDArray[np.int64]
    size: NDArray[np.int64]
    other_size: NDArray[np.int64]
    both: NDArray[np.int64]
    jaccard: NDArray[np.float64]
    p: NDArray[np.float64]


def adjusted_rand(
    label: Int[np.ndarray, " Q"],
    other: Int[np.ndarray, " Q"],
    group: Int[np.ndarray, " Q"] | None = None,
) -> Rand:
    """The adjusted Rand index (Hubert and Arabie, 1985), over pairs of samples of one group.

    Of these pairs, S are together in both clusterings, A in the first and B in the second. If
    labels were permuted among the samples of each group, S would be on average
    E = Σ A_g B_g / N_g, with A_g, B_g and all pairs N_g of a group. The index is
    (S - E) / ((A + B) / 2 - E): 1 for clusterings that cut every group alike, 0 on average by
    chance, and exactly 0 where one of both leaves every group whole. Groups that both leave whole
    add nothing. Without groups it is the usual index.

    The interval is that of a jackknife: S, A, B and E without a sample follow from how many others
    it is together with, so all Q indices take one pass. A bootstrap would be biased upwards, since
    a sample that is drawn twice is together with itself in both. The interval says how the index
    varies with the choice of samples, clusters being as they are; not how clusters vary.
    """
    known = np.zeros(len(label), np.int64) if group is None else _numbered(group)
    # Of each sample, how many others are together with it; half their sum is the number of pairs.
    both = _company(label, other, known)
    first, second, every = _company(label, known), _company(other, known), _company(known)
    A, B, N = (np.bincount(known, own) / 2 for own in (first, second, every))
    E = _over(A * B, N)
    value = _adjusted(both.sum() / 2, A.sum(), B.sum(), E.sum())
    # Without a sample, the pairs that it is in are missing; of E only its own group's part changes.
    changed = _over((A[known] - first) * (B[known] - second), N[known] - every) - E[known]
    without = _adjusted(both.sum() / 2 - both, A.sum() - first, B.sum() - second, E.sum() + changed)
    # Tukey's variance, (Q - 1) / Q times the sum of squared deviations from the mean.
    error = np.sqrt((len(label) - 1) * np.var(without)) if len(label) > 2 else np.nan
    low, high = np.clip(value + WIDTH * error * np.array([-1, 1]), -1, 1)
    return Rand(float(value), float(low), float(high))


def by_groups_alone(
    label: Int[np.ndarray, " Q"], other: Int[np.ndarray, " Q"], group: Int[np.ndarray, " Q"]
) -> float:
    """The mean adjusted Rand index of two clusterings after the labels of one were permuted among
    the samples of each group: what they would agree by if they shared the groups and nothing else.

    Exact. Two samples of one group are together in both A_g B_g / N_g times, as in
    ``adjusted_rand``. One sample of group g and one of h are together in a clustering n_ig n_ih
    times, summed over its clusters i; in both, the product of these sums over n_g n_h.
    """
    known = _numbered(group)
    n = np.bincount(known)
    pairs = [np.bincount(known, _company(own, known)) / 2 for own in (label, other)]
    together = _over(pairs[0] * pairs[1], n * (n - 1) / 2).sum()
    # [G, G], of which the diagonal is left out: its pairs are of one group.
    first, second = (_table(_numbered(own), known) for own in (label, other))
    product = (first.T @ first).multiply(second.T @ second).tocoo()
    apart = product.row != product.col
    across = product.data[apart] / (n[product.row[apart]] * n[product.col[apart]])
    A, B = (_company(own).sum() / 2 for own in (label, other))
    chance = A * B / max(1, len(label) * (len(label) - 1) / 2)
    return float(_adjusted(together + across.sum() / 2, A, B, chance))


def information(label: Int[np.ndarray, " Q"], other: Int[np.ndarray, " Q"]) -> Information:
    """Mutual information of two clusterings, normalised and adjusted (Vinh, Epps and Bailey, 2010).

    The mean over permutations is exact: a sum over pairs of clusters and over how many samples they
    may have in common, of which only their sizes matter, so that equal ones count together.
    """
    table = _table(_numbered(label), _numbered(other))
    size, others = table.sum(axis=1), table.sum(axis=0)
    mean = (entropy(size) + entropy(others)) / 2
    if not mean:
        return Information(np.nan, np.nan, np.nan)
    normalised = mutual_info_score(None, None, contingency=table) / mean
    chance = _expected_information(size, others) / mean
    # Of single samples both are 1, whatever the labels.
    adjusted = (normalised - chance) / (1 - chance) if 1 - chance > ROUNDING else np.nan
    return Information(float(adjusted), float(normalised), float(chance))


def _expected_information(size: Int[np.ndarray, " K"], others: Int[np.ndarray, " L"]) -> float:
    """The mean mutual information (nats) of two clusterings with clusters of these sizes."""
    samples, total = int(size.sum()), 0.0
    (size, often), (others, others_often) = (
        np.unique(n, return_counts=True) for n in (size, others)
    )
    for own, times in zip(size.tolist(), often.tolist(), strict=True):
        # Two clusters of a and b samples share n with the hypergeometric probability, and n add
        # n / Q · ln(n Q / (a b)).
        n = np.arange(1, min(own, int(others.max())) + 1)[:, None]
        told = n / samples * np.log(n * samples / (own * others))
        total += times * float(
            (hypergeom.pmf(n, samples, others, own) * told).sum(axis=0) @ others_often
        )
    return total


def matches(label: Int[np.ndarray, " Q"], other: Int[np.ndarray, " Q"]) -> Matches:
    """Match clusters one to one, so that the sum of their Jaccard indices is largest.

    Two clusters with an index above ``SHARED`` are always matched, which the sum alone does not
    ensure; each has at most one such partner.
    """
    both = _table(label, other).toarray()
    size, others = both.sum(axis=1), both.sum(axis=0)
    either = size[:, None] + others - both
    jaccard = np.divide(both, either, out=np.zeros(both.shape), where=either > 0)
    # A weight above the sum of all others puts them first.
    weight = jaccard + (jaccard > SHARED) * float(min(both.shape))
    rows, columns = linear_sum_assignment(weight, maximize=True)
    there = both[rows, columns] > 0
    rows, columns = rows[there], columns[there]

    def of_match(values: NDArray[np.int64], nothing: int = 0) -> NDArray[np.int64]:
        found = np.full(len(size), nothing)
        found[rows] = values
        return found

    shared, other_size = of_match(both[rows, columns]), of_match(others[columns])
    tail = hypergeom.sf(shared - 1, len(label), other_size, size)
    index = shared / np.maximum(size + other_size - shared, 1)
    return Matches(
        of_match(columns, NONE),
        size,
        other_size,
        shared,
        np.where(size > 0, index, np.nan),
        np.where(size > 0, np.minimum(1.0, tail * np.count_nonzero(others)), np.nan),
    )


def commonest(
    label: Int[np.ndarray, " Q"], group: Int[np.ndarray, " Q"]
) -> tuple[Int[np.ndarray, " K"], Int[np.ndarray, " K"]]:
    """Of each cluster the group that most of its samples have, of equal ones the smallest, and how
    many have it; ``NONE`` and 0 of a number that no sample has."""
    (own, groups), number = np.unique(np.stack([label, group]), axis=1, return_counts=True)
    # The last one that is written stays: the commonest.
    order = np.lexsort((-groups, number))
    found = np.full((2, int(label.max()) + 1), NONE)
    found[1] = 0
    found[:, own[order]] = groups[order], number[order]
    return found[0], found[1]


def is_found(
    jaccard: Float64[np.ndarray, "*many K"], p: Float64[np.ndarray, "*many K"]
) -> NDArray[np.bool_]:
    """Which clusters another clustering has, too: of a Jaccard index above ``SHARED``, and a p that
    any of the K clusters has in ``CHANCE`` of random clusterings at most (Bonferroni)."""
    clusters = np.isfinite(p).sum(axis=-1, keepdims=True)
    return (jaccard > SHARED) & (p * clusters < CHANCE)


def _adjusted(
    S: np.ndarray | float, A: np.ndarray | float, B: np.ndarray | float, E: np.ndarray | float
) -> NDArray[np.float64]:
    """The index of pairs; NaN for 0 / 0."""
    mean = (np.asarray(A) + B) / 2
    there = mean - E > ROUNDING * mean
    return np.where(there, (S - np.asarray(E)) / np.where(there, mean - E, 1), np.nan)


def _over(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """The quotient; 0 of nothing."""
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def _company(*labels: NDArray[np.integer]) -> Float64[np.ndarray, " Q"]:
    """Of each sample, how many others have all its labels."""
    rows = np.stack([unmasked(own, "labels") for own in labels])
    _, cell, size = np.unique(rows, axis=1, return_inverse=True, return_counts=True)
    return np.asarray(size[cell.reshape(-1)] - 1.0)


def _table(label: NDArray[np.integer], other: NDArray[np.integer]) -> csr_array:
    """Samples by label of either kind, [K, L]."""
    shape = int(label.max()) + 1, int(other.max()) + 1
    return csr_array((np.ones(len(label), np.int64), (label, other)), shape=shape)


def _numbered(group: NDArray[np.integer]) -> NDArray[np.int64]:
    """The same groups by numbers from 0, none left out."""
    return np.asarray(np.unique(group, return_inverse=True)[1].reshape(-1), np.int64)
