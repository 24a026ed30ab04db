"""Small corpora, models and selections for QDG."""

from pathlib import Path
from typing import Any

import numpy as np

from jquanta.lm.corpus.reader import Corpus, open_corpus
from jquanta.qdg.samples.selection import Selection, given
from tests.lm.corpus.samples import write_corpus
from tests.lm.models import examples as models
from tests.monitors import Watch

__all__ = ["LENGTHS", "Watch", "corpus", "losses", "selection"]

LENGTHS = (0, 1, 2, 3, 17, 64, 1, 0, 33, 40, 5, 64, 16, 48, 7, 0)
"""Tokens of documents."""


def corpus(
    path: Path,
    lengths: tuple[int, ...] = LENGTHS,
    vocab: int = models.USED,
    tokenizer: bytes = b"{}",
) -> Corpus:
    """A corpus of random tokens."""
    chance = np.random.default_rng(0)
    rows = [chance.integers(0, vocab, length).tolist() for length in lengths]
    return open_corpus(write_corpus(path, rows, tokenizer, vocab))


def selection(corpus: Corpus, every: int = 9) -> Selection:
    """The first and last predictions, and some between: prefixes of all lengths."""
    last = corpus.n_predictions - 1
    return given(corpus, [*range(0, last, every), last])


def losses(corpus: Corpus, **columns: np.ndarray) -> Any:
    """A Dataset as ``open_losses`` gives, of numbers at hand."""
    import xarray as xr

    values = np.stack([*columns.values()], axis=-1).astype(np.float32)
    return xr.Dataset(
        {"loss": (("prediction", "model"), values)},
        {"model": [name.replace("_", "@") for name in columns]},
        {"corpus": corpus.meta.corpus, "source": "numbers"},
    )
