"""Cosines of all pairs of rows where not all rows fit in memory at once."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from jquanta.errors import BadInput, Interrupted
from jquanta.lm.losses import DTYPES
from jquanta.machine.devices import on_host
from jquanta.machine.memory import usable_together
from jquanta.qdg.cosines import kernel
from jquanta.qdg.cosines.matrix import COSINE, COSINE_ABS, InMemory, Matrices
from jquanta.qdg.cosines.panels import Panel, assemble, padded, panels, products
from jquanta.qdg.views.source import Source, at_once, weights
from jquanta.run.progress import Monitor, Silence
from jquanta.run.settings import as_bytes
from jquanta.run.shown import listed
from jquanta.run.stop import Interrupts, shortage_in_one_line

BATCH = 32
"""Rows asked for at once of a function that gives rows, by default."""

PANEL = 256
"""Rows of a panel, if they are small: products of panels are then near a CPU's full speed."""

CPU_PANEL, GPU_PANEL = 2**31, 2**34
"""Bytes of a panel on each device, at most. On a GPU they take 128 gradients of the 70m shape: each
byte that is read then serves 32 operations, as many as the card computes meanwhile."""

AHEAD = 2
"""Products given to the devices before the first of them is waited for."""


Multiplied = Callable[[Panel, Panel], Sequence[Any]]
"""For each matrix the inner products of the rows of two panels, by place in the panels."""

Wanted = Callable[[NDArray[np.int64], NDArray[np.int64]], bool]


@dataclass(frozen=True)
class Rows:
    """A function (start, stop) → rows as a ``Source``, whose samples are the rows' numbers.

    Attributes:
        function: gives an array [q, P], or a tree of arrays [q, …].
        stops: where batches end; the last is the number of rows.
    """

    function: Callable[[int, int], Any]
    stops: Sequence[int]

    @cached_property
    def batches(self) -> list[NDArray[np.int64]]:
        """See ``Source``."""
        return np.split(np.arange(self.stops[-1]), self.stops[:-1])

    @cached_property
    def row(self) -> Any:
        """See ``Source``: found by asking for the first batch."""
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), self(0))

    def __call__(self, number: int) -> Any:
        """See ``Source``."""
        return self.function(0 if number == 0 else self.stops[number - 1], self.stops[number])


def exact(
    rows: Callable[[int, int], Any],
    n: int,
    *,
    batch: int = BATCH,
    absolute: bool = False,
    dtype: str = "float32",
    memory: int | str | None = None,
    panel: int | None = None,
    monitor: Monitor | None = None,
) -> dict[str, Float32[np.ndarray, "n n"]]:
    """Cosines of all pairs of rows (paper section 4).

    The rows may be anything: gradients of language models or of sparse-parity networks.

    Args:
        rows: ``rows(start, stop)`` gives rows start … stop, an array [q, P] or a tree of arrays
            [q, …], whose inner products are added up. It may be called several times for the same
            rows, for at most ``batch`` at once, and by several threads.
        n: rows.
        batch: rows to ask for at once.
        absolute: the inner products of absolute values, too.
        dtype: in which rows of unit length are held: ``float32``, or ``bfloat16`` in half the
            memory, with less exact cosines. Products are added up in float32 in any case.
        memory: what may be taken, in bytes or as ``"8 GB"``; most of what is free by default.
        panel: rows multiplied at once; what suits their size by default.
        monitor: sees the progress.

    Returns:
        ``cosine`` and, if asked for, ``cosine_abs``: symmetric, 1 on the diagonal.

    Raises:
        BadInput: if a row is zero or not finite, or memory does not suffice for three panels.
        RunFailed: if a device is out of memory all the same.
    """
    if n < 1 or batch < 1:
        raise BadInput(f"n = {n}, batch = {batch}: give 1 or more")
    matrices = InMemory(n, names(absolute))
    source = Rows(rows, [*range(batch, n, batch), n])
    fill(matrices, source, dtype=dtype, memory=memory, panel=panel, monitor=monitor)
    return matrices.arrays


def names(absolute: bool) -> tuple[str, ...]:
    """Of the matrices that ``fill`` makes."""
    return (COSINE, COSINE_ABS) if absolute else (COSINE,)


