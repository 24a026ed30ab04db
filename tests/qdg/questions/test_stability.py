"""Stability where there are groups and where there are none, and its command."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from sklearn.metrics import adjusted_rand_score

from jquanta.cli import stability as door
from jquanta.errors import BadInput
from jquanta.qdg.clusters.centres import centres_of_counts
from jquanta.qdg.clusters.cluster import cluster, imported, open_clusters, save_clusters
from jquanta.qdg.clusters.quality import agreement, found_again, rotated, shuffled, tightness
from jquanta.qdg.questions.stability import (
    few_counts,
    known_of_clusters,
    no_quanta,
    open_stability,
    recommended,
    save_stability,
    sentence,
    stability,
    trusted,
)
from tests.monitors import Watch
from tests.qdg.clusters import planted
from tests.qdg.clusters.vectors import cosines, groups

SIZES = [40, 30, 20, 15, 10, 5]


@pytest.mark.parametrize("from_features", [True, False])
def test_groups_are_stable_and_the_null_is_not(from_features: bool) -> None:
    points, _ = groups(SIZES, 100, 0.8)
    heard = Watch()
    found = stability(
        cosines(points),
        cluster(cosines(points), [6, 12], n_init=3),
        features=points if from_features else None,
        seeds=2,
        subsamples=2,
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
    assert heard.shares[-1] == pytest.approx(1)
    assert heard.shares == sorted(heard.shares)


@pytest.mark.parametrize("from_features", [True, False])
def test_values_are_those_of_separate_clusterings(from_features: bool) -> None:
    """With groups that overlap, so that no agreement is 1."""
    points, _ = groups([15] * 8, 40, 2.0)
    cosine, features = cosines(points), points if from_features else None
    made = cluster(cosine, [5, 8], seed=3, n_init=2)
    found = stability(cosine, made, features=features, seeds=1, subsamples=1)
    base, other = (cluster(cosine, [5, 8], seed=s, n_init=2).label.to_numpy() for s in (3, 4))
    expected = [adjusted_rand_score(a, b) for a, b in zip(base, other, strict=True)]
    assert found.ari_seed[:, 0].to_numpy().tolist() == expected
    assert max(expected) < 1
    assert float(found.ari_next[0]) == adjusted_rand_score(base[0], base[1])
    assert found.seed.to_numpy().tolist() == [4]
    np.testing.assert_array_equal(found.tightness, tightness(centres_of_counts(cosine, base)))
    null = cosines(shuffled(points, 3)) if from_features else rotated(cosine, 3)
    of_null = cluster(null, [5, 8], seed=3, n_init=2).label.to_numpy()
    np.testing.assert_array_equal(found.null_tightness, tightness(centres_of_counts(null, of_null)))
    kept = np.sort(np.random.default_rng(3).permutation(120)[:96])  # 0.8 of them
    part = cluster(cosine[np.ix_(kept, kept)], [5, 8], seed=3, n_init=2).label.to_numpy()
    np.testing.assert_array_equal(found.ari_subsample[:, 0], agreement(base[:, kept], part))
    assert agreement(base, base).tolist() == [1, 1]


def test_absolute_cosines_have_a_null_model_without_negative_ones() -> None:
    """The rotation makes some negative, of which clustering takes none."""
    points, _ = groups([15] * 8, 40, 1.0)
    cosine = abs(cosines(points))
    assert rotated(cosine).min() < 0
    made = cluster(cosine, [4, 8], affinity="absolute", n_init=2)
    found = stability(cosine, made, seeds=1, subsamples=1)
    base = cluster(cosine, [4, 8], affinity="absolute", n_init=2, seed=1).label.to_numpy()
    expected = [adjusted_rand_score(a, b) for a, b in zip(made.label.to_numpy(), base, strict=True)]
    assert found.ari_seed[:, 0].to_numpy().tolist() == expected
    assert (found.null_ari_seed < found.ari_seed).all()


def test_counts_where_none_are_given() -> None:
    def of(*counts: int) -> list[int]:
        return few_counts(imported([[0] * 5] * len(counts), counts))

    assert of(10, 20, 350, 400, 800, 1500) == [10, 20, 350, 400, 800, 1500]
    assert of(10, 20, 30, 40, 50, 90, 100, 400) == [10, 20, 40, 90, 100, 400]
    assert of(7) == [7]


def test_a_cluster_is_found_again_where_most_of_it_is() -> None:
    label, other = np.array([0, 0, 0, 0, 1, 1, 3]), np.array([5, 5, 5, 1, 1, 1, 0])
    found = found_again(label, other)
    np.testing.assert_array_equal(found, [3 / 4, 2 / 3, np.nan, 1.0])
    # Against all pairs of clusters, with random labels; and never two above a half in one.
    chance = np.random.default_rng(0)
    label, other = chance.integers(0, 9, 200), chance.integers(0, 6, 200)
    sets, others = (
        [set(np.flatnonzero(x == k)) for k in range(x.max() + 1)] for x in (label, other)
    )
    expected = [max(len(a & b) / len(a | b) for b in others) for a in sets]
    np.testing.assert_allclose(found_again(label, other), expected, rtol=1e-15)
    halves = found_again(np.array([0, 0, 1, 1]), np.zeros(4, int))
    assert halves.tolist() == [0.5, 0.5]


@pytest.fixture(scope="module")
def with_diffuse() -> tuple[xr.Dataset, np.ndarray, xr.Dataset]:
    """Clusters of six groups and 40 samples that are like nothing; the groups, -1 for those; and
    their stability."""
    points, group = groups(SIZES, 100, 0.8)
    diffuse = np.random.default_rng(7).standard_normal((40, 100))
    diffuse /= np.linalg.norm(diffuse, axis=1, keepdims=True)
    every = np.concatenate([points, diffuse.astype(np.float32)])
    made = cluster(cosines(every), [3, 5, 7, 8, 14, 24], n_init=3)
    found = stability(cosines(every), made, seeds=3, subsamples=3)
    return made, np.append(group, np.full(40, -1)), found


def test_groups_are_trusted_and_the_diffuse_rest_is_named(
    with_diffuse: tuple[xr.Dataset, np.ndarray, xr.Dataset],
) -> None:
    made, group, found = with_diffuse
    for count in (7, 8):
        label = made.label.sel(count=count).to_numpy()
        here = found.sel(count=count)
        of_groups = [(group[label == k] >= 0).mean() for k in range(count)]
        # Groups lie apart from each other and from the rest: clusters are of one or the other.
        assert all(share < 0.2 or share > 0.8 for share in of_groups)
        diffuse = [k for k, share in enumerate(of_groups) if share < 0.5]
        assert diffuse
        assert no_quanta(found, count) == diffuse
        assert trusted(found).sel(count=count)[:count].sum() == count - len(diffuse)
        of_group = np.setdiff1d(np.arange(count), diffuse)
        assert (here.conductance < here.null_conductance)[of_group].all()
        assert (here.cluster_within - here.cluster_outside > here.null_contrast_high)[
            of_group
        ].all()
        assert (here.null_contrast < here.null_contrast_high)[:count].all()
        np.testing.assert_array_equal(here.cluster_size[:count], np.bincount(label))
        assert here.p[count:].isnull().all()


def test_the_number_of_groups_is_recommended(
    with_diffuse: tuple[xr.Dataset, np.ndarray, xr.Dataset],
) -> None:
    """Seven or eight clusters hold the six groups and the rest, in one or two; 14 and 24 cut."""
    best = recommended(with_diffuse[2])
    assert best.clusters in (7, 8)
    assert 7 <= best.low <= best.clusters <= best.high <= 14
    assert best.found[[2, 3]].max() > 5  # of six
    assert best.found[0] < best.found[1] < best.found[2]
    lines = door.recommendation(best, with_diffuse[2]["count"].to_numpy().tolist())
    assert lines[0].startswith(f"recommended: {best.clusters} clusters (")
    assert len(lines) == 2  # not at the end of the counts


def values(**attributes: Any) -> xr.Dataset:
    """A result made by hand."""
    return xr.Dataset(
        {
            "ari_seed": (("count", "seed"), [[0.75, 0.25], [1.0, 0.9]]),
            "ari_subsample": (("count", "subsample"), [[0.4, 0.5], [0.7, 0.8]]),
            "ari_next": ("count", [0.5, np.nan]),
            "null_ari_seed": (("count", "seed"), [[0.1, 0.2], [0.3, 0.5]]),
            "tightness": ("count", [0.25, 0.5]),
            "null_tightness": ("count", [0.125, 0.0625]),
        },
        {"count": [2, 4], "seed": [1, 2]},
        {"null": "rotated", "base_seed": 0, **attributes},
    )


def of_clusters() -> xr.Dataset:
    """The same, with single clusters."""
    nan = np.nan
    tables = {
        "cluster_size": [[3, 2, nan, nan], [2, 1, 1, 1]],
        "cluster_within": [[0.5, 0.02, nan, nan], [0.75, nan, nan, nan]],
        "cluster_outside": [[0.0, 0.01, nan, nan], [0.25, 0, 0, 0]],
        "conductance": [[0.5, 0.75, nan, nan], [0.75, 1, 1, 1]],
        "null_conductance": [[0.625, 0.75, nan, nan], [0.75, nan, nan, nan]],
        "null_contrast": [[0.1, 0.2, nan, nan], [0.2, nan, nan, nan]],
        "null_contrast_high": [[0.2, 0.3, nan, nan], [0.3, nan, nan, nan]],
        "p": [[0.005, 0.75, nan, nan], [0.005, nan, nan, nan]],
    }
    again = [[[1, 0.8], [0.9, 0.9], [nan] * 2, [nan] * 2], [[0.5, 0.8], [1, 1], [1, 1], [1, 1]]]
    found = values()
    for name, table in tables.items():
        found[name] = (("count", "cluster"), np.array(table, float))
    return found.assign(found_again=(("count", "cluster", "again"), np.array(again)))


def test_a_recommendation_by_hand() -> None:
    """Cluster 0 of 2 is found again in both others; of 4 in one. Single samples tell nothing."""
    best = recommended(of_clusters())
    assert best.clusters == best.low == best.high == 2
    assert best.found.tolist() == [1, 0.5]
    assert no_quanta(of_clusters(), 2) == [1]
    assert no_quanta(of_clusters(), 4) == []
    one = door.recommendation(best, [2])
    assert one == ["no count is recommended: give several, --counts 100 200 400"]
    here, most = door.recommendation(best, [2, 4]), door.recommendation(best, [1, 2])
    assert here[0].startswith("recommended: 2 clusters (by 95% of resampled clusterings: 2 alone)")
    assert most[0].startswith("recommended: 2 clusters or more (by")
    assert most[2].startswith("2 are the most that were looked at")
    assert known_of_clusters(of_clusters())
    assert not known_of_clusters(values())


def test_stored_and_read_again(tmp_path: Path) -> None:
    clusters = imported([[0, 0, 0, 1, 1], [0, 0, 1, 2, 3]], [2, 4])
    save_clusters(clusters, tmp_path)
    assert save_stability(values(), clusters, tmp_path) == tmp_path / "stability.zarr"
    found = open_stability(tmp_path)
    xr.testing.assert_equal(found, values())
    assert found.attrs.items() >= values().attrs.items()
    save_clusters(imported([[0, 1, 0, 0, 1], [0, 0, 1, 2, 3]], [2, 4]), tmp_path)
    with pytest.raises(BadInput, match="of other clusters than are there now; make it: jquanta"):
        open_stability(tmp_path)
    with pytest.raises(BadInput, match="no stability here; make it: jquanta stability"):
        open_stability(tmp_path / "stability.zarr")


def test_words_for_people() -> None:
    assert sentence(values(), 2) == (
        "stability: ARI 0.50 over seeds (null model 0.15), 0.45 over subsamples"
    )
    lines = door.table(of_clusters(), 1234).splitlines()
    assert lines[0].startswith("1,234 samples")
    assert [line.split() for line in lines[3:5]] == [
        ["2", "0.50", "0.45", "0.15", "0.25", "0.12", "1", "1.0"],
        ["4", "0.95", "0.75", "0.40", "0.50", "0.06", "1", "0.5"],
    ]
    assert "no quantum among 4 clusters: none" in lines
    two = door.table(of_clusters().sel(count=[2]), 1234).splitlines()
    assert "no quantum among 2 clusters: 1" in two


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of 24 samples."""
    return planted.folder(tmp_path_factory.mktemp("planted"))


