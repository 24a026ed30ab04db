"""All inner products of more rows than fit in memory, each row made as few times as can be."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from jquanta.errors import BadInput, Interrupted, RunFailed
from jquanta.lm.losses import DTYPES
from jquanta.machine.devices import on_host
from jquanta.machine.memory import usable_together
from jquanta.qdg.cosines.matrices import Matrices
from jquanta.qdg.cosines.panels import Cut, Panel, assemble, cut, padded, products
from jquanta.qdg.views.per_sample import Source, at_once
from jquanta.run.progress import Monitor, Silence
from jquanta.run.settings import as_bytes

BATCH = 32
"""Rows asked for at once of a source that does not say."""

PANEL = 256
"""Rows of a panel, if they are small: products of panels are then near a CPU's full speed."""

CPU_PANEL, GPU_PANEL = 2**31, 2**33
"""Bytes of a panel on each device, at most."""

AHEAD = 2
"""Products given to the devices before the first of them is waited for."""

NAMED = 8
"""Bad rows that a message names."""


class Layout(NamedTuple):
    """How much is held at once.

    Attributes:
        panel: rows of a panel.
        held: panels that stay while others pass by.
    """

    panel: int
    held: int


def exact(
    source: Source,
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
        source: ``source(start, stop)`` gives rows start … stop, an array [q, P] or a tree of
            arrays [q, …], whose inner products are added up. It may be called several times for
            the same rows, for at most ``batch`` at once.
        n: rows.
        batch: rows to ask for at once.
        absolute: the inner products of absolute values, too.
        dtype: in which rows of unit length are held: ``float32``, or ``bfloat16`` in half the
            memory, with less exact cosines. Products are added up in float32 in any case.
        memory: what may be taken, in bytes or as ``"8 GB"``; most of what is free by default.
        panel: rows multiplied at once; what suits their size by default.
        monitor: is told of the progress.

    Returns:
        ``cosine`` and, if asked for, ``cosine_abs``: symmetric, 1 on the diagonal.

    Raises:
        BadInput: if a row is zero or not finite, or memory does not do for three panels.
        RunFailed: if a device is out of memory all the same.
    """
    if n < 1 or batch < 1:
        raise BadInput(f"n = {n}, batch = {batch}: give 1 or more")
    matrices = Matrices.in_memory(n, absolute)
    stops = [*range(batch, n, batch), n]
    fill(matrices, source, stops, dtype=dtype, memory=memory, panel=panel, monitor=monitor)
    return matrices.arrays


def fill(
    matrices: Matrices,
    source: Source,
    stops: Sequence[int],
    *,
    row: Any = None,
    dtype: str = "float32",
    memory: int | str | None = None,
    panel: int | None = None,
    monitor: Monitor | None = None,
) -> None:
    """Compute what is missing of the matrices.

    Panels of rows are held, as many as fit, while all later panels pass by. So where it takes T
    rounds, each row is made about (T + 1)/2 times, and once where all fit. Only pairs i ≤ j are
    multiplied.

    Args:
        matrices: where cosines go, in the order of the rows.
        source: of the rows.
        stops: where the source's batches end; the last is the number of rows.
        row: shapes and dtypes of one row's arrays, if they are known.
        dtype, memory, panel, monitor: as for ``exact``.

    Raises:
        BadRows: naming rows that are zero or not finite.
        BadInput, RunFailed: as ``exact``.
        Interrupted: on Ctrl-C; what is done of matrices on disk is kept.
    """
    if dtype not in DTYPES:
        raise BadInput(f"dtype = {dtype}: give {' or '.join(DTYPES)}")
    if panel is not None and panel < 1:
        raise BadInput(f"panel = {panel}: give 1 or more")
    devices = jax.local_device_count()
    if row is None:
        first = source(0, stops[0])
        row = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), first)
    layout = plan(
        stops,
        numbers=sum(math.prod(x.shape) for x in jax.tree.leaves(row)),
        width=jax.numpy.dtype(dtype).itemsize,
        memory=usable_together() if memory is None else as_bytes(memory),
        taken=matrices.nbytes if on_host() else 0,
        panel=panel or matrices.panel,
        devices=devices,
        batches=at_once() + 1,
    )
    cuts = cut(stops, layout.panel, devices)
    monitor = monitor or Silence()
    for line in matrices.begin(layout.panel, [c.start for c in cuts]):
        monitor.say(line)
    work = _Work(matrices, source, cuts, layout, dtype, monitor)
    try:
        work.run()
    except KeyboardInterrupt:
        matrices.mark()
        raise Interrupted("interrupted; the same command continues") from None
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise RunFailed(
            "out of memory: give less memory to the similarity, such as memory='4 GB'; then the "
            "same command continues"
        ) from error


def plan(
    stops: Sequence[int],
    *,
    numbers: int,
    width: int,
    memory: int,
    taken: int = 0,
    panel: int | None = None,
    devices: int = 1,
    batches: int = 2,
) -> Layout:
    """How many rows to multiply at once, and how many to hold.

    Args:
        stops: where batches end.
        numbers: of a row: P.
        width: bytes of a number that is held.
        memory: bytes of all devices together.
        taken: of these, what is in use for something else.
        panel: rows of a panel; as many as suit their size if None.
        devices: over which the rows are cut.
        batches: there at once: being made, or being put away.

    Raises:
        BadInput: if three panels and the batches do not fit.
    """
    batch = padded(int(np.diff([0, *stops]).max()), devices)
    n, row = stops[-1], numbers * width
    free = memory - taken - batches * batch * numbers * 4
    if panel is None:
        most = (CPU_PANEL if on_host() else GPU_PANEL * devices) // row
        fitting = max(1, min(PANEL, most, free // (4 * row)))
        panel = 2 ** (fitting.bit_length() - 1)
    panel = padded(max(batch, min(panel, n)), devices)
    count = len(cut(stops, panel, devices))
    # Of panels that pass by, one is multiplied while the next is made.
    held = free // (panel * row)
    held = count if held >= count else held - 2
    if held < 1:
        need = taken + batches * batch * numbers * 4 + 3 * panel * row
        raise BadInput(
            f"memory: {memory / 1e9:.3g} GB do not take rows of {numbers:,} numbers; give at least "
            f"{need / 1e9:.3g} GB, fewer parameters, or the sketch"
        )
    return Layout(panel, held)


class BadRows(BadInput):
    """Rows without a direction.

    Attributes:
        zero: those that are zero.
        infinite: those that are not finite.
    """

    def __init__(self, zero: NDArray[np.int64], infinite: NDArray[np.int64], what: str = "row"):
        self.zero, self.infinite = zero, infinite
        found = [f"{len(zero):,} zero: {what} {_listed(zero)}"] if len(zero) else []
        found += [f"{len(infinite):,} not finite: {what} {_listed(infinite)}"] * bool(len(infinite))
        super().__init__(f"{'; '.join(found)}; a cosine needs a direction: leave them out")


class _Work:
    """A call of ``fill``: panels in, blocks of cosines out."""

    def __init__(
        self,
        matrices: Matrices,
        source: Source,
        cuts: Sequence[Cut],
        layout: Layout,
        dtype: str,
        monitor: Monitor,
    ):
        self.matrices, self.source, self.cuts = matrices, source, cuts
        self.layout, self.dtype, self.monitor = layout, dtype, monitor
        self.pending: deque[tuple[int, int, NDArray[np.int64], NDArray[np.int64], Any]] = deque()
        self.made = 0
        self.total = sum(len(cuts[j]) for _, j, _ in self._steps())

    def run(self) -> None:
        """Make panels in order, hold those that are needed again, multiply, write."""
        held: dict[int, Panel] = {}
        for first, j, partners in self._steps():
            held = {i: panel for i, panel in held.items() if i >= first}
            passing = self._make(j)
            if bad := _bad(self.cuts[j], passing):
                raise self._all_bad(j, *bad)
            if j < first + self.layout.held:
                held[j] = passing
            for i in partners:
                blocks = products(held[i], passing, self.matrices.absolute)
                self.pending.append((i, j, held[i].places, passing.places, blocks))
                if len(self.pending) > AHEAD:
                    self._write()
        while self.pending:
            self._write()
        self.matrices.mark()

    def _steps(self) -> list[tuple[int, int, list[int]]]:
        """(first panel held, panel to make, held panels to multiply it with), in order."""
        steps, done, count = [], self.matrices.done, len(self.cuts)
        for first in range(0, count, self.layout.held):
            last = min(first + self.layout.held, count)
            for j in range(first, count):
                partners = [i for i in range(first, min(j + 1, last)) if not done[i, j]]
                if partners or (j < last and not done[j, j:].all()):
                    steps.append((first, j, partners))
        return steps

    def _make(self, j: int) -> Panel:
        return assemble(self.source, self.cuts[j], self.layout.panel, self.dtype, self._tell)

    def _tell(self, rows: int) -> None:
        self.made += rows
        self.monitor.work("similarity", min(1.0, self.made / self.total))

    def _write(self) -> None:
        """Wait for the oldest product, and put it where its rows are."""
        i, j, places, others, blocks = self.pending.popleft()
        self.matrices.write(i, j, [np.asarray(block)[np.ix_(places, others)] for block in blocks])

    def _all_bad(self, j: int, zero: list[int], infinite: list[int]) -> BadRows:
        """What is wrong with a panel, and with all that come after: to be told at once."""
        for k in range(j + 1, len(self.cuts)):
            if found := _bad(self.cuts[k], self._make(k)):
                zero, infinite = zero + found[0], infinite + found[1]
        return BadRows(np.array(zero, np.int64), np.array(infinite, np.int64))


def _bad(cut: Cut, panel: Panel) -> tuple[list[int], list[int]] | None:
    """Rows that are zero and rows that are not finite, if there are any."""
    norms = np.concatenate([np.asarray(norms) for norms in panel.norms])
    zero = cut.start + np.flatnonzero(norms == 0)
    infinite = cut.start + np.flatnonzero(~np.isfinite(norms))
    return (zero.tolist(), infinite.tolist()) if len(zero) or len(infinite) else None


def _listed(rows: NDArray[np.int64]) -> str:
    more = "" if len(rows) <= NAMED else f" and {len(rows) - NAMED:,} more"
    return ", ".join(map(str, rows[:NAMED].tolist())) + more
