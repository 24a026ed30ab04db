"""Real text that every installation of Python has: the source code of its standard library."""

import dataclasses
import hashlib
import sysconfig
from pathlib import Path

from jquanta.errors import BadInput
from jquanta.lm.corpus.sources import Files, files_below

LEFT_OUT = frozenset(
    {
        *("site-packages", "dist-packages", "__pycache__"),
        *("test", "tests", "idle_test"),  # many builds of Python come without tests
        *("encodings", "pydoc_data"),  # generated tables of characters and help texts
    }
)
"""Folders that do not belong to the source of the library."""

GENERATED = "_sysconfigdata"
"""Prefix of a module that is generated when Python is built, with the paths of that machine."""


def stdlib_files() -> Files:
    """The ``.py`` files of the running Python's standard library, sorted, without its tests.

    Another version of Python gives another corpus, with another hash.

    Returns:
        A source of documents, one for each file.

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
    """Split files into a training set and a test set, by a hash of each file's relative path.

    Whether a file is tested on depends on its own name only, so it does not change when other
    files are added.

    Args:
        files: the files to split.
        held_out: the expected share of test files, 0 to 1.

    Returns:
        (training, test), each in the order of ``files``.

    Raises:
        BadInput: if one of the two sets is empty.
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
    """A hash of a name as a number in [0, 1), as if uniformly distributed over names."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64
