"""Tokenizing only the heads of documents, training, and loading from files and the hub."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers

import jquanta
from jquanta.errors import BadInput
from jquanta.lm.corpus import tokenizer as module
from jquanta.lm.corpus.tokenizer import (
    encoder,
    load_tokenizer,
    splits_before_spaces,
    train_tokenizer,
)
from tests.lm.corpus.samples import WORDS, texts, twin

# Heads

Pieces = st.lists(st.sampled_from([*WORDS, " ", "\n", "a b", "9\n", "é ", "   "]), max_size=60)


@given(st.lists(Pieces.map("".join), min_size=1, max_size=4), st.integers(1, 12))
def test_heads_give_what_whole_documents_give(
    tokenizer: Path, documents: list[str], max_length: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "HEAD_CHARACTERS", 1)  # too short as often as not
        encode = encoder(load_tokenizer(tokenizer).tokenizer, max_length)
        assert encode(documents) == twin(tokenizer, documents, max_length)


def test_only_heads_are_tokenised(tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document of 40 MB: whole, it would take gigabytes and half a minute."""
    loaded = load_tokenizer(tokenizer).tokenizer
    assert splits_before_spaces(loaded)
    seen: list[int] = []
    rows = module._rows

    def counted(loaded: Tokenizer, batch: list[str]) -> list[list[int]]:
        seen.extend(map(len, batch))
        return rows(loaded, batch)

    monkeypatch.setattr(module, "_rows", counted)
    (row,) = encoder(loaded, 100)(["loss of self " * 3_000_000])
    assert row == twin(tokenizer, ["loss of self " * 100], 100)[0]
    assert max(seen) < 1000


def test_where_heads_would_not_be_exact_documents_are_whole(tokenizer: Path) -> None:
    """Tokens across spaces, and text that is changed at its end."""
    plain = tokenizer.read_text()
    for change in (
        {"pre_tokenizer": None},
        {"pre_tokenizer": json.loads(plain)["pre_tokenizer"] | {"use_regex": False}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"normalizer": {"type": "Strip", "strip_left": False, "strip_right": True}},
        {"added_tokens": [json.loads(plain)["added_tokens"][0] | {"content": "loss of"}]},
        {"added_tokens": [json.loads(plain)["added_tokens"][0] | {"rstrip": True}]},
    ):
        changed = Tokenizer.from_str(json.dumps(json.loads(plain) | change))
        assert not splits_before_spaces(changed), change
    merged = Tokenizer.from_str(plain)
    merged.add_tokens(["loss of"])
    rows = encoder(merged, 40)(["x" * (8 * 40 - 4) + "loss of self"])
    merged.no_truncation()
    assert rows[0] == merged.encode("x" * (8 * 40 - 4) + "loss of self").ids[:40]


def test_words_of_gpt2_split_before_spaces(tokenizer: Path) -> None:
    """What ``splits_before_spaces`` promises, on the library's own pieces."""
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for text in texts(100, seed=5):
        for piece, _ in pieces.pre_tokenize_str(text):
            assert not any(a.isascii() and a.isalnum() and b in "ĠĊ" for a, b in pairwise(piece)), (
                piece
            )


# Training


