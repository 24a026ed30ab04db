"""What a folder or a file of ours is: ``KINDS``, each with its mark on disk.

Whoever gives a command the wrong folder is told what it is, what it is good for, and where near it
lies what the command wants. Only a few small files are read, and no other library is imported.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from jquanta.errors import BadInput
from jquanta.run import parse
from jquanta.run.files import SHARD_SETTINGS, as_path

LOOKED_AT = 200
"""So many entries of a folder are looked at in search of another one."""


class Kind(NamedTuple):
    """A kind of folder or file.

    Attributes:
        name: a word for it, by which code asks.
        what: what it is, in words that follow "is".
        use: what to type with it; ``{}`` stands for its path, ``{in}`` for the folder it lies in.
        mark: whether a path is one.
    """

    name: str
    what: str
    use: str
    mark: Callable[[Path], bool]


def kind_of(path: Path | str) -> Kind | None:
    """The kind of a folder or file; None if it is no kind of ours, or is not there."""
    try:
        path = as_path(path)
        return next((kind for kind in KINDS if kind.mark(path)), None) if path.exists() else None
    except (OSError, ValueError):  # not to be read, or a name that nothing can have
        return None


def named(name: str) -> Kind:
    """The kind of this name."""
    return next(kind for kind in KINDS if kind.name == name)


def use(path: Path, kind: Kind) -> str:
    """What to type with a path of this kind."""
    return kind.use.replace("{in}", str(path.parent)).replace("{}", str(path))


def near(path: Path | str, name: str) -> Path | None:
    """The first path of a kind inside a folder, two levels deep; else the folder that holds it."""
    path, kind = as_path(path), named(name)
    try:
        inside = list(_entries(path))
        below = (deeper for entry in inside for deeper in _entries(entry))
        for found in (*inside, *islice(below, LOOKED_AT), *islice(path.absolute().parents, 3)):
            if kind.mark(found):
                return found
    except (OSError, ValueError):
        pass
    return None


def require(path: Path | str, *names: str, remedy: str, flag: str = "", marker: str = "") -> None:
    """Raise ``BadInput`` where nothing is at a path, or something of ours of another kind.

    What is of no kind of ours passes, since it may be damaged: whoever opens it says what it lacks.
    This takes no time, so that commands refuse before they import what they compute with.

    Args:
        path: what was given.
        names: of the kinds that do, the usual one first.
        remedy, flag: as of ``wrong``.
        marker: a file that every folder of this kind holds, damaged or not; what is of no
            kind and has none does not pass.
    """
    path = as_path(path)
    found = kind_of(path)
    other = bool(marker) and not found and not (path / marker).is_file()
    if not path.exists() or other or (found is not None and found.name not in names):
        raise wrong(path, names[0], remedy, flag=flag, marker=marker)


def wrong(
    path: Path | str, name: str, remedy: str, *, flag: str = "", marker: str = ""
) -> BadInput:
    """The error for a path that is not of the kind that is wanted.

    Args:
        path: what was given.
        name: of the kind that is wanted.
        remedy: how to come by one, in words that follow "give" or stand alone.
        flag: by which the path was given, such as ``--losses``.
        marker: a file that every folder of this kind holds, to say that it is not there.
    """
    path = as_path(path)
    label = f"{flag} {path}" if flag else str(path)
    wanted = named(name)
    if not path.exists():
        return BadInput(f"{label}: {absent(path) or f'no such folder; {remedy}'}")
    found, better = kind_of(path), near(path, name)
    if found is wanted:
        return BadInput(f"{label}: is {found.what}, but damaged or not finished; {remedy}")
    is_ = f"is {found.what} (to use it: {use(path, found)})" if found else _plain(path, marker)
    if better and not (found and found.name == "revisions"):  # one is chosen by its name
        give = f"{flag} {better}".strip()
        return BadInput(f"{label}: {is_}, not {wanted.what}; give {give}")
    return BadInput(f"{label}: {is_}, not {wanted.what}; {remedy}")


def revisions(folder: Path) -> list[str]:
    """The revisions of a language model that lie in a folder, step512 before step1000."""
    return sorted((path.parent.name for path in folder.glob("*/config.json")), key=natural)


def natural(text: str) -> list[tuple[str, int]]:
    """A key for natural sorting, which puts step512 before step1000.

    Text is cut into pairs of letters and the number behind them, which are compared in turn.
    """
    return [(word, int(number or 0)) for word, number in re.findall(r"(\D*)(\d*)", text)]


def absent(path: Path) -> str | None:
    """Why a path is not there, and what to type, as far as the folders above it tell."""
    for above in islice(path.parents, 4):
        kind = kind_of(above)
        if kind and kind.name in STARTED and _state(above) != "done":
            again = f"jquanta {STARTED[kind.name]} {above / 'config.toml'} --out {above}"
            return f"not there yet: {above} is {kind.what}, and not finished; go on: {again}"
    return None


MODEL_REMEDY = "give a model's folder, or its id on the hub; jquanta pretrain makes those in runs/"


def looks_like_path(name: str) -> bool:
    """Whether a model's name cannot be an id on the hub, which has the form ``owner/model``."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def _plain(path: Path, marker: str) -> str:
    """What a path of no kind of ours is."""
    if path.is_file():
        return "is a file"
    if not path.is_dir():
        return "is neither a folder nor a file"
    if not any(True for _ in _entries(path)):
        return "is empty"
    return f"is a folder without {marker}" if marker else "is a folder of other things"


