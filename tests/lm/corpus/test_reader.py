"""The numbering of predictions both ways, text around them, and corpora that are refused."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import jquanta as jq
from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus, open_corpus
from tests.lm.corpus.samples import write_corpus

Lengths = st.lists(st.integers(0, 5), min_size=1, max_size=12)


def corpus_of(lengths: list[int]) -> Corpus:
    with tempfile.TemporaryDirectory() as place:
        return open_corpus(write_corpus(Path(place) / "corpus", [[1] * n for n in lengths]))


# Numbering


@given(Lengths)
@example([0, 0])
@example([1, 0, 1])
@example([0, 1, 3, 0, 0, 1, 2, 0])
def test_locate_and_index_of(lengths: list[int]) -> None:
    corpus = corpus_of(lengths)
    plain = [(i, j) for i, length in enumerate(lengths) for j in range(length - 1)]
    assert corpus.n_documents == len(lengths)
    assert corpus.n_tokens == sum(lengths)
    assert corpus.n_predictions == len(plain)
    documents, positions = corpus.locate(np.arange(len(plain)))
    assert list(zip(documents.tolist(), positions.tolist(), strict=True)) == plain
    assert corpus.index_of(documents, positions).tolist() == list(range(len(plain)))
    for document, length in enumerate(lengths):
        for position in (-1, max(length - 1, 0)):
            with pytest.raises(BadInput, match=f"document {document}, position {position}: "):
                corpus.index_of(document, position)
    for index in (-1, len(plain)):
        with pytest.raises(BadInput, match=f"prediction {index}: "):
            corpus.locate(index)
    for document in (-1, len(lengths)):
        with pytest.raises(BadInput, match=f"document {document}: "):
            corpus.index_of(document, 0)
        with pytest.raises(BadInput, match=f"document {document}: "):
            corpus.document(document)


def test_any_shape_and_kind_of_integer() -> None:
    corpus = corpus_of([3, 0, 4])
    for kind in (np.uint8, np.int32, np.uint64):
        documents, positions = corpus.locate(np.arange(4, dtype=kind).reshape(2, 2))
        assert documents.tolist() == [[0, 0], [2, 2]]
        assert positions.tolist() == [[0, 1], [0, 1]]
    document, position = corpus.locate(4)
    assert (document.shape, int(document), int(position)) == ((), 2, 2)
    assert corpus.index_of(2, [0, 1, 2]).tolist() == [2, 3, 4]
    assert corpus.locate([])[0].shape == (0,)
    for bad in (1.0, [True], ["1"]):
        with pytest.raises(BadInput, match="give integers"):
            corpus.locate(bad)
    with pytest.raises(BadInput, match="prediction 5: this corpus has predictions 0 to 4"):
        corpus.locate([[0, 5], [1, 9]])
    with pytest.raises(BadInput, match="document 1, position 0: this document has 0 predictions"):
        corpus.index_of([0, 1], 0)


def test_documents_are_their_tokens(tmp_path: Path) -> None:
    rows = [[5, 6], [], [7], [8, 9, 10]]
    corpus = jq.open_corpus(str(write_corpus(tmp_path / "corpus", rows)))
    assert [corpus.document(i).tolist() for i in range(4)] == rows
    assert isinstance(corpus.tokens, np.memmap)


# Text


def byte_of() -> dict[str, int]:
    """GPT-2's letters for bytes: printable ones are themselves, the others follow from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    return letters | {chr(256 + i): byte for i, byte in enumerate(others)}


def characters(data: bytes) -> list[tuple[int, str]]:
    """Each character of UTF-8 and where it begins; an end that is cut off counts as one."""
    text = data.decode(errors="replace")
    starts = [0]
    for character in text[:-1]:
        starts.append(starts[-1] + len(character.encode()))
    return list(zip(starts, text, strict=True))


Texts = st.text(st.sampled_from("ab =\n0éπ日本🎉\ufffd\u0301"), min_size=1, max_size=25)


