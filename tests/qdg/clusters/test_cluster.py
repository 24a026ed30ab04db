"""Clusters: scikit-learn's labels, groups that were planted, and their store."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score

from jquanta.errors import BadInput
from jquanta.qdg.clusters import spectral
from jquanta.qdg.clusters.affinity import affinity_of, joined, neighbour_graph, normalised
from jquanta.qdg.clusters.cluster import (
    COUNTS,
    cluster,
    cluster_features,
    imported,
    labels_by_seed,
    open_clusters,
    ranked,
    save_clusters,
)
from jquanta.qdg.clusters.likeness import as_likeness
from tests.monitors import Watch
from tests.qdg.clusters.vectors import cosines, groups

SIZES = [40, 30, 20, 15, 10, 5]


def scikit_learn(affinity: np.ndarray, count: int, seed: int, n_init: int) -> np.ndarray:
    fresh = SpectralClustering(
        count,
        affinity="precomputed",
        assign_labels="kmeans",
        n_init=n_init,
        random_state=seed,
    )
    return ranked(fresh.fit(affinity).labels_)


@pytest.mark.thorough(keep=4)
@pytest.mark.parametrize("affinity", ["angular", "shifted", "absolute"])
@pytest.mark.parametrize(
    ("sizes", "dimension", "noise", "seed"),
    [(SIZES, 50, 0.7, 0), (SIZES, 200, 2.0, 3), ([8] * 12, 30, 1.0, 1)],
)
def test_labels_are_scikit_learns(
    affinity: str, sizes: list[int], dimension: int, noise: float, seed: int
) -> None:
    cosine = cosines(groups(sizes, dimension, noise, seed)[0])
    given = abs(cosine) if affinity == "absolute" else cosine
    counts = [2, 5, 9, 20]
    found = cluster(given, counts, affinity=affinity, seed=seed, kmeans="scikit-learn", n_init=30)
    for count in counts:
        fresh = scikit_learn(affinity_of(given, affinity), count, seed, 30)
        np.testing.assert_array_equal(found.label.sel(count=count), fresh)


def test_repeated_eigenvalues_are_solved_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight groups of one size and one likeness: eigenvalues 2 … 8 are one, and so are the rest."""
    group = np.repeat(np.arange(8), 6)
    cosine = np.where(group[:, None] == group, 0.8, 0.1) + 0.2 * np.eye(48)
    solved = []
    original = spectral.embed_as_scikit_learn

    def counting(affinity: Any, count: int, start: np.ndarray) -> spectral.Embedding:
        solved.append(count)
        return original(affinity, count, start)

    monkeypatch.setattr("jquanta.qdg.clusters.cluster.embed_as_scikit_learn", counting)
    found = cluster(cosine, [4, 8, 20], kmeans="scikit-learn", n_init=5)
    assert solved == [21, 4, 20]  # one for all, and the counts that split equal eigenvalues
    for count in (4, 8, 20):
        fresh = scikit_learn(affinity_of(cosine), count, 0, 5)
        np.testing.assert_array_equal(found.label.sel(count=count), fresh)


@pytest.mark.parametrize("kmeans", ["jax", "scikit-learn"])
def test_planted_groups_are_found(kmeans: str) -> None:
    points, group = groups(SIZES, 200, 1.0)
    found = cluster(cosines(points), [6], kmeans=kmeans, n_init=10)
    # Cosines of 0.5 ± 0.07 within and 0 ± 0.07 between groups: no sample is in doubt.
    assert adjusted_rand_score(group, found.label[0]) == 1
    assert np.bincount(found.label[0]).tolist() == SIZES
    points, group = groups(SIZES, 200, 2.0)
    found = cluster(cosines(points), [6], kmeans=kmeans, n_init=10)
    # 0.2 ± 0.07: the smallest groups are shared out, and the largest cut in two; 0.79 is seen.
    assert adjusted_rand_score(group, found.label[0]) > 0.7


def test_neighbour_graphs_find_planted_groups() -> None:
    sizes = [120, 100, 80, 60]
    points, group = groups(sizes, 200, 1.5)
    # more than the largest group has, which would be a part by itself
    found = cluster_features(points, [4], neighbours=130, n_init=10, model="planted")
    assert found.attrs["neighbours"] == 130
    assert found.attrs["model"] == "planted"
    assert adjusted_rand_score(group, found.label[0]) > 0.95  # cosines of 0.3 ± 0.07


