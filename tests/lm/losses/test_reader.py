"""Columns joined: labelled, lazy, of one corpus, all finished."""

from pathlib import Path

import numpy as np
import pytest
import zarr

import jquanta as jq
from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.losses import column
from jquanta.lm.losses.batches import LONGEST_FIRST
from jquanta.lm.losses.column import Column, group_name, make_root
from jquanta.lm.losses.legs import Leg
from jquanta.lm.losses.reader import mean_loss, require_corpus, slices
from tests.lm.losses import examples

SIZES = {"big": 900, "small": 30}


def fake(out: Path, corpus: Corpus, model: str, revision: str, finished: bool = True) -> np.ndarray:
    """A column of random numbers, written by the writer."""
    numbers = np.random.default_rng(len(model + revision)).random(corpus.n_predictions, np.float32)
    path = out / group_name(model, revision)
    make_root(out, corpus)
    Column.create(
        path,
        corpus.n_predictions,
        {
            "model": model,
            "revision": revision,
            "size": SIZES[model.split("/")[-1].split("-seed")[0]],
            "weights": "0",
            "corpus": corpus.meta.corpus,
            "source": corpus.meta.source,
        },
    )
    written = Column(path)
    written.write(0, numbers)
    (written.finish if finished else written.mark)([Leg(LONGEST_FIRST, 3)])
    return numbers


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return examples.corpus(tmp_path / "corpus")


def test_a_run_folder_that_holds_losses(corpus: Corpus, tmp_path: Path) -> None:
    """As of jquanta pretrain: jquanta figures fig3 --losses runs/stdlib."""
    fake(tmp_path / "run" / "losses", corpus, "small", "main")
    assert jq.open_losses(tmp_path / "run").model.to_numpy().tolist() == ["small@main"]
    with pytest.raises(BadInput, match="holds no losses"):
        jq.open_losses(tmp_path)


def test_stored_columns_have_seeds_by_their_names(corpus: Corpus, tmp_path: Path) -> None:
    """Nothing of seeds lies on disk, so that folders of any version have them."""
    for model in ("small", "small-seed7", "small-seed10"):
        fake(tmp_path, corpus, model, "step5")
    losses = jq.open_losses(tmp_path)
    assert losses.base.to_numpy().tolist() == ["small"] * 3
    found = jq.by_seed(losses)
    assert found.seed.to_numpy().tolist() == ["", "7", "10"]
    wanted = losses.loss.sel(model="small-seed10@step5")[1:3]
    np.testing.assert_array_equal(found.loss[1:3, 0].sel(seed="10"), wanted)


def test_a_suite_that_is_not_finished_is_told(corpus: Corpus, tmp_path: Path) -> None:
    fake(tmp_path / "run" / "losses", corpus, "small", "main")
    (tmp_path / "run" / "config.toml").write_text('name = "suite"')
    record = tmp_path / "run" / "record.json"
    record.write_text('{"state": "running"}')
    for path in (tmp_path / "run", tmp_path / "run" / "losses"):
        assert jq.open_losses(path).attrs["unfinished"] == [str(tmp_path / "run")]
    record.write_text('{"state": "done"}')
    assert jq.open_losses(tmp_path / "run").attrs["unfinished"] == []


def test_columns_are_joined_in_the_order_of_size_and_step(corpus: Corpus, tmp_path: Path) -> None:
    out = tmp_path / "out"
    names = [("big", "step512"), ("small", "main"), ("big", "step1000")]
    columns = {name: fake(out, corpus, *name) for name in names}
    found = jq.open_losses(out)
    order = [("small", "main"), ("big", "step512"), ("big", "step1000")]
    assert found.loss.dims == ("prediction", "model")
    assert found.loss.dtype == np.float32
    assert found.model.to_numpy().tolist() == ["small@main", "big@step512", "big@step1000"]
    assert found.name.to_numpy().tolist() == ["small", "big", "big"]
    assert found.revision.to_numpy().tolist() == ["main", "step512", "step1000"]
    assert found["size"].to_numpy().tolist() == [30, 900, 900]
    assert found.attrs["corpus"] == corpus.meta.corpus
    wanted = np.stack([columns[name] for name in order], 1)
    np.testing.assert_array_equal(found.loss, wanted)
    few = jq.open_losses(out, models=["big@step512"])
    np.testing.assert_array_equal(few.loss[:, 0], columns["big", "step512"])


def test_every_way_to_select(corpus: Corpus, tmp_path: Path) -> None:
    for name in ("big", "small"):
        fake(tmp_path / "out", corpus, name, "main")
    found = jq.open_losses(tmp_path / "out")
    whole, chance = found.loss.to_numpy(), np.random.default_rng(0)
    rows = np.sort(chance.choice(len(whole), 40, replace=False))
    mixed = chance.choice(len(whole), 40)
    for key in (
        np.s_[5],
        np.s_[5:90:7],
        np.s_[::-1],
        np.s_[-3:],
        np.s_[rows],
        np.s_[mixed],
        np.s_[:, 1],
        np.s_[7, 0],
        np.s_[3:9, [1, 0, 1]],
        np.s_[rows, ::-1],
        np.s_[rows, 1],
        np.s_[0:0],
    ):
        np.testing.assert_array_equal(found.loss[key].to_numpy(), whole[key], str(key))
    pairs = found.loss.isel(prediction=("x", rows), model=("x", rows % 2)).to_numpy()
    np.testing.assert_array_equal(pairs, whole[rows, rows % 2])
    assert found.loss.sel(model="small@main").shape == (len(whole),)
    np.testing.assert_array_equal(found.isel(prediction=rows).loss[3:5], whole[rows][3:5])