@pytest.fixture(scope="module", params=["trained", "across characters"])
def cutting(
    request: pytest.FixtureRequest, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A trained tokenizer, and one with tokens that end one character and begin the next."""
    if request.param == "trained":
        return tokenizer
    letters = {byte: letter for letter, byte in byte_of().items()}
    merges = [
        (letters[one[-1]], letters[two[0]])
        for one, two in (("日".encode(), "日".encode()), ("é".encode(), "🎉".encode()))
    ]
    words = [*letters.values(), *(one + two for one, two in merges)]
    crossing = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, merges))
    crossing.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    crossing.decoder = decoders.ByteLevel()
    path = tmp_path_factory.mktemp("crossing") / "tokenizer.json"
    crossing.save(str(path))
    return path


@example(text="日日", before=0, after=0, cut=0)
@example(text="ééé🎉日日", before=2, after=1, cut=1)
@given(Texts, st.integers(0, 30), st.integers(0, 30), st.integers(0, 3))
def test_context_is_in_whole_characters(
    cutting: Path, text: str, before: int, after: int, cut: int
) -> None:
    """Against bytes: the characters that the tokens' bytes touch, whatever cuts them."""
    tokenizer = cutting
    plain, letters = Tokenizer.from_file(str(tokenizer)), byte_of()
    ids = plain.encode(text, add_special_tokens=False).ids
    ids = ids[: max(1, len(ids) - cut)]  # truncation may cut the last character
    pieces = [bytes(letters[letter] for letter in plain.id_to_token(i) or "") for i in ids]
    ends = np.cumsum([0, *map(len, pieces)])
    whole = characters(b"".join(pieces))
    with tempfile.TemporaryDirectory() as place:
        corpus = open_corpus(
            write_corpus(Path(place) / "corpus", [[0], ids], tokenizer.read_bytes(), 400)
        )
        for index in range(corpus.n_predictions):
            here = index + 1
            found = corpus.context(index, before, after)
            borders = [start for start, _ in whole] + [int(ends[-1])]
            low, high = ends[max(0, here - before)], ends[min(len(ids), here + 1 + after)]
            first, left = (max(b for b in borders if b <= at) for at in (low, ends[here]))
            right, last = (min(b for b in borders if b >= at) for at in (ends[here + 1], high))
            spans = ((first, left), (left, right), (right, last))
            wanted = tuple("".join(c for at, c in whole if a <= at < b) for a, b in spans)
            assert tuple(found) == wanted
            assert found.target
            if here <= before and len(ids) <= here + after:
                assert "".join(found) == plain.decode(ids)
        assert corpus.decode(corpus.document(1)) == plain.decode(ids)


def test_special_tokens_are_shown(tokenizer: Path, tmp_path: Path) -> None:
    plain = Tokenizer.from_file(str(tokenizer))
    ids = plain.encode("a<|endoftext|> b").ids
    corpus = open_corpus(write_corpus(tmp_path / "c", [ids], tokenizer.read_bytes(), 400))
    assert corpus.context(0) == ("a", "<|endoftext|>", " b")
    assert corpus.context(0, before=0, after=0) == ("", "<|endoftext|>", "")
    with pytest.raises(BadInput, match="prediction 99: "):
        corpus.context(99)


# What is refused


def cut_tokens(path: Path) -> None:
    data = (path / "tokens.npy").read_bytes()
    (path / "tokens.npy").write_bytes(data[:-2])


def fewer_tokens(path: Path) -> None:
    np.save(path / "tokens.npy", np.load(path / "tokens.npy")[:-1])


def fewer_offsets(path: Path) -> None:
    np.save(path / "offsets.npy", np.load(path / "offsets.npy")[[0, 1, 3]])


def falling_offsets(path: Path) -> None:
    np.save(path / "offsets.npy", np.array([0, 4, 2, 5]))


def shifted_offsets(path: Path) -> None:
    np.save(path / "offsets.npy", np.array([1, 2, 4, 5]))


def no_offsets(path: Path) -> None:
    np.save(path / "offsets.npy", np.zeros(0, np.int64))


def wide_tokens(path: Path) -> None:
    np.save(path / "tokens.npy", np.load(path / "tokens.npy").astype(np.int64))


def square_tokens(path: Path) -> None:
    np.save(path / "tokens.npy", np.load(path / "tokens.npy")[None])


def pickled_tokens(path: Path) -> None:
    np.save(path / "tokens.npy", np.array([None] * 5, object), allow_pickle=True)


def empty_tokens(path: Path) -> None:
    (path / "tokens.npy").write_bytes(b"")


def missing_tokens(path: Path) -> None:
    (path / "tokens.npy").unlink()


def other_counts(path: Path) -> None:
    meta = json.loads((path / "meta.json").read_text())
    (path / "meta.json").write_text(json.dumps(meta | {"predictions": 9}))


def other_schema(path: Path) -> None:
    meta = json.loads((path / "meta.json").read_text())
    (path / "meta.json").write_text(json.dumps(meta | {"schema": 2}))


def cut_meta(path: Path) -> None:
    (path / "meta.json").write_text((path / "meta.json").read_text()[:40])


def empty_meta(path: Path) -> None:
    (path / "meta.json").write_text("{}")


def odd_meta(path: Path) -> None:
    (path / "meta.json").write_text("[1]")


def missing_meta(path: Path) -> None:
    (path / "meta.json").unlink()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut_tokens, r"tokens\.npy: damaged"),
        (fewer_tokens, "do not fit each other"),
        (fewer_offsets, "do not fit each other"),
        (falling_offsets, "do not fit each other"),
        (shifted_offsets, "do not fit each other"),
        (no_offsets, "do not fit each other"),
        (other_counts, "do not fit each other"),
        (wide_tokens, r"tokens\.npy: holds int64"),
        (square_tokens, r"tokens\.npy: holds uint16 of shape \(1, 5\)"),
        (pickled_tokens, r"tokens\.npy: damaged"),
        (empty_tokens, r"tokens\.npy: damaged"),
        (missing_tokens, r"tokens\.npy: missing"),
        (other_schema, r"meta\.json: schema 2, and this jquanta reads 1"),
        (cut_meta, r"meta\.json: damaged"),
        (empty_meta, r"meta\.json: damaged"),
        (odd_meta, r"meta\.json: damaged"),
        (missing_meta, r"not a corpus \(no meta\.json\)"),
    ],
)
def test_a_corpus_that_does_not_fit_is_refused(
    damage: Callable[[Path], None], says: str, tmp_path: Path
) -> None:
    path = write_corpus(tmp_path / "corpus", [[1], [2, 3], [4, 5]])
    open_corpus(path).verify()
    damage(path)
    with pytest.raises(BadInput, match=says) as error:
        open_corpus(path)
    assert "\n" not in str(error.value)