def test_training_gives_the_vocabulary_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    train_tokenizer(texts(200), 300, path)
    loaded = load_tokenizer(path)
    assert loaded.vocab_size == 300
    assert loaded.tokenizer.token_to_id("<|endoftext|>") == 0
    for text in texts(100, seed=9):  # any text, seen or not, comes back
        if "<|endoftext|>" not in text:
            ids = loaded.tokenizer.encode(text, add_special_tokens=False).ids
            assert loaded.tokenizer.decode(ids, skip_special_tokens=False) == text
    with pytest.raises(BadInput, match="a byte-level vocabulary has at least 257"):
        train_tokenizer(texts(9), 256, tmp_path / "other.json")
    with pytest.raises(BadInput, match=r"vocab_size = 900: the documents give only \d+ tokens"):
        train_tokenizer(["the same"], 900, tmp_path / "other.json")
    assert [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"]


def test_the_first_merges_are_the_most_frequent_pairs(tmp_path: Path) -> None:
    """By hand: (a, b) occurs 3 times, then (ab, c) and (x, y) 2 times each."""
    train_tokenizer(["abc", "abc", "ab", "xy", "xy"], 259, tmp_path / "t.json")
    merges = json.loads((tmp_path / "t.json").read_text())["model"]["merges"]
    assert merges[0] == ["a", "b"]
    assert merges[1] in (["ab", "c"], ["x", "y"])


def test_training_is_the_same_in_every_process(tmp_path: Path) -> None:
    """Whatever the number of threads and the seed of Python's hashes."""
    script = """
import sys
from pathlib import Path
from jquanta.lm.corpus.tokenizer import train_tokenizer
from tests.lm.corpus.samples import texts
train_tokenizer(texts(300), 420, Path(sys.argv[1]))
"""
    root = str(Path(jquanta.__file__).parents[1])
    made = set()
    for i in range(3):
        path = tmp_path / f"{i}.json"
        environment = {
            "PYTHONPATH": root,
            "RAYON_NUM_THREADS": str(i + 1),
            "PYTHONHASHSEED": f"{i}",
        }
        subprocess.run(
            [sys.executable, "-c", script, str(path)],
            env=os.environ | environment,
            check=True,
            timeout=120,
        )
        made.add(path.read_bytes())
    assert len(made) == 1


# Loading


def test_a_file_and_its_folder_are_one(tokenizer: Path) -> None:
    assert load_tokenizer(tokenizer).file == load_tokenizer(str(tokenizer.parent)).file


@pytest.fixture
def hub(tokenizer: Path) -> Iterator[str]:
    """A server that has one model, ``lab/model``, and ``lab/bare`` without a tokenizer."""
    content = tokenizer.read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            if self.answer():
                self.wfile.write(content)

        def answer(self) -> bool:
            found = self.path == "/lab/model/resolve/main/tokenizer.json"
            self.send_response(200 if found else 404)
            if found:
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", "0" * 40)
                self.send_header("Content-Length", str(len(content)))
            else:
                kind = "EntryNotFound" if self.path.startswith("/lab/bare/") else "RepoNotFound"
                self.send_header("X-Error-Code", kind)
                self.send_header("Content-Length", "0")
            self.end_headers()
            return found

        def log_message(self, *words: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def load_in_new_process(
    name: str, place: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The hub's client reads its settings when it is imported."""
    script = """
import hashlib, sys
from jquanta.cli import door
from jquanta.lm.corpus.tokenizer import load_tokenizer
def command(argv):
    print(hashlib.sha256(load_tokenizer(argv[0]).file).hexdigest())
sys.exit(door.enter(command))
"""
    root = str(Path(jquanta.__file__).parents[1])
    settings = {"PYTHONPATH": root, "HF_HOME": str(place / "cache"), "NO_PROXY": "127.0.0.1"}
    return subprocess.run(
        [sys.executable, "-c", script, name],
        capture_output=True,
        text=True,
        cwd=place,
        env=os.environ | settings | environment,
        timeout=120,
        check=False,
    )


def test_from_the_hub_and_then_offline(hub: str, tokenizer: Path, tmp_path: Path) -> None:
    wanted = hashlib.sha256(tokenizer.read_bytes()).hexdigest() + "\n"
    online = load_in_new_process("lab/model", tmp_path, HF_ENDPOINT=hub)
    assert (online.returncode, online.stdout) == (0, wanted), online.stderr
    offline = load_in_new_process("lab/model", tmp_path, HF_HUB_OFFLINE="1")
    assert (offline.returncode, offline.stdout) == (0, wanted), offline.stderr


@pytest.mark.parametrize(
    ("name", "offline", "says"),
    [
        ("lab/gone", False, "on the hub no such model, or one that needs a login"),
        ("lab/bare", False, "this model has no tokenizer.json on the hub"),
        ("lab/model", True, "the hub cannot be reached; give a tokenizer.json"),
        ("lab/mo..del", False, "no such file here, and on the hub no such model"),
    ],
)
def test_what_the_hub_cannot_give(
    name: str, offline: bool, says: str, hub: str, tmp_path: Path
) -> None:
    settings = {"HF_HUB_OFFLINE": "1"} if offline else {"HF_ENDPOINT": hub}
    done = load_in_new_process(name, tmp_path, **settings)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"jquanta: --tokenizer {name}: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert says in done.stderr
