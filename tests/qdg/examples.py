"""Small corpora, models and samples for QDG."""

from pathlib import Path
from typing import Any

import numpy as np

from jquanta.lm.corpus.layout import Meta, Recipe
from jquanta.lm.corpus.reader import Corpus, open_corpus
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.model import Model
from jquanta.lm.weights.load import load_model
from jquanta.qdg.samples.predictions import Predictions, given
from tests.lm.corpus.samples import write_corpus
from tests.lm.losses.examples import NEOX, parameters
from tests.lm.models import examples as models
from tests.monitors import Watch

__all__ = ["LENGTHS", "Watch", "corpus", "loaded", "losses", "model", "named", "predictions"]

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


def model(config: LMConfig = NEOX, seed: int = 0) -> Model:
    """A model of random parameters."""
    return Model(config, parameters(config, seed))


def loaded(folder: Path) -> Model:
    """A model from a folder."""
    found: Any = load_model(folder)
    return found if isinstance(found, Model) else Model(*found)


def predictions(corpus: Corpus, every: int = 9) -> Predictions:
    """The first and last predictions, and some between: prefixes of all lengths."""
    last = corpus.n_predictions - 1
    return given(corpus, [*range(0, last, every), last])


def named(name: str, predictions: int) -> Corpus:
    """A corpus of one document, in memory, of which nothing but the size and the hash matters."""
    meta = Meta(1, "", 1, predictions + 1, predictions, 2, "", name, Recipe("", "", 2**20, None))
    tokens = np.zeros(predictions + 1, np.uint16)
    return Corpus(Path(name), meta, tokens, np.array([0, len(tokens)]), np.array([0, predictions]))


def losses(corpus: Corpus, **columns: np.ndarray) -> Any:
    """A Dataset as ``open_losses`` gives, of numbers at hand."""
    import xarray as xr

    values = np.stack([*columns.values()], axis=-1).astype(np.float32)
    return xr.Dataset(
        {"loss": (("prediction", "model"), values)},
        {"model": [name.replace("_", "@") for name in columns]},
        {"corpus": corpus.meta.corpus, "source": "numbers"},
    )