def _entries(folder: Path) -> Iterator[Path]:
    """The content of a folder, in order, hidden entries apart; nothing for a file."""
    if folder.is_dir():
        yield from sorted(islice((p for p in folder.iterdir() if p.name[0] != "."), LOOKED_AT))


def _json(path: Path) -> Mapping[str, Any]:
    """The table of a small JSON file; empty where there is none that can be read."""
    try:
        found = parse.read_json(path)
    except (OSError, BadInput):
        return {}
    return found if isinstance(found, dict) else {}


def _toml(path: Path) -> Mapping[str, Any]:
    try:
        return parse.read_toml(path)
    except (OSError, BadInput):
        return {}


def _state(folder: Path) -> str | None:
    """Of a run folder."""
    return _json(folder / "record.json").get("state")


def _attributes(folder: Path) -> Mapping[str, Any]:
    """Of a Zarr group."""
    found = _json(folder / "zarr.json").get("attributes", {})
    return found if isinstance(found, dict) else {}


def _run(*tables: str) -> Callable[[Path], bool]:
    """The mark of a run folder: one of these tables in its configuration."""
    return lambda path: any(table in _toml(path / "config.toml") for table in tables)


def _settings(*tables: str) -> Callable[[Path], bool]:
    """The mark of a TOML file: one of these tables in it."""
    return lambda path: path.suffix == ".toml" and any(table in _toml(path) for table in tables)


def _is_losses(path: Path) -> bool:
    return _attributes(path).get("kind") == "per-token losses"


def _is_model(path: Path) -> bool:
    return "model_type" in _json(path / "config.json")


def _holds_models(path: Path) -> bool:
    return any(_is_model(entry) for entry in islice(_entries(path), 20))


_SWEEP = ("task", "network", "eval", "sweep")
_SUITE = ("model",)
_QDG = ("input", "select", "similarity", "cluster", "page")

STARTED = {"sweep": "sweep", "suite": "pretrain", "quanta": "qdg"}
"""Kinds that are run folders, with a state, and the command that makes each."""