def test_the_command(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main([str(results), "--seeds", "2", "--subsamples", "1"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("24 samples")
    assert out[-1] == str(results / "stability.zarr")
    found = open_stability(results)
    clusters = open_clusters(results)
    assert found["count"].to_numpy().tolist() == clusters["count"].to_numpy().tolist() == [2, 4]
    assert found.sizes["seed"] == 2
    # Six copies of each of four documents: the clusters cannot be others.
    np.testing.assert_array_equal(found.ari_seed.sel(count=4), 1)
    assert door.main([str(results), "--counts", "4", "--seeds", "1", "--subsamples", "1"]) == 0
    assert capsys.readouterr().out.endswith("stability.zarr, in place of an earlier one\n")
    assert open_stability(results)["count"].to_numpy().tolist() == [4]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--counts", "4", "5"], "count 5: there are clusters for 2, 4"),
        (["--seeds", "0"], "seeds and subsamples: give at least 1 of each"),
    ],
)
def test_the_commands_bad_input(
    results: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(results / "stability.zarr", ignore_errors=True)
    assert door.main([str(results), *words]) == 2
    assert says in capsys.readouterr().err
    assert not (results / "stability.zarr").exists()
    assert door.main([]) == 2
    assert "RESULTS is missing" in capsys.readouterr().err


def test_bad_input() -> None:
    cosine = np.eye(9) + 0.1
    made = cluster(cosine / 1.1, [2], n_init=1)
    with pytest.raises(BadInput, match="seeds and subsamples: give at least 1"):
        stability(cosine, made, seeds=0)
    with pytest.raises(BadInput, match="9 labels for 8 samples"):
        stability(cosine[:8, :8] / 1.1, made)
    with pytest.raises(BadInput, match="the clusters were imported"):
        stability(cosine / 1.1, imported([[0] * 4 + [1] * 5]))
