"""Datasets of the hub as corpora, through the real hub client, from a hub on loopback."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

import jquanta as jq
from jquanta.cli import corpus as command
from jquanta.errors import BadInput, Interrupted, RunFailed
from jquanta.lm.corpus.build import build_corpus
from jquanta.lm.corpus.hub import look_up
from jquanta.lm.corpus.reader import Corpus
from jquanta.run.progress import Silence
from tests.lm.corpus.samples import jsonl_gz, jsonl_zst, lines, parquet, texts
from tests.lm.weights.hub import COMMIT, Hub, asked_here

DOCUMENTS = texts(120)
NEXT = "f" * 40
"""The commit to which the branch moves."""

GLOB = "hf://datasets/me/text/data/*.parquet"


def parts(place: Path) -> dict[str, bytes]:
    """The documents in three files of one format, and others beside them."""
    place.mkdir()
    made = {}
    for i in range(3):
        file = parquet(place, DOCUMENTS[40 * i : 40 * (i + 1)])
        made[f"data/{i}.parquet"] = file.read_bytes()
    more = {
        "more/a/x.jsonl": lines(DOCUMENTS[:30]),
        "more/a/b/y.jsonl.gz": jsonl_gz(place, DOCUMENTS[30:50]).read_bytes(),
        "more/z.jsonl.zst": jsonl_zst(place, DOCUMENTS[50:]).read_bytes(),
        "more/.hidden.jsonl": b"no JSON",
    }
    aside = {"README.md": b"# text", "tiny.jsonl": b'{"content": "one", "text": "two"}\n'}
    return made | more | aside


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one dataset."""
    revisions = {"main": COMMIT, "refs/convert/parquet": COMMIT, "a/b": COMMIT}
    made = Hub({}, revisions, {"me/text": parts(tmp_path / "parts")})
    with asked_here(made, tmp_path / "cache", monkeypatch):
        yield made


def fetched(hub: Hub) -> list[str]:
    """The files whose content was asked for since the last call."""
    found = [name for method, name, _ in hub.requests if method == "GET" and "." in name]
    hub.requests.clear()
    return found


def built(url: str, out: Path, tokenizer: Path, **more: Any) -> Corpus:
    return build_corpus(url, tokenizer, out, max_length=50, **more)


