"""Centres from cosines, against the gradients themselves."""

import numpy as np
import pytest

from jquanta.qdg.clusters import centres as module
from jquanta.qdg.clusters.centres import centres, to_centres


@pytest.fixture
def unit() -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(40, 7)) + 0.5
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


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
    close = to_centres(np.array([[0.6, -0.5, 0.8]]), found)
    np.testing.assert_array_equal(np.isnan(close), [[True, False]])
    assert close[0, 1] == 0.8


def test_one_alone_has_no_others_however_its_cosine_is_rounded() -> None:
    found = centres(np.diag([1.0, 1 - 1e-7]), np.array([0, 1]))
    assert np.isnan(found.apart).all()
