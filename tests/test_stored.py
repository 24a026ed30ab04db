"""Folders that version 0.1 wrote, whole and cut short: they open, go on and draw.

``tests/stored/0.1.tar.xz`` holds a sweep of eight networks, a suite of two sizes with its corpus
and losses, a column of losses, a QDG run of 60 samples and a corpus, all of them tiny. A folder
with ``-cut`` or ``.part`` in its name was interrupted; the one beside it without was not.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import jquanta as jq
from jquanta import qdg
from jquanta.lm.corpus.build import build_corpus
from jquanta.lm.losses.compute import compute_losses
from tests.lm.corpus.samples import tree
from tests.lm.pretrain import examples
from tests.monitors import Watch

SWEEP: dict[str, Any] = {
    "name": "stored",
    "task.n_tasks": 5,
    "task.n_bits": 8,
    "task.k": 2,
    "network.width": [3, 5, 8, 16],
    "train.train_size": [float("inf"), 60.0],
    "train.batch_size": 16,
    "train.steps": 60,
    "eval.log_every": 20,
    "eval.points_per_task": 64,
    "train.seed": [0],
}
MODEL, REVISION = "12.8k", "step16"


@pytest.fixture
def place(old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all folders, which is the working directory: paths in them are relative to it."""
    shutil.copytree(old, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_close(ours: xr.DataArray, theirs: xr.DataArray) -> None:
    """To rounding: another machine may take sums in another order, 1e-6 of a loss a step."""
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_sweep_opens_and_draws(place: Path) -> None:
    results = jq.open_results("sweep")
    assert dict(results.sizes) == {"run": 8, "step": 4, "subtask": 5, "position": 2}
    task, _ = jq.load_run("sweep", 7)
    assert task.config.n_tasks == 5
    before = tree(place / "sweep")
    assert jq.run_sweep(SWEEP, "sweep").equals(results)
    assert tree(place / "sweep") == before
    assert {path.suffix for path in jq.draw("fig7", ["sweep"]).paths} == {".png", ".pdf"}


def test_a_sweep_that_was_cut_short_goes_on(place: Path) -> None:
    watch = Watch()
    results = jq.run_sweep(SWEEP, "sweep-cut", monitor=watch)
    assert watch.shares[0] > 0  # what was done is not done again
    assert_close(results.loss, jq.open_results("sweep").loss)


def test_a_suite_opens(place: Path) -> None:
    before = tree(place / "suite")
    losses = jq.pretrain(examples.suite(Path("source")), "suite")
    assert losses.sizes["model"] == 6
    assert tree(place / "suite") == before
    assert jq.load_model(f"suite/models/{MODEL}", REVISION).config.width == 32


def test_a_suite_that_was_cut_short_goes_on(place: Path) -> None:
    watch = Watch()
    losses = jq.pretrain(examples.suite(Path("source")), "suite-cut", monitor=watch)
    assert any("continuing after" in line for line in watch.lines)
    assert_close(losses.loss, jq.open_losses("suite/losses").loss)


def test_losses_that_were_cut_short_go_on(place: Path) -> None:
    whole = jq.open_losses("losses").loss
    watch = Watch()
    model = f"suite/models/{MODEL}"
    found = compute_losses(
        "suite/corpus/test",
        model,
        "losses-cut",
        revisions=[REVISION],
        batch_tokens=16,
        monitor=watch,
    )
    assert any("continuing after" in line for line in watch.lines)
    assert_close(found.loss, whole)


def test_a_corpus_that_was_cut_short_goes_on(place: Path) -> None:
    watch = Watch()
    build_corpus("source", "suite/tokenizer.json", "corpus", max_length=16, monitor=watch)
    assert any("continuing after" in line for line in watch.lines)
    fresh = build_corpus("source", "suite/tokenizer.json", "fresh", max_length=16)
    assert jq.open_corpus("corpus").meta == fresh.meta


def test_a_qdg_run_opens_and_draws(place: Path) -> None:
    run = qdg.open_run("quanta")
    assert run.clusters.label.shape == (2, 60)
    for figure in ("fig5", "quanta", "mechanism"):
        assert jq.draw(figure, qdg="quanta").paths
    assert (run.model().config.width, run.corpus.meta.recipe.max_length) == (32, 16)


def test_a_similarity_that_was_cut_short_begins_anew(place: Path) -> None:
    """Its work folder holds the matrix in another order of samples, which nobody reads any more."""
    watch = Watch()
    samples = qdg.open_selection("quanta-cut", jq.open_corpus("suite/corpus/test"))
    model = jq.load_model(f"suite/models/{MODEL}", REVISION)
    found = qdg.similarity(model, samples, out="quanta-cut", monitor=watch)
    assert any("starting again" in line for line in watch.lines)
    assert not (place / "quanta-cut" / "similarity.work").exists()
    assert_close(found.cosine, qdg.open_similarity("quanta").cosine)
