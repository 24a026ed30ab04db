"""Real text that every Python has: the source of its own standard library."""

import dataclasses
import hashlib
import sysconfig
from pathlib import Path

from jquanta.errors import BadInput
from jquanta.lm.corpus.sources import Files, files_below

LEFT_OUT = frozenset(
    {
        *("site-packages", "dist-packages", "__pycache__"),
        *("test", "tests", "idle_test"),  # many builds of Python ship none
        *("encodings", "pydoc_data"),  # generated: tables of characters, and texts
    }
)
"""Folders that are not the library's source."""

GENERATED = "_sysconfigdata"
"""How a module begins that is no source: it records where and how this Python was built."""


def stdlib_files() -> Files:
    """The ``.py`` files of the running Python's standard library, sorted, without its tests.

    Another version of Python gives another corpus: its hash tells.

    Raises:
        BadInput: if this Python comes without its source.
    """
    root = Path(sysconfig.get_path("stdlib"))
    names = files_below(root, _left_out)
    found = tuple(path for name, path in names.items() if name.endswith(".py"))
    if not found:
        raise BadInput(f"{root}: this Python comes without the source of its standard library")
    return Files(root, found)


def _left_out(name: str) -> bool:
    return name in LEFT_OUT or name.startswith(GENERATED)


def split(files: Files, held_out: float = 0.1) -> tuple[Files, Files]:
    """Training and test files, chosen by a hash of each file's name below the root.

    A file's side depends on its own name only, so that it stays where it is when others come.

    Args:
        files: what to split.
        held_out: share of the files that tests get, about.

    Returns:
        (training, test), each in the order of ``files``.

    Raises:
        BadInput: if either side is empty.
    """
    tested = {path for path in files.paths if _fraction(files.relative(path)) < held_out}
    sides = (
        dataclasses.replace(files, paths=tuple(p for p in files.paths if p not in tested)),
        dataclasses.replace(files, paths=tuple(p for p in files.paths if p in tested)),
    )
    if not all(side.paths for side in sides):
        raise BadInput(f"held_out = {held_out}: leaves one side of {len(files.paths)} files empty")
    return sides


def _fraction(name: str) -> float:
    """A number in [0, 1) that a name always has."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64
