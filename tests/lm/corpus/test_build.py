"""Building: every format equals the plain way, however it is batched, interrupted or killed."""

import gzip
import hashlib
import json
import os
import random
import signal
import tracemalloc
from codecs import BOM_UTF8
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

import jquanta
from jquanta.errors import BadInput, Interrupted
from jquanta.lm.corpus import build, streamed
from jquanta.lm.corpus.build import build_corpus
from jquanta.lm.corpus.reader import open_corpus
from jquanta.lm.corpus.sources import open_source
from jquanta.run.progress import Silence
from tests.lm.corpus import samples
from tests.lm.corpus.samples import (
    FORMATS,
    folder,
    jsonl,
    jsonl_gz,
    jsonl_zst,
    lines,
    texts,
    tree,
    twin,
)
from tests.monitors import Watch

MAX_LENGTH = 50
DOCUMENTS = texts(120)

Writer = Callable[[Path, Sequence[str]], Path]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize("limit", [None, 1, 77, 10**9])
def test_every_format_equals_the_plain_way(
    write: Writer, limit: int | None, tokenizer: Path, tmp_path: Path
) -> None:
    source, out = write(tmp_path, DOCUMENTS), tmp_path / "out"
    corpus = build_corpus(source, tokenizer, out, max_length=MAX_LENGTH, documents=limit)
    rows = twin(tokenizer, DOCUMENTS[:limit], MAX_LENGTH)
    assert corpus.n_documents == len(rows)
    for i, row in enumerate(rows):
        assert corpus.document(i).tolist() == row, i
    assert corpus.n_predictions == sum(max(len(row) - 1, 0) for row in rows)
    corpus.verify()
    assert set(tree(tmp_path)) >= {"out/tokens.npy", "out/offsets.npy", "out/meta.json"}
    assert {path.name for path in out.iterdir()} == {
        "tokens.npy",
        "offsets.npy",
        "meta.json",
        "tokenizer.json",
    }
    assert not (tmp_path / "out.part").exists()


def test_the_files_are_those_of_numpy_and_the_hashes_those_of_sha256sum(
    tokenizer: Path, tmp_path: Path
) -> None:
    source, out = jsonl_zst(tmp_path, DOCUMENTS), tmp_path / "out"
    build_corpus(source, tokenizer, out, max_length=MAX_LENGTH)
    rows = twin(tokenizer, DOCUMENTS, MAX_LENGTH)
    np.save(tmp_path / "tokens.npy", np.array([t for row in rows for t in row], np.uint16))
    np.save(tmp_path / "offsets.npy", np.cumsum([0, *map(len, rows)]).astype(np.int64))
    for name in ("tokens.npy", "offsets.npy"):
        assert (out / name).read_bytes() == (tmp_path / name).read_bytes()
    assert (out / "tokenizer.json").read_bytes() == tokenizer.read_bytes()

    def sha256(*paths: Path) -> str:
        return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()

    assert json.loads((out / "meta.json").read_text()) == {
        "schema": 1,
        "jquanta": jquanta.__version__,
        "documents": len(rows),
        "tokens": sum(map(len, rows)),
        "predictions": sum(max(len(row) - 1, 0) for row in rows),
        "vocab_size": 400,
        "source": "docs.jsonl.zst",
        "max_length": MAX_LENGTH,
        "limit": None,
        "long": "cut",
        "field": "text",
        "sha256": {
            "source": sha256(source),
            "tokenizer": sha256(tokenizer),
            "corpus": sha256(tmp_path / "tokens.npy", tmp_path / "offsets.npy"),
        },
    }


