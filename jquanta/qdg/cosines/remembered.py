"""Rows that are kept in a file as they are made, so that each is made once, whatever ends the
process: for sketches and activations, which are small and take long to make.

In a folder: ``rows``, float32, those of all samples in their order, and ``done``, which of them are
there for good.
"""

import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float32
from numpy.typing import NDArray

from jquanta.qdg.cosines.matrix import COST_SHARE, DONE, LEAST_INTERVAL, marks, zeros
from jquanta.qdg.views.source import Source, weights
from jquanta.run.checkpoint import Due
from jquanta.run.files import whole

ROWS = "rows"

PIECE = 2**12
"""Rows that are copied at once."""

SPARE = 2
"""Rows are kept where the disk has so many times the room that they take."""


class Remembered:
    """A ``Source`` whose rows are read where they are there, and else made and kept.

    Args:
        source: of float32 arrays.
        folder: for the rows, made if need be. What it holds has to be of the same samples.
        samples: Q.

    Attributes:
        done: [Q] which samples' rows were there for good at the start, and which are since.
    """

    def __init__(self, source: Source, folder: Path, samples: int):
        self.source, self.folder = source, folder
        self.leaves, self.structure = jax.tree.flatten(source.row)
        self.shape = samples, sum(math.prod(x.shape) for x in self.leaves)
        folder.mkdir(exist_ok=True)
        file = folder / ROWS
        self.done = marks(folder / DONE, (samples,))
        if not file.exists() or file.stat().st_size != size_of(source, samples):
            self.done[:] = False
            zeros(file, size_of(source, samples))
        self.array: Float32[np.ndarray, "Q F"] = np.memmap(file, "<f4", "r+", shape=self.shape)
        self.made = self.done.copy()  # those that are not flushed yet, too
        self.due, self.lock = Due(LEAST_INTERVAL, COST_SHARE), Lock()

    @property
    def batches(self) -> Sequence[NDArray[np.int64]]:
        """See ``Source``."""
        return self.source.batches

    @property
    def weights(self) -> NDArray[np.float64]:
        """See ``source.weights``."""
        return weights(self.source)

    @property
    def row(self) -> Any:
        """See ``Source``."""
        return self.source.row

    def __call__(self, number: int) -> Any:
        """See ``Source``."""
        own = self.batches[number]
        if self.made[own].all():
            return self._read(own)
        found = self.source(number)
        arrays = [np.asarray(x) for x in jax.tree.leaves(found)]
        flat = np.concatenate([x.reshape(len(own), -1) for x in arrays], axis=1)
        with self.lock:
            self.array[own] = flat
            self.made[own] = True
            if self.due:
                self._save()
        return found

    def save(self) -> None:
        """Make sure that what is there outlives the process."""
        with self.lock:
            self._save()

    def _save(self) -> None:
        began = time.monotonic()
        assert isinstance(self.array, np.memmap)
        self.array.flush()
        self.done[:] = self.made
        with whole(self.folder / DONE) as part, part.open("wb") as file:
            np.save(file, self.done)
        self.due.saved(began)

    def _read(self, own: NDArray[np.int64]) -> Any:
        ends = np.cumsum([math.prod(x.shape) for x in self.leaves])[:-1]
        parts = np.split(np.asarray(self.array[own]), ends, axis=1)
        shaped = [p.reshape(-1, *x.shape) for p, x in zip(parts, self.leaves, strict=True)]
        return jax.tree.unflatten(self.structure, shaped)


def keep(folder: Path, vectors: Sequence[xr.DataArray]) -> None:
    """Write the rows of all samples, which were made elsewhere, as ``Remembered`` finds them.

    Args:
        folder: for the rows; it exists.
        vectors: [q, F] float32, those of some samples after those of others.
    """
    samples = sum(len(part) for part in vectors)
    with whole(folder / ROWS) as part, part.open("wb") as file:
        for own in vectors:
            for start in range(0, len(own), PIECE):
                own[start : start + PIECE].to_numpy().astype("<f4").tofile(file)
    with whole(folder / DONE) as part, part.open("wb") as file:
        np.save(file, np.ones(samples, bool))


def size_of(source: Source, samples: int) -> int:
    """Bytes of the file."""
    return 4 * samples * sum(math.prod(x.shape) for x in jax.tree.leaves(source.row))


def has_room(source: Source, samples: int, folder: Path) -> bool:
    """Whether the disk has room for the rows, or they are there already."""
    need = size_of(source, samples)
    return (folder / ROWS).exists() or shutil.disk_usage(folder.parent).free > SPARE * need
