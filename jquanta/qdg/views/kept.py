"""Factors of all samples, made once and kept, in memory or in a file; panels are built from them.

In a folder: ``numbers``, a record of float32 for each sample, one after the other, and ``done``,
how many of them are there for good. Whatever ends the process, the same call goes on after those.
"""

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int
from numpy.typing import NDArray

from jquanta.errors import BadInput, Interrupted, RunFailed
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.model import Model
from jquanta.machine.devices import on_host
from jquanta.machine.memory import free
from jquanta.qdg.samples.predictions import Predictions
from jquanta.qdg.views.factors import (
    Factored,
    Factors,
    narrowed,
    probes_for,
)
from jquanta.qdg.views.lowrank import dense, is_low
from jquanta.qdg.views.parameters import chosen
from jquanta.qdg.views.per_sample import PerSample, view_of
from jquanta.qdg.views.ranks import outer_products
from jquanta.qdg.views.source import Source, computed, weights
from jquanta.run.checkpoint import Due
from jquanta.run.files import write_whole
from jquanta.run.progress import Monitor
from jquanta.run.stop import Interrupts

NUMBERS, DONE = "numbers", "done"

LEAST_INTERVAL, COST_SHARE = 10.0, 0.02
"""Seconds of work that a crash may cost, and the share of the time that saving may take."""

ROWS = 32
"""Gradients built at once, at most."""

BUILT_SHARE = 1 / 16
"""The share of the memory that gradients built at once may take. There are two or three batches of
them."""

MEMORY_SHARE = 1 / 2
"""The share of the machine's memory that factors may take where they are not in a file."""


@dataclass(frozen=True, eq=False)
class Outer:
    """Whole gradients of which those that are outer products are ``LowRank``: a ``Source``. Panels
    then need less room and their products less work: a seventh at 6 layers.

    Attributes:
        source: of gradients.
        config: of the model.
        names: the parameters.
    """

    source: Source
    config: LMConfig
    names: tuple[str, ...]

    @property
    def batches(self) -> Sequence[NDArray[np.int64]]:
        """See ``Source``."""
        return self.source.batches

    @property
    def weights(self) -> NDArray[np.float64]:
        """See ``source.weights``."""
        return weights(self.source)

    @property
    def working(self) -> int:
        """See ``PerSample``."""
        return int(getattr(self.source, "working", 0))

    @cached_property
    def row(self) -> Any:
        """See ``Source``."""
        one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), self.source.row)
        return _of_one(jax.eval_shape(self._program, one, self._probes))

    def __call__(self, number: int) -> Any:
        """See ``Source``."""
        return self._program(self.source(number), self._probes)

    @property
    def _program(self) -> Callable[..., Any]:
        return _outer(tuple(outer_products(self.config, self.names).items()))

    @cached_property
    def _probes(self) -> dict[int, Array]:
        return probes_for(self.config, self.names, 1, 0)


@dataclass(frozen=True, eq=False)
class Built:
    """Gradients built from factors, a batch at a time: a ``Source``.

    Attributes:
        numbers: [records, F] what is kept of each: its factors, and last the share that was lost.
        records: [q] which of them.
        samples: [q] whose they are.
        like: shapes and dtypes of a sample's factors: a ``Factored``.
        size: samples of a batch.
    """

    numbers: Float32[np.ndarray, "records F"]
    records: Int[np.ndarray, " q"]
    samples: Int[np.ndarray, " q"]
    like: Any
    size: int

    @cached_property
    def batches(self) -> list[NDArray[np.int64]]:
        """See ``Source``."""
        return _cut(self.samples, self.size)

    @cached_property
    def row(self) -> Any:
        """See ``Source``."""
        one = jax.ShapeDtypeStruct((1, self.numbers.shape[1]), np.float32)
        return _of_one(jax.eval_shape(self._program, one))

    def __call__(self, number: int) -> Any:
        """See ``Source``."""
        start = number * self.size
        return self._program(self.numbers[self.records[start : start + self.size]])

    @property
    def _program(self) -> Callable[..., Any]:
        leaves, tree = jax.tree.flatten(self.like)
        return _built(tree, tuple(x.shape for x in leaves))


