"""The progress of a column that may be computed on devices of different kinds.

A CPU takes the documents in one order (the longest first), a GPU in another (row by row of packed
documents), and a column that was begun on one may be continued on the other. So progress is stored
as a list of legs, as of a journey. A leg is the name of an order and a number n: of the documents
that the earlier legs have left over, put into this order, the first n are finished. Work that
continues in the same order lengthens the last leg; another order begins a new one. Batch size and
number of devices do not change the order, so they do not matter here.

Example: ``[("longest first", 100), ("rows of 512", 40)]`` says that the 100 longest documents are
finished, and of the others the first 40 in the order in which they are packed into rows of 512.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jquanta.lm.losses.batches import LONGEST_FIRST, longest_first
from jquanta.lm.losses.packing import pack, packed_order


class Leg(NamedTuple):
    """A part of the work on a column that was done in one order of documents.

    Attributes:
        order: the name of the order (``Plan.order``).
        done: how many of the documents that earlier legs left over are finished, from the first
            one in this order on.
    """

    order: str
    done: int


def left_by(predictions: NDArray[np.int64], legs: Sequence[Leg]) -> NDArray[np.int64]:
    """The work that remains after these legs.

    Args:
        predictions: [documents] number of predictions of each document.
        legs: the finished part of the work, in the order in which it was done.

    Returns:
        [documents] number of predictions of each document, 0 where they are finished.
    """
    left = predictions.copy()
    for leg in legs:
        left[_ordered(left, leg.order)[: leg.done]] = 0
    return left


def known(order: str) -> bool:
    """Whether this version can reconstruct an order of documents from its name."""
    return order == LONGEST_FIRST or (_row(order) > 0 and order == packed_order(_row(order)))


def _ordered(predictions: NDArray[np.int64], order: str) -> NDArray[np.int64]:
    """The numbers of all documents that have predictions, in the order of this name."""
    if order == LONGEST_FIRST:
        return longest_first(predictions)
    return pack(predictions, _row(order)).documents


def _row(order: str) -> int:
    """The row length in the name of a packed order ("rows of 512"); 0 if there is none."""
    return int(re.sub(r"\D", "", order) or 0)
