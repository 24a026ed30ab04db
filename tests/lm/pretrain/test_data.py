"""Windows and their order against plain Python, and the two parts of a source."""

from pathlib import Path

import numpy as np
import pytest

from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import open_corpus
from jquanta.lm.corpus.sources import open_source
from jquanta.lm.corpus.tokenizer import train_tokenizer
from jquanta.lm.pretrain.config import CorpusConfig
from jquanta.lm.pretrain.data import Part, Windows, parts, prepare
from jquanta.run.progress import Silence
from tests.lm.corpus.samples import jsonl, texts, tree, write_corpus
from tests.lm.pretrain.examples import suite

SEPARATOR = 99


@pytest.mark.parametrize("context", [1, 3, 7, 20])
def test_windows_are_slices_of_the_packed_stream(context: int, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    rows = [chance.integers(0, 90, n).tolist() for n in (5, 0, 1, 12, 0, 0, 3, 20, 1)]
    stream = [token for row in rows for token in [*row, SEPARATOR]]
    windows = Windows(open_corpus(write_corpus(tmp_path / "c", rows)), context, SEPARATOR)
    assert windows.count == (len(stream) - 1) // context
    found = windows.tokens(np.arange(windows.count))
    for i, window in enumerate(found.tolist()):
        assert window == stream[i * context : (i + 1) * context + 1]
    # Each token but the first is a target once, up to what fills no window.
    assert found[:, 1:].ravel().tolist() == stream[1 : 1 + context * windows.count]


def test_each_epoch_goes_through_all_windows_in_its_own_order(tmp_path: Path) -> None:
    rows = [list(range(1, 31))]  # every token says where it is
    windows = Windows(open_corpus(write_corpus(tmp_path / "c", rows)), 2, SEPARATOR)
    assert windows.count == 15

    def firsts(seed: int, size: int = 4) -> list[int]:
        """The windows of 15 steps of 4, which are 4 epochs, by their first tokens."""
        batches = [windows.batch(seed, step, size)[:, 0] for step in range(60 // size)]
        return np.concatenate(batches).tolist()

    seen = firsts(0)
    epochs = [seen[i : i + 15] for i in range(0, 60, 15)]
    assert all(sorted(epoch) == list(range(1, 30, 2)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 4
    assert firsts(0) == seen
    assert firsts(1) != seen


def test_documents_go_to_a_side_by_their_text(tmp_path: Path) -> None:
    documents = [*texts(200), *texts(200)[:50]]  # some twice
    source = open_source(jsonl(tmp_path, documents))
    train, test = Part(source, 0.3, False), Part(source, 0.3, True)
    sides = [[document.text for document in part.documents()] for part in (train, test)]
    assert not set(sides[0]) & set(sides[1])
    assert sorted(sides[0] + sides[1]) == sorted(documents)
    assert 35 < len(set(sides[1])) < 85  # 0.3 of about 200 distinct ones
    assert [d.text for d in test.documents(skip=5)] == sides[1][5:]
    hashes = {part.sha256(lambda count: None) for part in (train, test, Part(source, 0.2, True))}
    assert len(hashes) == 3


def test_a_pattern_chooses_from_the_library() -> None:
    sides = parts(CorpusConfig(pattern="json/*", test=0.3))
    names = [{side.relative(path) for path in side.paths} for side in sides]  # type: ignore[attr-defined]
    assert not names[0] & names[1]
    assert all(name.startswith("json/") for name in names[0] | names[1])
    assert "json/decoder.py" in names[0] | names[1]
    with pytest.raises(BadInput, match="no file of the library matches"):
        parts(CorpusConfig(pattern="nothing/*"))


def test_a_tokenizer_may_be_given(source: Path, tmp_path: Path) -> None:
    train_tokenizer(texts(200), 400, tokenizer := tmp_path / "given.json")
    config = suite(source, **{"corpus.tokenizer": str(tokenizer)})
    data = prepare(config, tmp_path / "corpus", tmp_path / "tokenizer.json", Silence())
    assert (tmp_path / "tokenizer.json").read_bytes() == tokenizer.read_bytes()
    assert data.vocab == 400
    assert data.test.meta.recipe.long == "split"
    assert np.diff(data.test.offsets).max() == config.train.context
    files = [path for path in source.iterdir() if path.name.endswith(".py")]
    text = "".join(data.test.decode(data.test.document(i)) for i in range(data.test.n_documents))
    held_out = [path.read_text() for path in sorted(files) if path.read_text() in text]
    assert "".join(held_out) == text  # whole files, not only their heads
    before = tree(tmp_path)
    prepare(config, tmp_path / "corpus", tmp_path / "tokenizer.json", Silence())
    assert tree(tmp_path) == before
