"""What happens to files: lost, emptied, cut, altered, grown, exchanged."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Damage(NamedTuple):
    """One thing done to one file.

    Attributes:
        what: the name of the damage.
        file: relative to the folder.
        other: the file that it was exchanged with.
    """

    what: str
    file: Path
    other: Path | None = None

    def __str__(self) -> str:
        return f"{self.what} {self.file}" + f" and {self.other}" * (self.other is not None)


def _flipped(content: bytes, chance: random.Random) -> bytes:
    """One bit of it."""
    altered = bytearray(content or b"\0")
    altered[chance.randrange(len(altered))] ^= 1 << chance.randrange(8)
    return bytes(altered)


def _replaced(content: bytes, chance: random.Random) -> bytes:
    """A stretch of it by other bytes."""
    at = chance.randrange(len(content) + 1)
    return content[:at] + chance.randbytes(8) + content[at + 8 :]


ALTERED: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "empty": lambda content, chance: b"",
    "cut": lambda content, chance: content[: chance.randrange(len(content))] if content else b"",
    "grow": lambda content, chance: content + chance.randbytes(7),
    "zero": lambda content, chance: bytes(len(content)),
    "flip": _flipped,
    "replace": _replaced,
}
"""The content of a file that was damaged, from its content before."""

KINDS = ("delete", "exchange", *ALTERED)
MISSING = ("delete", "empty", "cut")
"""Damages after which something is not there, which shows without check sums."""


@contextmanager
def damaged(folder: Path, chance: random.Random) -> Iterator[Damage]:
    """One file of a folder, damaged in one way; as it was when the context ends."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    file, what = chance.choice(files), chance.choice(KINDS)
    before, other, swapped = file.read_bytes(), None, b""
    if what == "exchange":
        other = chance.choice(files)
        swapped = other.read_bytes()
        file.write_bytes(swapped)
        other.write_bytes(before)
    elif what == "delete":
        file.unlink()
    else:
        file.write_bytes(ALTERED[what](before, chance))
    try:
        yield Damage(
            what, file.relative_to(folder), None if other is None else other.relative_to(folder)
        )
    finally:
        if other is not None:
            other.write_bytes(swapped)
        file.write_bytes(before)
