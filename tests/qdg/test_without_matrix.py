"""A run without a matrix of all pairs: every command that works on runs works on it."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jquanta as jq
from jquanta import qdg
from jquanta.cli import assign, check, emergence, explore, figures, mechanism, stability
from jquanta.cli.qdg import main
from jquanta.errors import BadInput
from jquanta.machine.computer import H200
from jquanta.qdg import pipeline
from jquanta.qdg.clusters.centres import centres_of_counts
from jquanta.qdg.clusters.cluster import cluster_features, open_clusters
from jquanta.qdg.clusters.likeness import Cosines, Vectors, likeness_of
from jquanta.qdg.config import SCHEMA, ClusterConfig, load_qdg
from jquanta.qdg.pages.data import page_from
from jquanta.qdg.results import PAGE
from jquanta.qdg.views.sketch import Sketch
from jquanta.run import arrays
from tests.monitors import Watch
from tests.qdg.clusters import planted
from tests.qdg.clusters.vectors import groups
from tests.qdg.pages.reading import held
from tests.qdg.test_pipeline import modified, settings


def without(place: Path, **cluster: Any) -> dict[str, Any]:
    """As ``settings``, of sketches and by spherical k-means."""
    chosen = {"counts": [2, 12], "n_init": 2, "method": "spherical"} | cluster
    return settings(place, similarity={"mode": "sketch", "sketch_size": 4}, cluster=chosen)


@pytest.fixture(scope="module")
def done(place: Path) -> Path:
    qdg.run(without(place), place / "run")
    return place / "run"


def test_the_stages(place: Path, done: Path) -> None:
    assert {path.suffix for path in done.iterdir()} == {".zarr", ".toml", ".json", ".html"}
    assert not (done / "similarity.zarr").exists()
    run = qdg.open_run(done)
    found = cluster_features(run.similarity.vector, [2, 12], method="spherical", n_init=2)
    np.testing.assert_array_equal(run.clusters.label, found.label)
    assert {part.state for part in jq.check(done)} == {"whole"}
    watch = Watch()
    qdg.run(without(place), done, monitor=watch)
    assert any("nothing to do" in line for line in watch.lines)


@pytest.mark.parametrize("lost", ["features.zarr", "clusters.zarr", PAGE])
def test_what_a_finished_folder_lost_is_made_again(
    place: Path, done: Path, tmp_path: Path, lost: str
) -> None:
    shutil.copytree(done, tmp_path / "run")
    path = tmp_path / "run" / lost
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    if lost != PAGE:
        with pytest.raises(BadInput, match=f"lacks {lost}"):
            qdg.open_run(tmp_path / "run")
    states = {part.state for part in jq.check(tmp_path / "run")}
    assert "damaged" in states
    again = qdg.run(without(place), tmp_path / "run")
    np.testing.assert_array_equal(open_clusters(done).label, again.label)


def test_other_clusters_leave_the_features_alone(place: Path, done: Path, tmp_path: Path) -> None:
    shutil.copytree(done, tmp_path / "run")
    before = modified(tmp_path / "run")
    found = qdg.run(without(place, method="neighbours", neighbours=5), tmp_path / "run")
    assert modified(tmp_path / "run")["features.zarr"] == before["features.zarr"]
    assert found.attrs["method"] == "neighbours"
    assert found.attrs["neighbours"] == 5
    other = settings(place, similarity={"mode": "sketch", "sketch_size": 4})
    with pytest.raises(BadInput, match=r"differs in cluster.method; give another folder"):
        qdg.run(other, tmp_path / "run")


@pytest.mark.parametrize("method", ["spherical", "neighbours"])
def test_every_command(
    place: Path, done: Path, tmp_path: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    if method == "spherical":
        shutil.copytree(done, folder)
    else:
        qdg.run(without(place, method=method, neighbours=5), folder)
    run = str(folder)
    assert assign.main([run, "--index", "7", "--count", "12"]) == 0
    assert "of 12 clusters of 40 samples" in capsys.readouterr().out
    assert stability.main([run, "--seeds", "1", "--subsamples", "1"]) == 0
    assert "null model" in capsys.readouterr().out
    assert emergence.main([run, "--losses", str(place / "losses")]) == 0
    assert mechanism.main([run, "--count", "2", "--largest", "2"]) == 0
    assert explore.main([run]) == 0
    assert any("stability: ARI" in line for line in held(folder / PAGE)["stability"])
    assert explore.main([run, "--latex", "--count", "2", "--cluster", "0"]) == 0
    assert figures.main(["fig5", "--qdg", run, "--out", str(tmp_path / "figures")]) == 0
    assert (tmp_path / "figures" / "fig5.png").exists()
    assert check.main([run]) == 0
    assert "damaged" not in capsys.readouterr().out


def test_new_predictions_are_assigned_as_with_a_matrix(tmp_path: Path) -> None:
    """The same clusters of the same sketches; cosines are taken from what is stored."""
    made = planted.run(tmp_path, view=Sketch(size=4))
    vectors = qdg.features(made.model, made.predictions, Sketch(size=4), out=tmp_path)
    new = np.arange(0, made.corpus.n_predictions, 7)
    one, other = (
        qdg.assign(made.model, made.predictions, made.clusters, likeness, new, count=2)
        for likeness in (made.similarity, vectors)
    )
    assert one.attrs == other.attrs
    for name in ("cluster", "score"):
        np.testing.assert_array_equal(one[name], other[name], name)
    for name in ("cosine", "nearest_cosine"):
        np.testing.assert_allclose(one[name], other[name], atol=3e-6)  # float32, other batches


def test_vectors_know_what_their_matrix_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jquanta.qdg.clusters.centres.ROWS", 32)
    unit, group = groups([50, 30, 20, 1], 40, 1.0)
    labels = np.stack([group, np.arange(101) % 7, np.zeros(101, int)])
    vectors, cosines = Vectors(unit), Cosines(unit @ unit.T)
    for ours, theirs in zip(vectors.centres(labels), cosines.centres(labels), strict=True):
        for name in ("sums", "own", "to_centre", "apart", "to_others", "tightness"):
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-5)
    with pytest.raises(BadInput, match="3 labels for 101 samples"):
        vectors.centres(labels[:, :3])
    at = np.array([0, 5, 100])
    np.testing.assert_allclose(vectors.between(at), cosines.between(at), atol=1e-6)
    np.testing.assert_array_equal(vectors.subset(at).unit, unit[at])
    null = vectors.null(3)
    (found,) = centres_of_counts(null.between(np.arange(101)), labels[:1])
    assert np.nanmean(found.to_others) < 0.5 * np.nanmean(vectors.centres(labels[:1])[0].to_others)


def test_an_absolute_affinity_needs_a_matrix(done: Path) -> None:
    with pytest.raises(BadInput, match="of cosine_abs, which the similarity lacks"):
        likeness_of(qdg.open_run(done).similarity, absolute=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"similarity.mode": "exact"}, "those of mode exact are as long as gradients; give"),
        ({"cluster.affinity": "shifted"}, "method spherical has none; leave it angular"),
        ({"cluster.kmeans": "scikit-learn"}, "has no spherical k-means; give jax"),
        ({"cluster.method": "best"}, "spectral, neighbours"),
        ({"cluster.neighbours": 0}, "cluster.neighbours"),
        (
            {"cluster.method": "neighbours", "cluster.neighbours": 60, "select.count": 60},
            "cluster.neighbours = 60: there are 60 samples; give 1 to 59",
        ),
        (
            {"similarity.mode": "activations", "similarity.absolute": True},
            "of a matrix of all pairs, and method spherical has none",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    place: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        load_qdg(without(place), flags=changes)


def test_the_command_refuses_before_anything_is_written(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "some.toml"
    path.write_text(load_qdg(without(place)).to_toml())
    given = [str(path), "--out", str(tmp_path / "run"), "--similarity.mode", "exact"]
    assert main(given) == 2
    assert "give similarity.mode = 'sketch'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_clusters_of_before_there_were_methods_are_kept(place: Path, tmp_path: Path) -> None:
    """Their settings lack what was added since."""
    qdg.run(settings(place), tmp_path / "run")
    store = tmp_path / "run" / "clusters.zarr"
    stored = open_clusters(store)
    old = '{"counts": "2, 5", "affinity": "angular", "kmeans": "jax", "n_init": 3, "seed": 0}'
    shutil.rmtree(store)
    arrays.save_dataset(stored.assign_attrs(settings=old), store)
    (tmp_path / "run" / PAGE).unlink()
    before = modified(tmp_path / "run")
    watch = Watch()
    qdg.run(settings(place), tmp_path / "run", monitor=watch)
    assert modified(tmp_path / "run")["clusters.zarr"] == before["clusters.zarr"]
    assert not any("anew" in line for line in watch.lines)
    assert {"cluster.method", "cluster.neighbours"} <= set(SCHEMA.fields)
    assert ClusterConfig().has_matrix


def test_a_page_tells_what_it_shows(place: Path, done: Path, tmp_path: Path) -> None:
    """Sketches are estimates, activations are no gradients, and what is lost is told."""
    assert "It is an estimate" in (done / PAGE).read_text("utf-8")
    config = without(place) | {"similarity": {"mode": "activations"}}
    qdg.run(config, tmp_path / "run")
    page = (tmp_path / "run" / PAGE).read_text("utf-8")
    assert "cosine of activations" in page
    assert "gradient" not in page[page.index('id="terms"') : page.index("</dl>")]
    shutil.rmtree(tmp_path / "run" / "features.zarr")
    watch = Watch()
    page_from(tmp_path / "run", monitor=watch)
    assert any(
        "shows no similarity, which is lost; run jquanta qdg again" in x for x in watch.lines
    )


def test_parameters_may_be_cut(
    place: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the configuration, or since a copy does not fit; a finished run does not depend on it."""
    own = without(place)
    cut = own | {"similarity": own["similarity"] | {"placement": "cut"}}
    clusters = qdg.run(cut, tmp_path / "cut")
    wanted = qdg.open_features(done)
    found = qdg.open_features(tmp_path / "cut")
    np.testing.assert_allclose(found.vector, wanted.vector, rtol=0, atol=1e-5)
    again = qdg.run(own, tmp_path / "cut")  # the other layout, and nothing is made anew
    np.testing.assert_array_equal(again.label, clusters.label)
    watch = Watch()
    monkeypatch.setattr(pipeline, "_placement", lambda *_: "cut")
    qdg.run(own, tmp_path / "alone", monitor=watch)
    assert [line for line in watch.lines if "parameters are cut over" in line]
    alone = qdg.open_features(tmp_path / "alone")
    np.testing.assert_array_equal(alone.vector, found.vector)
    cards = replace(H200, devices=8, memory=10**5)
    told = str(qdg.plan(own, tmp_path / "plan", computers=[cards]))
    assert "  parameters are cut over 8 devices: " in told
