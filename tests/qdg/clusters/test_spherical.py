"""Spherical k-means against a few lines of numpy in float64, and against scikit-learn."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.cluster
from sklearn.metrics import adjusted_rand_score

from jquanta.errors import BadInput
from jquanta.qdg.clusters import spherical as module
from jquanta.qdg.clusters.cluster import cluster_features
from jquanta.qdg.clusters.spherical import _moved, _pass, assigned, points, seeds, spherical
from tests.cuda import as_on_a_gpu, lowered_for_cuda, scatters
from tests.monitors import Watch
from tests.qdg.clusters.vectors import groups

ROUNDING = 1e-6
"""Of cosines in float32: sums of 40 products."""


def reference(unit: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and centres of the iteration from some centres, until no label changes."""
    label = np.full(len(unit), -1)
    while True:
        found = (unit @ centres.T).argmax(axis=1)
        if (found == label).all():
            return label, centres
        label = found
        sums = np.stack([unit[label == k].sum(axis=0) for k in range(len(centres))])
        centres = sums / np.linalg.norm(sums, axis=1, keepdims=True)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks so small that the last one overlaps the one before."""
    monkeypatch.setattr(module, "CHUNK", 64)


def first(unit: np.ndarray, k: int, seed: int) -> np.ndarray:
    """The centres that a single restart begins with."""
    draw = np.random.default_rng([seed, k, 0])
    return unit[seeds(points(unit), k, draw)].astype(np.float64)


@pytest.mark.parametrize("seed", [0, 1])
def test_equal_to_the_reference(small: None, seed: int) -> None:
    unit, _ = groups([30] * 9, 40, 1.5)
    label, centres = reference(unit.astype(np.float64), first(unit, 9, seed))
    found = spherical(points(unit), 9, seed=seed, settled=0)
    np.testing.assert_array_equal(found.label, label)
    cosine = (unit * centres[label]).sum(axis=1)
    assert found.inertia == pytest.approx(2 * (1 - cosine).sum(), rel=1e-5)  # float32 cosines
    assert found.inertia == pytest.approx(((unit - centres[label]) ** 2).sum(), rel=1e-5)


def test_beside_scikit_learn() -> None:
    """Its centres are not kept on the sphere; of groups this clear, labels are the same."""
    unit, group = groups([60, 50, 40, 30, 20], 50, 0.7)
    found = spherical(points(unit), 5, n_init=5, settled=0)
    theirs = sklearn.cluster.KMeans(5, n_init=5, random_state=0).fit(unit)
    assert adjusted_rand_score(theirs.labels_, found.label) == 1
    assert adjusted_rand_score(group, found.label) == 1


def test_one_pass(small: None) -> None:
    """150 samples in three chunks, of which two overlap."""
    unit, _ = groups([75, 75], 40, 2.0)
    padded = np.zeros((128, 40), np.float32)
    padded[:7] = unit[:7]
    found = assigned(points(unit), jnp.asarray(padded), 7)
    cosine = unit @ unit[:7].T
    np.testing.assert_array_equal(found.label, cosine.argmax(axis=1))
    np.testing.assert_allclose(found.cosine, cosine.max(axis=1), atol=ROUNDING)
    sums = np.stack([unit[found.label == k].sum(axis=0) for k in range(7)])
    np.testing.assert_allclose(found.sums[:7], sums, atol=75 * ROUNDING)  # of 75 samples at most
    assert found.sizes[:7].tolist() == np.bincount(found.label, minlength=7).tolist()
    assert not np.asarray(found.sums[7:]).any()


def test_sums_as_products_are_those_of_scatters() -> None:
    unit, _ = groups([75, 75], 40, 2.0)
    centres = jnp.asarray(unit[:9])
    one, other = (_pass(jnp.asarray(unit), centres, 9, 64, scatter) for scatter in (True, False))
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=75 * ROUNDING)


def test_more_restarts_never_have_a_larger_inertia() -> None:
    unit, _ = groups([15] * 8, 40, 2.0)
    inertias = [spherical(points(unit), 8, n_init=n, settled=0).inertia for n in (1, 2, 6)]
    assert inertias == sorted(inertias, reverse=True)
    assert inertias[0] > inertias[-1]


def test_no_cluster_is_empty_unless_samples_are_equal() -> None:
    unit, _ = groups([40, 5], 10, 0.3)
    for seed in range(5):
        found = spherical(points(unit), 20, seed=seed, settled=0)
        assert len(np.unique(found.label)) == 20
    equal = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    found = spherical(points(equal), 5, settled=0)
    assert sorted(np.unique(found.label[::4])) == sorted(set(found.label.tolist()))
    assert found.inertia == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("k", [1, 6, 40])
def test_first_centres_are_different_samples(k: int) -> None:
    equal = np.repeat(np.eye(4, dtype=np.float32), 10, axis=0)
    chosen = seeds(points(equal), k, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == k
    if k == 6:  # those that are far from the others come first
        assert len({tuple(row) for row in equal[chosen].tolist()}) == 4


def test_centres_that_cancel_stay() -> None:
    sums, before = jnp.asarray([[0.0, 0.0], [0.0, 2.0]]), jnp.asarray([[1.0, 0.0], [1.0, 0.0]])
    assert _moved(sums, before).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("k", [0, 151])
def test_counts_that_cannot_be_are_refused(k: int) -> None:
    unit, _ = groups([75, 75], 40, 2.0)
    with pytest.raises(BadInput, match="of 150 samples: give 1 to 150 clusters"):
        spherical(points(unit), k)


def test_what_a_clustering_says_of_itself() -> None:
    unit, group = groups([60, 50, 40], 50, 0.7)
    heard = Watch()
    settings: Any = {"method": "spherical", "n_init": 3}
    found = cluster_features(3 * unit, [3, 6], seed=5, **settings, monitor=heard, model="some")
    assert adjusted_rand_score(group, found.label[0]) == 1
    expected = {"method": "spherical", "n_init": 3, "seed": 5, "model": "some"}
    assert found.attrs == expected
    assert heard.shares == sorted(heard.shares)
    assert heard.shares[-1] == pytest.approx(1)
    again = cluster_features(unit, [3, 6], seed=5, **settings)
    np.testing.assert_array_equal(found.label, again.label)  # of lengths nothing depends
    with pytest.raises(BadInput, match="method = 'best': give neighbours or spherical"):
        cluster_features(unit, [3], method="best")


@pytest.mark.parametrize("k", [400, 4000])
def test_lowers_for_cuda(k: int) -> None:
    """Sums are products there: scatters' additions wait for one another."""
    with as_on_a_gpu():
        size = module.padded_clusters(k, module.on_host())
        inputs = (np.zeros((9000, 64), np.float32), np.zeros((size, 64), np.float32))
        text = lowered_for_cuda(_pass, *inputs, k, rows=4096, scatter=False)
    assert size in module.SIZES
    assert "stablehlo.while" in text
    assert not scatters(text)


def test_vectors_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    unit = np.eye(8, dtype=np.float32)
    monkeypatch.setattr(module, "usable", lambda: unit.nbytes)
    module.points(unit)
    monkeypatch.setattr(module, "usable", lambda: unit.nbytes - 1)
    with pytest.raises(BadInput, match="8 vectors of 8 numbers take "):
        module.points(unit)
