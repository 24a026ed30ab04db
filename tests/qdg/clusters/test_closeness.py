"""Closeness from cosines equals what the gradients themselves say."""

import numpy as np
import pytest

from jquanta.qdg.clusters.closeness import closeness
from jquanta.qdg.clusters.cluster import centrality


def cosines(gradients: np.ndarray) -> np.ndarray:
    unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    return (unit @ unit.T).astype(np.float32)


def tiles(matrix: np.ndarray, rows: int) -> list[tuple[int, np.ndarray]]:
    return [(start, matrix[start : start + rows]) for start in range(0, len(matrix), rows)]


@pytest.mark.parametrize("rows", [1, 7, 50, 100])
def test_closeness_is_that_of_gradients(rows: int) -> None:
    chance = np.random.default_rng(0)
    gradients = chance.normal(size=(50, 6)) + 1
    labels = np.stack([np.zeros(50, int), chance.integers(0, 4, 50), chance.permutation(50)])
    labels = labels.astype(np.int32)
    found = closeness(tiles(cosines(gradients), rows), labels)
    unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    for c, label in enumerate(labels):
        for cluster in range(label.max() + 1):
            members = np.flatnonzero(label == cluster)
            middle = unit[members].mean(0)
            wanted = unit[members] @ middle / np.linalg.norm(middle)
            # Cosines are float32: rounding of 6e-8 each.
            np.testing.assert_allclose(found.centrality[c, members], wanted, atol=1e-6)
            pairs = [unit[i] @ unit[j] for i in members for j in members if i != j]
            mean = np.mean(pairs) if pairs else np.nan
            np.testing.assert_allclose(found.tightness[c][cluster], mean, atol=1e-6)


def test_closeness_is_that_of_one_count_at_a_time() -> None:
    chance = np.random.default_rng(1)
    matrix = cosines(chance.normal(size=(40, 5)))
    labels = chance.integers(0, 5, (2, 40)).astype(np.int32)
    found = closeness(tiles(matrix, 16), labels)
    for c, label in enumerate(labels):
        np.testing.assert_allclose(found.centrality[c], centrality(matrix, label)[1], atol=1e-6)


def test_what_has_no_middle_is_unknown() -> None:
    matrix = np.array([[1, -1, 0], [-1, 1, 0], [0, 0, 1]], np.float32)
    found = closeness([(0, matrix)], np.array([[0, 0, 1]], np.int32))
    np.testing.assert_array_equal(found.centrality[0], np.array([np.nan, np.nan, 1], np.float32))
    np.testing.assert_array_equal(found.tightness[0], np.array([-1, np.nan], np.float32))