@dataclass(frozen=True, eq=False)
class Joined:
    """Two sources one after the other: a ``Source``.

    Attributes:
        first, second: their rows have the same shapes.
        samples: [q] which samples those of the second are.
    """

    first: Source
    second: Source
    samples: Int[np.ndarray, " q"]

    @cached_property
    def batches(self) -> list[NDArray[np.int64]]:
        """See ``Source``."""
        return [*self.first.batches, *(self.samples[own] for own in self.second.batches)]

    @property
    def row(self) -> Any:
        """See ``Source``."""
        return self.second.row

    def __call__(self, number: int) -> Any:
        """See ``Source``."""
        before = len(self.first.batches)
        return self.first(number) if number < before else self.second(number - before)


@dataclass(frozen=True, eq=False)
class Kept:
    """Factors of all samples.

    Attributes:
        model, predictions, view: that they are of.
        numbers: [Q, F] see ``Built``: an array in memory, or one that is read from a file.
        order: [Q] the sample of each record.
        like: see ``Built``.
        size: gradients that are built at once.
    """

    model: Model
    predictions: Predictions
    view: Factors
    numbers: Float32[np.ndarray, "Q F"]
    order: Int[np.ndarray, " Q"]
    like: Any
    size: int

    @property
    def nbytes(self) -> int:
        """Bytes of the devices' memory that it takes: what is in a file takes none."""
        in_memory = on_host() and not isinstance(self.numbers, np.memmap)
        return self.numbers.nbytes if in_memory else 0

    @cached_property
    def lost(self) -> Float32[np.ndarray, " Q"]:
        """The share of each sample's squared length that its factors lack."""
        return self.numbers[np.argsort(self.order), -1]

    @cached_property
    def again(self) -> Int[np.ndarray, " q"]:
        """The samples that lose too much: their gradients are made again, whole."""
        return np.flatnonzero(self.lost > self.view.tolerance)

    @cached_property
    def source(self) -> Source:
        """The gradients of all samples."""
        records = np.flatnonzero(~np.isin(self.order, self.again))
        built = self.built(records, self.order[records])
        if not len(self.again):
            return built
        whole = self.whole(self.again)
        return Joined(built, whole, self.again) if len(records) else whole

    def built(self, records: Int[np.ndarray, " q"], samples: Int[np.ndarray, " q"]) -> Built:
        """Gradients built from some records, under these numbers of samples."""
        return Built(self.numbers, records, samples, self.like, self.size)

    def whole(self, samples: Int[np.ndarray, " q"]) -> Source:
        """The gradients of some samples, made again."""
        config, view = self.model.config, self.view.exact
        rows = view_of(self.model, self.predictions.at(samples), view, most=self.size)
        return Outer(rows, config, chosen(config, view.parameters))


def kept(
    model: Model,
    predictions: Predictions,
    view: Factors,
    rows: PerSample,
    folder: Path | None,
    *,
    memory: int,
    monitor: Monitor,
) -> Kept:
    """Make the factors of all samples, or those that are missing.

    Args:
        model, predictions, view: of what.
        rows: that make them: of ``Factors.measured``.
        folder: for the file, which is made; None to keep them in memory.
        memory: bytes that may be taken.
        monitor: sees the progress.

    Raises:
        BadInput: if the factors do not fit in memory.
        RunFailed: if the disk is full.
        Interrupted: on Ctrl-C; what is in a file is kept.
    """
    width = sum(x.size for x in jax.tree.leaves(rows.row))
    shape = len(rows), width
    order = np.concatenate(rows.batches)
    with Interrupts("interrupted; the same command continues") as interrupts:
        if folder is None:
            need, room = 4 * len(rows) * width, memory if on_host() else free()
            if need > MEMORY_SHARE * room:
                raise BadInput(
                    f"memory: factors of {len(rows):,} samples take {1e-9 * need:.3g} GB of "
                    f"{1e-9 * room:.3g} GB; give a smaller rank, or out= for a file"
                )
            numbers = np.empty(shape, np.float32)
            for start, made in _made(rows, 0, monitor, interrupts):
                numbers[start : start + len(made)] = made
        else:
            _written(folder, rows, width, monitor, interrupts)
            numbers = np.memmap(folder / NUMBERS, "<f4", "r", shape=shape)
    one = Built(numbers, order[:0], order[:0], rows.row, 1).row
    row = 4 * sum(x.size for x in jax.tree.leaves(one))
    size = built_at_once(row, memory)
    return Kept(model, predictions, view, numbers, order, rows.row, size)


