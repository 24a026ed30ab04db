"""Batches of documents of similar length: few distinct shapes to compile, and little padding.

XLA compiles one program for each shape. Documents are therefore padded to one of a few lengths,
which are chosen by dynamic programming so that the padding is as small as possible.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 16
"""Padded lengths are multiples of this, so that they fill vector registers and the tiles of matrix
units without a remainder."""

PADDING = 1 / 12
"""Padding tokens that are accepted for each token of text before another length is compiled. They
cost time in the transformer blocks only: the unembedding skips them."""

MOST_LENGTHS = 12
"""Largest number of padded lengths. Each needs a program that takes seconds to compile."""

LONGEST_FIRST = "longest first"
"""The name, stored with unfinished columns, of the order in which ``plan_batches`` takes
documents."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Documents whose losses are computed in one call of the compiled program.

    Attributes:
        documents: [n] the documents' numbers in the corpus.
        row: [n] the row of the batch in which each document lies.
        start: [n] the position in that row at which the document begins.
        rows: B, the number of rows of the program's arrays. The last rows may be empty.
        length: T, the number of positions in a row.
        done: how many documents this batch and all batches before it hold.
    """

    documents: NDArray[np.int64]
    row: NDArray[np.int64]
    start: NDArray[np.int64]
    rows: int
    length: int
    done: int


@dataclass(frozen=True, eq=False)
class Plan:
    """All batches of a corpus.

    The longest documents come first, so that a batch that does not fit into memory fails at once
    and not after hours.

    Attributes:
        order: the name of the order in which the documents are computed. It does not depend on
            the batch size or on the number of devices.
        batches: in the order in which they are computed.
        documents: number of documents that have predictions.
        predictions: number of predictions of all documents together.
    """

    order: str
    batches: tuple[Batch, ...]
    documents: int
    predictions: int

    @property
    def lengths(self) -> list[int]:
        """The distinct lengths of rows, ascending. Each needs its own compiled program."""
        return sorted({batch.length for batch in self.batches})

    @property
    def padding(self) -> float:
        """The share of the computed positions that hold no prediction, 0 to 1."""
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
    """Cut documents into batches, one document in each row.

    Deterministic: the result depends on the arguments only.

    Args:
        predictions: [documents] number of predictions of each document. Documents without
            predictions are in no batch.
        context: the largest number of positions that the model accepts.
        tokens: positions of a batch on each device. A batch holds at least one document for each
            device, even where that is more positions than this.
        devices: number of devices; the rows of a batch are a multiple of it.
    """
    order = longest_first(predictions)
    sizes = predictions[order]
    lengths = padded_lengths(sizes, context)
    batches: list[Batch] = []
    start = 0
    # One group of batches for each padded length, from the longest to the shortest: the documents
    # of a group have at most ``length`` predictions and more than the next length, ``shorter``.
    for length, shorter in pairwise([*lengths[::-1], 0]):
        # ``sizes`` descends, and searchsorted needs an ascending array, hence the signs.
        stop = int(np.searchsorted(-sizes, -shorter))
        most = devices * max(1, tokens // length)
        count = -(-(stop - start) // most)
        rows = devices * -(-(stop - start) // (count * devices))  # all batches nearly equal
        for first in range(start, stop, rows):
            last = min(first + rows, stop)
            row = np.arange(last - first)
            batches.append(
                Batch(order[first:last], row, np.zeros_like(row), rows, length, done=last)
            )
        start = stop
    return Plan(LONGEST_FIRST, tuple(batches), len(order), int(sizes.sum()))


def longest_first(predictions: NDArray[np.int64]) -> NDArray[np.int64]:
    """The documents that have predictions, in descending order of their number of predictions.

    The sort is stable: documents of equal length stay in the order of the corpus.
    """
    order = np.flatnonzero(predictions)
    return order[np.argsort(-predictions[order], kind="stable")]


def padded_lengths(
    predictions: NDArray[np.int64], context: int, most: int = MOST_LENGTHS, bend: float = 0.0
) -> list[int]:
    """Choose the lengths to which documents are padded, by dynamic programming.

    The number of lengths is the smallest for which padding adds at most the share ``PADDING`` to
    the work, or ``most`` if none is enough. Among all sets of that many lengths, the one with the
    least work is returned.

    Args:
        predictions: [documents] number of predictions of each document, 1 or more.
        context: upper limit of the lengths.
        most: largest number of lengths.
        bend: cost of attention relative to the rest: a row of T positions costs T + bend · T².

    Returns:
        The lengths, ascending; the last one is enough for the longest document.
    """
    aligned = np.minimum(-(-predictions // ALIGNMENT) * ALIGNMENT, context)
    # Only lengths that some document has, rounded up, are candidates.
    sizes, counts = np.unique(aligned, return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])  # below[j]: documents of sizes 0 … j - 1
    # last[i, j]: the work of the documents of sizes i … j when all are padded to size j; infinite
    # for i > j.
    last = work(sizes, bend) * (below[1:] - below[:-1, None])
    last = np.where(np.arange(len(sizes)) < np.arange(len(sizes))[:, None], np.inf, last)
    # cost[j]: the least work of the documents of the j smallest sizes with the number of lengths
    # allowed so far. One more length takes the sizes i … j - 1, so the recursion is
    # cost'[j] = min over i of cost[i] + last[i, j - 1]; ``choices`` remembers the best i.
    cost = np.concatenate([[0], np.full(len(sizes), np.inf)])
    choices: list[NDArray[np.int64]] = []
    while len(choices) < most and cost[-1] > (1 + PADDING) * work(predictions, bend).sum():
        costs = cost[:-1, None] + last
        choices.append(costs.argmin(0))
        cost = np.concatenate([[0], costs.min(0)])
    return _chosen(sizes, choices)


def work(lengths: NDArray[np.int64], bend: float) -> NDArray[np.float64]:
    """Cost of rows of these lengths, T + bend · T² each.

    The unit is the cost of one position without attention; ``bend`` is the cost of attention
    between one pair of positions in that unit.
    """
    return lengths + bend * np.square(lengths, dtype=float)


def _chosen(sizes: NDArray[np.int64], choices: Sequence[NDArray[np.int64]]) -> list[int]:
    """The lengths of the optimum, ascending, by following the choices back from the longest size.

    Args:
        sizes: [n] candidate lengths, ascending.
        choices: for each length allowed, [n] the number of sizes that the lengths before it take,
            by the size that it ends at.
    """
    found: list[int] = []
    end = len(sizes)
    for choice in reversed(choices):
        if end:
            found.append(int(sizes[end - 1]))
            end = int(choice[end - 1])
    return found[::-1]
