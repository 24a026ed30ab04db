"""Symmetric matrices of cosines as they are filled, block by block, in memory or on disk."""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from jquanta.errors import BadInput, RunFailed
from jquanta.run import npy, parse
from jquanta.run.arrays import CHUNK, Variable, finish, write
from jquanta.run.checkpoint import Due
from jquanta.run.files import LOCK, remove, whole, write_whole

COSINE, COSINE_ABS = "cosine", "cosine_abs"

STATE = "state.json"
DONE = "done"

GROUP = "matrices.zarr"

FACTORS = "factors"
"""Folder of what rows are built from, which other panels need, too."""

KEPT = "kept"
"""Folder of the rows themselves, where they are small."""

VERSION = 2
"""Of the state on disk. Version 1, without a number, kept the matrices in the order in which the
samples were computed, and sorted them at the end."""

WORDS = {
    "version": "an earlier version of jquanta began it",
    "names": "other matrices are asked for",
    "starts": "rows are now cut into other panels",
}
"""Why work begins again."""

LEAST_INTERVAL, COST_SHARE = 10.0, 0.02
"""Seconds of work that a crash may cost, and the share of the time that saving may take."""

UNSAVED = 2**28
"""Bytes of blocks that wait in memory to be saved, at most."""

Blocks = Sequence[Float32[np.ndarray, "q r"]]
"""For each matrix the cosines of q samples with r samples."""


@runtime_checkable
class Matrices(Protocol):
    """Where the cosines of all pairs of samples go.

    Attributes:
        n: Q, the number of samples.
        names: of the matrices, such as ``cosine``.
        panel: samples of a panel in the run that is continued; None where there was none.
        done: [panels, panels] which blocks are there; only the upper triangle counts.
    """

    n: int
    names: tuple[str, ...]
    panel: int | None
    done: NDArray[np.bool_]

    @property
    def nbytes(self) -> int:
        """Memory that the matrices take."""

    def begin(self, panel: int, starts: Sequence[int]) -> list[str]:
        """Make room, or take up what is there.

        Args:
            panel: samples of a panel.
            starts: for each panel, how many samples those before it hold together.

        Returns:
            Lines for a person.
        """

    def write(
        self, i: int, j: int, rows: NDArray[np.int64], columns: NDArray[np.int64], blocks: Blocks
    ) -> None:
        """Put the block of panels i ≤ j in its two places.

        Args:
            i, j: the panels.
            rows, columns: [q], [r] the samples of panel i, and of panel j.
            blocks: for each matrix; those of a panel with itself count above the diagonal only.
        """

    def save(self) -> None:
        """Make sure that what is done outlives the process, where it can."""


class InMemory:
    """Matrices that end with the process; ``arrays`` holds them, [Q, Q], by name."""

    panel: int | None = None

    def __init__(self, n: int, names: tuple[str, ...]):
        self.n, self.names = n, names
        self.done: NDArray[np.bool_] = np.zeros((0, 0), bool)

    @property
    def nbytes(self) -> int:
        """See ``Matrices``."""
        return 4 * self.n**2 * len(self.names)

    def begin(self, panel: int, starts: Sequence[int]) -> list[str]:
        """See ``Matrices``."""
        self.arrays = {name: np.empty((self.n, self.n), np.float32) for name in self.names}
        self.done = np.zeros((len(starts), len(starts)), bool)
        return []

    def write(
        self, i: int, j: int, rows: NDArray[np.int64], columns: NDArray[np.int64], blocks: Blocks
    ) -> None:
        """See ``Matrices``."""
        for array, block in zip(self.arrays.values(), _cosines(blocks, i == j), strict=True):
            array[np.ix_(rows, columns)] = block
            array[np.ix_(columns, rows)] = block.T
        self.done[i, j] = True

    def save(self) -> None:
        """See ``Matrices``."""


class Strip(NamedTuple):
    """A chunk of a matrix on disk: some full rows."""

    file: Path
    shape: tuple[int, int]

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return 4 * self.shape[0] * self.shape[1]

    @property
    def is_whole(self) -> bool:
        """Whether the file is there, in its full size."""
        return self.file.is_file() and self.file.stat().st_size == self.size