def built_at_once(row: int, memory: int) -> int:
    """Gradients of so many bytes that are built at once."""
    return int(max(1, min(ROWS, BUILT_SHARE * memory / row)))


def _made(rows: PerSample, first: int, monitor: Monitor, interrupts: Interrupts) -> Any:
    """(first record, records) of each batch from number ``first`` on."""
    start = sum(len(own) for own in rows.batches[:first])
    share = np.cumsum(weights(rows)) / sum(weights(rows))
    for number, (own, found) in enumerate(computed(rows, range(first, len(rows.batches))), first):
        yield start, np.asarray(_flat(found))
        start += len(own)
        monitor.work("gradients", float(share[number]))
        interrupts.check()


def _written(
    folder: Path, rows: PerSample, width: int, monitor: Monitor, interrupts: Interrupts
) -> None:
    """Write what is missing of the file."""
    folder.mkdir(exist_ok=True)
    ends = np.cumsum([len(own) for own in rows.batches])
    done = _done(folder, 4 * width)
    first = int(np.searchsorted(ends, done, side="right"))
    start = int(ends[first - 1]) if first else 0
    need = 4 * width * (len(rows) - start)
    if shutil.disk_usage(folder).free < need:
        raise RunFailed(
            f"the disk is full: free {1e-9 * need:.3g} GB or more for {folder}, or give a smaller "
            "rank; then the same command continues"
        )
    if 0 < start < len(rows):
        monitor.say(f"gradients: continuing after {start / len(rows):.0%}")
    due = Due(LEAST_INTERVAL, COST_SHARE)
    with (folder / NUMBERS).open("r+b" if start else "wb") as file:
        file.truncate(4 * width * start)
        file.seek(0, os.SEEK_END)

        def save(end: int) -> None:
            began = time.monotonic()
            file.flush()
            os.fsync(file.fileno())
            write_whole(folder / DONE, str(end))
            due.saved(began)

        end = start
        try:
            for begin, made in _made(rows, first, monitor, interrupts):
                file.write(made.astype("<f4").tobytes())
                end = begin + len(made)
                if due:
                    save(end)
        except Interrupted:
            save(end)
            raise
        save(end)


def _done(folder: Path, record: int) -> int:
    """Records that are in the file for good; 0 where that cannot be told."""
    try:
        done = int((folder / DONE).read_text())
        return done if (folder / NUMBERS).stat().st_size >= done * record else 0
    except (OSError, ValueError):
        return 0


def _cut(samples: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [samples[i : i + size] for i in range(0, len(samples), size)]


def _of_one(rows: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), rows)


@jax.jit
def _flat(found: Factored) -> Float32[Array, "q F"]:
    """The records of a batch."""
    leaves = jax.tree.leaves(found)
    return jnp.concatenate([x.reshape(len(x), -1).astype(jnp.float32) for x in leaves], 1)


@cache
def _built(tree: Any, shapes: tuple[tuple[int, ...], ...]) -> Callable[..., Any]:
    """The program that builds the gradients of records [q, F]. What is an outer product stays so:
    its two vectors are multiplied with less work than the kernel that they stand for."""
    cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1].tolist()

    def build(numbers: Float[Array, "q F"]) -> Any:
        parts = jnp.split(numbers, cuts, 1)
        leaves = [x.reshape(-1, *shape) for x, shape in zip(parts, shapes, strict=True)]
        rows = jax.tree.unflatten(tree, leaves).rows

        def one(x: Any) -> Any:
            return dense(x) if is_low(x) and x.left.shape[-2] > 1 else x

        return jax.tree.map(one, rows, is_leaf=is_low)

    return jax.jit(build)


@cache
def _outer(ranks: tuple[tuple[str, int], ...]) -> Callable[..., Any]:
    def program(found: Mapping[str, Array], probes: Mapping[int, Array]) -> Any:
        return jax.vmap(lambda x: narrowed(x, dict(ranks), probes).rows)(found)

    return jax.jit(program)
