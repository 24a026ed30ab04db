"""Predictions that induction makes: the target follows what it followed before, in the document."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus
from jquanta.qdg.config import BIGRAM, NONE, TRIGRAM

_ORDERS = {TRIGRAM: 3, BIGRAM: 2, NONE: 0}

TOKENS = 2**21
"""Tokens of a part, unless one document has more. The hash table of their n-grams takes 100 MB."""


class Part(NamedTuple):
    """Some documents, one after the other.

    Attributes:
        tokens: of all of them.
        lengths: of each.
        predictions: their numbers.
        vocab: tokens are below this.
    """

    tokens: NDArray[Any]
    lengths: NDArray[np.int64]
    predictions: slice
    vocab: int


def order_of(induction: str) -> int:
    """The n of the n-grams that are looked for: 3, 2, or 0 for none. Raises ``BadInput``."""
    if induction not in _ORDERS:
        raise BadInput(f"induction = {induction!r}: give one of {', '.join(_ORDERS)}")
    return _ORDERS[induction]


def parts(corpus: Corpus, tokens: int = TOKENS) -> Iterator[Part]:
    """The corpus in parts of whole documents, of about so many tokens."""
    vocab = corpus.meta.vocab_size
    most = 2**64 // vocab**3  # documents whose numbers fit in 64 bits together with three tokens
    first = 0
    while first < corpus.n_documents:
        stop = (
            int(np.searchsorted(corpus.offsets, corpus.offsets[first] + tokens, side="right")) - 1
        )
        stop = min(max(stop, first + 1), first + most)
        yield Part(
            np.asarray(corpus.tokens[corpus.offsets[first] : corpus.offsets[stop]]),
            np.diff(corpus.offsets[first : stop + 1]),
            slice(int(corpus.starts[first]), int(corpus.starts[stop])),
            vocab,
        )
        first = stop


def by_induction(part: Part, order: int) -> NDArray[np.bool_]:
    """[predictions] whether the target ends an n-gram that occurred before in its document.

    Args:
        part: documents.
        order: n: 3 for trigrams (paper section 4), 2 for bigrams.
    """
    document = np.repeat(np.arange(len(part.lengths), dtype=np.uint64), part.lengths)
    place = np.arange(len(part.tokens)) - np.repeat(
        np.cumsum(part.lengths) - part.lengths, part.lengths
    )
    tokens = part.tokens.astype(np.uint64)
    # The document's number and its n tokens are packed into one 64-bit integer, the digits of a
    # number in base ``vocab``. Windows that begin in one document and end in the next are no
    # n-grams: ``whole`` leaves them out.
    key = document[order - 1 :]
    for ahead in range(order):
        key = key * np.uint64(part.vocab) + tokens[ahead : len(tokens) - order + 1 + ahead]
    whole = place[order - 1 :] >= order - 1
    seen = np.zeros(len(tokens), bool)
    seen[order - 1 :][whole] = pd.Series(key[whole]).duplicated().to_numpy()
    return seen[place > 0]
