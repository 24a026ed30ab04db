"""Cosines as they come in, block by block: in memory, or on disk so that a killed run continues."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.run.files import remove, write_whole

COSINE, COSINE_ABS = "cosine", "cosine_abs"

STATE = "state.json"
DONE = "done"

LEAST_INTERVAL = 10.0
"""Seconds of work that a crash may cost."""


class Matrices:
    """Symmetric matrices [n, n] of cosines in the order of the rows, and which blocks are there.

    On disk they are plain numbers in files; blocks are marked done once they are there, so that
    whatever ends the process costs some seconds of work and spoils nothing.

    Attributes:
        n: rows.
        absolute: whether inner products of absolute values are kept, too.
        arrays: by name, float32 [n, n].
        done: [panels, panels] which blocks are there; the upper triangle counts.
        panel: rows of a panel, of a run before this one; None if there was none.
    """

    def __init__(self, n: int, absolute: bool, path: Path | None, state: dict[str, Any]):
        self.n, self.absolute, self.path, self.state = n, absolute, path, state
        self.panel: int | None = state.get("panel")
        self.arrays: dict[str, NDArray[np.float32]] = {}
        self.done: NDArray[np.bool_] = np.zeros((0, 0), bool)
        self._due = time.monotonic() + LEAST_INTERVAL

    @classmethod
    def in_memory(cls, n: int, absolute: bool) -> "Matrices":
        """Matrices that end with the process."""
        return cls(n, absolute, None, {})

    @classmethod
    def on_disk(cls, path: Path, n: int, absolute: bool, identity: dict[str, Any]) -> "Matrices":
        """Matrices in a folder: those that are there, or new ones.

        Args:
            path: the folder; it exists.
            n, absolute: as in the attributes.
            identity: what the numbers depend on.

        Raises:
            BadInput: if the folder holds the beginnings of something else.
        """
        stored = _state(path)
        for name, value in identity.items():
            if stored and stored["identity"].get(name) != value:
                raise BadInput(
                    f"{path}: begun with another {name} ({str(stored['identity'].get(name))[:40]}"
                    f", not {str(value)[:40]}); delete that folder, or give another --out"
                )
        return cls(n, absolute, path, stored or {"identity": identity})

    @property
    def names(self) -> tuple[str, ...]:
        """What the matrices are called."""
        return (COSINE, COSINE_ABS) if self.absolute else (COSINE,)

    @property
    def nbytes(self) -> int:
        """Memory that they take."""
        return 4 * self.n**2 * len(self.names) if self.path is None else 0

    def begin(self, panel: int, starts: Sequence[int]) -> list[str]:
        """Make the arrays, or take up those that are there.

        Args:
            panel: rows of a panel.
            starts: the first row of each panel: what ``done`` counts by.

        Returns:
            Lines for a person.

        Raises:
            OSError: if the disk is full.
        """
        self.starts, shape = [*starts, self.n], (len(starts), len(starts))
        if self.path is None:
            self.arrays = {name: np.empty((self.n, self.n), np.float32) for name in self.names}
            self.done = np.zeros(shape, bool)
            return []
        before = self.state.get("starts")
        files = {name: self.path / f"{name}.f32" for name in self.names}
        self.done = _done(self.path / DONE, shape)
        if before != self.starts or not all(file.is_file() for file in files.values()):
            remove(self.path / DONE)
            self.done = np.zeros(shape, bool)
            for file in files.values():
                _reserve(file, 4 * self.n**2)
            self.state |= {"panel": panel, "starts": self.starts}
            write_whole(self.path / STATE, json.dumps(self.state))
        self.arrays = {
            name: np.memmap(file, "<f4", "r+", shape=(self.n, self.n))
            for name, file in files.items()
        }
        if before is None:
            return []
        if before != self.starts:
            return ["similarity: starting again, since rows are now cut into other panels"]
        share = self.done[np.triu_indices(len(starts))].mean()
        return [f"similarity: continuing after {share:.0%}"]

    def write(self, i: int, j: int, blocks: Sequence[NDArray[np.float32]]) -> None:
        """Put the inner products of the rows of panels i ≤ j in their two places."""
        rows, columns = slice(*self.starts[i : i + 2]), slice(*self.starts[j : j + 2])
        for array, block in zip(self.arrays.values(), blocks, strict=True):
            block = np.clip(block, -1, 1)  # rounding may pass 1, and arccos would be NaN
            if i == j:
                block = np.triu(block, 1)
                block += block.T + np.eye(len(block), dtype=np.float32)
            array[rows, columns] = block
            array[columns, rows] = block.T
        self.done[i, j] = True
        if time.monotonic() > self._due:
            self.mark()

    def mark(self) -> None:
        """See to it that what is done is on disk."""
        if self.path is not None:
            for array in self.arrays.values():
                array.flush()  # type: ignore[attr-defined]
            part = self.path / f"{DONE}.part"
            with part.open("wb") as file:
                np.save(file, self.done)
            part.replace(self.path / DONE)
        self._due = time.monotonic() + LEAST_INTERVAL


def _done(path: Path, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The blocks that are marked; none if the marks are of other panels."""
    if not path.is_file():
        return np.zeros(shape, bool)
    stored: NDArray[np.bool_] = np.load(path, allow_pickle=False)
    return stored if stored.shape == shape else np.zeros(shape, bool)


def _state(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads((path / STATE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise BadInput(f"{path / STATE}: damaged; delete that folder") from None


def _reserve(path: Path, size: int) -> None:
    """A file of zeros. A disk that is full says so here, not by a signal while it is written."""
    remove(path)
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, max(1, size))
        else:
            file.truncate(max(1, size))
