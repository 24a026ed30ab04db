"""Documents, files that hold them in every format, and the plain way to tokenise them."""

import gzip
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from tokenizers import Tokenizer

from jquanta.lm.corpus.layout import Meta, Recipe
from jquanta.run.sums import sha256_of

CODE = "def return self None import the of loss a = == ( ) : [ ] , . 0 17 2023 don't it's"
WORDS = [*CODE.split(), *("é", "日本", "🎉", "\u0301", "\t", "\n", "\n\n", "", "<|endoftext|>")]


def texts(count: int, seed: int = 0) -> list[str]:
    """Documents of all kinds: empty, blank, short, long, without any space, in many scripts."""
    chance = random.Random(seed)
    made = ["", " ", "\n", "x" * 3000, "é" * 500, "word " * 900, "\x00", "🎉"]
    while len(made) < count:
        words = chance.choices(WORDS, k=int(chance.paretovariate(0.6)) % 900)
        made.append(chance.choice(["", " "]).join(words))
    chance.shuffle(made)
    return made[:count]


def twin(tokenizer: Path, documents: Sequence[str], max_length: int) -> list[list[int]]:
    """The tokens of each document, whole and one after another."""
    plain = Tokenizer.from_file(str(tokenizer))
    plain.no_truncation()
    plain.no_padding()
    return [plain.encode(text, add_special_tokens=False).ids[:max_length] for text in documents]


# Files


def lines(documents: Sequence[str]) -> bytes:
    """Some escaped, some not; other fields before and after; blank lines among them."""
    made = []
    for i, text in enumerate(documents):
        record: dict[str, Any] = {"id": i, "text": text, "meta": {"text": None}}
        made.append(json.dumps(record, ensure_ascii=bool(i % 2)) + "\n" * (1 + (i % 7 == 3)))
    return "".join(made).encode().rstrip(b"\n")  # the last line has no end


def jsonl(path: Path, documents: Sequence[str]) -> Path:
    """``documents`` as JSON lines."""
    (path := path / "docs.jsonl").write_bytes(lines(documents))
    return path


def jsonl_gz(path: Path, documents: Sequence[str]) -> Path:
    """In two gzip members, as ``cat a.gz b.gz`` makes."""
    data = lines(documents)
    half = len(data) // 2
    path = path / "docs.jsonl.gz"
    path.write_bytes(gzip.compress(data[:half]) + gzip.compress(data[half:]))
    return path


def jsonl_zst(path: Path, documents: Sequence[str]) -> Path:
    """In two frames with a skippable one between, as parallel compressors make."""
    data = lines(documents)
    half = len(data) // 2
    skippable = (0x184D2A50).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"index"
    compress = zstandard.ZstdCompressor().compress
    path = path / "docs.jsonl.zst"
    path.write_bytes(compress(data[:half]) + skippable + compress(data[half:]))
    return path


def parquet(path: Path, documents: Sequence[str]) -> Path:
    """In several row groups, the text between other columns."""
    table = pa.table({"id": list(range(len(documents))), "text": documents, "n": documents})
    pq.write_table(table, path := path / "docs.parquet", row_group_size=max(1, len(documents) // 3))
    return path


def folder(path: Path, documents: Sequence[str]) -> Path:
    """A file each, some in a folder within, with hidden ones beside them."""
    (path := path / "docs").mkdir()
    for i, text in enumerate(documents):
        place = path / f"{i // 10:04d}" / f"{i:05d}.txt"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(text.encode())
    for hidden in (path / ".git" / "config", path / "0000" / ".DS_Store"):
        hidden.parent.mkdir(exist_ok=True)
        hidden.write_bytes(b"\xff not UTF-8")
    (path / "dangling").symlink_to("nowhere")
    return path


def shards(path: Path, documents: Sequence[str]) -> Path:
    """A folder of files of several formats, and a hidden one beside them."""
    (path := path / "docs").mkdir()
    third = len(documents) // 3
    for i, write in enumerate((parquet, jsonl_zst, jsonl)):
        (place := path / str(i)).mkdir()
        write(place, documents[third * i : third * (i + 1) if i < 2 else None])
    (path / ".cache").write_bytes(b"\xff")
    return path


FORMATS: list[Callable[[Path, Sequence[str]], Path]] = [
    jsonl,
    jsonl_gz,
    jsonl_zst,
    parquet,
    folder,
    shards,
]


# Corpora


def write_corpus(
    path: Path, rows: Sequence[Sequence[int]], tokenizer: bytes = b"{}", vocab_size: int = 512
) -> Path:
    """A corpus folder of given tokens, written with numpy and nothing of the builder."""
    path.mkdir(parents=True)
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    np.save(path / "tokens.npy", np.array([t for row in rows for t in row], np.uint16))
    np.save(path / "offsets.npy", offsets)
    (path / "tokenizer.json").write_bytes(tokenizer)
    meta = Meta(
        schema=1,
        jquanta="0",
        documents=len(rows),
        tokens=int(offsets[-1]),
        predictions=sum(max(len(row) - 1, 0) for row in rows),
        vocab_size=vocab_size,
        source="docs",
        corpus=sha256_of(path / "tokens.npy", path / "offsets.npy"),
        recipe=Recipe("0", sha256_of(path / "tokenizer.json"), 10**6, None),
    )
    (path / "meta.json").write_text(meta.to_json())
    return path


def tree(place: Path) -> dict[str, bytes | None]:
    """Every path below a folder and the content of files."""
    return {
        str(path.relative_to(place)): path.read_bytes() if path.is_file() else None
        for path in sorted(place.rglob("*"))
    }
