"""Folders that commands are given: refused before anything heavy is imported.

Each says what a wrong folder is and what to give (``jquanta.run.kinds``). A folder of no kind that
is known passes; what it lacks is said by whoever opens it.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from jquanta.errors import BadInput
from jquanta.run import kinds
from jquanta.run.files import as_path


def require_sweep(path: Path, *, flag: str = "") -> None:
    """Raise ``BadInput`` unless this may be a sweep."""
    kinds.require(
        path,
        "sweep",
        "sweep results",
        remedy="make one: jquanta sweep",
        flag=flag,
        marker="config.toml",
    )


def require_quanta(path: Path, *, flag: str = "") -> None:
    """Raise ``BadInput`` unless this may be what ``jquanta qdg`` made, or ``jquanta known``."""
    kinds.require(
        path, "quanta", "toy", "known parity", remedy="make one: jquanta qdg CONFIG", flag=flag
    )


def require_run(path: Path, *, written: bool = True) -> None:
    """Raise ``BadInput`` unless this may be the run folder of ``jquanta qdg``.

    Args:
        path: what was given.
        written: whether the command stores its result there, which then has to be allowed.
    """
    remedy = "make one: jquanta qdg CONFIG"
    kinds.require(path, "quanta", remedy=remedy, marker="config.toml")
    if written and not os.access(path, os.W_OK | os.X_OK):
        raise BadInput(f"{path}: cannot be written, and the result is stored there; give a copy")


def require_losses(path: Path, *, flag: str = "--losses") -> None:
    """Raise ``BadInput`` unless this may hold losses, as a folder or as an array of all models."""
    if path.suffix == ".npy" and path.is_file():
        return
    remedy = "make one: jquanta losses, or jquanta pretrain"
    kinds.require(path, "losses", "suite", remedy=remedy, flag=flag, marker="zarr.json")


def require_corpus(path: Path, *, flag: str = "--corpus") -> None:
    """Raise ``BadInput`` unless this may be a corpus."""
    remedy = "make one: jquanta corpus, or jquanta pretrain"
    kinds.require(path, "corpus", remedy=remedy, flag=flag, marker="meta.json")


def require_model(name: str, revisions: Sequence[str]) -> None:
    """Raise ``BadInput`` if this is a folder of another kind than a model, or than one of its
    revisions where those are named. What is no folder may be a model on the hub."""
    path = as_path(name)
    if not path.exists() and kinds.looks_like_path(name):
        raise kinds.wrong(path, "model", kinds.MODEL_REMEDY)
    if path.is_dir():
        inside = ", ".join(kinds.revisions(path))
        remedy = f"give --revision too: {inside}" if inside else "give a model's folder"
        wanted = ("revisions", "model") if revisions else ("model",)
        kinds.require(path, *wanted, remedy=remedy, flag="--model")
