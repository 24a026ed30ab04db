"""Groups without a number of clusters: planted ones beside samples that are like nothing, a cloud
alone, and the command."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from sklearn.metrics import adjusted_rand_score

from jquanta.cli import groups as door
from jquanta.errors import BadInput
from jquanta.qdg.clusters.cluster import cluster, imported, open_clusters, save_clusters
from jquanta.qdg.clusters.quality import by_chance
from jquanta.qdg.questions.groups import (
    consensus,
    local_clusters,
    open_groups,
    save_groups,
)
from jquanta.qdg.results import open_run
from tests.monitors import Watch
from tests.qdg.clusters import planted
from tests.qdg.clusters.vectors import cosines, groups

SIZES = [40, 30, 20, 15, 10]
CLOUD = 80


def cloud(samples: int, seed: int) -> np.ndarray:
    """Unit vectors that are like nothing."""
    points = np.random.default_rng(seed).standard_normal((samples, 60))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def made(cosine: np.ndarray) -> xr.Dataset:
    return cluster(cosine, [5, 10, 20, 40], n_init=1)


@pytest.fixture(scope="module")
def mixed() -> tuple[np.ndarray, np.ndarray, xr.Dataset]:
    """Cosines of five groups and a cloud; the groups, -1 for the cloud; clusters."""
    points, group = groups(SIZES, 60, 0.9)
    cosine = cosines(np.concatenate([points, cloud(CLOUD, 7)]))
    return cosine, np.append(group, np.full(CLOUD, -1)), made(cosine)


def test_consensus_finds_the_groups(mixed: tuple[np.ndarray, np.ndarray, xr.Dataset]) -> None:
    cosine, truth, clusters = mixed
    heard = Watch()
    found = consensus(cosine, clusters, seeds=10, monitor=heard)
    told(found, truth)
    assert found.attrs["found"] >= found.sizes["group"]
    assert heard.shares[-1] == pytest.approx(1)
    assert heard.shares == sorted(heard.shares)
    again = consensus(cosine, clusters, seeds=10)
    xr.testing.assert_identical(found, again)


def test_local_sets_find_the_groups(mixed: tuple[np.ndarray, np.ndarray, xr.Dataset]) -> None:
    cosine, truth, clusters = mixed
    found = local_clusters(cosine, clusters, largest=60)
    told(found, truth)
    # Clusters tell the affinity only; labels made elsewhere do.
    elsewhere = imported(np.arange(len(truth)) % 3, affinity="angular")
    again = local_clusters(cosine, elsewhere, largest=60)
    np.testing.assert_array_equal(found.label, again.label)


def told(found: xr.Dataset, truth: np.ndarray) -> None:
    """Cosines of 0.55 within a group and 0 ± 0.13 else: nearly every sample has its place. A few
    of the cloud are nearest to some group, and one group may miss."""
    label = found.label.to_numpy()
    inside = truth >= 0
    alone = np.where(label < 0, len(truth) + np.arange(len(truth)), label)
    assert adjusted_rand_score(truth[inside], alone[inside]) > 0.9
    assert (label[~inside] < 0).mean() > 0.6
    size = np.bincount(label[label >= 0])
    np.testing.assert_array_equal(found["size"] >= size, True)
    assert (np.diff(size) <= 0).all()
    assert (found.chance <= 0.05).all()
    assert (found.conductance < found.null_conductance).all()
    assert (found.within > found.outside + 0.2).all()
    assert (found.sample_sure.isnull() == (label < 0)).all()
    sure = found.sample_sure.to_numpy()
    for group in range(len(size)):
        assert float(found.sure[group]) == pytest.approx(sure[label == group].mean(), rel=1e-6)


def test_a_cloud_has_nearly_none() -> None:
    """Chance keeps the best of it in one of three searches, as there are two null models: of four
    clouds, few samples."""
    kept = []
    for seed in range(4):
        cosine = cosines(cloud(150, seed))
        clusters = made(cosine)
        for found in (
            consensus(cosine, clusters, seeds=5),
            local_clusters(cosine, clusters, largest=40),
        ):
            assert found.attrs["found"] > 2  # there was something to drop
            kept.append(found.sizes["group"] / found.attrs["found"])
    assert np.mean(kept) < 0.15


def test_the_share_of_chance_is_that_of_plain_counting() -> None:
    chance = np.random.default_rng(0)
    score = chance.normal(1, 1, 30).round(1)
    null = [chance.normal(0, 1, 25).round(1), chance.normal(0, 1, 40).round(1)]
    for mine, found in zip(score, by_chance(score, null), strict=True):
        shares = [
            min(1, sum((own >= at).sum() for own in null) / 2 / (score >= at).sum())
            for at in score
            if at <= mine
        ]
        assert found == pytest.approx(min(shares), abs=1e-15)
    assert by_chance(np.empty(0), null).tolist() == []
    assert by_chance(np.array([5.0]), [np.empty(0)]).tolist() == [0]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of 24 samples."""
    return planted.folder(tmp_path_factory.mktemp("planted"))


