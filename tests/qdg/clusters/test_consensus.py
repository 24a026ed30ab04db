"""Groups that many clusterings agree on: against loops over pairs, and every choice of groups."""

from itertools import combinations

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage

from jquanta.errors import BadInput
from jquanta.qdg.clusters.consensus import (
    LARGEST,
    agreement_of,
    apart,
    consensus_labels,
    groups_of,
    kept,
)


def some(samples: int, clusterings: int, seed: int) -> np.ndarray:
    """Random clusterings into 2 to 6 clusters."""
    chance = np.random.default_rng(seed)
    return np.stack([chance.integers(0, 2 + i % 5, samples) for i in range(clusterings)])


def together(labels: np.ndarray, i: int, j: int) -> float:
    """M of two samples."""
    return sum(int(row[i] == row[j]) for row in labels) / len(labels)


def test_shares_are_those_of_a_double_loop() -> None:
    labels = some(17, 11, 0)
    expected = [1 - together(labels, i, j) for i, j in combinations(range(17), 2)]
    np.testing.assert_allclose(apart(labels), expected, atol=1e-15)
    label = np.array([0, 0, 0, 1, 1, -1, *[-1] * 10, 1])
    found = agreement_of(labels, label)
    for group in (0, 1):
        members = np.flatnonzero(label == group).tolist()
        for i in members:
            others = [together(labels, i, j) for j in members if j != i]
            assert found[i] == pytest.approx(np.mean(others), abs=1e-15)
    np.testing.assert_array_equal(np.isnan(found), label < 0)


def masses(tree: np.ndarray, least: int) -> dict[frozenset[int], float]:
    """Every group of a tree with its mass, by following each of its samples down the tree."""
    samples = len(tree) + 1
    members = {i: frozenset([i]) for i in range(samples)}
    for i, row in enumerate(tree):
        members[samples + i] = members[int(row[0])] | members[int(row[1])]
    begins = {2 * samples - 2: 1.0}
    for node in range(2 * samples - 2, samples - 1, -1):
        parts = [int(x) for x in tree[node - samples, :2]]
        if all(len(members[part]) >= least for part in parts):
            begins |= dict.fromkeys(parts, float(tree[node - samples, 2]))
    found = {}
    for top, height in begins.items():
        if len(members[top]) < least:
            continue
        mass = 0.0
        for sample in members[top]:
            node = top
            while node >= samples:
                leaves = float(tree[node - samples, 2])
                big = [
                    int(part) for part in tree[node - samples, :2]
                    if len(members[int(part)]) >= least
                ]  # fmt: skip
                if len(big) != 1 or sample not in members[big[0]]:
                    break
                node = big[0]
            mass += height - leaves
        found[members[top]] = mass
    return found


@pytest.mark.parametrize("seed", range(6))
def test_no_other_choice_of_groups_has_a_larger_mass(seed: int) -> None:
    labels = some(14, 9, seed)
    tree = linkage(apart(labels), "average")
    every = masses(tree, 2)
    label = groups_of(tree, 2, share=0)  # with those that leave early
    ours = [frozenset(np.flatnonzero(label == k).tolist()) for k in range(label.max() + 1)]
    assert set(ours) <= set(every)
    choices = list(every)
    best = 0.0
    for chosen in range(2 ** len(choices)):
        some_ = [s for i, s in enumerate(choices) if chosen >> i & 1]
        if sum(map(len, some_)) == len(frozenset().union(*some_)):
            best = max(best, sum(every[s] for s in some_))
    # Sums in another order.
    assert sum(every[s] for s in ours) == pytest.approx(best, abs=1e-12)
    assert best > 0


def nested() -> tuple[np.ndarray, np.ndarray]:
    """Clusterings into 2, 4, …, 512 of groups of 24, 12, 8 and 6 samples and of 14 samples that are
    like nothing, which are placed at random; groups are cut as soon as there are more clusters."""
    chance = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2, 3, -1], [24, 12, 8, 6, 14])
    rows = []
    for count in (2, 4, 8, 16, 32, 64, 128, 256, 512):
        for _ in range(10):
            own = chance.integers(0, count, 4)
            row = np.where(truth < 0, chance.integers(0, count, len(truth)), own[truth])
            if count > 8:  # each group in pieces
                pieces = chance.integers(0, count // 8, len(truth))
                row = np.where(truth < 0, row, own[truth] + count * pieces)
            rows.append(row)
    return np.stack(rows), truth


def test_groups_are_found_whatever_the_counts() -> None:
    """A cut at one half would follow the median count; branches that last long do not."""
    rows, truth = nested()
    label = consensus_labels(rows)
    for group in range(4):
        numbers = set(label[truth == group].tolist())
        assert len(numbers) == 1
        assert (label == numbers.pop()).sum() <= (truth == group).sum() + 2
    assert (label[truth < 0] == -1).mean() > 0.8  # they are like nothing
    halves = np.array(
        [[together(rows, i, j) > 0.5 for j in range(24)] for i in range(24)]
    )  # of the largest group
    assert halves.mean() < 1


def test_small_groups_are_none_and_numbers_go_by_size() -> None:
    rows = np.array([[5, 5, 2, 2, 2, 7, 8]] * 3)
    assert consensus_labels(rows, 2).tolist() == [1, 1, 0, 0, 0, -1, -1]
    assert consensus_labels(rows, 3).tolist() == [-1, -1, 0, 0, 0, -1, -1]
    assert (
        kept(np.array([1, 1, 0, 0, 0, -1]), np.array([False, True])).tolist() == [0] * 2 + [-1] * 4
    )


@pytest.mark.parametrize(
    ("labels", "least", "says"),
    [
        (np.zeros(5, int), 4, "labels have shape"),
        (np.zeros((3, 1), int), 4, "labels have shape"),
        (np.zeros((1, LARGEST + 1), np.int8), 4, "20,001 samples: consensus takes up to 20,000"),
        (np.zeros((3, 5), int), 1, "least = 1: give 2 samples or more"),
    ],
)
def test_bad_input(labels: np.ndarray, least: int, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        consensus_labels(labels, least)
