"""Files and folders that are never seen half written, and places that can take them."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from jquanta.errors import BadInput

PART = ".part"
"""Suffix of a file or folder that is not whole yet."""

LOCK = "lock"
"""The file that holds a run folder against other processes."""


@contextlib.contextmanager
def whole(path: Path, *, sync: bool = False) -> Iterator[Path]:
    """Write a file or a folder under a temporary name, then give it its own.

    Args:
        path: the final name. What lies there is replaced at the end.
        sync: wait until a file's bytes are on the disk before it is renamed; otherwise a power cut
            may leave the name on an empty file.

    Yields:
        The path to write to, ``path`` with ``.part`` behind it. Nothing is there at first, and
        nothing is left there if the writing fails.
    """
    part = path.with_name(path.name + PART)
    remove(part)
    try:
        yield part
        if sync:
            with part.open("rb") as file:
                os.fsync(file.fileno())
        if part.is_dir():
            remove(path)  # a folder cannot be renamed onto another that holds something
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            remove(part)
        raise


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that it is never seen half written."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def require_place(path: Path, marker: str = "", *, flag: str = "--out") -> bool:
    """Raise ``BadInput`` unless a folder can be made at ``path``, or is there already. Writes
    nothing.

    Args:
        path: the folder.
        marker: a file or folder that every folder of this kind holds. A folder that holds other
            things and not the marker is refused. Empty: any folder will do.
        flag: what the user calls the folder.

    Returns:
        Whether the marker is there.
    """
    try:
        return _require_place(path, marker, flag)
    except (OSError, ValueError) as error:  # a name too long, or with a zero byte
        if isinstance(error, BadInput):
            raise
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{flag} {str(path)[:80]}: {reason}; give another folder") from None


def _require_place(path: Path, marker: str, flag: str) -> bool:
    if path.exists() and not path.is_dir():
        raise BadInput(f"{flag} {path}: is a file; give the path of a folder")
    nearest = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise BadInput(f"{flag} {path}: {nearest} is not writable; give another folder")
    content = {p.name for p in path.iterdir()} if path.exists() else set()
    if marker in content:
        return True
    if marker and content - {LOCK, marker + PART}:  # what a kill at the very start may leave
        raise BadInput(f"{flag} {path}: holds other files and no {marker}; give a new folder")
    return False


def require_file_place(path: Path, *, flag: str = "--out", example: str = "") -> None:
    """Raise ``BadInput`` unless a file can be written at ``path``. Writes nothing."""
    if path.is_dir():
        such = f", such as {path / example}" if example else ""
        raise BadInput(f"{flag} {path}: is a folder; give a file{such}")
    nearest = next(p for p in path.absolute().parents if p.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise BadInput(f"{flag} {path}: {nearest} is not writable; give another place")
