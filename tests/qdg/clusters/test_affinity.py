"""Affinities against their formulas, and the neighbour graph against all pairs."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

from jquanta.errors import BadInput
from jquanta.qdg.clusters.affinity import affinity_of, neighbour_graph, symmetric
from tests.qdg.clusters.vectors import cosines, groups


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_angular_similarity_has_no_nan_where_rounding_exceeds_one(dtype: type) -> None:
    above = np.nextafter(dtype(1), dtype(2))
    cosine = np.array([[above, -above, 0.5], [-above, 1, 0], [0.5, 0, above]], dtype)
    found = affinity_of(cosine)
    assert found.dtype == dtype
    # arccos(0.5) = π / 3 and arccos(0) = π / 2; a few roundings
    expected = [[1, 0, 2 / 3], [0, 1, 1 / 2], [2 / 3, 1 / 2, 1]]
    np.testing.assert_allclose(found, expected, atol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [int, np.float16])
def test_other_numbers_become_float32(dtype: type) -> None:
    found = affinity_of(np.eye(2, dtype=dtype))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[1, 0.5], [0.5, 1]])


def test_named_affinities() -> None:
    points, _ = groups([5, 4], 6, 0.5)
    cosine = cosines(points)
    whole = abs(cosine)
    np.testing.assert_array_equal(affinity_of(whole, "absolute"), (whole + whole.T) / 2)
    np.testing.assert_allclose(affinity_of(cosine, "shifted"), 1 + cosine, atol=1e-6)


def test_rounding_of_a_triangle_is_evened_out() -> None:
    cosine = np.array([[1, 0.5], [0.5 + 1e-5, 1]])
    found = affinity_of(cosine)
    np.testing.assert_array_equal(found, found.T)


def nan_row() -> np.ndarray:
    cosine = np.eye(4)
    cosine[2, :] = cosine[:, 2] = np.nan
    return cosine


@pytest.mark.parametrize(
    ("cosine", "name", "says"),
    [
        (np.eye(3)[:2], "angular", r"shape \(2, 3\): give a square matrix"),
        (np.ones(3), "angular", r"shape \(3,\): give a square matrix"),
        (nan_row(), "angular", "for 1 of 4 samples: leave out 2 "),
        (np.array([[1.0, 0.5], [0.4, 1.0]]), "angular", "not symmetric"),
        (np.array([[1.0, -0.5], [-0.5, 1.0]]), "absolute", "negative entries"),
        (5 * np.eye(3), "angular", "cosine: up to 5, and cosines are at most 1"),
        (xr.Dataset({"cosine": 1}), "angular", r"not an array of numbers; give a matrix such as"),
        ([[1, 0], [0]], "angular", "cosine: not an array of numbers"),
        (np.eye(3) * 1j, "angular", "cosine: not an array of numbers"),
        (np.eye(3), "euclidean", "affinity = 'euclidean': give one of angular, absolute, shifted"),
    ],
)
def test_bad_input(cosine: Any, name: str, says: str) -> None:
    with pytest.raises(BadInput, match=says) as refusal:
        affinity_of(cosine, name)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("rows", [None, 7, 1])  # 7 does not divide 30
def test_neighbour_graph_is_that_of_all_pairs(rows: int | None) -> None:
    points, _ = groups([12, 10, 8], 20, 1.0)
    features = points * np.linspace(0.1, 10, len(points), dtype=np.float32)[:, None]
    graph = neighbour_graph(features, 4, rows=rows).toarray()
    cosine = cosines(points).astype(np.float64)
    np.fill_diagonal(cosine, -2)
    near = np.argsort(-cosine, axis=1)[:, :4]
    expected = np.zeros_like(cosine)
    for i, others in enumerate(near):
        for j in others:
            expected[i, j] = expected[j, i] = 1 - np.arccos(cosine[i, j]) / np.pi
    # float32 cosines of up to 0.6, off by 1e-7
    np.testing.assert_allclose(graph, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("features", "neighbours", "says"),
    [
        (np.ones((4, 2)), 4, "neighbours = 4 of 4 samples: give 1 to 3"),
        (np.ones(4), 1, r"shape \(4,\)"),
        (np.ones((4, 2)), 0, "neighbours = 0 of 4 samples: give 1 to 3"),
        ([["a", "b"]], 1, "features: not an array of numbers; give samples × features"),
        (np.array([[1.0, 0], [0, 0], [np.nan, 1]]), 1, "in 2 of 3 samples, the first 1"),
    ],
)
def test_bad_features(features: Any, neighbours: int, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        neighbour_graph(features, neighbours)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_sample_without_cosines_alone_is_to_blame(value: float) -> None:
    cosine = np.eye(30, dtype=np.float32)
    cosine[7] = cosine[:, 7] = value
    with pytest.raises(BadInput, match=r"for 1 of 30 samples: leave out 7 \("):
        symmetric(cosine)
    cosine[12] = cosine[:, 12] = value
    cosine[3, 4] = value  # one of these two
    with pytest.raises(BadInput, match=r"for 3 of 30 samples: leave out 3, 7, 12 \("):
        symmetric(cosine)
