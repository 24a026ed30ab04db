"""Centres and closeness from cosines, against the gradients themselves."""

import numpy as np
import pytest

from jquanta.errors import BadInput
from jquanta.qdg.clusters import centres as module
from jquanta.qdg.clusters.centres import Centres, centres, centres_of_counts, to_centres
from tests.monitors import Watch
from tests.qdg.clusters.vectors import cosines, groups


@pytest.fixture
def unit() -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(40, 7)) + 0.5
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def rounded(gradients: np.ndarray) -> np.ndarray:
    """Cosines in float32, as they are stored."""
    unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    return (unit @ unit.T).astype(np.float32)


@pytest.mark.parametrize("strip", [1024, 7])
def test_centres_are_those_of_the_gradients(
    unit: np.ndarray, strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STRIP", strip)
    label = np.arange(40) % 3
    label[-1] = 3  # alone
    found = centres(unit @ unit.T, label)
    new = np.random.default_rng(1).normal(size=(5, 7))
    new /= np.linalg.norm(new, axis=1, keepdims=True)
    close = to_centres(new @ unit.T, found)
    for cluster in range(4):
        members = np.flatnonzero(label == cluster)
        total = unit[members].sum(0)
        assert found.lengths[cluster] == pytest.approx(np.linalg.norm(total))
        np.testing.assert_allclose(close[:, cluster], [cosine(row, total) for row in new])
        if len(members) > 1:
            wanted = [cosine(unit[i], total - unit[i]) for i in members]
            np.testing.assert_allclose(found.apart[members], wanted)
    assert np.isnan(found.apart[-1])


@pytest.mark.parametrize("opposed", [-1.0, -1 - 1e-7])  # rounding may make their sum negative
def test_gradients_that_cancel_have_no_centre(opposed: float) -> None:
    cosine = np.array([[1.0, opposed, 0.0], [opposed, 1.0, 0.0], [0.0, 0.0, 1.0]])
    found = centres(cosine, np.array([0, 0, 1]))
    np.testing.assert_array_equal(found.lengths, [0, 1])
    np.testing.assert_array_equal(found.to_centre, [np.nan, np.nan, 1])
    close = to_centres(np.array([[0.6, -0.5, 0.8]]), found)
    np.testing.assert_array_equal(np.isnan(close), [[True, False]])
    assert close[0, 1] == 0.8


def test_one_alone_has_no_others_however_its_cosine_is_rounded() -> None:
    found = centres(np.diag([1.0, 1 - 1e-7]), np.array([0, 1]))
    assert np.isnan(found.apart).all()


@pytest.mark.parametrize("rows", [1, 7, 50, 100])
def test_closeness_is_that_of_gradients(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STRIP", rows)
    chance = np.random.default_rng(0)
    gradients = chance.normal(size=(50, 6)) + 1
    labels = np.stack([np.zeros(50, int), chance.integers(0, 4, 50), chance.permutation(50)])
    labels = labels.astype(np.int32)
    heard = Watch()
    found = centres_of_counts(rounded(gradients), labels, monitor=heard)
    unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    for one, label in zip(found, labels, strict=True):
        for cluster in range(label.max() + 1):
            members = np.flatnonzero(label == cluster)
            middle = unit[members].mean(0)
            wanted = unit[members] @ middle / np.linalg.norm(middle)
            # Cosines are float32: rounding of 6e-8 each.
            np.testing.assert_allclose(one.to_centre[members], wanted, atol=1e-6)
            pairs = [unit[i] @ unit[j] for i in members for j in members if i != j]
            mean = np.mean(pairs) if pairs else np.nan
            np.testing.assert_allclose(one.tightness[cluster], mean, atol=1e-6)
    assert len(heard.shares) == -(-50 // rows)
    assert heard.shares[-1] == 1


def test_all_counts_at_once_are_one_count_at_a_time() -> None:
    chance = np.random.default_rng(1)
    matrix = rounded(chance.normal(size=(40, 5)))
    labels = chance.integers(0, 5, (2, 40)).astype(np.int32)
    for found, label in zip(centres_of_counts(matrix, labels), labels, strict=True):
        one = centres(matrix, label)
        for name in ("lengths", "apart", "to_centre", "to_others", "tightness"):
            np.testing.assert_array_equal(getattr(found, name), getattr(one, name), name)
        np.testing.assert_allclose(one.to_centre, plainly(matrix, label), atol=1e-6)


def plainly(matrix: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Σ_j c_ij / √ΣΣc with the whole matrix and a mask."""
    same = label[:, None] == label
    sums = np.where(same, matrix.astype(np.float64), 0).sum(1)
    return sums / np.sqrt((same * sums).sum(1))


def test_what_has_no_middle_is_unknown() -> None:
    matrix = np.array([[1, -1, 0], [-1, 1, 0], [0, 0, 1]], np.float32)
    found = centres(matrix, np.array([0, 0, 1], np.int32))
    np.testing.assert_array_equal(found.to_centre, [np.nan, np.nan, 1])
    np.testing.assert_array_equal(found.tightness, [-1, np.nan])


def test_closeness_is_that_of_single_samples() -> None:
    points, group = groups([6, 4, 1], 30, 1.0)
    found: Centres = centres(cosines(points), group)
    for i, g in enumerate(points.astype(np.float64)):
        others = points[(group == group[i]) & (np.arange(len(points)) != i)]
        if len(others):
            # float32 cosines
            assert found.to_others[i] == pytest.approx((others @ g).mean(), abs=1e-6)
        else:
            assert np.isnan(found.to_others[i])
        centre = points[group == group[i]].mean(axis=0)
        expected = g @ centre / np.linalg.norm(centre)
        assert found.to_centre[i] == pytest.approx(expected, abs=1e-6)
    with pytest.raises(BadInput, match="4 labels for 11 samples"):
        centres(cosines(points), np.zeros(4, int))
