"""What is no input for losses is refused in one line, and nothing is written."""

import json
import os
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jquanta.errors import BadInput, RunFailed
from jquanta.lm.corpus.reader import open_corpus
from jquanta.lm.corpus.tokenizer import train_tokenizer
from jquanta.lm.losses.column import Column
from jquanta.lm.losses.compute import add_column, compute_losses
from jquanta.lm.losses.job import open_checkpoint
from jquanta.lm.models.config import GPTNeoXConfig
from jquanta.lm.weights.save import save_model
from tests.lm.corpus.samples import texts, tree, write_corpus
from tests.lm.losses import examples
from tests.lm.losses.examples import NEOX, USED, compute
from tests.monitors import Watch


def refused(place: Path, match: str, *arguments: object, **settings: object) -> None:
    """``compute_losses`` refuses, and leaves everything below ``place`` as it was."""
    before = tree(place)
    with pytest.raises(BadInput, match=match) as caught:
        compute_losses(*arguments, **settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert tree(place) == before


@pytest.fixture
def place(home: Path, tmp_path: Path) -> Path:
    shutil.copytree(home, tmp_path / "home")
    return tmp_path / "home"


def test_tokens_beyond_the_vocabulary_are_refused(place: Path) -> None:
    write_corpus(place / "large", [[1, 2]], vocab_size=102)
    match = r"neox: its embedding has 101 rows and the tokenizer of .*large 102 tokens; build"
    refused(place, match, place / "large", place / "neox", place / "out")
    write_corpus(place / "wrong", [[1, USED]], vocab_size=USED)
    refused(place, "token 97 is outside the vocab", place / "wrong", place / "neox", place / "out")


def test_another_tokenizer_is_refused(place: Path) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        (place / name).mkdir()
        train_tokenizer(texts(200, seed), 300, place / name / "tokenizer.json")
    file = (place / "one/tokenizer.json").read_bytes()
    write_corpus(place / "words", [[1, 2, 3]], file, 300)
    config = GPTNeoXConfig(layers=1, width=16, heads=1, vocab=300, context=64)
    save_model(place / "model", config, examples.parameters(config))
    shutil.copy(place / "two/tokenizer.json", place / "model")
    match = r"model: its tokenizer is not that of .*words; build the corpus with --tokenizer"
    refused(place, match, place / "words", place / "model", place / "out")
    # Written anew by another version of the library: other bytes, the same tokens.
    (place / "model/tokenizer.json").write_text(json.dumps(json.loads(file), indent=8))
    found = compute_losses(place / "words", place / "model", place / "out")
    assert found.loss.shape == (2, 1)


def test_a_model_without_a_tokenizer_is_told_of(place: Path) -> None:
    corpus = open_corpus(write_corpus(place / "words", [[1, 2, 3]], vocab_size=USED))
    with pytest.warns(UserWarning, match=r"neox: has no tokenizer.json, so whether"):
        open_checkpoint(place / "neox", None, corpus)


def test_documents_beyond_the_context_are_refused(place: Path) -> None:
    examples.corpus(place / "long", [3, 65, 64])
    match = r"long: document 1 has 65 tokens and the context of .*neox is 64; .*--max_length 64"
    refused(place, match, place / "long", place / "neox", place / "out")


def test_weights_that_are_not_finite_are_refused(place: Path) -> None:
    params = examples.parameters()
    params["layers.0.mlp.up.bias"] = params["layers.0.mlp.up.bias"].at[3].set(jnp.nan)
    save_model(place / "bad", NEOX, params)
    match = r"dense_h_to_4h.bias: 1 of 128 numbers are not finite"
    refused(place, match, place / "corpus", place / "bad", place / "out")
    with pytest.raises(RunFailed, match=r"bad@main: document 5, position 0: the loss is nan"):
        add_column(place / "out", open_corpus(place / "corpus"), "bad", "main", NEOX, params)


def test_another_corpus_is_refused(place: Path) -> None:
    compute(place, place / "out")
    examples.corpus(place / "other", seed=1)
    match = r"holds losses on another corpus \(docs\); give another folder"
    refused(place, match, place / "other", place / "neox", place / "out")


def test_other_weights_of_that_name_are_refused(place: Path) -> None:
    compute(place, place / "out")
    examples.model(place / "neox", seed=5)
    match = r"neox@main: holds losses of neox@main with another weights"
    refused(place, match, place / "corpus", place / "neox", place / "out")


def test_files_touched_without_a_change_are_no_other_weights(place: Path) -> None:
    compute(place, place / "out")
    os.utime(place / "neox/config.json")
    watch = Watch()
    compute(place, place / "out", watch=watch)
    assert watch.lines == ["neox@main: already computed; nothing to do"]


def test_folders_that_are_something_else_are_refused(place: Path) -> None:
    import zarr

    (place / "file").write_text("mine")
    (place / "full").mkdir()
    (place / "full/mine.txt").write_text("mine")
    zarr.create_group(str(place / "zarr"))
    corpus, model = place / "corpus", place / "neox"
    refused(place, "is a file; give the path of a folder", corpus, model, place / "file")
    refused(
        place,
        "holds other files and no zarr.json; give",
        corpus,
        model,
        place / "full",
    )
    refused(place, "holds other files and no zarr.json; give", corpus, model, corpus)
    refused(place, "holds another Zarr group", corpus, model, place / "zarr")
    refused(place, "not a corpus", model, model, place / "out")
    refused(place, "not a language model", corpus, corpus, place / "out")
    refused(place, "no such folder", corpus, place / "nowhere", place / "out")
    refused(place, "has no revision", corpus, model, place / "out", revisions=["step1"])
    refused(place, "given twice", corpus, [model, model], place / "out")
    refused(place, "--dtype float16: give", corpus, model, place / "out", dtype="float16")
    refused(place, "--batch_tokens 0: give", corpus, model, place / "out", batch_tokens=0)
    refused(place, "--model is missing", corpus, [], place / "out")


def test_a_changed_corpus_is_refused(place: Path) -> None:
    tokens = np.load(place / "corpus/tokens.npy")
    tokens[5] += 1
    np.save(place / "corpus/tokens.npy", tokens)
    refused(place, "changed since it was built", place / "corpus", place / "neox", place / "out")


def test_a_folder_in_use_is_refused(place: Path) -> None:
    from jquanta.run.folder import RunFolder

    compute(place, place / "out", "neo")
    with (
        RunFolder(place / "out").locked(),
        pytest.raises(BadInput, match=f"in use by process {os.getpid()}"),
    ):
        compute(place, place / "out")


def test_a_full_disk_is_one_line(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Column, number: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Column, "_chunk", full)
        with pytest.raises(RunFailed, match="the disk is full: free some space; then the same"):
            compute(home, tmp_path / "out")
    np.testing.assert_array_equal(compute(home, tmp_path / "out"), compute(home, tmp_path / "b"))
