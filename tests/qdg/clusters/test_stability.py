"""Stability where there are groups and where there are none, and what null models keep."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from jquanta.errors import BadInput
from jquanta.qdg.clusters.cluster import cluster
from jquanta.qdg.clusters.stability import (
    _turned,
    agreement,
    rotated,
    shuffled,
    stability,
    tightness,
)
from tests.qdg.clusters.test_cluster import Heard
from tests.qdg.clusters.vectors import cosines, groups

SIZES = [40, 30, 20, 15, 10, 5]


@pytest.mark.parametrize("from_features", [True, False])
def test_groups_are_stable_and_the_null_is_not(from_features: bool) -> None:
    points, _ = groups(SIZES, 100, 0.8)
    heard = Heard()
    found = stability(
        cosines(points),
        [6, 12],
        features=points if from_features else None,
        seeds=2,
        subsamples=2,
        n_init=3,
        monitor=heard,
    )
    six = found.sel(count=6)
    assert (six.ari_seed == 1).all()  # cosines of 0.6 ± 0.1 within, 0 ± 0.1 between groups
    assert (six.ari_subsample > 0.95).all()  # a group of 5 may lose its samples
    # A cloud without clusters is cut as the seed pleases, the more so the finer.
    assert (found.null_ari_seed < 0.9).all()
    assert (found.null_ari_seed.sel(count=12) < 0.5).all()
    assert float(six.tightness) == pytest.approx(1 / 1.64, abs=0.05)
    # Less than in groups; not zero, as six directions of 100 hold most of the variance in both.
    assert float(six.null_tightness) < 0.6 * float(six.tightness)
    # Half the groups were cut in two: the same pairs are together but for those.
    assert 0.3 < float(six.ari_next) < 1
    assert np.isnan(found.ari_next.sel(count=12))
    assert found.attrs["null"] == ("shuffled" if from_features else "rotated")
    assert heard.shares[-1] == 1


@pytest.mark.parametrize("from_features", [True, False])
def test_values_are_those_of_separate_clusterings(from_features: bool) -> None:
    """With groups that overlap, so that no agreement is 1."""
    points, _ = groups([15] * 8, 40, 2.0)
    cosine, features = cosines(points), points if from_features else None
    found = stability(cosine, [5, 8], features=features, seeds=1, subsamples=1, n_init=2, seed=3)
    base, other = (cluster(cosine, [5, 8], seed=s, n_init=2).label.to_numpy() for s in (3, 4))
    expected = [adjusted_rand_score(a, b) for a, b in zip(base, other, strict=True)]
    assert found.ari_seed[:, 0].to_numpy().tolist() == expected
    assert max(expected) < 1
    assert float(found.ari_next[0]) == adjusted_rand_score(base[0], base[1])
    assert found.seed.to_numpy().tolist() == [4]
    np.testing.assert_array_equal(found.tightness, tightness(cosine, base))
    null = shuffled(points, 3) if from_features else rotated(cosine, 3)
    of_null = cluster(null, [5, 8], seed=3, n_init=2).label.to_numpy()
    np.testing.assert_array_equal(found.null_tightness, tightness(null, of_null))
    kept = np.sort(np.random.default_rng(3).permutation(120)[:96])  # 0.8 of them
    part = cluster(cosine[np.ix_(kept, kept)], [5, 8], seed=3, n_init=2).label.to_numpy()
    np.testing.assert_array_equal(found.ari_subsample[:, 0], agreement(base[:, kept], part))
    assert agreement(base, base).tolist() == [1, 1]


def test_shuffling_keeps_each_features_values() -> None:
    """Twice the first feature is the second: deals of equal seed would keep that."""
    random = np.random.default_rng(0)
    features = random.standard_normal((400, 2)).astype(np.float32)
    features[:, 1] = 2 * features[:, 0]
    cosine = shuffled(features, seed=1)
    np.testing.assert_allclose(np.diagonal(cosine), 1, atol=1e-6)
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


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="seeds and subsamples: give at least 1"):
        stability(np.eye(9) + 0.1, [2], seeds=0)
