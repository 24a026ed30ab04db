"""Predictions that induction makes: the target follows what it followed before, in the document."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus
from jquanta.qdg.config import BIGRAM, NONE, TRIGRAM

_ORDERS = {TRIGRAM: 3, BIGRAM: 2, NONE: 0}

TOKENS = 2**21
"""Of a part, unless one document has more: its keys and the table of those seen take 100 MB."""


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
    """How many tokens must have been seen before: 3, 2, or 0 for no induction."""
    if induction not in _ORDERS:
        raise BadInput(f"induction = {induction!r}: give one of {', '.join(_ORDERS)}")
    return _ORDERS[induction]


def parts(corpus: Corpus, tokens: int = TOKENS) -> Iterator[Part]:
    """The corpus in parts of whole documents, of about so many tokens."""
    vocab = corpus.meta.vocab_size
    most = 2**64 // vocab**3  # documents that a key has room for beside three tokens
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
    """[predictions] whether the target ends an n-gram that was in its document before.

    Args:
        part: documents.
        order: n: 3 for trigrams (paper section 4), 2 for bigrams.
    """
    import pandas as pd

    document = np.repeat(np.arange(len(part.lengths), dtype=np.uint64), part.lengths)
    place = np.arange(len(part.tokens)) - np.repeat(
        np.cumsum(part.lengths) - part.lengths, part.lengths
    )
    tokens = part.tokens.astype(np.uint64)
    # An n-gram in a document is one number; where there is none, before its n-th token, none is
    # looked up.
    key = document[order - 1 :]
    for ahead in range(order):
        key = key * np.uint64(part.vocab) + tokens[ahead : len(tokens) - order + 1 + ahead]
    whole = place[order - 1 :] >= order - 1
    seen = np.zeros(len(tokens), bool)
    seen[order - 1 :][whole] = pd.Series(key[whole]).duplicated().to_numpy()
    return seen[place > 0]