class OnDisk:
    """Matrices in a Zarr group, which is being made in a folder and is moved away when it is done.

    A chunk is a strip of full rows. Blocks wait in memory, and many are saved at once: the samples
    of a panel are scattered over the matrix, so each block touches most pages of its strips, and
    the operating system would write every page again and again. Blocks are marked as done once they
    are saved, so whatever ends the process costs some seconds of work and spoils nothing.
    """

    def __init__(self, work: Path, variables: Mapping[str, Variable], identity: Mapping[str, Any]):
        """
        Args:
            work: the folder; it exists.
            variables: of the group. The matrices, which have no parts, are those to fill.
            identity: what the numbers depend on: attributes of the group.

        Raises:
            BadInput: if the folder holds the beginnings of something else.
        """
        self.work, self.group, self.variables = work, work / GROUP, variables
        self.identity = dict(identity)
        self.names = tuple(name for name, array in variables.items() if not array.parts)
        self.n = variables[self.names[0]].shape[0]
        self.strip = strip_shape(self.n)[0]
        self.state = stored_state(work, self.identity)
        self.panel: int | None = self.state.get("panel")
        self.done: NDArray[np.bool_] = np.zeros((0, 0), bool)
        self.due = Due(LEAST_INTERVAL, COST_SHARE)
        self.waiting: list[tuple[NDArray[np.int64], NDArray[np.int64], Blocks]] = []
        self.unsaved = 0  # bytes

    @property
    def nbytes(self) -> int:
        """See ``Matrices``."""
        return 0

    def begin(self, panel: int, starts: Sequence[int]) -> list[str]:
        """See ``Matrices``. Raises ``OSError`` or ``RunFailed`` if the disk is full."""
        shape = len(starts), len(starts)
        layout = {"version": VERSION, "names": list(self.names), "starts": [*starts, self.n]}
        before = {key: self.state.get(key) for key in layout}
        self.done = marks(self.work / DONE, shape)
        if before == layout and all(strip.is_whole for strip in self._strips()):
            share = self.done[np.triu_indices(len(starts))].mean()
            return [f"similarity: continuing after {share:.0%}"]
        self.done = np.zeros(shape, bool)
        for path in self.work.iterdir():  # of other panels, or of an earlier version
            if path.name not in (STATE, LOCK, FACTORS, KEPT):
                remove(path)
        write(self.group, self.variables, self.identity)
        reserve(self._strips())
        fresh = "starts" not in self.state
        self.state = {"identity": self.identity, "panel": panel, **layout}
        write_whole(self.work / STATE, json.dumps(self.state))
        if fresh:
            return []
        changed = [WORDS[key] for key in layout if before[key] != layout[key]]
        return [f"similarity: starting again, since {[*changed, 'files are missing'][0]}"]

    def write(
        self, i: int, j: int, rows: NDArray[np.int64], columns: NDArray[np.int64], blocks: Blocks
    ) -> None:
        """See ``Matrices``."""
        self.waiting.append((rows, columns, list(_cosines(blocks, i == j))))
        self.unsaved += sum(block.nbytes for block in blocks)
        self.done[i, j] = True
        if self.due or self.unsaved > UNSAVED:
            self.save()

    def save(self) -> None:
        """See ``Matrices``."""
        began = time.monotonic()
        for number, name in enumerate(self.names):
            for strip, pieces in self._by_strip(number).items():
                chunk = self._strip(name, strip)
                array = np.memmap(chunk.file, "<f4", "r+", shape=chunk.shape)
                for place, values in pieces:
                    array[place] = values
                array.flush()
        self.waiting, self.unsaved = [], 0
        with whole(self.work / DONE) as part, part.open("wb") as file:
            np.save(file, self.done)
        self.due.saved(began)

    def finish(self, path: Path, attributes: Mapping[str, Any]) -> None:
        """Give the group, which is complete, further attributes, check sums and its place."""
        finish(self.group, attributes)
        self.group.rename(path)

    def _by_strip(self, number: int) -> dict[int, list[tuple[Any, NDArray[np.float32]]]]:
        """What waits for a matrix: for each strip the places in it and the values there."""
        found: dict[int, list[tuple[Any, NDArray[np.float32]]]] = {}
        for rows, columns, blocks in self.waiting:
            block = blocks[number]
            for own, others, values in ((rows, columns, block), (columns, rows, block.T)):
                for strip in np.unique(own // self.strip).tolist():
                    here = np.flatnonzero(own // self.strip == strip)
                    place = np.ix_(own[here] % self.strip, others)
                    found.setdefault(strip, []).append((place, values[here]))
        return found

    def _strip(self, name: str, number: int) -> Strip:
        """A chunk of a matrix. The last one is as large as the others: Zarr stores chunks whole."""
        return Strip(self.group / name / "c" / str(number) / "0", (self.strip, self.n))

    def _strips(self) -> list[Strip]:
        """All chunks of all matrices."""
        count = -(-self.n // self.strip)
        return [self._strip(name, number) for name in self.names for number in range(count)]


def strip_shape(n: int) -> tuple[int, int]:
    """Rows and columns of a chunk of a matrix [Q, Q]: full rows, up to 4 MiB of float32. Above
    ``CHUNK`` samples their number is a power of two, so that readers of ``CHUNK`` rows at a time
    meet no chunk twice."""
    if n <= CHUNK:
        return n, n
    return 2 ** (max(1, CHUNK**2 // n).bit_length() - 1), n


def require_same(path: Path, found: Mapping[Any, Any], wanted: Mapping[str, Any]) -> None:
    """Raise ``BadInput`` unless what is stored has the attributes of what would be computed."""
    for name, value in wanted.items():
        if found.get(name) != value:
            raise BadInput(
                f"{path}: has {name} {str(found.get(name))[:40]}, not {str(value)[:40]}; give "
                "another --out, or delete it"
            )


def claim(work: Path, identity: Mapping[str, Any]) -> None:
    """Write into a folder whose beginnings it holds, before there are any matrices.

    Raises:
        BadInput: if it holds the beginnings of something else.
    """
    if not stored_state(work, dict(identity)):
        write_whole(work / STATE, json.dumps({"identity": dict(identity)}))


def _cosines(blocks: Blocks, same: bool) -> Iterator[Float32[np.ndarray, "q r"]]:
    """Inner products of unit vectors as cosines: within [-1, 1], since arccos of what rounding has
    put outside is NaN. Those of samples with themselves are exactly symmetric, and 1 on the
    diagonal."""
    for block in blocks:
        found = np.clip(block, -1, 1)
        if same:
            found = np.triu(found, 1)
            found += found.T + np.eye(len(found), dtype=np.float32)
        yield found


def marks(path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """What is marked as done; nothing if the marks are of another shape."""
    try:
        stored = npy.read(path, "delete it")
    except (FileNotFoundError, BadInput):  # missing, or damaged: everything is done again
        return np.zeros(shape, bool)
    fits = stored.shape == shape and stored.dtype == bool
    return stored if fits else np.zeros(shape, bool)


def stored_state(work: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """The stored state, empty where there is none."""
    try:
        stored = parse.read_json(work / STATE)
        began: dict[str, Any] = dict(stored["identity"])
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError):
        raise BadInput(f"{work / STATE}: damaged; delete that folder") from None
    for name, value in identity.items():
        found = began.get(name)
        if found != value:
            raise BadInput(
                f"{work}: begun with another {name} ({str(found)[:40]}, not {str(value)[:40]}); "
                "delete that folder, or give another --out"
            )
    return dict(stored)


def reserve(strips: Sequence[Strip]) -> None:
    """Make files of zeros. A disk that is full says so here, and not by a signal (SIGBUS) when a
    page of a mapped file is written."""
    size = strips[0].size
    work = strips[0].file.parents[4]
    if shutil.disk_usage(work).free < size * len(strips):
        raise RunFailed(
            f"the disk is full: free {1e-9 * size * len(strips):.3g} GB or more for "
            f"{work.parent}; then the same command continues"
        )
    for strip in strips:
        strip.file.parent.mkdir(parents=True, exist_ok=True)
        zeros(strip.file, size)


def zeros(path: Path, size: int) -> None:
    """Make a file of so many zeros, whose room on the disk is taken at once."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate") and size:
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
