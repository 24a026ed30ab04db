"""Null models: what they keep and what they lose."""

import numpy as np
import pytest

from jquanta.errors import BadInput
from jquanta.qdg.clusters.quality import _turned, rotated, shuffled
from tests.qdg.clusters.vectors import cosines, groups


def test_shuffling_keeps_each_features_values() -> None:
    """Twice the first feature is the second: deals of equal seed would keep that."""
    random = np.random.default_rng(0)
    features = random.standard_normal((400, 2)).astype(np.float32)
    features[:, 1] = 2 * features[:, 0]
    vectors = shuffled(features, seed=1)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)  # float32
    cosine = vectors @ vectors.T
    assert abs(cosine[np.triu_indices(400, 1)]).mean() < 0.8  # 1 before: all on one line
    # Rows of one sign in each feature keep it, and stay in their quadrant.
    assert shuffled(abs(features)).min() >= 0
    with pytest.raises(BadInput, match="zero, NaN or infinite"):
        shuffled(np.zeros((3, 2)))
    with pytest.raises(BadInput, match="in 1 of 4 samples, the first 0"):  # the deal would hide it
        shuffled(np.vstack([np.zeros((1, 2)), np.ones((3, 2))]))


def test_rotation_keeps_eigenvalues_and_the_mean() -> None:
    points, group = groups([30, 20, 10], 80, 0.5)
    points += 0.05  # a mean that is not zero
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    cosine = cosines(points)
    surrogate = rotated(cosine)
    np.testing.assert_array_equal(surrogate, surrogate.T)
    np.testing.assert_allclose(np.diagonal(surrogate), 1, atol=1e-6)
    before, after = np.linalg.eigvalsh(cosine), np.linalg.eigvalsh(surrogate)
    # The diagonal of R C Rᵀ strays from 1 by the eigenvalues' spread, √(2 Σλ²) / Q = 0.5 here;
    # setting it to 1 changes the large ones by a good part of that.
    np.testing.assert_allclose(after[-3:], before[-3:], rtol=0.3)
    assert surrogate.mean() == pytest.approx(cosine.mean(), rel=0.3)
    within = surrogate[group[:, None] == group]
    assert within.mean() < 0.5 * cosine[group[:, None] == group].mean()


def test_rotation_is_exact_before_the_diagonal_is_scaled() -> None:
    cosine = cosines(groups([30, 20, 10], 80, 0.5)[0]).astype(np.float64)
    turned, other = _turned(cosine, 0), _turned(cosine, 1)
    for surrogate in (turned, other):
        # rounding of 60 × 60 products in float64
        np.testing.assert_allclose(
            np.linalg.eigvalsh(surrogate), np.linalg.eigvalsh(cosine), atol=1e-12
        )
        assert surrogate.mean() == pytest.approx(cosine.mean(), rel=1e-12)
    assert abs(other - turned).max() > 0.1
