"""Documents of like length together: few distinct shapes to compile, little padding."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 16
"""Padded lengths are multiples of this: sums of vectors, and tiles of matrix units, come whole."""

PADDING = 1 / 12
"""Tokens of padding for one of text that are accepted before another length is compiled. They cost
the blocks only: the unembedding passes them over."""

MOST_LENGTHS = 12
"""Padded lengths at most. Each is a program that takes seconds to compile."""

LONGEST_FIRST = "longest first"
"""The name of the order in which ``plan_batches`` takes documents."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Documents that are computed together.

    Attributes:
        documents: their numbers.
        row: the row in which each of them lies.
        start: its first position there.
        rows: how many the program takes: B. The last may be empty.
        length: positions of a row: T.
        done: documents in this batch and all before it.
    """

    documents: NDArray[np.int64]
    row: NDArray[np.int64]
    start: NDArray[np.int64]
    rows: int
    length: int
    done: int


@dataclass(frozen=True, eq=False)
class Plan:
    """All batches of a corpus, the longest documents first: what does not fit fails at once.

    Attributes:
        order: the name of the order of documents, which batch sizes and devices do not change.
        batches: in the order in which they are computed.
        documents: those with predictions.
        predictions: of all documents.
    """

    order: str
    batches: tuple[Batch, ...]
    documents: int
    predictions: int

    @property
    def lengths(self) -> list[int]:
        """The distinct lengths of rows, each of which is a program."""
        return sorted({batch.length for batch in self.batches})

    @property
    def padding(self) -> float:
        """The share of the positions computed that are no predictions."""
        computed = sum(batch.rows * batch.length for batch in self.batches)
        return 1 - self.predictions / computed if computed else 0.0

    def __str__(self) -> str:
        if not self.batches:
            return "no predictions"
        rows = sorted({batch.rows for batch in self.batches})
        span = f"{rows[0]}" if len(rows) == 1 else f"{rows[0]} to {rows[-1]}"
        return (
            f"{self.predictions:,} predictions of {self.documents:,} documents in "
            f"{len(self.batches):,} batches of {span} rows, "
            f"{' or '.join(map(str, self.lengths))} positions each: "
            f"{self.padding:.1%} of the positions are padding"
        )


def plan_batches(
    predictions: NDArray[np.int64], context: int, tokens: int, devices: int = 1
) -> Plan:
    """Cut documents into batches, a row for each. A function of its arguments only.

    Args:
        predictions: of each document; documents with none are in no batch.
        context: the most positions that the model takes.
        tokens: positions of a batch on each device; one document at least.
        devices: the documents of a batch are a multiple of this.
    """
    order = longest_first(predictions)
    sizes = predictions[order]
    lengths = padded_lengths(sizes, context)
    batches: list[Batch] = []
    start = 0
    for length, shorter in pairwise([*lengths[::-1], 0]):
        stop = int(np.searchsorted(-sizes, -shorter))
        most = devices * max(1, tokens // length)
        count = -(-(stop - start) // most)
        rows = devices * -(-(stop - start) // (count * devices))  # as equal as can be
        for first in range(start, stop, rows):
            last = min(first + rows, stop)
            row = np.arange(last - first)
            batches.append(
                Batch(order[first:last], row, np.zeros_like(row), rows, length, done=last)
            )
        start = stop
    return Plan(LONGEST_FIRST, tuple(batches), len(order), int(sizes.sum()))


def longest_first(predictions: NDArray[np.int64]) -> NDArray[np.int64]:
    """The documents that have predictions, by their number; those of like length as they come."""
    order = np.flatnonzero(predictions)
    return order[np.argsort(-predictions[order], kind="stable")]


def padded_lengths(
    predictions: NDArray[np.int64], context: int, most: int = MOST_LENGTHS, bend: float = 0.0
) -> list[int]:
    """The fewest lengths that leave at most ``PADDING``, and those of that number that pad least.

    Args:
        predictions: of each document, 1 or more.
        context: no length is more.
        most: lengths at most.
        bend: a document of T predictions counts as T + bend · T².

    Returns:
        Lengths, ascending; the last takes the longest document.
    """
    aligned = np.minimum(-(-predictions // ALIGNMENT) * ALIGNMENT, context)
    sizes, counts = np.unique(aligned, return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])
    # cost[j]: work of all documents up to size j - 1, padded to so many lengths; with one length
    # more, the sizes i … j - 1 go to the last of them, whatever became of the others.
    last = work(sizes, bend) * (below[1:] - below[:-1, None])
    last = np.where(np.arange(len(sizes)) < np.arange(len(sizes))[:, None], np.inf, last)
    cost = np.concatenate([[0], np.full(len(sizes), np.inf)])
    choices: list[NDArray[np.int64]] = []
    while len(choices) < most and cost[-1] > (1 + PADDING) * work(predictions, bend).sum():
        costs = cost[:-1, None] + last
        choices.append(costs.argmin(0))
        cost = np.concatenate([[0], costs.min(0)])
    return _chosen(sizes, choices)


def work(lengths: NDArray[np.int64], bend: float) -> NDArray[np.float64]:
    """What lengths cost, in positions without attention: T + bend · T²."""
    return lengths + bend * np.square(lengths, dtype=float)


def _chosen(sizes: NDArray[np.int64], choices: Sequence[NDArray[np.int64]]) -> list[int]:
    """The lengths that a sequence of choices, read backwards, leads to."""
    found: list[int] = []
    end = len(sizes)
    for choice in reversed(choices):
        if end:
            found.append(int(sizes[end - 1]))
            end = int(choice[end - 1])
    return found[::-1]
