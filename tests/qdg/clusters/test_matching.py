"""Two clusterings beside each other: pairs by loops, chance by permutations, planted truth."""

from itertools import chain, combinations, permutations, product

import numpy as np
import pytest
from scipy.stats import hypergeom
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    normalized_mutual_info_score,
)

from jquanta.qdg.clusters.matching import (
    CHANCE,
    NONE,
    SHARED,
    adjusted_rand,
    by_groups_alone,
    information,
    is_found,
    matches,
)

NUMBERS = list[int] | np.ndarray


def shuffled_share(label: np.ndarray, share: float, clusters: int, seed: int = 0) -> np.ndarray:
    """The labels after a share of the samples was put into random clusters."""
    chance = np.random.default_rng(seed)
    moved = chance.random(len(label)) < share
    return np.where(moved, chance.integers(0, clusters, len(label)), label)


def by_pairs(label: NUMBERS, other: NUMBERS, group: NUMBERS) -> tuple[int, int, int]:
    """S, A and B by a double loop over pairs of one group."""
    found = [0, 0, 0]
    for i, j in combinations(range(len(label)), 2):
        if group[i] == group[j]:
            first, second = label[i] == label[j], other[i] == other[j]
            found = [n + k for n, k in zip(found, (first and second, first, second), strict=True)]
    return found[0], found[1], found[2]


def within_groups(group: NUMBERS) -> list[list[int]]:
    """All orders of the samples that leave each in its group."""
    places = [np.flatnonzero(np.equal(group, g)).tolist() for g in sorted(set(group))]
    found = []
    for orders in product(*map(permutations, places)):
        order = np.empty(len(group), int)
        order[list(chain(*places))] = list(chain(*orders))
        found.append(order.tolist())
    return found


SMALL = (
    [0, 0, 1, 1, 2, 0, 0, 1, 3, 2],
    [0, 0, 1, 0, 1, 2, 2, 2, 2, 1],
    [7, 7, 7, 7, 2, 2, 2, 4, 4, 4],
)
"""Two clusterings of ten samples, and groups of four, three and three of them."""


def slow(label: NUMBERS, other: NUMBERS, group: NUMBERS) -> float:
    """The index by pairs, with E the mean of S over all permutations within groups."""
    S, A, B = by_pairs(label, other, group)
    orders = within_groups(group)
    E = np.mean([by_pairs(label, [other[i] for i in order], group)[0] for order in orders])
    return float((S - E) / ((A + B) / 2 - E))


def test_pairs_of_one_group_by_plain_code() -> None:
    label, other, group = SMALL
    found = adjusted_rand(*map(np.array, SMALL))
    assert found.value == pytest.approx(slow(label, other, group), rel=1e-12)
    # A jackknife by leaving out sample after sample.
    without = [
        slow(*([own[i] for i in range(10) if i != left] for own in (label, other, group)))
        for left in range(10)
    ]
    error = np.sqrt(9 / 10 * np.sum((without - np.mean(without)) ** 2))
    assert found.low == pytest.approx(max(-1, found.value - 1.959964 * error), rel=1e-6)
    assert found.high == pytest.approx(min(1, found.value + 1.959964 * error), rel=1e-6)


def test_without_groups_it_is_the_usual_index() -> None:
    chance = np.random.default_rng(0)
    for clusters, others in ((3, 5), (40, 60), (150, 20)):
        label = chance.integers(0, clusters, 200)
        other = shuffled_share(label % others, 0.4, others)
        found = adjusted_rand(label, other)
        assert found.value == pytest.approx(adjusted_rand_score(label, other), abs=1e-12)
        assert adjusted_rand(other, label).value == pytest.approx(found.value, abs=1e-12)
        assert found.low < found.value < found.high