def fill(
    matrices: Matrices,
    source: Source,
    *,
    dtype: str = "float32",
    memory: int | str | None = None,
    panel: int | None = None,
    working: int = 0,
    wanted: Wanted | None = None,
    multiplied: Multiplied | None = None,
    monitor: Monitor | None = None,
) -> None:
    """Compute what is missing of the matrices.

    As many panels of rows as fit in memory are held, while all later panels are made one after the
    other and multiplied with those held. So if this takes T rounds, each row is made about
    (T + 1)/2 times, and once if all fit. Only pairs i ≤ j of panels are multiplied.

    Args:
        matrices: where cosines go, by the numbers of the samples.
        source: of the rows.
        dtype, memory, panel, monitor: as for ``exact``.
        working: bytes on all devices that the source takes to make a batch, beside what it gives.
        wanted: whether any cosines between some samples and others are wanted; by default all are.
            Other blocks keep what they hold.
        multiplied: how two panels are multiplied where that is not by ``panels.products``.

    Raises:
        BadRows: naming samples whose rows are zero or not finite.
        BadInput, RunFailed: as ``exact``.
        Interrupted: on Ctrl-C; what is done of matrices on disk is kept.
    """
    if dtype not in DTYPES:
        raise BadInput(f"dtype = {dtype}: give {' or '.join(DTYPES)}")
    if panel is not None and panel < 1:
        raise BadInput(f"panel = {panel}: give 1 or more")
    devices = jax.local_device_count()
    sizes = [len(batch) for batch in source.batches]
    found = tiling(
        sizes,
        numbers=sum(math.prod(x.shape) for x in jax.tree.leaves(source.row)),
        width=jax.numpy.dtype(dtype).itemsize,
        memory=usable_together() if memory is None else as_bytes(memory),
        taken=working + (matrices.nbytes if on_host() else 0),
        panel=panel or matrices.panel,
        devices=devices,
        batches=at_once() + 1,
        largest=largest_panel(on_host(), devices),
    )
    cuts = panels(sizes, found.panel, devices)
    monitor = monitor or Silence()
    multiplied = multiplied or partial(products, absolute=COSINE_ABS in matrices.names)
    if note := kernel.note():
        monitor.say(note)
    remedy = "give less memory to the similarity, such as memory='4 GB'; then the same command "
    with shortage_in_one_line(f"{remedy}continues"):
        for line in matrices.begin(found.panel, [sum(sizes[: batches.start]) for batches in cuts]):
            monitor.say(line)
        if wanted is not None:
            inside = [np.concatenate(source.batches[own.start : own.stop]) for own in cuts]
            for i, j in zip(*np.triu_indices(len(cuts)), strict=True):
                matrices.done[i, j] |= not wanted(inside[i], inside[j])
        with Interrupts("interrupted; the same command continues") as interrupts:
            _Work(matrices, source, cuts, found, dtype, multiplied, monitor, interrupts).run()


class Tiling(NamedTuple):
    """How much is held at once.

    Attributes:
        panel: rows of a panel.
        held: panels that stay in memory while later ones are made and multiplied with them.
    """

    panel: int
    held: int


