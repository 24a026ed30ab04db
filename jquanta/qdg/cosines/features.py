"""What stands for each sample, stored as one vector a sample: for more samples than a matrix of all
pairs takes.

A sketch of a gradient, or an activation, has a few thousand numbers, so that 100,000 of them take
some gigabytes, where their similarity matrix would take 40. Everything that needs cosines takes
them from the vectors, which have unit length, as products.

Shapes: Q samples, F features, ``q`` samples of a batch.
"""

import contextlib
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Float32
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.lm.models.model import Model
from jquanta.qdg.cosines.blockwise import BadRows
from jquanta.qdg.cosines.matrix import (
    COST_SHARE,
    DONE,
    LEAST_INTERVAL,
    STATE,
    UNSAVED,
    Strip,
    marks,
    require_same,
    reserve,
    stored_state,
)
from jquanta.qdg.cosines.similarity import identity_of, work_folder
from jquanta.qdg.samples.predictions import Predictions
from jquanta.qdg.views.per_sample import view_of
from jquanta.qdg.views.source import Source, computed, weights
from jquanta.qdg.views.view import View
from jquanta.run.arrays import Variable, finish, read, variable, write
from jquanta.run.checkpoint import Due
from jquanta.run.environment import environment
from jquanta.run.files import LOCK, as_path, remove, require_place, whole, write_whole
from jquanta.run.progress import Monitor, Silence
from jquanta.run.stop import Interrupts

FEATURES = "features.zarr"
WORK = "features.work"

VECTOR, LENGTH = "vector", "length"

MOST_NUMBERS = 2**17
"""Numbers of a sample, at most: half a megabyte. Whole gradients have millions, and 100,000 of them
fit on no disk."""

CHUNK_BYTES = 2**22
"""Of a chunk on disk, about."""

VERSION = 1
"""Of the state on disk."""

WHOLE: Mapping[str, Any] = MappingProxyType({})


