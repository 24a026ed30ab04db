"""Language models with random weights, and random documents of realistic lengths."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from benchmarks import texts
from benchmarks.qdg import TOKENS_A_SAMPLE
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.models.config import GPTNeoXConfig, LMConfig
from jquanta.lm.models.network import Params, init
from jquanta.lm.models.pythia import pythia
from jquanta.qdg.samples.predictions import Predictions, given

TINY = GPTNeoXConfig(layers=2, width=32, heads=2, vocab=50304)


class Subject(NamedTuple):
    """A model and a corpus."""

    config: LMConfig
    params: Params
    corpus: Corpus


@contextmanager
def subject(
    size: str, tokens: int, small: bool, dtype: DTypeLike = jnp.float32
) -> Iterator[Subject]:
    """A model with random weights, and a corpus of random tokens.

    Args:
        size: of the Pythia suite.
        tokens: about how many the corpus has.
        small: whether to use a tiny model instead.
        dtype: of the parameters.
    """
    config = TINY if small else pythia(size)
    params = jax.block_until_ready(init(config, jax.random.key(0), dtype))
    with tempfile.TemporaryDirectory(prefix="jquanta-") as scratch:
        corpus = texts.synthetic(Path(scratch) / "corpus", texts.lengths(tokens))
        yield Subject(config, params, corpus)


def samples_of(corpus: Corpus, count: int) -> Predictions:
    """Random predictions."""
    random = np.random.default_rng(2)
    return given(corpus, random.choice(corpus.n_predictions, count, replace=False))


def tokens_for(samples: int) -> int:
    """Tokens of the corpus from which a number of samples is drawn, as in ``benchmarks.qdg``."""
    return samples * TOKENS_A_SAMPLE