def test_what_has_no_index_is_nan() -> None:
    whole, single = np.zeros(5, int), np.arange(5)
    for label in (whole, single):
        assert np.isnan(adjusted_rand(label, label)).all()
        assert np.isnan(information(label, label).adjusted)
    assert adjusted_rand(whole, single).value == 0
    # Groups that are clusters of both tell nothing.
    assert np.isnan(adjusted_rand(single // 2, single // 2, single // 2).value)
    two = adjusted_rand(np.array([0, 0]), np.array([0, 1]))
    assert two.value == 0
    assert np.isnan([two.low, two.high]).all()


def test_the_same_partition_renamed() -> None:
    chance = np.random.default_rng(1)
    label = chance.integers(0, 30, 600)
    name = chance.permutation(30)
    assert adjusted_rand(label, name[label]) == (1, 1, 1)
    assert adjusted_rand(label, name[label], label // 10) == (1, 1, 1)
    found = matches(label, name[label])
    np.testing.assert_array_equal(found.other, name)
    np.testing.assert_array_equal(found.jaccard, 1)
    np.testing.assert_array_equal(found.both, np.bincount(label))
    assert is_found(found.jaccard, found.p).all()
    # Of mutual information 1e-12 is rounding: logarithms of 600 terms.
    assert information(label, name[label]).adjusted == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_a_share_of_the_samples_moved(share: float) -> None:
    """A pair that is together stays so if neither is moved: the index is (1 - share)², where
    clusters are of one size. Of 10 clusters of 400 samples two thirds are found even so."""
    label = np.repeat(np.arange(10), 400)
    other = shuffled_share(label, share, 10)
    found = adjusted_rand(label, other)
    assert found.value == pytest.approx(adjusted_rand_score(label, other), abs=1e-12)
    assert found.low < (1 - share) ** 2 < found.high
    assert found.high - found.low < 0.1
    match = matches(label, other)
    np.testing.assert_array_equal(match.other, np.arange(10))
    # In both remain (1 - 0.9 share) of a cluster; the union has as many more as are missing.
    stay = 1 - 0.9 * share
    np.testing.assert_allclose(match.jaccard, stay / (2 - stay), atol=0.08)  # 3 binomial errors
    expected = stay / (2 - stay) > SHARED
    assert is_found(match.jaccard, match.p).all() == expected


def test_groups_and_independent_noise_within_them() -> None:
    """Both clusterings know the groups and nothing else: each cuts a tenth of a group off, at
    random. The index is high, within groups it is 0, and groups alone give all of it."""
    chance = np.random.default_rng(2)
    group = chance.integers(0, 20, 3000)
    label, other = (group + 20 * (chance.random(3000) < 0.1) for _ in range(2))
    whole, within = adjusted_rand(label, other), adjusted_rand(label, other, group)
    assert whole.value > 0.75
    assert within.low < 0 < within.high
    assert within.high < 0.1
    assert whole.low < by_groups_alone(label, other, group) < whole.high
    # What they share besides is found: the other cuts off the same samples but for some.
    cut = label >= 20
    known = group + 20 * np.where(chance.random(3000) < 0.05, ~cut, cut)
    assert adjusted_rand(label, known, group).low > 0.5
    assert by_groups_alone(label, known, group) < adjusted_rand(label, known).low


def test_what_groups_alone_give_by_all_permutations() -> None:
    label, other, group = SMALL
    every = [
        adjusted_rand_score(label, [other[i] for i in order]) for order in within_groups(group)
    ]
    expected = np.mean(every)
    assert by_groups_alone(*map(np.array, SMALL)) == pytest.approx(expected, abs=1e-12)
    # One group: permutations of everything, of which the mean is 0.
    one = by_groups_alone(np.array(label), np.array(other), np.zeros(10, int))
    assert one == pytest.approx(0, abs=1e-12)
    # Every sample a group of its own: nothing is permuted.
    alone = by_groups_alone(np.array(label), np.array(other), np.arange(10))
    assert alone == pytest.approx(adjusted_rand_score(label, other), abs=1e-12)


@pytest.mark.parametrize("groups", [1, 4])
def test_the_interval_holds_the_truth_as_often_as_it_says(groups: int) -> None:
    """Samples of a known distribution over clusters of both kinds and groups; the true index is
    that of its probabilities. Of 400 intervals 95% ± 3 binomial errors of 1.1%."""
    chance = np.random.default_rng(3)
    shape = (groups, 8, 8)
    odds = chance.random(shape) * 0.3 + np.eye(8) * chance.random(shape)
    odds /= odds.sum()
    pairs = [
        (own**2).sum(axis=(1, 2)) for own in (odds, odds.sum(2)[..., None], odds.sum(1)[:, None])
    ]
    every = odds.sum(axis=(1, 2)) ** 2
    S, A, B, E = (own.sum() for own in (*pairs, pairs[1] * pairs[2] / every))
    truth = (S - E) / ((A + B) / 2 - E)
    hits = 0
    for _ in range(400):
        group, label, other = np.unravel_index(chance.choice(odds.size, 500, p=odds.ravel()), shape)
        found = adjusted_rand(label, other, group)
        hits += found.low <= truth <= found.high
    assert 0.917 < hits / 400 < 0.983


def test_information_is_that_of_scikit_learn() -> None:
    chance = np.random.default_rng(4)
    label = chance.integers(0, 60, 300)
    other = shuffled_share(label % 25, 0.5, 25)
    found = information(label, other)
    assert found.normalised == pytest.approx(normalized_mutual_info_score(label, other), abs=1e-12)
    assert found.adjusted == pytest.approx(adjusted_mutual_info_score(label, other), abs=1e-12)
    permuted = [normalized_mutual_info_score(label, chance.permutation(other)) for _ in range(100)]
    error = np.std(permuted) / 10
    assert found.chance == pytest.approx(np.mean(permuted), abs=4 * error)
    assert found.chance > 0.4  # so that what is not adjusted says little
    unrelated = information(label, chance.permutation(other))
    assert abs(unrelated.adjusted) < 0.05
    gaps = information(2 * label + 1, other)  # numbers that no sample has
    assert gaps.adjusted == pytest.approx(found.adjusted, abs=1e-12)


def jaccards(label: NUMBERS, other: NUMBERS) -> np.ndarray:
    """Of all pairs of clusters, by sets."""
    sets, others = (
        [set(np.flatnonzero(np.equal(own, k))) for k in range(max(own) + 1)]
        for own in (label, other)
    )
    return np.array([[len(a & b) / max(1, len(a | b)) for b in others] for a in sets])


@pytest.mark.parametrize("seed", range(8))
def test_the_match_is_the_best_of_all_permutations(seed: int) -> None:
    chance = np.random.default_rng(seed)
    label = chance.integers(0, 4 + seed % 3, 40)
    other = shuffled_share(label % 5, 0.3 + 0.1 * (seed % 4), 5, seed)
    index = jaccards(label, other)
    found = matches(label, other)
    K, L = index.shape
    wide = np.zeros((max(K, L),) * 2)
    wide[:K, :L] = index
    # First as many as can be above a half, then the sum.
    best = max(
        ((wide[range(len(wide)), order] > SHARED).sum(), wide[range(len(wide)), order].sum())
        for order in map(list, permutations(range(len(wide))))
    )
    own = np.array([found.jaccard[k] for k in range(K)])
    assert ((own > SHARED).sum(), own.sum()) == (best[0], pytest.approx(best[1]))
    matched = found.other[found.other != NONE]
    assert len(set(matched)) == len(matched)
    for k, other_k in enumerate(found.other):
        assert found.jaccard[k] == pytest.approx(0 if other_k == NONE else index[k, other_k])
        if other_k != NONE:
            there = hypergeom(40, (other == other_k).sum(), (label == k).sum())
            tail = sum(there.pmf(n) for n in range(found.both[k], 41))
            assert found.p[k] == pytest.approx(min(1, L * tail))
            assert found.other_size[k] == (other == other_k).sum()


def test_one_that_is_shared_is_never_given_up() -> None:
    """The sum alone would match the first cluster with what its rest lies in, and another with the
    second of the other's: 5/16 + 5/16 against 11/21."""
    label, other = np.repeat([0, 0, 1], [11, 5, 5]), np.repeat([0, 1, 0], [11, 5, 5])
    index = jaccards(label, other)
    assert index[0, 0] > SHARED
    assert index[0, 1] + index[1, 0] > index[0, 0] + index[1, 1]
    found = matches(label, other)
    assert found.other.tolist() == [0, NONE]
    assert found.jaccard.tolist() == [11 / 21, 0]
    assert found.p[1] == 1


def test_numbers_that_no_sample_has() -> None:
    """As where the samples in both are a part of all."""
    found = matches(np.array([0, 0, 3, 3]), np.array([1, 1, 4, 4]))
    assert found.other.tolist() == [1, NONE, NONE, 4]
    np.testing.assert_array_equal(found.jaccard, [1, np.nan, np.nan, 1])
    assert np.isnan(found.p[1:3]).all()
    assert found.p[0] == pytest.approx(2 / 6)  # of six pairs one; two clusters there
    assert not is_found(found.jaccard, found.p).any()


@pytest.mark.parametrize(("samples", "clusters"), [(60, 20), (200, 12)])
def test_clusters_of_chance_are_rarely_found(samples: int, clusters: int) -> None:
    """Partitions that have nothing to do with each other. p holds for each cluster: at most as many
    are below a level as it says; without Bonferroni's factor for the best of the other's clusters
    more would be. That any is found happens at most ``CHANCE`` of the time (400 draws; 3 binomial
    errors are 0.033)."""
    chance = np.random.default_rng(5)
    p, best, any_found = [], [], 0
    for _ in range(400):
        label, other = (chance.integers(0, clusters, samples) for _ in range(2))
        found = matches(label, other)
        told = ~np.isnan(found.p)
        p.append(found.p[told])
        any_found += is_found(found.jaccard, found.p).any()
        table = np.array([np.bincount(other[label == k], minlength=clusters) for k in (0,)])
        sizes = np.bincount(other, minlength=clusters)
        best.append(hypergeom.sf(table - 1, samples, sizes, (label == 0).sum()).min())
    every = np.concatenate(p)
    for level in (0.01, 0.05, 0.2):
        assert (every <= level).mean() <= level + 3 * np.sqrt(level / len(every))
    assert (np.array(best) <= 0.05).mean() > 0.15
    assert any_found / 400 < CHANCE + 0.033