def arrays(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.npy")}


@pytest.fixture
def plain(tokenizer: Path, tmp_path: Path) -> dict[str, bytes]:
    """The corpus of the same documents in one local file."""
    (tmp_path / "all.jsonl").write_bytes(lines(DOCUMENTS))
    build_corpus(tmp_path / "all.jsonl", tokenizer, tmp_path / "plain", max_length=50)
    return arrays(tmp_path / "plain")


@pytest.mark.parametrize("url", [GLOB, "hf://datasets/me/text@a%2Fb/more/**/*.jsonl*"])
def test_files_of_a_pattern_are_one_source(
    url: str, hub: Hub, tokenizer: Path, tmp_path: Path, plain: dict[str, bytes]
) -> None:
    if "more" in url:  # files come in sorted order: more/a/b/y, more/a/x, more/z
        moved = DOCUMENTS[30:50] + DOCUMENTS[:30] + DOCUMENTS[50:]
        (tmp_path / "all.jsonl").write_bytes(lines(moved))
        build_corpus(tmp_path / "all.jsonl", tokenizer, tmp_path / "moved", max_length=50)
        plain = arrays(tmp_path / "moved")
    corpus = built(url, tmp_path / "out", tokenizer)
    assert arrays(tmp_path / "out") == plain
    path = url.split("/", 5)[5]
    assert corpus.meta.source == f"hf://datasets/me/text@{COMMIT}/{path}"
    corpus.verify()
    assert len(fetched(hub)) == 3
    built(url, tmp_path / "out", tokenizer)  # finished, and whole: nothing is asked for again
    assert fetched(hub) == []


def test_the_hash_is_that_of_the_downloaded_folder(
    hub: Hub, tokenizer: Path, tmp_path: Path
) -> None:
    there = built(GLOB, tmp_path / "there", tokenizer)
    (here := tmp_path / "data").mkdir()
    for name, content in hub.datasets["me/text"].items():
        if name.startswith("data/"):
            (tmp_path / name).write_bytes(content)
    assert built(str(here), tmp_path / "here", tokenizer).meta.recipe == there.meta.recipe
    listing = "".join(
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in sorted(here.iterdir())
    )
    assert there.meta.recipe.source == hashlib.sha256(listing.encode()).hexdigest()
    one = built("hf://datasets/me/text/data/0.parquet", tmp_path / "one", tokenizer)
    content = (here / "0.parquet").read_bytes()
    assert one.meta.recipe.source == hashlib.sha256(content).hexdigest()


def test_only_what_is_needed_comes(hub: Hub, tokenizer: Path, tmp_path: Path) -> None:
    corpus = built(GLOB, tmp_path / "out", tokenizer, documents=60)
    assert corpus.n_documents == 60
    assert fetched(hub) == ["data/0.parquet", "data/1.parquet"]


def test_the_field_is_a_choice(hub: Hub, tokenizer: Path, tmp_path: Path) -> None:
    url = "hf://datasets/me/text/tiny.jsonl"
    for field, text in (("content", "one"), ("text", "two")):
        corpus = built(url, tmp_path / field, tokenizer, field=field)
        assert corpus.tokenizer.decode(corpus.document(0).tolist()) == text
    with pytest.raises(BadInput, match="differs in field"):
        built(url, tmp_path / "content", tokenizer)
    with pytest.raises(
        BadInput, match=r'tiny\.jsonl: line 1: no field "prompt" \(it has "content"'
    ):
        built(url, tmp_path / "none", tokenizer, field="prompt")
    with pytest.raises(BadInput, match=r'0\.parquet: no column "prompt" \(it has "id", "text"'):
        built(GLOB, tmp_path / "none", tokenizer, field="prompt")
    assert not (tmp_path / "none.part").exists()


@pytest.mark.usefixtures("small")
def test_a_build_goes_on_with_its_commit_when_the_branch_has_moved(
    hub: Hub, tokenizer: Path, tmp_path: Path, plain: dict[str, bytes], monkeypatch: Any
) -> None:
    def move() -> None:
        hub.revisions |= {"main": NEXT, "old": COMMIT}
        hub.datasets[f"me/text@{NEXT}"] = {"data/0.parquet": b"another"}

    class Stops(Silence):
        def work(self, *_: Any, **__: Any) -> None:
            if len({name for method, name, _ in hub.requests if method == "GET"} - API) == 2:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        built(GLOB, tmp_path / "out", tokenizer, monitor=Stops())
    assert fetched(hub) == ["data/0.parquet", "data/1.parquet"]
    move()
    built(GLOB, tmp_path / "out", tokenizer)
    assert arrays(tmp_path / "out") == plain
    assert fetched(hub) == ["data/2.parquet"]
    # Of the branch as it is now, in another folder.
    with pytest.raises(BadInput, match=r"0\.parquet: after row 0"):
        built(GLOB, tmp_path / "new", tokenizer)
    # The commit is pinned before the first file comes.
    hub.revisions["main"] = COMMIT
    url = "hf://datasets/me/text/more/*.zst"
    hub.faults.drop_after["more/z.jsonl.zst"], hub.faults.always_drop = 0, True
    with pytest.raises(RunFailed, match=r"did not come .*run this again"):
        built(url, tmp_path / "pinned", tokenizer)
    hub.faults.drop_after.clear()
    move()
    assert built(url, tmp_path / "pinned", tokenizer).meta.source.startswith(
        f"hf://datasets/me/text@{COMMIT}/"
    )


API = {"revision", "tree"}


def test_a_dropped_connection_is_taken_up_where_it_broke_off(
    hub: Hub, tokenizer: Path, tmp_path: Path, plain: dict[str, bytes]
) -> None:
    hub.faults.drop_after["data/1.parquet"] = 2048
    built(GLOB, tmp_path / "out", tokenizer)
    ranges = [r[2] for r in hub.requests if r[:2] == ("GET", "data/1.parquet")]
    assert ranges[0] is None
    assert ranges[1] in ("bytes=1024-", "bytes=2048-")
    assert arrays(tmp_path / "out") == plain


COMMAND = """
import os, sys
from jquanta.cli.corpus import main
from jquanta.lm.corpus import build
build.BATCH_CHARACTERS, build.LEAST_INTERVAL, build.COST_SHARE = 2000, -1.0, 1e9
append = build._Arrays.append
def dies(self, *batch):
    append(self, *batch)
    if self.progress.taken > int(os.environ["DIES"]):
        os.kill(os.getpid(), 9)
build._Arrays.append = dies
sys.exit(main(sys.argv[1:]))
"""


def test_killed_and_then_without_a_network(
    hub: Hub, tokenizer: Path, tmp_path: Path, plain: dict[str, bytes]
) -> None:
    """In processes of their own, where no part of the client is replaced."""
    out = tmp_path / "out"

    def run(dies: int, **more: str) -> subprocess.CompletedProcess[str]:
        words = [GLOB, "--tokenizer", str(tokenizer), "--out", str(out), "--max_length", "50"]
        here = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home"), "DIES": str(dies)}
        return subprocess.run(
            [sys.executable, "-c", COMMAND, *words],
            env=os.environ | here | more,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert run(50).returncode == -signal.SIGKILL
    assert fetched(hub) == ["data/0.parquet", "data/1.parquet"]
    done = run(10**9)
    assert done.returncode == 0, done.stderr
    assert fetched(hub) == ["data/2.parquet"]
    assert arrays(out) == plain
    for path in out.iterdir():
        path.unlink()
    out.rmdir()
    again = run(10**9, HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:1")  # all of the cache
    assert again.returncode == 0, again.stderr
    assert arrays(out) == plain


def test_offline(
    hub: Hub, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RunFailed, match=r"me/text@main: is not in the cache; .*HF_HUB_OFFLINE"):
        look_up(GLOB)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    listing, said = look_up(GLOB), list[str]()
    assert look_up(GLOB, told=said.append) == listing
    assert said == []
    built(GLOB, tmp_path / "part", tokenizer, documents=60)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert look_up(GLOB, told=said.append).files == listing.files[:2]  # all that the cache has
    assert "without the hub, of its files those 2 that are in the cache" in said[0]
    assert look_up(GLOB, [tmp_path / "part"]) == listing  # of that corpus all are known
    (missing,) = listing.remote(said.append)[2:]
    with pytest.raises(RunFailed, match=r"main: data/2\.parquet is not in the cache, .* run this"):
        _ = missing.path
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    built(GLOB, tmp_path / "out", tokenizer)
    fetched(hub)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert look_up(GLOB) == listing
    assert look_up(GLOB.replace("text/", f"text@{COMMIT}/")).files == listing.files
    assert hub.requests == []


@pytest.mark.parametrize("name", ["data/0.parquet", "tiny.jsonl"])
def test_a_damaged_file(name: str, hub: Hub, tokenizer: Path, tmp_path: Path) -> None:
    """Large files are known by sha256, small ones by git's hash; the size is right."""
    url = f"hf://datasets/me/text/{name}"
    hub.faults.corrupt.add(name)
    with pytest.raises(RunFailed, match=f"me/text@main: {name} is damaged .*run this again"):
        built(url, tmp_path / "out", tokenizer)
    hub.faults.corrupt.clear()
    built(url, tmp_path / "out", tokenizer).verify()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (
            "hf://datasets/me/none/x.parquet",
            "me/none: no such dataset on the hub, or one that need",
        ),
        (
            "hf://datasets/me/text@v9/x.parquet",
            "me/text@v9: the hub has no such revision of this d",
        ),
        (
            "hf://datasets/me/text/x.parquet",
            "x.parquet: no such file in the dataset, at commit 012",
        ),
        ("hf://datasets/me/text/none/x.parquet", "x.parquet: no such file in the dataset"),
        ("hf://datasets/me/text/data/*.jsonl", "data/*.jsonl: no file matches, at commit 01234567"),
        ("hf://datasets/me/text/README.md", "README.md: give a file whose name ends in .jsonl"),
        ("hf://datasets/me/text/**", "README.md: give a file whose name ends in .jsonl"),
        ("hf://datasets/me/text/data", "data: no such file in the dataset"),
        ("hf://datasets/me/text", "give hf://datasets/OWNER/NAME/FILE"),
        ("hf://datasets/me/text/", "give hf://datasets/OWNER/NAME/FILE"),
        ("hf://datasets/me/../../x.parquet", "give hf://datasets/OWNER/NAME/FILE"),
        ("hf://me/text/x.parquet", "give hf://datasets/OWNER/NAME/FILE"),
        ("hf://datasets/me/te xt/x.parquet", "me/te xt: no such dataset on the hub"),
        ("hf://datasets/my/own/x.jsonl", "my/own: needs its owner's leave; ask on its page"),
    ],
)
def test_bad_urls(
    url: str,
    says: str,
    hub: Hub,
    tokenizer: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hub.datasets["my/own"] = {"x.jsonl": b'{"text": "mine"}'}
    hub.gated.add("datasets/my/own")
    out = tmp_path / "deep" / "out"
    assert command.main([url, "--tokenizer", str(tokenizer), "--out", str(out)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert says in said[-1]
    assert all("downloading" in line for line in said[:-1])
    assert not out.parent.exists()


def test_a_pattern_belongs_into_the_url(hub: Hub, tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"--pattern \*\.parquet: .*write it into the URL"):
        built(GLOB, tmp_path / "out", tokenizer, pattern="*.parquet")


@pytest.mark.parametrize("what", sorted(API))
def test_a_hub_that_fails_while_it_is_asked(
    what: str, hub: Hub, tokenizer: Path, tmp_path: Path
) -> None:
    hub.faults.drop_after[what] = 0
    with pytest.raises(RunFailed, match=r"me/text@main: .*run this again"):
        built(GLOB, tmp_path / "out", tokenizer)
    assert not (tmp_path / "out.part").exists()


def test_a_damaged_listing(hub: Hub, tokenizer: Path, tmp_path: Path) -> None:
    built(GLOB, tmp_path / "out", tokenizer)
    listing = tmp_path / "out" / "source.json"
    assert json.loads(listing.read_text())["commit"] == COMMIT
    for content in ("", "[]", '{"files": [3]}', '{"files": []}'):
        listing.write_text(content)
        with pytest.raises(BadInput, match=r"source\.json: damaged; delete it"):
            built(GLOB, tmp_path / "out", tokenizer)
    listing.unlink()
    built(GLOB, tmp_path / "out", tokenizer)


def test_a_suite_on_a_dataset(hub: Hub, tmp_path: Path) -> None:
    """Its source is looked up once, for training and test documents and whatever continues."""
    config = {
        "name": "hub",
        "corpus": {"source": GLOB, "vocab": 300, "test": 0.3},
        "train": {"tokens": 512, "context": 16, "batch": 4, "checkpoints": 1},
        "model": [{"layers": 1, "width": 16, "heads": 2}],
    }
    jq.pretrain(config, tmp_path / "suite")
    assert json.loads((tmp_path / "suite/corpus/source.json").read_text())["commit"] == COMMIT
    sides = [jq.open_corpus(tmp_path / "suite/corpus" / side) for side in ("train", "test")]
    assert sum(side.n_documents for side in sides) >= len(DOCUMENTS)
    assert all(GLOB.split("/")[-1] in side.meta.source for side in sides)
    hub.requests.clear()
    bad = config | {"corpus": {"source": GLOB.replace("text", "none")}}
    with pytest.raises(BadInput, match="me/none: no such dataset"):
        jq.pretrain(bad, tmp_path / "bad")
    assert not (tmp_path / "bad").exists()