@pytest.mark.parametrize("length", [1, 7, MAX_LENGTH, 10**9])
def test_long_documents_may_be_split(length: int, tokenizer: Path, tmp_path: Path) -> None:
    """No token is lost, and only the last piece of a document is shorter."""
    corpus = build_corpus(
        jsonl(tmp_path, DOCUMENTS), tokenizer, tmp_path / "out", max_length=length, long="split"
    )
    rows = [
        row[i : i + length]
        for row in twin(tokenizer, DOCUMENTS, 10**9)
        for i in range(0, max(1, len(row)), length)
    ]
    assert [corpus.document(i).tolist() for i in range(corpus.n_documents)] == rows
    assert corpus.meta.recipe.long == "split"
    # The first documents of a source, whatever they become.
    few = build_corpus(
        tmp_path / "docs.jsonl",
        tokenizer,
        tmp_path / "few",
        max_length=length,
        long="split",
        documents=3,
    )
    taken = sum(-(-len(row) // length) or 1 for row in twin(tokenizer, DOCUMENTS[:3], 10**9))
    assert few.n_documents == taken
    with pytest.raises(BadInput, match="it differs in long"):
        build_corpus(tmp_path / "docs.jsonl", tokenizer, tmp_path / "out", max_length=length)


def test_the_hash_of_a_folder_is_that_of_its_listing(tmp_path: Path) -> None:
    path = folder(tmp_path, ["one", "two"])
    listing = "".join(
        f"{hashlib.sha256(text).hexdigest()}  0000/0000{i}.txt\n"
        for i, text in enumerate([b"one", b"two"])
    )
    found = open_source(path).sha256(lambda count: None)
    assert found == hashlib.sha256(listing.encode()).hexdigest()


@pytest.mark.parametrize("size", [1, 100, 10**7])
def test_the_batch_makes_no_difference(
    size: int, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = jsonl(tmp_path, DOCUMENTS)
    build_corpus(source, tokenizer, tmp_path / "default", max_length=MAX_LENGTH)
    monkeypatch.setattr(build, "BATCH_CHARACTERS", size)
    build_corpus(source, tokenizer, tmp_path / "other", max_length=MAX_LENGTH)
    assert tree(tmp_path / "other") == tree(tmp_path / "default")


def test_a_vocabulary_beyond_two_bytes(tokenizer: Path, tmp_path: Path) -> None:
    content = json.loads(tokenizer.read_text())
    content["added_tokens"].append(content["added_tokens"][0] | {"id": 2**16, "content": "<far>"})
    content["model"]["vocab"]["<far>"] = 2**16
    (tmp_path / "far.json").write_text(json.dumps(content))
    source = jsonl(tmp_path, ["near <far>", ""])
    corpus = build_corpus(source, tmp_path / "far.json", tmp_path / "out")
    assert corpus.tokens.dtype == np.uint32
    assert corpus.meta.vocab_size == 2**16 + 1
    assert corpus.document(0).tolist() == twin(tmp_path / "far.json", ["near <far>"], 99)[0]
    assert corpus.tokens[-1] == 2**16
    corpus.verify()


def test_nothing_but_empty_documents(tokenizer: Path, tmp_path: Path) -> None:
    corpus = build_corpus(jsonl(tmp_path, ["", ""]), tokenizer, tmp_path / "out")
    assert (corpus.n_documents, corpus.n_tokens, corpus.n_predictions) == (2, 0, 0)
    corpus.verify()


def test_truncation_and_padding_of_the_tokenizer_file_are_not_ours(
    tokenizer: Path, tmp_path: Path
) -> None:
    content = json.loads(tokenizer.read_text())
    content["truncation"] = {
        "direction": "Left",
        "max_length": 3,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    content["padding"] = {
        "strategy": {"Fixed": 9},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "x",
    }
    (tmp_path / "odd.json").write_text(json.dumps(content))
    source = jsonl(tmp_path, ["one two three four five six seven", ""])
    corpus = build_corpus(source, tmp_path / "odd.json", tmp_path / "out", max_length=6)
    rows = twin(tokenizer, ["one two three four five six seven", ""], 6)
    assert [corpus.document(i).tolist() for i in range(2)] == rows


@pytest.mark.usefixtures("small")
def test_progress_rises_to_the_whole(tokenizer: Path, tmp_path: Path) -> None:
    for write in FORMATS:
        (tmp_path / write.__name__).mkdir()
        source = write(tmp_path / write.__name__, DOCUMENTS)
        watch = Watch()
        corpus = build_corpus(source, tokenizer, tmp_path / "out" / write.__name__, monitor=watch)
        for stage in ("hashing the source", "tokenising"):
            shares = [share for name, share, _ in watch.reports if name == stage]
            assert shares == sorted(shares)
            assert shares[-1] == pytest.approx(1)
        assert watch.reports[-1][2].startswith(f"{corpus.n_documents:,} documents")


# Memory


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("write", [jsonl, jsonl_gz, jsonl_zst])
def test_memory_is_that_of_a_few_batches(
    write: Writer, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source of 12 MB passes through. Hashing takes 2 MiB (two pieces of one), batches less."""
    monkeypatch.setattr(build, "BATCH_CHARACTERS", 20_000)
    documents = [random.Random(i).randbytes(1000).hex(" ", 4) for i in range(5300)]
    source = write(tmp_path, documents)
    assert sum(map(len, documents)) > 11.9e6
    del documents
    build_corpus(source, tokenizer, tmp_path / "warm", documents=3, max_length=9)
    tracemalloc.start()
    try:
        build_corpus(source, tokenizer, tmp_path / "out", max_length=9)
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("group", [1000, 10**6])
def test_parquet_is_read_piece_by_piece(group: int, tmp_path: Path) -> None:
    """Whether the rows are in many groups or in a single one."""

    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.parquet"
        made = [random.Random(i).randbytes(2000).hex() for i in range(rows)]
        pq.write_table(pa.table({"text": made}), path, row_group_size=group)
        del made
        before = pa.total_allocated_bytes()
        documents = open_source(path).documents()
        return max(pa.total_allocated_bytes() for _ in documents) - before

    assert peak(8000) < 1.5 * peak(1000)  # some pages come in ahead


# Folders that are not empty


def test_a_finished_corpus_is_checked_and_left_alone(tokenizer: Path, tmp_path: Path) -> None:
    class Ears(Silence):
        said = ""

        def say(self, line: str) -> None:
            self.said += line

    source, out = jsonl(tmp_path, DOCUMENTS), tmp_path / "out"
    build_corpus(source, tokenizer, out)
    before = {path: path.stat().st_mtime_ns for path in (out, *out.iterdir())}
    ears = Ears()
    build_corpus(source, tokenizer, out, monitor=ears)
    assert ears.said == f"{out}: already built, and whole; nothing to do"
    assert {path: path.stat().st_mtime_ns for path in (out, *out.iterdir())} == before
    data = bytearray((out / "tokens.npy").read_bytes())
    data[-1] ^= 1
    (out / "tokens.npy").write_bytes(data)
    with pytest.raises(BadInput, match=r"tokens\.npy: changed since it was built"):
        build_corpus(source, tokenizer, out)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("finished", [True, False])
def test_another_corpus_is_refused(
    finished: bool, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = jsonl(tmp_path, DOCUMENTS), tmp_path / "out"
    if finished:
        build_corpus(source, tokenizer, out)
    else:
        with monkeypatch.context() as patch:
            patch.setattr(build._Arrays, "finish", lambda self: os.kill(os.getpid(), signal.SIGINT))
            with pytest.raises(Interrupted):
                build_corpus(source, tokenizer, out)
    before = tree(tmp_path)
    other = tmp_path.parent / "other.json"
    other.write_text(tokenizer.read_text() + "\n")
    for options, field in (
        ({"max_length": 7}, "max_length"),
        ({"documents": 5}, "limit"),
        ({"tokenizer": other}, "tokenizer"),
        ({"tokenizer": other, "max_length": 7}, "tokenizer, max_length"),
    ):
        words: dict[str, Any] = {"tokenizer": tokenizer} | options
        with pytest.raises(BadInput, match=rf"another corpus \(it differs in {field}\)"):
            build_corpus(source, out=out, **words)
    assert tree(tmp_path) == before
    source.write_bytes(source.read_bytes() + b'\n{"text": "one more"}')
    with pytest.raises(BadInput, match=r"another corpus \(it differs in source\)"):
        build_corpus(source, tokenizer, out)


def test_an_empty_folder_will_do_and_a_new_one_deep_down(tokenizer: Path, tmp_path: Path) -> None:
    source = jsonl(tmp_path, DOCUMENTS[:9])
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    build_corpus(source, tokenizer, tmp_path / "link")
    assert open_corpus(tmp_path / "empty").n_documents == 9
    build_corpus(source, tokenizer, tmp_path / "a" / "b" / "c")
    assert tree(tmp_path / "a" / "b" / "c") == tree(tmp_path / "empty")


def test_a_damaged_beginning_is_named(tokenizer: Path, tmp_path: Path) -> None:
    source, part = jsonl(tmp_path, DOCUMENTS), tmp_path / "out.part"
    part.mkdir()
    for content in ("{", "[]", '{"recipe": {}}'):
        (part / "progress.json").write_text(content)
        with pytest.raises(BadInput, match=r"out\.part.*; delete .*out\.part and run"):
            build_corpus(source, tokenizer, tmp_path / "out")
    (part / "progress.json").unlink()
    (part / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"out\.part, where it is built, is not ours"):
        build_corpus(source, tokenizer, tmp_path / "out")
    assert tree(part) == {"mine.txt": b"mine"}
    (part / "mine.txt").unlink()
    part.rmdir()
    part.write_text("mine")
    with pytest.raises(BadInput, match=r"out\.part, where it is built, is not ours"):
        build_corpus(source, tokenizer, tmp_path / "out")


def test_the_root_of_a_disk_is_refused_at_once(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda self: self.name == "disk")
    with pytest.raises(BadInput, match="disk: is the root of a disk; give a folder in it"):
        build_corpus(jsonl(tmp_path, ["x"]), tokenizer, tmp_path / "disk")
    build_corpus(jsonl(tmp_path, ["x"]), tokenizer, tmp_path / "disk" / "out")


# What stands in front of a text, and lines without end


@pytest.mark.parametrize("write", [jsonl, jsonl_gz, jsonl_zst, folder])
def test_a_byte_order_mark_is_no_part_of_a_text(
    write: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "marked").mkdir()
    wanted = [found.text for found in open_source(write(tmp_path / "plain", DOCUMENTS)).documents()]
    if write is folder:
        source = write(tmp_path / "marked", DOCUMENTS)
        for path in source.rglob("*"):
            if path.is_file():
                path.write_bytes(BOM_UTF8 + path.read_bytes())
    else:
        monkeypatch.setattr(samples, "lines", lambda documents: BOM_UTF8 + lines(documents))
        source = write(tmp_path / "marked", DOCUMENTS)
    assert [found.text for found in open_source(source).documents()] == wanted


def test_another_byte_order_mark_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one", encoding="utf-16")
    with pytest.raises(BadInput, match="UTF-16 and not UTF-8; convert it first"):
        list(open_source(tmp_path).documents())


@pytest.mark.parametrize("end", ["gz", "zst"])
def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed, "MOST_BYTES", 2**20)
    long = lines(DOCUMENTS) + b"\n" + bytes(2**26)
    packed = gzip.compress(long, 1) if end == "gz" else zstandard.ZstdCompressor().compress(long)
    path = tmp_path / f"docs.jsonl.{end}"
    path.write_bytes(packed)
    del long
    tracemalloc.start()
    try:
        with pytest.raises(BadInput, match=r"a line of more bytes than .*; split it"):
            list(open_source(path).documents())
        # Of zstd a piece of 4 kB may become 128 MiB; of gzip 128 KiB come at a time.
        assert end == "zst" or tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_a_file_that_is_too_long_for_a_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed, "MOST_BYTES", 10)
    (tmp_path / "a.txt").write_text("eleven chars")
    with pytest.raises(BadInput, match="12 bytes, more than the 10 that a document may have"):
        list(open_source(tmp_path).documents())
