"""``jquanta explore``: what it reads, writes and refuses."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jquanta.cli import explore as explore
from jquanta.lm.corpus.reader import open_corpus
from jquanta.qdg.clusters.centres import centres_of_counts
from jquanta.qdg.clusters.cluster import imported, open_clusters, save_clusters
from jquanta.qdg.config import load_qdg
from jquanta.qdg.cosines.similarity import SIMILARITY
from jquanta.qdg.pages.data import page_from
from jquanta.qdg.pages.page import most_central, shown
from jquanta.qdg.pages.render import payload, render
from jquanta.qdg.questions.stability import save_stability
from tests.lm.corpus.samples import tree, write_corpus
from tests.qdg.pages.examples import COUNTS, Made, made, stored
from tests.qdg.pages.reading import held
from tests.qdg.questions.test_stability import of_clusters, values


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("made"))


@pytest.fixture
def here(original: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with ``results``, ``corpus`` and ``losses``."""
    monkeypatch.chdir(tmp_path)
    for path in (original.results, original.corpus.path, original.losses):
        shutil.copytree(path, tmp_path / path.name)
    return tmp_path


def refused(here: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that says why it is bad input, after which ``here`` is as it was."""
    before = tree(here)
    assert explore.main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("jquanta: ")
    assert said.err.count("\n") == 1
    assert tree(here) == before
    return said.err


FLAGS = ("results", "--corpus", "corpus", "--out", "new/page.html")


def test_a_page_is_what_the_results_hold(original: Made) -> None:
    found = page_from(original.results, corpus=original.corpus.path, losses=[original.losses])
    index = original.predictions.index
    np.testing.assert_array_equal(found.index, index)
    assert found.counts.tolist() == list(COUNTS)
    np.testing.assert_array_equal(found.labels, original.labels)
    assert [column.label for column in found.columns] == [
        "some/small@step0",
        "some/small@step512",
        "some/big@step0",
        "some/big@step512",
    ]
    assert [column.size for column in found.columns] == [30, 30, 900, 900]
    assert [column.step for column in found.columns] == [0, 512, 0, 512]
    for column, losses in zip(found.columns, found.losses, strict=True):
        wanted = original.columns[column.name, column.label.split("@")[1]][index]
        np.testing.assert_array_equal(losses, wanted)
    np.testing.assert_array_equal(found.loss, original.columns["some/big", "step512"][index])
    unit = original.gradients / np.linalg.norm(original.gradients, axis=1, keepdims=True)
    cosine = (unit @ unit.T).astype(np.float32)
    near = centres_of_counts(cosine, original.labels)
    for i, one in enumerate(near):
        np.testing.assert_allclose(found.centrality[i], one.to_centre, atol=1e-6)  # of float32
        np.testing.assert_allclose(found.tightness[i], one.tightness, atol=1e-6)
    assert found.stability == ["", ""]
    np.testing.assert_array_equal(found.cosine, cosine[np.ix_(found.drawn, found.drawn)])
    for i, text in zip(index, found.texts, strict=True):
        joined = "".join(text.before), text.target, "".join(text.after)
        assert joined == original.corpus.context(int(i))
    assert dict(found.about)["Samples"] == f"60 of {original.corpus.n_predictions:,} predictions"
    assert dict(found.about)["Selection"] == "threshold 0.1"


def test_fewer_samples_are_drawn_than_there_are(original: Made) -> None:
    found = page_from(original.results, corpus=original.corpus.path, drawn=10)
    assert len(found.drawn) == 10
    assert found.drawn[[0, -1]].tolist() == [0, 59]
    assert found.cosine.shape == (10, 10)


def test_losses_and_similarity_may_be_missing(here: Path) -> None:
    shutil.rmtree(here / "results" / SIMILARITY)
    found = page_from("results", corpus="corpus")
    assert np.isnan(found.centrality).all()
    assert np.isnan(found.loss).all()
    assert [len(row) for row in found.tightness] == list(COUNTS)
    assert found.columns == []
    assert 'id="matrix"' not in render(found)
    # In the order of the corpus where nothing is known of centrality.
    assert (np.diff(most_central(found, 0, 0)) > 0).all()


def test_stability_is_shown_of_the_counts_that_have_it(
    here: Path, original: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    clusters = open_clusters("results")
    save_stability(values().sel(count=[2]).assign_coords(count=[7]), clusters, Path("results"))
    line = "stability: ARI 0.50 over seeds (null model 0.15), 0.45 over subsamples"
    found = page_from("results", corpus="corpus")
    assert found.stability == ["", line]
    assert found.trust == [None, None]  # an earlier version told nothing of single clusters
    assert line in payload(found)[0]["stability"]
    assert explore.main([*FLAGS]) == 0
    assert line in held(here / "new/page.html")["stability"]
    told = of_clusters().sel(count=[2]).assign_coords(count=[7])
    save_stability(told, clusters, Path("results"))
    unknown, trust = page_from("results", corpus="corpus").trust
    assert unknown is None
    np.testing.assert_array_equal(trust.p, np.float32([0.005, 0.75]))
    np.testing.assert_array_equal(trust.again, np.float32([0.9, 0.9]))
    # Of other clusters: the page is made, without it, and says so.
    capsys.readouterr()
    save_clusters(imported(original.labels[:, ::-1], COUNTS), "results")
    assert explore.main([*FLAGS]) == 0
    assert line not in held(here / "new/page.html")["stability"]
    said = capsys.readouterr().err
    assert "the page shows no stability" in said
    assert "make it: jquanta stability results" in said


def test_the_folders_that_the_run_names(here: Path) -> None:
    config = load_qdg({"input": {"model": "m", "corpus": "corpus", "losses": "losses"}})
    (here / "results/config.toml").write_text(config.to_toml())
    assert len(page_from("results").columns) == 4


def test_the_page_is_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explore.main([*FLAGS, "--losses", "losses", "--title", "Mine"]) == 0
    found = page_from("results", corpus="corpus", losses=["losses"], title="Mine")
    assert (here / "new/page.html").read_text("utf-8") == render(found)
    assert capsys.readouterr().out.startswith("new/page.html: ")
    assert [path.name for path in (here / "new").iterdir()] == ["page.html"]


def test_latex_is_written(here: Path) -> None:
    chosen = ("--latex", "--count", "7", "--cluster", "2", "--samples", "3")
    assert explore.main([*FLAGS, *chosen, "--before", "5", "--after", "0"]) == 0
    text = (here / "new/page.html").read_text("utf-8")
    found = page_from("results", corpus="corpus", before=5, after=0)
    members = most_central(found, 1, 2)
    notes = [shown(found, 1, int(i)).note for i in members[:3]]
    assert [text.index(f"{{{note}}}") for note in notes] == sorted(
        text.index(f"{{{note}}}") for note in notes
    )
    assert text.count("\\QSample{pred") == 3
    assert f"Cluster 2 of 7: 3 of {len(members)} samples" in text
    assert text.startswith("\\documentclass")
    assert explore.main([*FLAGS, *chosen, "--fragment"]) == 0
    assert "documentclass" not in (here / "new/page.html").read_text("utf-8")


def test_one_model_of_the_losses(here: Path) -> None:
    found = page_from("results", corpus="corpus", losses=["losses"], models=["some/small@step0"])
    assert [column.label for column in found.columns] == ["some/small@step0"]
    assert np.isnan(found.loss).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "RESULTS is missing"),
        (["results", "--out", "results"], "--out results: is a folder"),
        (["results", "--out", "corpus/meta.json/page.html"], "cannot be written"),
        (["nowhere", "--out", "page.html"], "nowhere: no such folder"),
        (["corpus/meta.json", "--out", "page.html"], "no such folder"),
        (["corpus", "--out", "page.html"], "corpus: is a corpus (to use it"),
        (["results", "--out", "page.html"], "--corpus is missing: results does not tell"),
        ([*FLAGS, "--losses", "corpus"], "corpus: is a corpus (to use it"),
        ([*FLAGS, "--losses", "losses", "--model", "x@y"], "no losses of x@y"),
        ([*FLAGS, "--before", "-1"], "--before -1: give 0 or more"),
        ([*FLAGS, "--latex"], "--count is missing"),
        ([*FLAGS, "--latex", "--count", "7"], "--cluster is missing"),
        ([*FLAGS, "--count", "7"], "--count: goes with --latex"),
        ([*FLAGS, "--fragment"], "--fragment: goes with --latex"),
        ([*FLAGS, "--latex", "--count", "8", "--cluster", "0"], "there are clusters for 3, 7"),
        ([*FLAGS, "--latex", "--count", "3", "--cluster", "3"], "there are clusters 0 to 2"),
        ([*FLAGS, "--latex", "--count", "3", "--cluster", "-1"], "there are clusters 0 to 2"),
        ([*FLAGS, "--samples", "0"], "--samples 0: give 1 or more"),
        ([*FLAGS, "--colour", "red"], "unknown flag --colour"),
    ],
)
def test_bad_input(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert said in refused(here, capsys, *words)


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("clusters.zarr", "no clusters here"),
        (
            "clusters.zarr/label",
            "damaged: label/c/0/0 is missing (and 1 more); delete it, then make",
        ),
        ("clusters.zarr/label/c", "damaged: label/c/0/0 is missing; delete it, then make them"),
        ("selection.zarr", "no selection here"),
        ("similarity.zarr/zarr.json", "damaged: zarr.json is missing; delete it, then compute it"),
    ],
)
def test_results_that_are_not_whole(
    here: Path, capsys: pytest.CaptureFixture[str], lost: str, said: str
) -> None:
    path = here / "results" / lost
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert said in refused(here, capsys, *FLAGS)


def test_another_corpus(here: Path, capsys: pytest.CaptureFixture[str], original: Made) -> None:
    shutil.rmtree(here / "corpus")
    rows = [original.corpus.document(i).tolist() for i in range(original.corpus.n_documents)]
    tokenizer = (original.corpus.path / "tokenizer.json").read_bytes()
    other = write_corpus(here / "corpus", rows[::-1], tokenizer)
    assert "not the corpus of this selection" in refused(here, capsys, *FLAGS)
    shutil.rmtree(other)
    shutil.copytree(original.corpus.path, other)
    shutil.rmtree(here / "losses")
    elsewhere = open_corpus(write_corpus(here / "elsewhere", rows[::-1], tokenizer))
    stored(here / "losses", elsewhere, "some/big", "main", 900)
    said = refused(here, capsys, *FLAGS, "--losses", "losses")
    assert "not the corpus of these losses" in said


def test_clusters_of_other_samples(
    here: Path, capsys: pytest.CaptureFixture[str], original: Made
) -> None:
    save_clusters(imported(original.labels, COUNTS, samples="another"), here / "results")
    assert "its clusters are of other samples" in refused(here, capsys, *FLAGS)
    save_clusters(imported(original.labels[:, 1:], COUNTS), here / "results")
    assert "its clusters are of other samples" in refused(here, capsys, *FLAGS)


def test_the_command_has_its_name() -> None:
    words = [sys.executable, "-m", "jquanta", "explore", "--help"]
    ran = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "no server and no network" in " ".join(ran.stdout.split())
