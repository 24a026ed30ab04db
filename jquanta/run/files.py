"""Files and folders that appear whole or not at all, and checks of where they are to be written."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePath

from jquanta.errors import BadInput
from jquanta.run.shown import shown

PART = ".part"
"""Suffix of a file or folder while it is being written."""

PARTIALS = "zarr.*.partial"
"""Names of files that zarr renames to ``zarr.json`` when they are complete."""

LOCK = "lock"
"""Name of the file in a run folder that a process locks while it writes there."""

SHARDS = "shards"
"""Name of the folder of all shards, in that of the whole."""

SHARD_SETTINGS = "shard.toml"
"""The configuration of a shard that is no run folder by itself, in its folder."""


@contextlib.contextmanager
def whole(path: Path, *, sync: bool = False) -> Iterator[Path]:
    """Write a file or a folder under a temporary name, and rename it when it is complete.

    Args:
        path: the final name. A file or folder of that name is replaced at the end.
        sync: flush a file to the disk (fsync) before it is renamed; otherwise it may be empty
            after a power failure.

    Yields:
        The path to write to: ``path`` with the suffix ``.part``. Nothing exists there at first, and
        nothing is left there if the body raises.
    """
    part = path.with_name(path.name + PART)
    remove(part)
    try:
        yield part
        if sync:
            with part.open("rb") as file:
                os.fsync(file.fileno())
        if part.is_dir():
            remove(path)  # a folder cannot be renamed onto one that is not empty
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            remove(part)
        raise


def write_whole(path: Path, text: str) -> None:
    """Write a text file (UTF-8), whole or not at all.

    Raises:
        BadInput: for half of a surrogate pair, which UTF-8 cannot hold.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadInput(
            f"{path}: a text for it holds half of a character, {error.object[error.start]!a}; "
            "leave it out"
        ) from None
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def as_path(path: Path | str) -> Path:
    """A path as a user gave it, with the home folder in place of ``~``.

    Raises:
        BadInput: if nothing can have that name.
    """
    try:
        found = Path(path).expanduser()
        os.stat(found)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return found
    except (OSError, ValueError, RuntimeError) as error:  # too long, a zero byte, no such user
        reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or error
        raise BadInput(f"{shown(ascii(str(path)))}: {reason}; give another path") from None
    return found


def inside(folder: Path, name: str, where: str) -> Path:
    """The path of ``name`` in a folder, where the name was read from a file: it may lead into
    subfolders, and not out of the folder.

    Args:
        folder: the folder.
        name: such as ``model-00001-of-00002.safetensors``.
        where: what names it, for the message.

    Raises:
        BadInput: if it leads out of the folder, or can be no path.
    """
    parts = PurePath(name).parts if isinstance(name, str) and "\0" not in name else ()
    if not parts or PurePath(name).is_absolute() or ".." in parts or "\\" in name:
        raise BadInput(
            f"{where}: names {str(name)[:80]!r}, which is no path inside {folder}; fetch it again "
            "from whom you trust"
        )
    return folder / name


def remove(path: Path) -> None:
    """Delete a file, or a folder with its content, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def clear_partials(folder: Path) -> None:
    """Delete what zarr has left of metadata that it was writing when the process was killed."""
    for path in folder.glob(PARTIALS):
        remove(path)


def require_place(path: Path, marker: str = "", *, flag: str = "--out") -> bool:
    """Check that the folder ``path`` exists and is writable, or can be made. Writes nothing.

    Args:
        path: the folder.
        marker: name of a file or folder that every folder of this kind holds. A folder that holds
            other things but not the marker is refused. Empty: any folder is accepted.
        flag: the command's flag for the folder, for messages.

    Returns:
        Whether the marker is there.

    Raises:
        BadInput: if nothing can be written at ``path``, or it holds something else.
    """
    try:
        return _require_place(path, marker, flag)
    except (OSError, ValueError) as error:  # OSError: a name too long; ValueError: with a zero byte
        if isinstance(error, BadInput):
            raise
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{flag} {str(path)[:80]}: {reason}; give another folder") from None


def _require_place(path: Path, marker: str, flag: str) -> bool:
    as_path(path)
    if path.exists() and not path.is_dir():
        raise BadInput(f"{flag} {path}: is a file; give the path of a folder")
    # The folder itself, or the nearest one above it that exists, must be writable.
    nearest = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise BadInput(f"{flag} {path}: {nearest} is not writable; give another folder")
    content = {p.name for p in path.iterdir()} if path.exists() else set()
    if marker in content:
        return True
    # A process that is killed at the very start may leave the lock and a part of the marker.
    begun = {LOCK, marker + PART, *(p.name for p in path.glob(PARTIALS))}
    if marker and content - begun:
        raise BadInput(f"{flag} {path}: holds other files and no {marker}; give a new folder")
    return False


def require_file_place(path: Path, *, flag: str = "--out", example: str = "") -> None:
    """Check that a file can be written at ``path``. Writes nothing.

    Args:
        path: the file.
        flag: the command's flag for it, for messages.
        example: a file name to suggest where ``path`` is a folder.

    Raises:
        BadInput: if it cannot.
    """
    if path.is_dir():
        such = f", such as {path / example}" if example else ""
        raise BadInput(f"{flag} {path}: is a folder; give a file{such}")
    nearest = next(p for p in path.absolute().parents if p.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise BadInput(f"{flag} {path}: {nearest} is not writable; give another place")