def test_only_what_is_selected_is_read(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten chunks a column, two are damaged after opening: whoever reads them fails."""
    monkeypatch.setattr(column, "CHUNK", 40)
    for name in ("big", "small"):
        fake(tmp_path / "out", corpus, name, "main")
    whole = jq.open_losses(tmp_path / "out").loss.to_numpy()
    found = jq.open_losses(tmp_path / "out")
    (tmp_path / "out/small@main/loss/c/0").write_bytes(b"short")
    (tmp_path / "out/big@main/loss/c/3").write_bytes(b"short")
    np.testing.assert_array_equal(found.loss[40:120], whole[40:120])
    np.testing.assert_array_equal(found.loss.sel(model="big@main")[:120], whole[:120, 1])
    np.testing.assert_array_equal(found.isel(prediction=[41, 199]).loss, whole[[41, 199]])
    for key in (np.s_[39:41], np.s_[120:], np.s_[:]):
        with pytest.raises(Exception, match=r"."):
            found.loss[key].load()


def test_slices_and_means(corpus: Corpus, tmp_path: Path) -> None:
    columns = [fake(tmp_path / "out", corpus, name, "main") for name in ("small", "big")]
    found = jq.open_losses(tmp_path / "out")
    parts = list(slices(found, 50))
    assert [part.sizes["prediction"] for part in parts[:-1]] == [50] * (len(parts) - 1)
    np.testing.assert_array_equal(np.concatenate([part.loss for part in parts]), found.loss)
    wanted = np.mean(columns, axis=1, dtype=np.float64)
    np.testing.assert_allclose(mean_loss(found), wanted, rtol=1e-12)
    assert mean_loss(found).units == "nats"


def test_folders_of_one_corpus_are_joined(corpus: Corpus, tmp_path: Path) -> None:
    one, two = (
        fake(tmp_path / "1", corpus, "big", "main"),
        fake(tmp_path / "2", corpus, "small", "a"),
    )
    found = jq.open_losses(tmp_path / "1", tmp_path / "2")
    np.testing.assert_array_equal(found.loss, np.stack([two, one], 1))
    fake(tmp_path / "2", corpus, "big", "main")
    with pytest.raises(BadInput, match="big@main: in more than one of "):
        jq.open_losses(tmp_path / "1", tmp_path / "2")


def test_columns_of_different_corpora_are_not_joined(corpus: Corpus, tmp_path: Path) -> None:
    other = examples.corpus(tmp_path / "other", seed=1)
    fake(tmp_path / "1", corpus, "big", "main")
    fake(tmp_path / "2", other, "small", "main")
    with pytest.raises(BadInput, match=r"@main: losses of another corpus \(docs\) than .*@main"):
        jq.open_losses(tmp_path / "1", tmp_path / "2")
    (tmp_path / "2/small@main").rename(tmp_path / "1/small@main")  # moved in by hand
    with pytest.raises(BadInput, match="losses of another corpus"):
        jq.open_losses(tmp_path / "1")


def test_losses_of_another_corpus_are_told_apart(corpus: Corpus, tmp_path: Path) -> None:
    fake(tmp_path / "out", corpus, "big", "main")
    found = jq.open_losses(tmp_path / "out")
    require_corpus(found, corpus)
    with pytest.raises(BadInput, match=r"other: not the corpus of these losses"):
        require_corpus(found, examples.corpus(tmp_path / "other", seed=1))


def test_what_cannot_be_opened(corpus: Corpus, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fake(out, corpus, "big", "main")
    fake(out, corpus, "small", "main", finished=False)
    with pytest.raises(BadInput, match=r"out: not finished: small@main; run the same") as caught:
        jq.open_losses(out)
    assert "\n" not in str(caught.value)
    assert jq.open_losses(out, models=["big@main"]).sizes["model"] == 1
    with pytest.raises(BadInput, match=r"no losses of huge@main in .*out"):
        jq.open_losses(out, models=["big@main", "huge@main"])
    with pytest.raises(
        BadInput, match=r"is a corpus .*, not a folder of losses; make one: jquanta losses"
    ):
        jq.open_losses(tmp_path / "corpus")
    with pytest.raises(BadInput, match="nowhere: no such folder; make one: jquanta losses"):
        jq.open_losses(tmp_path / "nowhere")
    zarr.create_group(str(tmp_path / "zarr"))
    with pytest.raises(BadInput, match="holds no losses; compute some"):
        jq.open_losses(tmp_path / "zarr")
    make_root((tmp_path / "empty"), corpus)
    with pytest.raises(BadInput, match="no losses yet"):
        jq.open_losses(tmp_path / "empty")
    (out / "big@main/zarr.json").write_text("{")
    with pytest.raises(BadInput, match="big@main: damaged"):
        jq.open_losses(out)


def test_names_safe_for_folders() -> None:
    assert group_name("EleutherAI/pythia-1.4b-v0", "step1000") == (
        "EleutherAI--pythia-1.4b-v0@step1000"
    )
    assert group_name("a b", "refs/pr/1") == "a--b@refs--pr--1"
