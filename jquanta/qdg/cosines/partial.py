"""Inner products of gradients, part by part: from them the cosines of any restriction follow.

The inner product of two gradients is the sum of those of their pieces. So parts of a network that
overlap, such as a layer, its attention and its heads, are cut into cells that do not; one pass over
the gradients gives the inner products of every cell, and a part's are the sum of its cells'.

Shapes: Q samples.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Float32
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.lm.models.heads import Piece
from jquanta.machine.devices import cut, mesh
from jquanta.machine.memory import usable_together
from jquanta.qdg.cosines.blockwise import fill
from jquanta.qdg.cosines.matrix import Blocks, InMemory
from jquanta.qdg.cosines.panels import Panel, inner
from jquanta.qdg.views.parameters import taken
from jquanta.qdg.views.source import Source
from jquanta.run.progress import Monitor
from jquanta.run.settings import as_bytes

Cells = Mapping[frozenset[str], Sequence[Piece]]
"""Pieces that do not overlap, by the parts that they belong to."""

MATRICES_SHARE = 1 / 2
"""The share of the memory that inner products may take; gradients have the rest."""


def cells(shapes: Mapping[str, tuple[int, ...]], parts: Mapping[str, Sequence[Piece]]) -> Cells:
    """Cut parts that may overlap into cells that do not, at most one for each set of parts.

    Args:
        shapes: of the parameters, by name.
        parts: by name. No parameter is cut along two axes.
    """
    found = defaultdict(list)
    for name, shape in shapes.items():
        own = [(part, p) for part, pieces in parts.items() for p in pieces if p.name == name]
        axes = {p.axis for _, p in own if p.stop - p.start < shape[p.axis]}
        if len(axes) > 1:
            raise ValueError(f"{name} is cut along axes {sorted(axes)}")
        axis = axes.pop() if axes else 0
        spans = [
            (part, p.start, p.stop) if p.axis == axis else (part, 0, shape[axis]) for part, p in own
        ]
        edges = sorted({edge for _, *ends in spans for edge in ends})
        for start, stop in pairwise(edges):
            members = frozenset(part for part, a, b in spans if a <= start and stop <= b)
            if members:
                found[members].append(Piece(name, axis, start, stop))
    return dict(found)


def partial_products(
    source: Source,
    n: int,
    cut_into: Cells,
    *,
    by_name: Callable[[Any], Mapping[str, Any]],
    working: int = 0,
    memory: int | str | None = None,
    panel: int | None = None,
    monitor: Monitor | None = None,
) -> dict[frozenset[str], Float32[np.ndarray, "Q Q"]]:
    """The inner products of all pairs of unit gradients, cell by cell, in float32.

    Gradients are divided by their whole length, which changes no cosine of a part, and the diagonal
    of a cell tells which share of each squared length it has.

    Args:
        source: of gradients.
        n: Q.
        cut_into: of ``cells``.
        by_name: of what the source gives, arrays by the names of parameters.
        working: bytes on all devices that the source takes, beside what it gives.
        memory: what may be taken, in bytes or as ``"8 GB"``; most of what is free by default.
        panel: samples multiplied at once.
        monitor: sees the progress.

    Raises:
        BadInput: if that many matrices take more than half the memory; else as ``blockwise.fill``.
    """
    have = usable_together() if memory is None else as_bytes(memory)
    grams = _Grams(n, tuple(str(i) for i in range(len(cut_into))))
    if grams.nbytes > MATRICES_SHARE * have:
        most = math.isqrt(int(MATRICES_SHARE * have / (4 * len(cut_into))))
        raise BadInput(
            f"{len(cut_into)} parts × {n:,}² inner products take {1e-9 * grams.nbytes:.3g} GB, and "
            f"there are {1e-9 * MATRICES_SHARE * have:.3g} GB for them; give up to {most:,} samples"
        )
    program = products_of(tuple(tuple(own) for own in cut_into.values()), by_name)

    def multiplied(one: Panel, other: Panel) -> Sequence[jax.Array]:
        return list(program(one.rows, other.rows))

    fill(
        grams,
        source,
        memory=have,
        working=working,
        panel=panel,
        multiplied=multiplied,
        monitor=monitor,
    )
    return dict(zip(cut_into, grams.arrays.values(), strict=True))


def products_of(
    cut_into: tuple[tuple[Piece, ...], ...], by_name: Callable[[Any], Mapping[str, Any]]
) -> Any:
    """The program that multiplies two panels: for each cell [panel, panel]."""

    def program(one: Any, other: Any) -> list[jax.Array]:
        rows, others = by_name(one), by_name(other)
        return [inner(taken(rows, own, 1), taken(others, own, 1)) for own in cut_into]

    return jax.jit(program, out_shardings=cut(mesh()))


def cosines_of(
    gram: Float[np.ndarray, "Q Q"],
) -> Float32[np.ndarray, "Q Q"]:
    """Cosines from inner products. Of a row without length, 0 with all others."""
    lengths = np.sqrt(np.maximum(np.diagonal(gram).astype(np.float64), 0))
    inverse = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    found = np.clip(gram * inverse * inverse[:, None], -1, 1)
    np.fill_diagonal(found, 1)
    return np.asarray(found, np.float32)


class _Grams(InMemory):
    """Inner products with what lies on the diagonal."""

    def write(
        self, i: int, j: int, rows: NDArray[np.int64], columns: NDArray[np.int64], blocks: Blocks
    ) -> None:
        """See ``Matrices``."""
        for array, block in zip(self.arrays.values(), blocks, strict=True):
            # Exactly symmetric where a panel meets itself.
            own = np.triu(block) + np.triu(block, 1).T if i == j else block
            array[np.ix_(rows, columns)] = own
            array[np.ix_(columns, rows)] = own.T
        self.done[i, j] = True
