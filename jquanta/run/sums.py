"""Check sums of what was written: one list in each finished folder, of all files in it.

``sums.json`` is written when a folder is complete. From then on a file that is lost, cut short or
altered is found: missing files and wrong sizes whenever the folder is opened; wrong content, too,
if the folder is small, and by ``jquanta check`` in any case.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jquanta.errors import BadInput
from jquanta.run import parse
from jquanta.run.files import PART, write_whole

SUMS = "sums.json"
"""The list, a JSON table: for each file its path in the folder, its size, and its sha256."""

SMALL = 2**25
"""Bytes of a folder up to which all of it is read whenever it is opened: 32 MiB, in 0.1 s."""


class Sum(NamedTuple):
    """What a file must be: its size in bytes, and its sha256."""

    size: int
    sha256: str


def write(folder: Path, coming: Mapping[str, bytes] | None = None) -> None:
    """Write the list of a folder that is complete.

    Args:
        folder: all its files are listed, those of folders in it too.
        coming: by path, files that will be written next, with their content.
    """
    coming = coming or {}
    paths = sorted(path.relative_to(folder).as_posix() for path in _files(folder))
    found = {name: _sum(folder / name) for name in paths if name not in coming}
    found |= {name: Sum(len(x), hashlib.sha256(x).hexdigest()) for name, x in coming.items()}
    write_whole(folder / SUMS, json.dumps({"files": found}) + "\n")


def read(folder: Path) -> dict[str, Sum] | None:
    """The list of a folder, by path; None where there is none, as older versions wrote none.

    Raises:
        BadInput: if it is damaged.
    """
    file = folder / SUMS
    try:
        files = parse.read_json(file)["files"]
        return {str(name): Sum(int(size), str(digest)) for name, (size, digest) in files.items()}
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError):  # BadInput is a ValueError
        raise BadInput(
            f"{file}: damaged; delete it, and what lies beside it is read without check sums"
        ) from None


def faults(folder: Path, wanted: Mapping[str, Sum], *, content: bool) -> list[str]:
    """What is wrong with the files of a folder, in words; empty if nothing is.

    Args:
        folder: whose list it is.
        wanted: the list.
        content: whether to read the files, too, and not only ask for their sizes.
    """
    return [
        fault for name, sum_ in wanted.items() if (fault := _fault(folder, name, sum_, content))
    ]


def require_whole(folder: Path, remedy: str, names: Iterable[str] | None = None) -> bool:
    """Check a finished folder against its list: sizes, and the content of a small one.

    Args:
        folder: to check.
        remedy: advice for the message.
        names: files to check; all that are listed by default.

    Returns:
        Whether there is a list; without one nothing is checked.

    Raises:
        BadInput: if a file is missing, of another size, or of another content.
    """
    wanted = read(folder)
    if wanted is None:
        return False
    if names is not None:
        wanted = {name: wanted[name] for name in names if name in wanted}
    small = sum(each.size for each in wanted.values()) <= SMALL
    if found := faults(folder, wanted, content=small):
        raise damaged(folder, found, remedy)
    return True


def damaged(path: Path, found: list[str], remedy: str) -> BadInput:
    """The error for a folder with faults: it names the first."""
    return BadInput(f"{path}: damaged: {first(found)}; {remedy}")


def first(found: Sequence[str]) -> str:
    """The first of some faults, and how many more there are."""
    return found[0] + (f" (and {len(found) - 1:,} more)" if found[1:] else "")


def sha256_of(*paths: Path) -> str:
    """The sha256 of the concatenated files, as ``cat FILE … | sha256sum`` prints it."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while data := file.read(2**20):
                digest.update(data)
    return digest.hexdigest()


def _fault(folder: Path, name: str, wanted: Sum, content: bool) -> str | None:
    file = folder / name
    try:
        size = file.stat().st_size if file.is_file() else None
        if size is None:
            return f"{name} is missing"
        if size != wanted.size:
            return f"{name} has {size:,} bytes, not {wanted.size:,}"
        if content and _sum(file) != wanted:
            return f"{name} has other content than was written"
    except (OSError, ValueError) as error:
        return f"{name} cannot be read ({getattr(error, 'strerror', None) or error})"
    return None


def _files(folder: Path) -> Iterable[Path]:
    """All files that belong to a folder: not its list, and none that was being written."""
    return (
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name != SUMS and path.suffix not in (PART, ".partial")
    )


def _sum(file: Path) -> Sum:
    return Sum(file.stat().st_size, sha256_of(file))
