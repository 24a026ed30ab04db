"""Samples as prefixes: the tokens up to the one before the target, in batches of similar length.

The loss at a position depends on no later token, so a prefix gives the same gradient as its whole
document (paper section 6), with less work.
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
from jquanta.qdg.samples.predictions import Predictions


@dataclass(frozen=True, eq=False)
class Prefixes:
    """The prefix and the target of each of Q samples.

    Attributes:
        corpus: whose predictions they are.
        first: [Q] where the prefix begins in ``corpus.tokens``.
        lengths: [Q] tokens of the prefix, 1 or more: the target is the token right after it.
    """

    corpus: Corpus
    first: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def targets(self) -> NDArray[np.int32]:
        """[Q] the tokens that are predicted."""
        return self.corpus.tokens[self.first + self.lengths].astype(np.int32)

    def tokens(self, samples: NDArray[np.int64], length: int) -> NDArray[np.int32]:
        """[q, length] the prefixes of some samples, padded with zeros at the end."""
        window = np.zeros((len(samples), length), np.int32)
        for row, sample in enumerate(samples.tolist()):
            first, own = int(self.first[sample]), int(self.lengths[sample])
            window[row, :own] = self.corpus.tokens[first : first + own]
        return window


def prefixes(predictions: Predictions, config: LMConfig) -> Prefixes:
    """Prefixes and targets of predictions, for a model of this shape.

    All that computes something of a model and predictions goes through here: this is where the two
    are checked against each other.

    Raises:
        BadInput: for a prefix longer than the model's context, or a corpus with more tokens in its
            vocabulary than the model has embeddings.
    """
    corpus, index = predictions.corpus, predictions.index
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
    return Prefixes(corpus, corpus.offsets[document], position + 1)


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples that are computed together.

    Attributes:
        samples: [q] which.
        rows: samples that the program takes, B; above q in the last batch only.
        length: tokens that the program takes of each, T: no prefix is longer.
    """

    samples: NDArray[np.int64]
    rows: int
    length: int


def batches(
    lengths: NDArray[np.int64],
    context: int,
    *,
    fit: Callable[[int], float],
    most: int = MOST_LENGTHS,
    alignment: int = 1,
    devices: int = 1,
    attention: float = 0.0,
    compile_tokens: float = 0.0,
) -> tuple[Batch, ...]:
    """Cut samples into batches of similar length, the longest first: if one is too large for the
    memory, that is seen at once. A function of its arguments only.

    Args:
        lengths: [Q] tokens of each prefix.
        context: the most tokens that the model takes.
        fit: how many samples of a given length a batch takes at most on each device; below one
            counts as one.
        most: how many different padded lengths there may be.
        alignment: padded lengths are multiples of this, except for the context.
        devices: the number of samples of a batch is a multiple of this.
        attention: the cost of attention. A sample of T tokens costs as much as T + attention · T²
            tokens would without it.
        compile_tokens: the cost of compiling the program for one more padded length, in such
            tokens: another length must save more padding than that.
    """
    order = np.argsort(-lengths, kind="stable")
    aligned = np.minimum(-(-lengths // alignment) * alignment, context)
    padded = np.array(_lengths(aligned, context, most, attention, compile_tokens))
    all_samples = 2 ** (-(-len(order) // devices) - 1).bit_length()
    found: list[Batch] = []
    start = 0
    while start < len(order):
        length = int(padded[np.searchsorted(padded, lengths[order[start]])])
        # A power of two, so that batches of all lengths fill a panel of as many rows; and no larger
        # than what takes all samples.
        share = max(1, int(fit(length)))
        rows = devices * min(2 ** (share.bit_length() - 1), all_samples)
        found.append(Batch(order[start : start + rows], rows, length))
        start += rows
    return tuple(found)


def _lengths(
    lengths: NDArray[np.int64],
    context: int,
    most: int,
    attention: float,
    compile_tokens: float,
) -> Sequence[int]:
    """Padded lengths, ascending: as many as make the cost of computing and compiling least."""

    def cost(found: list[int]) -> float:
        padded = np.array(found)[np.searchsorted(found, lengths)]
        return float(work(padded, attention).sum()) + compile_tokens * len(found)

    choices: list[Any] = [
        padded_lengths(lengths, context, number, attention) for number in range(1, most + 1)
    ]
    return min(choices, key=cost)
