"""``jquanta corpus``: what it refuses and says, and that nothing half written stays."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

import jquanta
from jquanta import __main__ as front
from jquanta.cli import corpus as corpus
from jquanta.lm.corpus import build
from tests.lm.corpus.samples import folder, jsonl, lines, texts, tree

GOOD = lines(texts(400)) + b"\n"


@pytest.fixture
def here(tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a tokenizer in it; batches reach the disk at once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "BATCH_CHARACTERS", 3000)
    monkeypatch.setattr(build, "LEAST_INTERVAL", -1.0)
    monkeypatch.setattr(build, "COST_SHARE", 1e9)
    (tmp_path / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    return tmp_path


def refused(words: list[str], capsys: pytest.CaptureFixture[str], here: Path) -> str:
    """The one line that says why it is bad input, after which ``here`` is as it was."""
    before = tree(here)
    capsys.readouterr()
    assert corpus.main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("jquanta: ")
    assert said.err.count("\n") == 1
    assert tree(here) == before
    return said.err


def build_of(source: str, *more: str) -> list[str]:
    return [source, "--tokenizer", "tokenizer.json", "--out", "new/out", *more]


def flipped(data: bytes) -> bytes:
    """A bit in the middle changed."""
    half = len(data) // 2
    return data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :]


def line(text: bytes) -> bytes:
    """A bad line after 458 good ones: past what is looked at before writing begins."""
    return GOOD + text + b"\n" + GOOD


BAD = 1 + GOOD.count(b"\n")
ZSTD, GZIP = zstandard.ZstdCompressor(write_checksum=True).compress(GOOD), gzip.compress(GOOD)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("cut.jsonl.zst", ZSTD[: len(ZSTD) // 2], "the zstd data is cut off"),
        ("cut1.jsonl.zst", ZSTD[:-1], "the zstd data is cut off"),
        ("cut2.jsonl.zst", ZSTD + ZSTD[:2], "the zstd data is cut off"),
        ("flip.jsonl.zst", flipped(ZSTD), "damaged zstd data"),
        ("not.jsonl.zst", GOOD, "damaged zstd data"),
        ("cut.jsonl.gz", GZIP[: len(GZIP) // 2], "the gzip data is cut off"),
        ("cut1.jsonl.gz", GZIP[:-1], "the gzip data is cut off"),
        ("flip.jsonl.gz", flipped(GZIP), "damaged gzip data"),
        ("not.jsonl.gz", GOOD, "damaged gzip data"),
        ("more.jsonl.gz", GZIP + GOOD, "damaged gzip data"),
        ("utf8.jsonl", line(b'{"text": "\xff"}'), f"line {BAD}: not valid UTF-8 (byte 0xff)"),
        (
            "utf16.jsonl",
            '{"text": ""}'.encode("utf-16"),
            "line 1: UTF-16 and not UTF-8; convert it",
        ),
        ("half.jsonl", line(b'{"text": "\\ud83c"}'), f'line {BAD}: "text" holds half'),
        ("raw.jsonl", line(b"{'text': 1}"), f"line {BAD}: not JSON ("),
        ("cut.jsonl", GOOD + b'{"text": "wor', f"line {BAD}: not JSON ("),
        ("deep.jsonl", line(b"[" * 100_000), f"line {BAD}: not JSON ("),
        ("digits.jsonl", line(b"9" * 5000), f"line {BAD}: not JSON ("),
        ("list.jsonl", line(b'["text"]'), f"line {BAD}: not a JSON object"),
        (
            "field.jsonl",
            line(b'{"content": "", "id": 3}'),
            f'line {BAD}: no field "text" (it has "content", "id")',
        ),
        ("empty-record.jsonl", line(b"{}"), f'line {BAD}: no field "text" (it has none)'),
        ("null.jsonl", line(b'{"text": null}'), f'line {BAD}: "text" is not a string'),
        ("number.jsonl", line(b'{"text": 3}'), f'line {BAD}: "text" is not a string'),
        ("empty.jsonl", b"", "holds no documents"),
        ("blank.jsonl", b"\n  \n\r\n", "holds no documents"),
        ("empty.jsonl.gz", b"", "holds no documents"),
        ("empty.jsonl.zst", b"", "holds no documents"),
        ("not.parquet", GOOD, "Parquet magic bytes not found"),
        ("text.txt", GOOD, "give a file whose name ends in .jsonl, "),
        ("text.json", GOOD, "give a file whose name ends in .jsonl, "),
    ],
)
def test_bad_files(
    name: str, content: bytes, says: str, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    (here / name).write_bytes(content)
    said = refused(build_of(name), capsys, here)
    assert name in said
    assert says in said


@pytest.mark.parametrize("wrap", [zstandard.ZstdCompressor().compress, gzip.compress])
def test_a_bad_line_in_compressed_files(
    wrap: Callable[[bytes], bytes], capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    name = f"x.jsonl.{'gz' if wrap is gzip.compress else 'zst'}"
    (here / name).write_bytes(wrap(line(b"no")))
    assert f"{name}: line {BAD}: not JSON" in refused(build_of(name), capsys, here)


def not_utf8(count: int) -> pa.Array:
    """Strings of one byte each, the last of them no UTF-8."""
    data = b"a" * (count - 1) + b"\xff"
    offsets = np.arange(count + 1, dtype=np.int32)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(data))


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (pa.table({"content": ["x"], "id": [1]}), 'no column "text" (it has "content", "id")'),
        (pa.table({"text": [1]}), 'column "text" holds int64, not strings'),
        (pa.table({"text": [b"x"]}), 'column "text" holds binary, not strings'),
        (pa.table({"text": ["x"] * 700 + [None]}), 'row 701: "text" is null'),
        (pa.table({"text": not_utf8(701)}), "row 701: not valid UTF-8 (byte 0xff)"),
        (pa.table({"text": pa.array([], pa.string())}), "holds no documents"),
    ],
)
def test_bad_parquet(
    table: pa.Table, says: str, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    pq.write_table(table, here / "x.parquet", use_dictionary=False, row_group_size=300)
    said = refused(build_of("x.parquet"), capsys, here)
    assert "x.parquet" in said
    assert says in said


def test_damaged_parquet(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    rows = [str(i) * 50 for i in range(3000)]
    pq.write_table(pa.table({"text": rows}), here / "x.parquet", row_group_size=1000)
    data = (here / "x.parquet").read_bytes()
    half = len(data) // 2
    (here / "x.parquet").write_bytes(data[:half] + b"\xff" * 300 + data[half + 300 :])
    assert "x.parquet: after row 1000: " in refused(build_of("x.parquet"), capsys, here)


def test_bad_folders(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    folder(here, ["fine", "fine"])
    (here / "docs" / "0000" / "latin.py").write_bytes(b"one\ntwo \xe9\n")
    said = refused(build_of("docs"), capsys, here)
    assert "latin.py: line 2: not valid UTF-8 (byte 0xe9); choose files with --pattern" in said
    said = refused(build_of("docs", "--pattern", "*.rs"), capsys, here)
    assert "docs: holds no files that match --pattern *.rs" in said
    (here / "none" / ".hidden").mkdir(parents=True)
    assert "none: holds no text files" in refused(build_of("none"), capsys, here)
    said = refused(build_of("docs", "--field", "content"), capsys, here)
    assert "--field content: docs holds 0000/00000.txt, and such a file is a document" in said
    jsonl(here, ["x"])
    assert "--pattern" in refused(build_of("docs.jsonl", "--pattern", "*.py"), capsys, here)
    assert corpus.main(build_of("docs", "--pattern", "*.txt")) == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--tokenizer tokenizer.json --out out", "SOURCE is missing"),
        ("docs.jsonl --out out", "--tokenizer is missing"),
        ("docs.jsonl --tokenizer tokenizer.json", "--out is missing"),
        ("gone.jsonl --tokenizer tokenizer.json --out out", "gone.jsonl: no such file"),
        ("docs.jsonl --tokenizer gone.json --out out", "--tokenizer gone.json: there is no file"),
        ("docs.jsonl --tokenizer ./gone --out out", "--tokenizer ./gone: there is no file"),
        ("docs.jsonl --tokenizer bare --out out", "bare/tokenizer.json"),
        ("docs.jsonl --tokenizer docs.jsonl --out out", "docs.jsonl: not a tokenizer.json"),
        ("docs.jsonl --tokenizer bad.bin --out out", "bad.bin: not a tokenizer.json"),
        ("docs.jsonl --tokenizer tokenizer.json --out docs.jsonl", "docs.jsonl: is a file"),
        ("docs.jsonl --tokenizer tokenizer.json --out docs.jsonl/x", "not writable"),
        ("docs.jsonl --tokenizer tokenizer.json --out /proc/x/y", "/proc"),
        ("docs.jsonl --tokenizer tokenizer.json --out mine", "mine: holds other files"),
        ("docs.jsonl --tokenizer tokenizer.json --out .", "--out .: "),
        ("docs.jsonl --tokenizer tokenizer.json --out out --max_length 0", "--max_length 0"),
        ("docs.jsonl --tokenizer tokenizer.json --out out --long fold", "--long fold: give cut or"),
        ("docs.jsonl --tokenizer tokenizer.json --out out --documents 0", "--documents 0"),
        ("docs.jsonl --tokenizer tokenizer.json --out out --documents x", "documents"),
        ("docs.jsonl --tokeniser tokenizer.json --out out", "did you mean --tokenizer?"),
    ],
)
def test_bad_flags(words: str, says: str, capsys: pytest.CaptureFixture[str], here: Path) -> None:
    jsonl(here, ["x"])
    (here / "bare").mkdir()
    (here / "bad.bin").write_bytes(b"\xff\xfe")
    (here / "mine").mkdir()
    (here / "mine" / "thesis.tex").write_text("mine")
    assert says in refused(words.split(), capsys, here)


def test_what_it_says_when_done(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    jsonl(here, ["", "a b", "aaa" * 500])
    words = ["corpus", *build_of("docs.jsonl", "--max-length", "9")]
    assert front.main(words) == 0
    first = capsys.readouterr()
    tokens = int(np.load(here / "new/out/offsets.npy")[-1])
    assert first.out == (
        f"new/out: 3 documents, {tokens} tokens of a vocabulary of 400, {tokens - 2} predictions\n"
    )
    assert front.main(words) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert again.err == "new/out: already built, and whole; nothing to do\n"
    assert json.loads((here / "new/out/meta.json").read_text())["max_length"] == 9


def test_the_door_opens_without_the_heavy_libraries() -> None:
    script = """
import sys
from jquanta.__main__ import main
try:
    main(["corpus", "--help"])
except SystemExit as stop:
    assert not stop.code
heavy = {"jax", "numpy", "tokenizers", "pyarrow", "zstandard", "huggingface_hub"}
print("loaded:", *sorted(heavy & set(sys.modules)))
"""
    root = str(Path(jquanta.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
        timeout=120,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "loaded:"
    flags = ("SOURCE", "--tokenizer", "--out", "--max_length", "--long", "--documents", "--pattern")
    for flag in flags:
        assert flag in done.stdout