def test_the_command_keeps_both_kinds(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main([str(results), "--seeds", "3"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "of 24 samples are in" in out[0]
    assert out[-1] == str(results / "groups-consensus.zarr")
    first = open_groups(results, "consensus")
    assert door.main([str(results), "--by", "local", "--neighbours", "4"]) == 0
    assert capsys.readouterr().out.endswith("groups-local.zarr\n")
    xr.testing.assert_identical(open_groups(results, "consensus"), first)
    for kind in ("consensus", "local"):
        label = open_groups(results, kind).label
        assert label.dtype == np.int32
        assert label.dims == ("sample",)
        # Copies of a document are equal, and so in one group or none.
        assert all(len(set(part.tolist())) == 1 for part in label.to_numpy().reshape(4, 6))
    assert door.main([str(results), "--counts", "2", "4", "--seeds", "1"]) == 0
    assert capsys.readouterr().out.endswith("groups-consensus.zarr, in place of an earlier one\n")


def test_groups_of_other_clusters_are_refused(tmp_path: Path) -> None:
    clusters = imported([[0, 0, 0, 1, 1]], [2])
    save_clusters(clusters, tmp_path)
    found = xr.Dataset({"label": ("sample", np.zeros(5, np.int32))}, attrs={"kind": "local"})
    save_groups(found, clusters, tmp_path)
    xr.testing.assert_equal(open_groups(tmp_path, "local"), found)
    save_clusters(imported([[0, 1, 0, 1, 1]], [2]), tmp_path)
    with pytest.raises(BadInput, match="of other clusters than are there now; make them: jquanta"):
        open_groups(tmp_path, "local")
    with pytest.raises(BadInput, match="no consensus groups here; make them: jquanta groups"):
        open_groups(tmp_path, "consensus")
    with pytest.raises(BadInput, match="groups by 'size': give consensus or local"):
        open_groups(tmp_path, "size")
    assert open_clusters(tmp_path).sizes["sample"] == 5


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--by", "size"], "give one of consensus, local"),
        (["--by", "local", "--seeds", "3"], "--seeds: is of groups by consensus"),
        (["--neighbours", "3"], "--neighbours: is of groups by local"),
        (["--seeds", "0"], "seeds = 0: give at least 1"),
        (["--by", "local", "--neighbours", "24"], "neighbours = 24 of 24 samples: give 1 to 23"),
    ],
)
def test_bad_input(
    results: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door.main([str(results), *words]) == 2
    assert says in capsys.readouterr().err


def test_clusters_of_other_samples_are_refused() -> None:
    clusters = imported([[0] * 4 + [1] * 5])
    with pytest.raises(BadInput, match="the clusters were imported"):
        consensus(np.eye(9), clusters)
    with pytest.raises(BadInput, match="9 labels for 8 samples"):
        local_clusters(np.eye(8), clusters)
    with pytest.raises(BadInput, match="sets of up to 3 samples"):
        local_clusters(np.eye(7), imported([[0] * 4 + [1] * 3]))


def test_that_there_are_none_is_said_in_a_line(tmp_path: Path) -> None:
    run = open_run(planted.folder(tmp_path))
    label = np.full(len(run.predictions), -1, np.int32)
    none = xr.Dataset(
        {"label": ("sample", label), "size": ("group", np.empty(0))},
        attrs={"kind": "local", "found": 3, "null_found": [2, 4]},
    )
    assert door.table(none, run) == (
        "no groups (local): 3 were found, and null models offer as good ones, 3 on average"
    )