KINDS = (
    Kind("sweep", "a sweep's folder", "jquanta figures fig2 --runs {}", _run(*_SWEEP)),
    Kind(
        "suite",
        "the folder of a suite of language models",
        "jquanta figures fig3 --losses {}/losses",
        _run(*_SUITE),
    ),
    Kind("quanta", "a folder that jquanta qdg made", "jquanta explore {}", _run(*_QDG)),
    Kind(
        "sweep results",
        "the results of a sweep",
        "jquanta figures fig2 --runs {in}",
        lambda path: path.name == "results.zarr" and (path / "zarr.json").is_file(),
    ),
    Kind(
        "shard of losses",
        "one of the shards of losses",
        "jquanta gather {in}",
        lambda path: _is_losses(path) and "shard" in _attributes(path),
    ),
    Kind(
        "losses",
        "a folder of losses",
        "jquanta figures fig3 --losses {}",
        lambda path: _is_losses(path) and "shard" not in _attributes(path),
    ),
    Kind(
        "losses of one model",
        "one model's column of losses",
        "jquanta figures fig3 --losses {in}",
        lambda path: "documents_done" in _attributes(path),
    ),
    Kind(
        "part of quanta",
        "a part of what jquanta qdg made",
        "jquanta explore {in}",
        lambda path: path.suffix == ".zarr" and bool({"samples", "labels"} & {*_attributes(path)}),
    ),
    Kind(
        "spectrum",
        "the learning times of predictions",
        "jquanta spectrum {in}",
        lambda path: _attributes(path).get("kind") == "learning times",
    ),
    Kind(
        "toy",
        "a folder of jquanta known toy",
        "jquanta figures fig17 --qdg {}",
        lambda path: path.is_dir() and any(path.glob("a*-d*-noise*-seed*.zarr")),
    ),
    Kind(
        "known parity",
        "a folder of jquanta known parity",
        "jquanta figures fig15 --qdg {}",
        lambda path: (path / "truth.zarr").is_dir(),
    ),
    Kind(
        "shard of quanta",
        "one of the shards of a similarity",
        "jquanta gather {in}",
        lambda path: (path / SHARD_SETTINGS).is_file(),
    ),
    Kind(
        "shards",
        "a folder of shards that are not joined yet",
        "jquanta gather {}",
        lambda path: path.is_dir() and any(path.glob("shards/*-of-*")),
    ),
    Kind(
        "unfinished corpus",
        "a corpus that is not finished",
        "run the jquanta corpus that made it again",
        lambda path: (path / "progress.json").is_file() and not (path / "meta.json").is_file(),
    ),
    Kind(
        "corpus",
        "a corpus",
        "jquanta losses --corpus {} --model MODEL --out LOSSES",
        lambda path: (path / "meta.json").is_file() and (path / "offsets.npy").is_file(),
    ),
    Kind(
        "model",
        "a language model",
        "jquanta losses --model {} --corpus CORPUS --out LOSSES",
        _is_model,
    ),
    Kind(
        "revisions",
        "a folder of a language model's revisions",
        "jquanta losses --model {} --revision NAME --corpus CORPUS --out LOSSES",
        _holds_models,
    ),
    Kind(
        "sweep settings", "a configuration of jquanta sweep", "jquanta sweep {}", _settings(*_SWEEP)
    ),
    Kind(
        "suite settings",
        "a configuration of jquanta pretrain",
        "jquanta pretrain {}",
        _settings(*_SUITE),
    ),
    Kind("quanta settings", "a configuration of jquanta qdg", "jquanta qdg {}", _settings(*_QDG)),
    Kind(
        "configurations",
        "a folder of configurations",
        "jquanta sweep {}/NAME.toml",
        lambda path: any(map(_settings(*_SWEEP, *_SUITE, *_QDG), islice(_entries(path), 20))),
    ),
    Kind(
        "documents",
        "a file of documents",
        "jquanta corpus {} --tokenizer TOKENIZER --out CORPUS",
        lambda path: (
            path.is_file() and path.name.endswith((".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"))
        ),
    ),
)
"""The first whose mark a path bears is its kind."""