def tiling(
    sizes: Sequence[int],
    *,
    numbers: int,
    width: int,
    memory: int,
    taken: int = 0,
    panel: int | None = None,
    devices: int = 1,
    batches: int = 2,
    largest: int = CPU_PANEL,
) -> Tiling:
    """How many rows to multiply at once, and how many to hold. A function of its arguments only.

    Args:
        sizes: rows of each batch.
        numbers: of a row: P.
        width: bytes of a number that is held.
        memory: bytes of all devices together.
        taken: bytes of it that are in use for something else.
        panel: rows of a panel; as many as suit their size if None.
        devices: over which the rows are cut.
        batches: batches in memory at once, being made or being copied into a panel.
        largest: bytes of a panel on all devices together, at most.

    Raises:
        BadInput: if three panels and the batches do not fit.
    """
    batch = padded(max(sizes), devices)
    row = numbers * width
    free = memory - taken - batches * batch * numbers * 4
    if panel is None:
        fitting = max(1, min(PANEL, largest // row, free // (4 * row)))
        panel = 2 ** (fitting.bit_length() - 1)
    panel = padded(max(batch, min(panel, sum(sizes))), devices)
    count = len(panels(sizes, panel, devices))
    # Beside those held there are two: one is multiplied while the next is made.
    held = free // (panel * row)
    held = count if held >= count else held - 2
    if held < 1:
        need = taken + batches * batch * numbers * 4 + 3 * panel * row
        raise BadInput(
            f"memory: {memory / 1e9:.3g} GB do not take rows of {numbers:,} numbers; give at least "
            f"{need / 1e9:.3g} GB, fewer parameters, or the sketch"
        )
    return Tiling(panel, held)


def largest_panel(host: bool, devices: int) -> int:
    """Bytes of a panel on all devices together, at most: in the machine's main memory, or on
    accelerators."""
    return CPU_PANEL if host else GPU_PANEL * devices


class Step(NamedTuple):
    """A panel is made and multiplied.

    Attributes:
        first: the first of the panels that are held meanwhile.
        made: the panel.
        partners: the held panels that it is multiplied with.
    """

    first: int
    made: int
    partners: list[int]


def steps(done: NDArray[np.bool_], held: int) -> list[Step]:
    """All steps that are left, in order.

    Args:
        done: [panels, panels] which products of two panels are there.
        held: see ``Tiling``.
    """
    found, count = [], len(done)
    for first in range(0, count, held):
        last = min(first + held, count)
        for j in range(first, count):
            partners = [i for i in range(first, min(j + 1, last)) if not done[i, j]]
            if partners or (j < last and not done[j, j:].all()):
                found.append(Step(first, j, partners))
    return found


class BadRows(BadInput):
    """Rows without a direction.

    Attributes:
        zero, infinite: the numbers of those that are zero, and of those that are not finite.
    """

    def __init__(self, zero: NDArray[np.int64], infinite: NDArray[np.int64], what: str = "row"):
        self.zero, self.infinite = zero, infinite
        found = [f"{len(zero):,} zero: {what} {listed(zero.tolist())}"] if len(zero) else []
        found += [f"{len(infinite):,} not finite: {what} {listed(infinite.tolist())}"] * bool(
            len(infinite)
        )
        super().__init__(f"{'; '.join(found)}; a cosine needs a direction: leave them out")


class _Work:
    """A call of ``fill``: panels of rows in, blocks of cosines out."""

    def __init__(
        self,
        matrices: Matrices,
        source: Source,
        cuts: Sequence[range],
        tiling: Tiling,
        dtype: str,
        multiplied: Multiplied,
        monitor: Monitor,
        interrupts: Interrupts,
    ):
        self.matrices, self.source, self.cuts = matrices, source, cuts
        self.tiling, self.dtype = tiling, dtype
        self.monitor, self.interrupts = monitor, interrupts
        self.multiplied = multiplied
        self.pending: deque[tuple[int, int, Panel, Panel, Any]] = deque()
        self.steps = steps(matrices.done, tiling.held)
        self.weights = weights(source)
        self.made = 0.0
        self.total = sum(self.weights[cuts[j].start : cuts[j].stop].sum() for _, j, _ in self.steps)

    def run(self) -> None:
        """Make panels in order, hold those that are needed again, multiply, write."""
        try:
            self._run()
        except Interrupted:
            self.matrices.save()
            raise
        self.matrices.save()

    def _run(self) -> None:
        held: dict[int, Panel] = {}
        for first, j, partners in self.steps:
            held = {i: panel for i, panel in held.items() if i >= first}
            passing = self._make(j)
            if bad := _bad(passing):
                raise self._all_bad(j, *bad)
            if j < first + self.tiling.held:
                held[j] = passing
            for i in partners:
                blocks = self.multiplied(held[i], passing)
                # The rows themselves are let go of: only the products are waited for.
                ends = held[i]._replace(rows=None), passing._replace(rows=None)
                self.pending.append((i, j, *ends, blocks))
                if len(self.pending) > AHEAD:
                    self._write()
        while self.pending:
            self._write()

    def _make(self, j: int) -> Panel:
        return assemble(self.source, self.cuts[j], self.tiling.panel, self.dtype, self._report)

    def _report(self, number: int) -> None:
        self.made += self.weights[number]
        self.monitor.work("similarity", min(1.0, self.made / self.total))
        self.interrupts.check()

    def _write(self) -> None:
        """Wait for the oldest product, and write it where its samples are."""
        i, j, one, other, blocks = self.pending.popleft()
        # From places in the panels, which the devices' shares leave with gaps, to samples.
        here = np.ix_(one.places, other.places)
        blocks = [np.asarray(block)[here] for block in blocks]
        self.matrices.write(i, j, one.samples, other.samples, blocks)

    def _all_bad(self, j: int, zero: list[int], infinite: list[int]) -> BadRows:
        """What is wrong with a panel and with all later ones, so that it is said at once."""
        for k in range(j + 1, len(self.cuts)):
            if found := _bad(self._make(k)):
                zero, infinite = zero + found[0], infinite + found[1]
        return BadRows(np.array(zero, np.int64), np.array(infinite, np.int64))


def _bad(panel: Panel) -> tuple[list[int], list[int]] | None:
    """Samples whose rows are zero and those whose rows are not finite, if there are any."""
    norms = np.concatenate([np.asarray(norms) for norms in panel.norms])
    zero, infinite = panel.samples[norms == 0], panel.samples[~np.isfinite(norms)]
    return (zero.tolist(), infinite.tolist()) if len(zero) or len(infinite) else None
