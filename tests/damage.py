"""Every way in which a file may be lost or altered, tried on the files of a folder.

The promise is one for all folders: what opens them gives what was written, or a ``BadInput`` of one
line.
"""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jquanta.errors import BadInput

WAYS = ("lost", "empty", "cut", "altered", "longer", "swapped")


def cases(folder: Path, count: int, seed: int = 0) -> list[tuple[str, str, str]]:
    """Some files of a folder, what is done to each, and another file to swap it with."""
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    chance = random.Random(seed)
    every = [(name, way, chance.choice(files)) for name in files for way in WAYS]
    return chance.sample(every, min(count, len(every)))


def damage(folder: Path, name: str, way: str, other: str) -> None:
    """Do it."""
    file, content = folder / name, (folder / name).read_bytes()
    half = len(content) // 2
    if way == "lost":
        file.unlink()
    elif way == "swapped":
        file.write_bytes((folder / other).read_bytes())
        (folder / other).write_bytes(content)
    else:
        flipped = bytes([content[half] ^ 1]) if content else b"x"
        file.write_bytes(
            {
                "empty": b"",
                "cut": content[:half],
                "altered": content[:half] + flipped + content[half + 1 :],
                "longer": content + b"\0\0\0",
            }[way]
        )


def outcomes(
    folder: Path, copy: Path, count: int, read: Callable[[Path], Any]
) -> Iterator[tuple[str, str]]:
    """Damage a copy in ``count`` ways, one after another, and read it.

    Args:
        folder: as it was written.
        copy: where the copy lies.
        count: how many ways are tried.
        read: gives what the folder holds, as something to compare with ``==``.

    Yields:
        What was done; and ``refused``, ``right`` or ``wrong``. Any other error passes through.
    """
    shutil.copytree(folder, copy)
    right = read(copy)
    for name, way, other in cases(folder, count):
        damage(copy, name, way, other)
        try:
            yield f"{name} {way} {other}", "right" if read(copy) == right else "wrong"
        except BadInput as error:
            one_line = "\n" not in str(error)
            yield f"{name} {way} {other}", "refused" if one_line else "wrong"
        for changed in (name, other):
            shutil.copy2(folder / changed, copy / changed)


def assert_refused_or_right(
    folder: Path, copy: Path, count: int, read: Callable[[Path], Any], least: int
) -> None:
    """Nothing is wrong, and at least ``least`` of the ways are refused."""
    found = list(outcomes(folder, copy, count, read))
    if wrong := [what for what, outcome in found if outcome == "wrong"]:
        pytest.fail(f"read as if nothing were wrong: {wrong}")
    assert sum(outcome == "refused" for _, outcome in found) >= least