def test_a_neighbour_graph_that_falls_apart_is_joined() -> None:
    """Three groups on axes that are alike in part: their nearest neighbours are their own."""
    mean = np.array([[1, 0, 0], [0.6, 0.8, 0], [0, 0.6, 0.8]])
    chance = np.random.default_rng(0)
    points = np.repeat(mean, [12, 9, 7], axis=0) + 0.02 * chance.standard_normal((28, 3))
    heard = Watch()
    found = cluster_features(points, [3], neighbours=3, n_init=3, monitor=heard)
    assert adjusted_rand_score(np.repeat([0, 1, 2], [12, 9, 7]), found.label[0]) == 1
    assert any("3 parts, 16 samples outside the largest" in line for line in heard.lines)
    unit = normalised(points)
    graph = joined(neighbour_graph(unit, 3), unit)
    assert connected_components(graph, directed=False)[0] == 1
    added = sparse.triu(graph - neighbour_graph(unit, 3)).tocoo()
    cosine = unit @ unit.T
    between = {(0, 1): cosine[:12, 12:21].max(), (1, 2): cosine[12:21, 21:].max()}
    wanted = [1 - np.arccos(c) / np.pi for c in between.values()]  # (0, 2) are least alike
    np.testing.assert_allclose(sorted(added.data), sorted(wanted), atol=1e-6)  # float32


def test_what_a_clustering_says_of_itself() -> None:
    points, _ = groups(SIZES, 50, 0.7)
    cosine = xr.DataArray(cosines(points), dims=("sample", "other"), attrs={"model": "some@main"})
    heard = Watch()
    found = cluster(cosine, [3, 6], seed=5, n_init=4, monitor=heard)
    assert found.label.dims == ("count", "sample")
    assert found.label.dtype == np.int32
    assert found["count"].to_numpy().tolist() == [3, 6]
    assert found["count"].dtype == np.int64
    expected = {"model": "some@main", "affinity": "angular", "seed": 5, "kmeans": "jax"}
    assert found.attrs.items() >= (expected | {"n_init": 4}).items()
    assert (found.inertia > 0).all()
    assert heard.shares == sorted(heard.shares)
    assert heard.shares[-1] == 1


def test_default_counts_end_at_a_fifth_of_the_samples() -> None:
    assert len(COUNTS) == 30
    assert sum(COUNTS) == 550 + 8 * 212.5 + 350 + sum(range(4, 13)) * 100 + 2900
    points, _ = groups([60, 50, 40, 30], 50, 0.7)
    heard = Watch()
    found = cluster(cosines(points), n_init=1, monitor=heard)
    assert found["count"].to_numpy().tolist() == [10, 20, 30]
    assert heard.lines == ["cluster counts 40 to 1500 are left out: above a fifth of 180 samples"]
    with pytest.raises(BadInput, match="45 samples are too few for the paper's counts"):
        cluster(cosines(points[:45]))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"counts": [180]}, "180 clusters of 180 samples; give counts below 180"),
        ({"counts": [5, 3]}, "counts: give one or more, positive, ascending and different"),
        ({"counts": []}, "counts: give one or more"),
        ({"counts": [3, 3]}, "counts: give one or more, positive, ascending and different"),
        ({"counts": [0, 3]}, "counts: give one or more, positive"),
        ({"counts": [2.5]}, r"counts = \[2.5\]: give whole numbers, such as"),
        ({"counts": "2, 4"}, "counts = '2, 4': give whole numbers"),
        ({"counts": [3], "kmeans": "elkan"}, "kmeans = 'elkan'"),
        ({"counts": [3], "affinity": "rbf"}, "affinity = 'rbf'"),
        ({"counts": [3], "n_init": 0}, "n_init = 0"),
        ({"counts": [3], "seed": -1}, "seed = -1"),
    ],
)
def test_bad_options(options: dict[str, Any], says: str) -> None:
    points, _ = groups([60, 50, 40, 30], 50, 0.7)
    with pytest.raises(BadInput, match=says):
        cluster(cosines(points), **options)


