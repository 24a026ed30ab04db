"""How far a column is, where it may have been computed on devices of different kinds.

Devices of different kinds take documents in different orders. A column is computed in legs: each is
an order of the documents that earlier legs have left, and how many of them are done, from the first
on. Another order begins another leg. The batch size and the number of devices do not matter.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jquanta.lm.losses.batches import LONGEST_FIRST, longest_first
from jquanta.lm.losses.packing import pack, packed_order


class Leg(NamedTuple):
    """A part of the work on a column.

    Attributes:
        order: the name of an order of documents (``Plan.order``).
        done: documents that are done of those that were left, in that order.
    """

    order: str
    done: int


def left_by(predictions: NDArray[np.int64], legs: Sequence[Leg]) -> NDArray[np.int64]:
    """Predictions of each document, 0 of those that these legs have done."""
    left = predictions.copy()
    for leg in legs:
        left[_ordered(left, leg.order)[: leg.done]] = 0
    return left


def known(order: str) -> bool:
    """Whether this version can tell the order from its name."""
    return order == LONGEST_FIRST or (_row(order) > 0 and order == packed_order(_row(order)))


def _ordered(predictions: NDArray[np.int64], order: str) -> NDArray[np.int64]:
    if order == LONGEST_FIRST:
        return longest_first(predictions)
    return pack(predictions, _row(order)).documents


def _row(order: str) -> int:
    """The row's length in the name of an order."""
    return int(re.sub(r"\D", "", order) or 0)
