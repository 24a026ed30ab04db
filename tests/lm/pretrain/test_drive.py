"""Suites from beginning to end: what is in the folder, and what a break changes: nothing."""

import contextlib
import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM

import jquanta as jq
from jquanta.cli.pretrain import table as told
from jquanta.errors import BadInput, Interrupted, RunFailed
from jquanta.lm.losses.reader import mean_loss
from jquanta.lm.pretrain import data, drive
from jquanta.lm.pretrain.config import load_suite
from jquanta.lm.pretrain.state import restore_state
from jquanta.lm.pretrain.step import initial
from jquanta.run.checkpoint import Checkpoints
from jquanta.run.files import remove
from tests.lm.corpus.samples import tree
from tests.lm.pretrain.examples import content, suite
from tests.monitors import Watch

torch = pytest.importorskip("torch")

SIZES, STEPS = ("3.31k", "12.8k"), (4, 8, 16)


def watch(stop_at: int | None = None) -> Watch:
    """A monitor that ends the work at a given report of training or losses."""
    return Watch(stop_at, counts=lambda stage: "step" in stage)


def test_what_is_in_the_folder(source: Path, whole: Path) -> None:
    assert {path.name for path in whole.iterdir()} == {
        "config.toml",
        "record.json",
        "tokenizer.json",
        "corpus",
        "models",
        "losses",
    }
    assert load_suite(whole / "config.toml") == suite(source)
    record = json.loads((whole / "record.json").read_text())
    assert record["state"] == "done"
    assert set(record["training_seconds"]) == set(SIZES)
    losses = jq.open_losses(whole / "losses")
    assert losses.model.values.tolist() == [f"{n}@step{s}" for n in SIZES for s in STEPS]
    assert losses.attrs["corpus"] == jq.open_corpus(whole / "corpus" / "test").meta.corpus
    means = mean_loss(losses).to_numpy().reshape(2, 3)
    assert (np.diff(means, axis=1) < 0).all()  # learns
    lines = told(suite(source), whole)
    assert [line.split()[0] for line in lines[1:]] == list(SIZES)
    assert f"{means[1, -1]:.3f}" in lines[2]


def test_saved_models_are_those_of_the_stored_losses(whole: Path) -> None:
    """In transformers, float32: sums of 1e-7 each through two blocks; 1e-5 is asked."""
    test, losses = jq.open_corpus(whole / "corpus" / "test"), jq.open_losses(whole / "losses")
    for name in SIZES:
        for step in STEPS:
            model = AutoModelForCausalLM.from_pretrained(whole / "models" / name / f"step{step}")
            found = []
            for i in range(8):
                tokens = torch.tensor(test.document(i).astype(np.int64))
                if len(tokens) > 1:
                    with torch.no_grad():
                        logits = model(tokens[None, :-1]).logits[0]
                    loss = torch.nn.functional.cross_entropy(logits, tokens[1:], reduction="none")
                    found.append(loss.numpy())
            column = losses.loss.sel(model=f"{name}@step{step}")
            expected = column[: sum(map(len, found))].to_numpy()
            np.testing.assert_allclose(np.concatenate(found), expected, rtol=0, atol=1e-5)
    model = jq.load_model(whole / "models" / SIZES[1], "step16")
    assert model.config.width == 32
    assert model.params["embed.embedding"].shape == (300, 32)
    assert model.tokenizer is not None
    assert model.tokenizer.to_str() == test.tokenizer.to_str()


