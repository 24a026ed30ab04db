"""Documents side by side in rows of one length: a single shape to compile, hardly any padding."""

from bisect import bisect_left, insort
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jquanta.lm.losses.batches import Batch, Plan, longest_first

ALIGNMENT = 128
"""Rows are multiples of this, so that tiles of matrix units come whole."""

SHORTEST_ROW = 512
"""A row takes several documents, so it may be longer than any of them, or than the model's context.
The shorter the row, the less is spent on pairs of positions that do not see each other, but the
worse documents of like length fill it."""


class Packing(NamedTuple):
    """Where documents lie.

    Attributes:
        documents: those with predictions, row by row, and in a row from left to right.
        row: the row of each of them.
        start: its first position there.
        rows: how many there are.
    """

    documents: NDArray[np.int64]
    row: NDArray[np.int64]
    start: NDArray[np.int64]
    rows: int


def row_length(predictions: NDArray[np.int64]) -> int:
    """The length of rows that take the longest document."""
    longest = int(predictions.max(initial=0))
    return max(SHORTEST_ROW, -(-longest // ALIGNMENT) * ALIGNMENT)


def pack(predictions: NDArray[np.int64], length: int) -> Packing:
    """Pack documents, the longest first, each into the row with the least room that takes it.

    A function of its arguments only. Interrupted columns rely on it: a change of the order of
    documents needs another ``packed_order``.

    Args:
        predictions: of each document, at most ``length``; those with none are left out.
        length: of a row.
    """
    order = longest_first(predictions)
    row, start = np.zeros_like(order), np.zeros_like(order)
    rooms: list[int] = []  # what is left in rows, each number once, ascending
    rows_with: dict[int, list[int]] = {}  # the rows that have just so much left
    rows = 0
    for i, size in enumerate(predictions[order].tolist()):
        at = bisect_left(rooms, size)
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
    lie = np.lexsort((start, row))
    return Packing(order[lie], row[lie], start[lie], rows)


def packed_order(length: int) -> str:
    """The name of the order of documents in rows of a length."""
    return f"rows of {length}"


def plan_rows(predictions: NDArray[np.int64], length: int, most: int, devices: int = 1) -> Plan:
    """Cut rows of documents into batches. A function of its arguments only.

    Args:
        predictions: of each document; documents with none are in no batch.
        length: of a row; no document is longer.
        most: rows of a batch on each device, at most.
        devices: the rows of a batch are a multiple of this.
    """
    packing = pack(predictions, length)
    count = max(1, -(-packing.rows // (most * devices)))
    each = max(1, -(-packing.rows // (count * devices)))  # as equal as can be
    rows = devices * min(most, _round_number(each))
    batches = []
    for first in range(0, packing.rows, rows):
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
    """``n`` or a little more, of three binary digits: 1, … 8, 10, 12, 14, 16, 20, …

    Batches of few different sizes, so that a program that was compiled and kept for one corpus
    often serves another. A corpus of eight batches or more has full ones.
    """
    step = 2 ** max(0, n.bit_length() - 3)
    return -(-n // step) * step
