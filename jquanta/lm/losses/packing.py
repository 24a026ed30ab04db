"""Documents packed side by side into rows of one length: one shape to compile, little padding.

The packing is best-fit decreasing, a standard heuristic for bin packing.
"""

from bisect import bisect_left, insort
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jquanta.lm.losses.batches import Batch, Plan, longest_first

ALIGNMENT = 128
"""Row lengths are multiples of this, so that they fill the tiles of matrix units."""

SHORTEST_ROW = 512
"""Smallest row length. A row holds several documents, so it may be longer than each of them and
than the model's context. Attention computes all pairs of positions of a row and masks those of
different documents: short rows waste less on such pairs, but are harder to fill without gaps."""


class Packing(NamedTuple):
    """Where each document lies.

    Attributes:
        documents: [n] numbers of the documents that have predictions, row by row, and within a
            row from left to right.
        row: [n] the row of each document.
        start: [n] the position in its row at which each document begins.
        rows: number of rows.
    """

    documents: NDArray[np.int64]
    row: NDArray[np.int64]
    start: NDArray[np.int64]
    rows: int


def row_length(predictions: NDArray[np.int64]) -> int:
    """The row length for a corpus: enough for its longest document, at least ``SHORTEST_ROW``.

    Args:
        predictions: [documents] number of predictions of each document.
    """
    longest = int(predictions.max(initial=0))
    return max(SHORTEST_ROW, -(-longest // ALIGNMENT) * ALIGNMENT)


def pack(predictions: NDArray[np.int64], length: int) -> Packing:
    """Pack documents into rows by best-fit decreasing.

    Documents are placed from the longest to the shortest, each into the row with the least free
    space that is still enough for it, or into a new row if there is none.

    Deterministic, and interrupted columns rely on that: a change that alters the order of the
    documents must also change the name that ``packed_order`` gives.

    Args:
        predictions: [documents] number of predictions of each document, at most ``length``;
            documents without predictions are left out.
        length: of a row, in positions.
    """
    order = longest_first(predictions)
    row, start = np.zeros_like(order), np.zeros_like(order)
    rooms: list[int] = []  # the different amounts of free space that rows have, ascending
    rows_with: dict[int, list[int]] = {}  # for each such amount, the rows that have it
    rows = 0
    for i, size in enumerate(predictions[order].tolist()):
        at = bisect_left(rooms, size)  # the least free space that is enough, by binary search
        if at == len(rooms):
            room, here = length, rows
            rows += 1
        else:
            room = rooms[at]
            here = rows_with[room].pop()
            if not rows_with[room]:
                rooms.pop(at)
        row[i], start[i] = here, length - room
        left = room - size
        if left:
            others = rows_with.setdefault(left, [])
            if not others:
                insort(rooms, left)
            others.append(here)
    place = np.lexsort((start, row))  # by row, then by position: the last key is the primary one
    return Packing(order[place], row[place], start[place], rows)


def packed_order(length: int) -> str:
    """The name of the order of documents that are packed into rows of this length."""
    return f"rows of {length}"


def plan_rows(predictions: NDArray[np.int64], length: int, most: int, devices: int = 1) -> Plan:
    """Pack documents into rows and cut the rows into batches of equal size.

    Deterministic: the result depends on the arguments only.

    Args:
        predictions: [documents] number of predictions of each document. Documents without
            predictions are in no batch.
        length: of a row, in positions; no document is longer.
        most: largest number of rows of a batch on each device.
        devices: number of devices; the rows of a batch are a multiple of it.
    """
    packing = pack(predictions, length)
    # Fewest batches first, then rows spread equally over them, as a multiple of the devices.
    count = max(1, -(-packing.rows // (most * devices)))
    each = max(1, -(-packing.rows // (count * devices)))  # all batches nearly equal
    rows = devices * min(most, _round_number(each))
    batches = []
    for first in range(0, packing.rows, rows):
        # Documents are sorted by row, so those of some rows are consecutive: a … b - 1.
        a, b = np.searchsorted(packing.row, [first, first + rows]).tolist()
        batches.append(
            Batch(
                documents=packing.documents[a:b],
                row=packing.row[a:b] - first,
                start=packing.start[a:b],
                rows=rows,
                length=length,
                done=b,
            )
        )
    return Plan(
        packed_order(length),
        tuple(batches),
        len(packing.documents),
        int(predictions.sum()),
    )


def _round_number(n: int) -> int:
    """``n`` rounded up to three significant binary digits: 1, … 8, 10, 12, 14, 16, 20, …

    So corpora of similar size get batches of the same size, and a program that is in the
    compilation cache often serves another corpus, too. The caller still limits the result by the
    rows that fit into memory; a corpus of eight batches or more always reaches that limit.
    """
    step = 2 ** max(0, n.bit_length() - 3)
    return -(-n // step) * step
