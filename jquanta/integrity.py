"""Whether what lies on disk is whole: every folder of ours, by the check sums written with it."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open

from jquanta.errors import BadInput
from jquanta.lm.corpus.layout import META, OFFSETS, TOKENS
from jquanta.lm.corpus.reader import open_corpus
from jquanta.lm.losses.column import label_of, read_attributes, read_root
from jquanta.lm.pretrain.config import load_suite
from jquanta.lm.pretrain.folder import SuiteFolder
from jquanta.lm.weights.files import SAFETENSORS
from jquanta.qdg.cosines import features, similarity
from jquanta.qdg.results import PAGE, stages, stored_config
from jquanta.run import arrays, kinds, parse, sums
from jquanta.run.arrays import METADATA
from jquanta.run.files import PART, as_path
from jquanta.run.folder import CHECKPOINTS, CONFIG, RECORD, RunFolder
from jquanta.sweep.folder import SweepFolder
from jquanta.sweep.store import open_results

WORKS = (similarity.WORK, features.WORK)
"""Folders of work that continues."""

WHOLE, UNSUMMED, UNFINISHED, DAMAGED = "whole", "no check sums", "unfinished", "damaged"
"""States of a part. ``no check sums``: an older version wrote it; nothing is missing, and whether
something was altered cannot be told."""


class Part(NamedTuple):
    """A part of a folder.

    Attributes:
        path: where it lies.
        what: what it is.
        state: ``whole``, ``no check sums``, ``unfinished`` or ``damaged``.
        detail: what is wrong, or what to do; empty if nothing is.
    """

    path: Path
    what: str
    state: str
    detail: str = ""


def check(path: Path | str) -> list[Part]:
    """Read all files of a folder of ours, and compare them with what was written::

        [part for part in jq.check("runs/fig2-width") if part.state == "damaged"]

    Args:
        path: a run folder of a sweep, a suite or a QDG run; losses, a corpus, a model, or a Zarr
            group; or any folder with such folders in it.

    Returns:
        Every part, with its state.

    Raises:
        BadInput: if there is no such folder, or nothing of ours in it.
    """
    path = as_path(path)
    if not path.is_dir():
        what = "is a file" if path.exists() else "no such folder"
        raise BadInput(f"{path}: {what}; give a folder that jquanta has written")
    found = list(_parts(path))
    if not found:
        raise BadInput(f"{path}: holds nothing that jquanta writes; give a folder that does")
    return found


def _parts(path: Path) -> Iterator[Part]:
    """The parts of a folder: itself if it is one, and those in it."""
    if path.name == CHECKPOINTS or path.suffix == PART or path.name in WORKS:
        yield Part(path, "work in progress", UNFINISHED, "the command that began it continues")
        return
    if (path / CONFIG).is_file() or (path / RECORD).is_file():
        yield _run(path)
    elif (path / METADATA).is_file() or path.suffix == ".zarr" or (path / "loss").is_dir():
        yield (found := _group(path))
        if found.what != "losses":
            return
    elif any((path / name).is_file() for name in (META, TOKENS, OFFSETS)):
        yield _corpus(path)
        return
    elif any(path.glob("*.safetensors")) or (path / sums.SUMS).is_file():
        one = (path / SAFETENSORS).is_file() or (path / "config.json").is_file()
        yield _files(path, "model" if one else "weights")
    for inner in sorted(path.iterdir()):
        if inner.is_dir() and not inner.name.startswith(".") and not inner.is_symlink():
            yield from _parts(inner)


def _run(path: Path) -> Part:
    """A run folder as such: its configuration and record, and whether what it must hold exists."""
    found = kinds.kind_of(path)
    what = found.name if found and found.name in WANTED else "run"
    try:
        if what not in WANTED:  # the parser's words, if it is no TOML
            parse.read_toml(path / CONFIG, remedy="delete the folder")
            raise BadInput(f"{CONFIG} is no configuration of jquanta")
        missing = [name for name in WANTED[what](path) if _lacks(path / name)]
        state = RunFolder(path).state
        if state == "done" and what == "sweep" and not missing:
            open_results(path)
    except FileNotFoundError:
        return Part(path, what, DAMAGED, f"{CONFIG} is missing")
    except BadInput as error:
        return Part(path, what, DAMAGED, str(error))
    if state != "done":
        return Part(path, what, UNFINISHED, "the same command continues")
    if missing:
        return Part(
            path, what, DAMAGED, sums.first([f"{name} is missing or empty" for name in missing])
        )
    return Part(path, what, WHOLE)


def _sweep(path: Path) -> list[str]:
    folder = SweepFolder(path)
    files = [folder.weight_file(run) for run in folder.members()]
    return [str(file.relative_to(path)) for file in (folder.results, *files)]


def _suite(path: Path) -> list[str]:
    files = SuiteFolder(path).files(load_suite(path / CONFIG))
    return [str(file.relative_to(path)) for file in files]


def _quanta(path: Path) -> list[str]:
    return [*stages(stored_config(path)), PAGE]


def _lacks(path: Path) -> bool:
    """Whether a folder is missing, or a file is missing or empty."""
    return not path.exists() or (path.is_file() and not path.stat().st_size)


WANTED = {"sweep": _sweep, "suite": _suite, "quanta": _quanta}
"""For each kind of run folder a function: what must be there when it is finished."""


def _group(path: Path) -> Part:
    """A Zarr group: losses, a column of them, or a result."""
    try:
        root, attributes = read_root(path), read_attributes(path)
    except BadInput as error:
        return Part(path, "Zarr group", DAMAGED, str(error))
    if attributes is None:
        return Part(path, "Zarr group", DAMAGED, f"{METADATA} is missing")
    if root is not None:
        return Part(path, "losses", WHOLE)
    what = path.stem
    if "documents_done" in attributes:
        what = f"losses of {label_of(attributes)}" if "model" in attributes else "losses"
        if "finished" not in attributes:
            return Part(path, what, UNFINISHED, "the same jquanta losses continues")
    own = _summed(path, what)
    if own.state != UNSUMMED:
        return own
    lacking = arrays.faults(path, content=True) if what != "results" else []
    return own._replace(state=DAMAGED, detail=sums.first(lacking)) if lacking else own


def _corpus(path: Path) -> Part:
    try:
        open_corpus(path).verify()
    except BadInput as error:
        return Part(path, "corpus", DAMAGED, str(error))
    return Part(path, "corpus", WHOLE)


def _files(path: Path, what: str) -> Part:
    """A folder of files of weights."""
    own = _summed(path, what)
    if own.state == UNSUMMED:
        for file in sorted(path.glob("*.safetensors")):
            try:
                with safe_open(file, framework="np"):
                    pass
            except (SafetensorError, OSError) as error:
                return own._replace(state=DAMAGED, detail=f"{file.name}: {error}")
    return own


def _summed(path: Path, what: str) -> Part:
    """A folder, by its check sums, if it has any."""
    try:
        wanted = sums.read(path)
    except BadInput as error:
        return Part(path, what, DAMAGED, str(error))
    if wanted is None:
        return Part(path, what, UNSUMMED)
    found = sums.faults(path, wanted, content=True)
    return Part(path, what, DAMAGED, sums.first(found)) if found else Part(path, what, WHOLE)