def test_what_only_hashes_can_tell(tmp_path: Path) -> None:
    rows = [[1], [2, 3], [4, 5]]
    path = write_corpus(tmp_path / "tokens", rows)
    np.save(path / "tokens.npy", np.array([1, 2, 3, 4, 6], np.uint16))
    with pytest.raises(BadInput, match=r"tokens\.npy: changed since it was built"):
        open_corpus(path).verify()
    path = write_corpus(tmp_path / "tokenizer", rows)
    opened = open_corpus(path)
    (path / "tokenizer.json").write_text("{ }")
    with pytest.raises(BadInput, match=r"tokenizer\.json: not the tokenizer that meta\.json names"):
        open_corpus(path).verify()
    (path / "tokenizer.json").unlink()
    with pytest.raises(BadInput, match=r"tokenizer\.json: not the tokenizer"):
        open_corpus(path).verify()
    with pytest.raises(BadInput, match=r"tokenizer\.json: No such file"):
        opened.decode([1])
    path = write_corpus(tmp_path / "range", [[1], [2, 300]], vocab_size=300)
    with pytest.raises(BadInput, match="token 300 is outside the vocabulary of 300"):
        open_corpus(path).verify()


def test_a_run_folder_names_its_corpora(tmp_path: Path) -> None:
    """As of jquanta pretrain, which has two."""
    for name in ("test", "train"):
        write_corpus(tmp_path / "run" / "corpus" / name, [[1, 2]])
    with pytest.raises(BadInput, match=r"give .*run/corpus/test"):
        open_corpus(tmp_path / "run")


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="gone: no such folder; build one"):
        open_corpus(tmp_path / "gone")