def features(
    model: Model,
    predictions: Predictions,
    view: View,
    *,
    out: Path | str,
    batch_tokens: int | None = None,
    part: Mapping[str, Any] = WHOLE,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """One vector of unit length for each sample, on disk: its sketch, or its activation.

    What was interrupted continues with the same bits, and what is there is left alone.

    Args:
        model: in float32, as ``jquanta.load_model`` gives it.
        predictions: the samples; see ``select``.
        view: ``Sketch()`` or ``Activations()``.
        out: the folder for ``features.zarr``.
        batch_tokens: see ``per_sample``.
        part: attributes by which a shard is recognised; see ``shards``.
        monitor: sees the progress.

    Returns:
        ``vector`` (sample, feature), float32 of unit length, lazily; ``length`` (sample), what it
        was before; ``index`` (sample), the predictions. Attributes as of ``similarity``.

    Raises:
        BadInput: if the parts do not go together, a vector has more numbers than ``MOST_NUMBERS``,
            or is zero or not finite: its prediction is named.
        RunFailed: if the disk or a device is full; the same call continues.
        Interrupted: on Ctrl-C; the same call continues.
    """
    source = view_of(model, predictions, view, batch_tokens)
    if (numbers := numbers_of(source)) > MOST_NUMBERS:
        raise BadInput(
            f"features of mode {view.mode} have {numbers:,} numbers a sample, at most "
            f"{MOST_NUMBERS:,} are stored; give a smaller sketch"
        )
    identity = identity_of(model, predictions, view) | dict(part)
    return of_source(source, predictions, identity, view.what, out=out, monitor=monitor)


def of_source(
    source: Source,
    predictions: Predictions,
    identity: Mapping[str, Any],
    what: str,
    *,
    out: Path | str,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """The vectors that any source gives of samples; the other arguments are those of ``features``.

    Args:
        source: of the samples' arrays.
        predictions: the samples.
        identity: what the vectors depend on: attributes.
        what: they are, in words.
    """
    numbers, out = numbers_of(source), as_path(out)
    if (out / FEATURES).exists():
        require_same(out / FEATURES, open_features(out).attrs, identity)
        if (out / WORK).exists():  # a process was killed just after its last step
            with contextlib.suppress(BadInput), work_folder(out / WORK) as work:
                remove(work / STATE)
        return open_features(out)
    require_place(out)
    with work_folder(out / WORK) as work:
        rows = _OnDisk(work, predictions, numbers, what, identity)
        try:
            _fill(rows, source, predictions, monitor or Silence())
        except BadRows:
            remove(work / STATE)  # there is nothing to continue
            raise
        rows.finish(out / FEATURES, environment() | dict(identity))
        remove(work / STATE)
    return open_features(out)


def open_features(path: Path | str) -> xr.Dataset:
    """Open ``features.zarr``, or the folder that holds it, lazily: see ``features``.

    Raises:
        BadInput: if there is none.
    """
    path = as_path(path)
    path = path if path.name == FEATURES else path / FEATURES
    return read(path, "features", VECTOR, "compute them: jquanta qdg")


def numbers_of(source: Source) -> int:
    """F: numbers of a sample."""
    return sum(math.prod(x.shape) for x in jax.tree.leaves(source.row))


def _fill(rows: "_OnDisk", source: Source, predictions: Predictions, monitor: Monitor) -> None:
    """Compute all rows that are missing. Raises ``BadRows`` that names all predictions at fault."""
    for line in rows.begin():
        monitor.say(line)
    missing = [i for i, own in enumerate(source.batches) if not rows.done[own].all()]
    share = weights(source) / sum(weights(source))
    made = 1 - sum(share[missing])
    zero, infinite = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    with Interrupts("interrupted; the same command continues") as interrupts:
        try:
            for number, (samples, batch) in zip(missing, computed(source, missing), strict=True):
                unit, length = map(np.asarray, _unit(batch))
                good = np.isfinite(length) & (length > 0)
                zero.append(samples[length == 0])
                infinite.append(samples[~np.isfinite(length)])
                rows.write(samples[good], unit[good], length[good])
                made += share[number]
                monitor.work("features", min(1.0, made))
                interrupts.check()
        finally:
            rows.save()
    bad = [predictions.index[np.sort(np.concatenate(found))] for found in (zero, infinite)]
    if any(map(len, bad)):
        raise BadRows(bad[0], bad[1], "prediction")


@jax.jit
def _unit(batch: Any) -> tuple[Float32[Array, "q F"], Float32[Array, " q"]]:
    """The arrays of each sample side by side in one row of unit length, and the length before."""
    leaves = jax.tree.leaves(batch)
    flat = jnp.concatenate([x.reshape(len(x), -1).astype(jnp.float32) for x in leaves], axis=1)
    length = jnp.linalg.norm(flat, axis=1)
    return flat / length[:, None], length


def variables(index: NDArray[np.int64], numbers: int, what: str) -> dict[str, Variable]:
    """What is stored, without the vectors and lengths themselves.

    Args:
        index: [Q] the predictions.
        numbers: F, of a vector.
        what: the vectors are, in words.
    """
    samples = len(index)
    vector = {"units": "1", "long_name": f"{what}, of unit length"}
    chunks = max(1, min(samples, CHUNK_BYTES // (4 * numbers))), numbers
    dims = "sample", "feature"
    return {
        VECTOR: Variable(dims, (samples, numbers), "float32", (), vector, chunks),
        LENGTH: Variable(
            dims[:1], (samples,), "float32", (), {"long_name": f"length of {what}"}, (samples,)
        ),
        "index": variable(dims[:1], index, long_name="prediction of the corpus"),
    }


class _OnDisk:
    """Rows in a Zarr group that is being made in a folder, and is moved away when it is done.

    Rows wait in memory, and many are saved at once, since those of a batch, which have prefixes of
    one length, are scattered over the chunks. Samples are marked as done once they are saved, so
    whatever ends the process costs some seconds of work and spoils nothing.

    Attributes:
        done: [Q] which samples are there.
        lengths: [Q] of their vectors before they were scaled.
    """

    def __init__(
        self,
        work: Path,
        predictions: Predictions,
        numbers: int,
        what: str,
        identity: Mapping[str, Any],
    ):
        self.work, self.group, self.identity = work, work / FEATURES, dict(identity)
        self.shape, self.what, self.predictions = (len(predictions), numbers), what, predictions
        self.rows = max(1, min(len(predictions), CHUNK_BYTES // (4 * numbers)))  # of a chunk
        self.state = stored_state(work, self.identity)
        self.done: NDArray[np.bool_] = np.zeros(len(predictions), bool)
        self.lengths: NDArray[np.float32] = np.zeros(len(predictions), np.float32)
        self.due = Due(LEAST_INTERVAL, COST_SHARE)
        self.waiting: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
        self.unsaved = 0  # bytes

    def begin(self) -> list[str]:
        """Make room, or take up what is there. Lines for a person."""
        layout = {"version": VERSION, "shape": list(self.shape)}
        strips = [*self._strips(), self._length]
        if all(self.state.get(key) == value for key, value in layout.items()) and all(
            strip.is_whole for strip in strips
        ):
            self.done = marks(self.work / DONE, self.done.shape)
            self.lengths[:] = np.fromfile(self._length.file, "<f4")
            return [f"features: continuing after {self.done.mean():.0%}"]
        for path in self.work.iterdir():
            if path.name not in (STATE, LOCK):
                remove(path)
        write(self.group, self._variables(), self.identity)
        reserve(self._strips())
        reserve([self._length])
        write_whole(self.work / STATE, json.dumps({"identity": self.identity, **layout}))
        return []

    def write(
        self, samples: NDArray[np.int64], rows: NDArray[np.float32], lengths: NDArray[np.float32]
    ) -> None:
        """Put rows in their places."""
        self.waiting.append((samples, rows))
        self.unsaved += rows.nbytes
        self.done[samples], self.lengths[samples] = True, lengths
        if self.due or self.unsaved > UNSAVED:
            self.save()

    def save(self) -> None:
        """Make sure that what is done outlives the process."""
        began = time.monotonic()
        for number, strip in enumerate(self._strips()) if self.waiting else ():
            pieces = [(own // self.rows == number, own, rows) for own, rows in self.waiting]
            if not any(here.any() for here, _, _ in pieces):
                continue
            array = np.memmap(strip.file, "<f4", "r+", shape=strip.shape)
            for here, own, rows in pieces:
                array[own[here] % self.rows] = rows[here]
            array.flush()
        self.waiting, self.unsaved = [], 0
        array = np.memmap(self._length.file, "<f4", "r+", shape=self._length.shape)
        array[0] = self.lengths
        array.flush()
        with whole(self.work / DONE) as part, part.open("wb") as file:
            np.save(file, self.done)
        self.due.saved(began)

    def finish(self, path: Path, attributes: Mapping[str, Any]) -> None:
        """Give the group, which is complete, further attributes, check sums and its place."""
        finish(self.group, attributes)
        self.group.rename(path)

    def _variables(self) -> dict[str, Variable]:
        return variables(self.predictions.index, self.shape[1], self.what)

    def _strips(self) -> list[Strip]:
        """All chunks of the vectors. The last is as large as the others, since Zarr stores chunks
        whole."""
        count, shape = -(-self.shape[0] // self.rows), (self.rows, self.shape[1])
        return [Strip(self.group / VECTOR / "c" / str(i) / "0", shape) for i in range(count)]

    @property
    def _length(self) -> Strip:
        return Strip(self.group / LENGTH / "c" / "0", (1, self.shape[0]))


class Stored:
    """Stored vectors as a ``Source`` of the arrays that they were made of, but for their lengths.

    Args:
        vectors: [Q, F], in memory or lazily.
        row: shapes of one sample's arrays.
    """

    ROWS = 2**12
    """Samples of a batch."""

    def __init__(self, vectors: xr.DataArray | Float[np.ndarray, "Q F"], row: Any):
        self.vectors, self.row = vectors, row
        starts = range(self.ROWS, len(vectors), self.ROWS)
        self.batches = np.split(np.arange(len(vectors)), list(starts))

    def __len__(self) -> int:
        return len(self.vectors)

    def __call__(self, number: int) -> Any:
        """See ``Source``."""
        own = self.batches[number]
        flat = np.asarray(self.vectors[own[0] : own[-1] + 1])
        leaves, structure = jax.tree.flatten(self.row)
        ends = np.cumsum([math.prod(x.shape) for x in leaves])[:-1]
        parts = np.split(flat, ends, axis=1)
        found = [part.reshape(-1, *x.shape) for part, x in zip(parts, leaves, strict=True)]
        return jax.tree.unflatten(structure, found)
