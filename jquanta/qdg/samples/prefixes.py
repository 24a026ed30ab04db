"""Samples as prefixes: the tokens up to the one before the target, in batches of like length.

The loss at a position depends on nothing after it (paper section 6: the reference runs whole
documents all the same).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.losses.batches import MOST_LENGTHS, padded_lengths, work
from jquanta.lm.models.config import LMConfig


@dataclass(frozen=True, eq=False)
class Samples:
    """Predictions of a corpus, each a prefix and a target.

    Attributes:
        corpus: whose predictions.
        index: [Q] their numbers.
        first: [Q] where the prefix begins in ``corpus.tokens``.
        lengths: [Q] tokens of the prefix, 1 or more: the target comes right after.
    """

    corpus: Corpus
    index: NDArray[np.int64]
    first: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @property
    def targets(self) -> NDArray[np.int32]:
        """[Q] the tokens that are predicted."""
        return self.corpus.tokens[self.first + self.lengths].astype(np.int32)

    def prefixes(self, rows: NDArray[np.int64], length: int) -> NDArray[np.int32]:
        """[rows, length] prefixes of some samples, with zeros after their own tokens."""
        window = np.zeros((len(rows), length), np.int32)
        for row, sample in enumerate(rows.tolist()):
            first, own = int(self.first[sample]), int(self.lengths[sample])
            window[row, :own] = self.corpus.tokens[first : first + own]
        return window


def samples(corpus: Corpus, index: NDArray[np.int64], config: LMConfig) -> Samples:
    """Prefixes and targets of predictions.

    Raises:
        BadInput: for an index outside the corpus, a prefix longer than the model's context, or a
            corpus of more tokens than the model has rows for.
    """
    if corpus.meta.vocab_size > config.vocab:
        raise BadInput(
            f"{corpus.path}: its tokenizer has {corpus.meta.vocab_size:,} tokens and the model's "
            f"embedding {config.vocab:,} rows; give the corpus of the model's own tokenizer"
        )
    document, position = corpus.locate(index)
    if len(index) and position.max() + 1 > config.context:
        worst = int(position.argmax())
        raise BadInput(
            f"prediction {index[worst]}: {position[worst] + 1:,} tokens come before it and the "
            f"model's context is {config.context:,}; build the corpus with "
            f"--max_length {config.context}"
        )
    return Samples(corpus, np.asarray(index, np.int64), corpus.offsets[document], position + 1)


@dataclass(frozen=True)
class Batch:
    """Rows that are computed together: ``start`` to ``stop`` in the order of the plan.

    Attributes:
        start, stop: fewer than ``rows`` in the last batch only.
        rows: samples that the program takes: B.
        length: tokens that the program takes of each: T.
    """

    start: int
    stop: int
    rows: int
    length: int


@dataclass(frozen=True, eq=False)
class Plan:
    """Samples in batches, the longest first: what does not fit fails at once.

    Attributes:
        order: [Q] the sample that each row is.
        batches: that cover the rows, in order.
    """

    order: NDArray[np.int64]
    batches: tuple[Batch, ...]


def plan(
    lengths: NDArray[np.int64],
    context: int,
    *,
    fit: Callable[[int], float],
    most: int = MOST_LENGTHS,
    alignment: int = 1,
    devices: int = 1,
    bend: float = 0.0,
    price: float = 0.0,
) -> Plan:
    """Cut samples into batches. A function of its arguments only.

    Args:
        lengths: [Q] of the prefixes.
        context: the most tokens that the model takes.
        fit: samples of a given length that a batch on each device takes at most; one at least.
        most: padded lengths, at most.
        alignment: padded lengths are multiples of this, but for the context.
        devices: the samples of a batch are a multiple of this.
        bend: a sample of T tokens is as much work as T + bend · T² tokens without attention.
        price: of one more length, a program to compile, in such tokens: what it must save.
    """
    order = np.argsort(-lengths, kind="stable")
    aligned = np.minimum(-(-lengths // alignment) * alignment, context)
    padded = np.array(_lengths(aligned, context, most, bend, price))
    all_samples = 2 ** (-(-len(order) // devices) - 1).bit_length()
    batches: list[Batch] = []
    start = 0
    while start < len(order):
        length = int(padded[np.searchsorted(padded, lengths[order[start]])])
        # A power of two, so that batches of all lengths fill a panel of as many rows; and no larger
        # than what takes all samples.
        share = max(1, int(fit(length)))
        rows = devices * min(2 ** (share.bit_length() - 1), all_samples)
        stop = min(start + rows, len(order))
        batches.append(Batch(start, stop, rows, length))
        start = stop
    return Plan(order, tuple(batches))


def _lengths(
    lengths: NDArray[np.int64], context: int, most: int, bend: float, price: float
) -> Sequence[int]:
    """Padded lengths, ascending: those of the number that costs least, programs counted."""

    def cost(found: list[int]) -> float:
        padded = np.array(found)[np.searchsorted(found, lengths)]
        return float(work(padded, bend).sum()) + price * len(found)

    choices: list[Any] = [
        padded_lengths(lengths, context, number, bend) for number in range(1, most + 1)
    ]
    return min(choices, key=cost)