def test_all_sizes_read_the_same_batches(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: dict[int, list[bytes]] = {}
    batch = data.Windows.batch

    def spy(self: Any, seed: int, step: int, size: int) -> Any:
        windows = batch(self, seed, step, size)
        read.setdefault(len(read_sizes), []).append(windows.tobytes())
        return windows

    read_sizes: list[str] = []
    begin = drive.Size._begin

    def counted(self: Any, saved: Any) -> Any:
        read_sizes.append(self.label)
        return begin(self, saved)

    monkeypatch.setattr(data.Windows, "batch", spy)
    monkeypatch.setattr(drive.Size, "_begin", counted)
    jq.pretrain(suite(source), tmp_path / "run")
    assert read_sizes == list(SIZES)
    assert read[1] == read[2]
    assert len(set(read[1])) == 16


@pytest.mark.parametrize("each", [True, False], ids=["saved at each step", "saved at checkpoints"])
def test_a_break_anywhere_changes_nothing(
    each: bool, source: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended at report after report, as by a crash: the end is the same, bit for bit."""
    monkeypatch.setattr(drive, "SAVE_SECONDS", -1.0 if each else 1e9)
    monkeypatch.setattr(drive, "SAVE_SHARE", 1e9)
    folder, breaks, monitor = tmp_path / "run", 0, watch(5)
    while not (folder / "record.json").exists() or (folder / "checkpoints").exists():
        with contextlib.suppress(Interrupted):
            jq.pretrain(suite(source), folder, monitor=monitor)
        breaks += 1
        assert breaks < 50  # else nothing is ever kept
        # A checkpoint is at most 8 steps from the next, and 14 reports are more.
        monitor = watch(breaks % 3 + (3 if each else 14))
    assert breaks > 3
    assert content(folder) == content(whole)


def test_progress_rises_to_the_whole(source: Path, tmp_path: Path) -> None:
    monitor = watch()
    jq.pretrain(suite(source), tmp_path / "run", monitor=monitor)
    assert monitor.shares == sorted(monitor.shares)
    assert monitor.shares[-1] == pytest.approx(1.0)
    details = [
        detail for stage, _, detail in monitor.reports if stage.startswith("3.31k step 16/16")
    ]
    assert "tokens/s  loss " in details[-1]
    assert "tokens to train on" in monitor.lines[0]


def test_a_state_that_was_lost_is_made_again(source: Path, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        jq.pretrain(suite(source), folder, monitor=watch(8))
    (state,) = (folder / "checkpoints").iterdir()
    for path in [path for path in state.rglob("*") if path.is_file()]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    monitor = watch()
    jq.pretrain(suite(source), folder, monitor=monitor)
    assert "cannot be read" in monitor.lines[1]
    assert content(folder) == content(whole)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_state_of_version_0_1_goes_on(
    damaged: bool, source: Path, whole: Path, tmp_path: Path
) -> None:
    """It was one file of safetensors a size, its progress in the file's metadata."""
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        jq.pretrain(suite(source), folder, monitor=watch(8))
    (state,) = (folder / "checkpoints").iterdir()
    config = suite(source)
    network = config.models[0].network(config.corpus.vocab, config.train.context)
    first = initial(network, config.train, config.lr(config.models[0]))
    with Checkpoints(state) as checkpoints:
        tree, progress, _ = restore_state(checkpoints, first)
    remove(state)
    leaves = {str(i): np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(tree))}
    file = state.with_name(f"{state.name}.safetensors")
    save_file(leaves, file, metadata={"progress": json.dumps(progress)})
    if damaged:
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(BadInput, match="damaged; delete it"):
            jq.pretrain(suite(source), folder)
        file.unlink()
    monitor = watch()
    jq.pretrain(suite(source), folder, monitor=monitor)
    assert any("continuing after" in line for line in monitor.lines) is not damaged
    assert content(folder) == content(whole)


def test_several_seeds(source: Path, whole: Path, tmp_path: Path) -> None:
    """Seed 0 is as it is alone, to float32's rounding: 1e-7 a sum, 16 steps of Adam."""
    own_models = [{"layers": 1, "width": 16, "heads": 2}]
    config = suite(source, model=own_models, **{"train.seeds": "0, 3"})
    losses = jq.pretrain(config, tmp_path / "run")
    assert set(losses.name.values) == {"3.31k-seed0", "3.31k-seed3"}
    assert (tmp_path / "run" / "models" / "3.31k-seed3" / "step16" / "config.json").exists()
    alone = jq.open_losses(whole / "losses")
    own, other = (losses.loss.sel(model=f"3.31k-seed{s}@step16").to_numpy() for s in (0, 3))
    expected = alone.loss.sel(model="3.31k@step16").to_numpy()
    np.testing.assert_allclose(own, expected, rtol=0, atol=2e-3)
    assert np.abs(other - expected).max() > 0.1
    assert len(told(config, tmp_path / "run")[1].split(", ")) == 2


def test_a_folder_whose_configuration_is_no_toml_says_so(source: Path, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("name = 'x'\n[corpus\n")
    with pytest.raises(BadInput, match=r"config.toml: not valid TOML .*\(at line 2"):
        jq.pretrain(suite(source), tmp_path)


def test_a_finished_folder_is_left_alone_and_another_configuration_refused(
    source: Path, whole: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(whole, tmp_path / "run")  # other workers may open the shared one
    before = tree(folder)
    losses = jq.pretrain(suite(source, name="other"), folder)
    assert losses.sizes["model"] == 6
    with pytest.raises(BadInput, match="holds another configuration"):
        jq.pretrain(suite(source, **{"train.lr": 0.1}), folder)
    with pytest.raises(BadInput, match="is a file"):
        jq.pretrain(suite(source), folder / "config.toml")
    with pytest.raises(BadInput, match="holds other files"):
        jq.pretrain(suite(source), folder / "models")
    assert tree(folder) == before


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"corpus.source": "nowhere"}, "nowhere: no such file or folder"),
        ({"corpus.tokenizer": "./none.json"}, "there is no file none.json"),
        ({"corpus.vocab": 5000}, "vocab_size = 5000: the documents give only"),
        ({"corpus.test": 1e-9}, "leaves one side of 61 files empty"),
        ({"train.context": 40_000, "train.tokens": 10**9}, "make 0 windows, and a step takes 4"),
        ({"train.batch": 2000, "train.tokens": 10**7}, "windows, and a step takes 2000"),
        ({"train.context": 2000, "train.batch": 1, "train.tokens": 10**7}, "predictions to test"),
    ],
)
def test_what_the_corpus_cannot_do_is_said_and_nothing_is_written(
    changes: dict[str, Any], names: str, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=names):
        jq.pretrain(suite(source, **changes), tmp_path / "runs" / "run")
    assert not list(tmp_path.iterdir())