@pytest.mark.parametrize("affinity", ["angular", "absolute", "shifted"])
def test_no_samples_are_too_few(affinity: str) -> None:
    with pytest.raises(BadInput, match="1 clusters of 0 samples"):
        cluster(np.zeros((0, 0)), [1], affinity=affinity)


def test_parts_without_likeness_are_refused() -> None:
    group = np.repeat([0, 1], 5)
    opposed = np.where(group[:, None] == group, 1.0, -1.0)
    with pytest.raises(BadInput, match="the affinity falls apart"):
        cluster(opposed, [2])


def test_ranks_are_by_size_and_ties_by_the_first_sample() -> None:
    label = np.array([7, 7, 2, 2, 2, 9, 4, 4])
    assert ranked(label).tolist() == [1, 1, 0, 0, 0, 3, 2, 2]
    assert ranked(label).dtype == np.int32


def test_labels_made_elsewhere() -> None:
    rows = np.array([[5, 5, 1, 5], [0, 1, 2, 2]], np.uint8)
    found = imported(rows, model="some@main")
    assert found.label.to_numpy().tolist() == [[0, 0, 1, 0], [1, 2, 0, 0]]
    assert found["count"].to_numpy().tolist() == [2, 3]
    assert found.attrs == {"kmeans": "imported", "model": "some@main"}
    assert imported(rows, [2, 10])["count"].to_numpy().tolist() == [2, 10]
    for labels, counts, says in (
        (rows / 2, None, "give integers, counts × samples"),
        (rows[None], None, "give integers"),
        (rows[::-1], None, "ascending and different"),
        (rows, [2], "one count a row"),
        (rows, [2, 2], "hold .* clusters"),
    ):
        with pytest.raises(BadInput, match=says):
            imported(labels, counts)


def test_a_store_holds_what_was_saved(tmp_path: Path) -> None:
    found = imported(np.array([[0, 0, 1, 0], [0, 1, 2, 2]]), model="some@main")
    path = save_clusters(found, tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["clusters.zarr"]
    for place in (path, tmp_path):
        xr.testing.assert_identical(open_clusters(place), found)
    save_clusters(found.isel(count=[0]), tmp_path)  # replaces
    assert open_clusters(tmp_path).sizes["count"] == 1
    with pytest.raises(BadInput, match=r"no clusters here; make them: jquanta qdg"):
        open_clusters(tmp_path / "elsewhere")


def test_a_save_that_fails_leaves_the_old_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (imported(np.array([row])) for row in ([0, 0, 1], [0, 1, 2]))
    save_clusters(old, tmp_path)

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("zarr.consolidate_metadata", full)  # the last step before the new name
    with pytest.raises(OSError, match="no space left"):
        save_clusters(new, tmp_path)
    xr.testing.assert_identical(open_clusters(tmp_path), old)


def test_counts_share_an_eigendecomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = spectral._largest

    def counting(matrix: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        calls.append(count)
        return original(matrix, count)

    monkeypatch.setattr(spectral, "_largest", counting)
    cosine = cosines(groups(SIZES, 50, 0.7)[0])
    cluster(cosine, [2, 4, 6], n_init=1)
    assert calls == [6]
    made = {"affinity": "angular", "kmeans": "jax", "n_init": 1}
    labels_by_seed(as_likeness(cosine), [2, 4, 6], [0, 1, 2], made=made)
    assert calls == [6, 6]


@pytest.mark.parametrize("kmeans", ["jax", "scikit-learn"])
@pytest.mark.parametrize("affinity", ["angular", "absolute"])
def test_labels_of_several_seeds_are_those_of_each(kmeans: str, affinity: str) -> None:
    cosine = cosines(groups([15] * 8, 40, 2.0)[0])
    cosine = abs(cosine) if affinity == "absolute" else cosine
    settings: Any = {"kmeans": kmeans, "affinity": affinity, "n_init": 2}
    heard = Watch()
    found = labels_by_seed(as_likeness(cosine), [5, 8], [3, 7], made=settings, monitor=heard)
    for labels, seed in zip(found, (3, 7), strict=True):
        np.testing.assert_array_equal(labels, cluster(cosine, [5, 8], seed=seed, **settings).label)
    assert (found[0] != found[1]).any()
    assert heard.shares == sorted(heard.shares)
    assert heard.shares[-1] == 1