def test_an_empty_corpus(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(BadInput, match="the documents give only 257 tokens"):
        jq.pretrain(suite(tmp_path / "empty.jsonl"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_one_line_and_can_be_resumed(
    source: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        save, calls = drive.save_model, iter(range(4))

        def full(*arguments: Any) -> None:
            if next(calls, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            save(*arguments)

        patch.setattr(drive, "save_model", full)
        with pytest.raises(RunFailed, match=r"the disk is full.*the same command continues"):
            jq.pretrain(suite(source), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "record.json").read_text())["state"] == "failed"
    jq.pretrain(suite(source), tmp_path / "run")
    assert content(tmp_path / "run") == content(whole)


def test_a_loss_that_is_not_finite_ends_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = data.Windows.tokens
    # A token that no embedding has makes its window's loss NaN.
    monkeypatch.setattr(data.Windows, "tokens", lambda *a: tokens(*a) + 300)
    with pytest.raises(RunFailed, match=r"3\.31k: the loss is nan at step 1: lower train\.lr"):
        jq.pretrain(suite(source), tmp_path / "run")
    assert not (tmp_path / "run" / "models").exists()


@pytest.mark.parametrize("lost", ["losses/12.8k@step8", "losses/zarr.json"])
def test_a_finished_suite_that_lacks_losses_is_no_finished_suite(
    source: Path, whole: Path, tmp_path: Path, lost: str
) -> None:
    folder = shutil.copytree(whole, tmp_path / "run")
    path = folder / lost
    assert path.exists()
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(BadInput, match=f"run: damaged: {lost} is missing; delete this folder"):
        jq.pretrain(suite(source), folder)
