"""Small corpora and models, and the losses that plain code gives of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import Array

from jquanta.lm.corpus.reader import Corpus, open_corpus
from jquanta.lm.losses.compute import compute_losses
from jquanta.lm.models.config import GPTNeoXConfig, LMConfig
from jquanta.lm.models.gpt_neo import GPTNeoConfig
from jquanta.lm.models.network import Params, forward, init
from jquanta.lm.models.qwen import Qwen3Config
from jquanta.lm.weights.save import save_model
from tests.lm.corpus.samples import write_corpus
from tests.monitors import Watch

TOKENS = 100
"""Of a batch: six batches of the documents of ``corpus``."""

USED, VOCAB = 97, 101  # tokens of the tokenizer, rows of the embedding: the rest is padding
NEOX = GPTNeoXConfig(layers=2, width=32, heads=2, vocab=VOCAB, context=64)
NEO = GPTNeoConfig(layers=2, width=24, heads=2, vocab=VOCAB, context=64, window=5)
LLAMA = Qwen3Config(layers=2, width=32, heads=4, vocab=VOCAB, context=64, kv_heads=2, window=9)
"""Of Llama's kin the one with most parts: grouped queries, norms of heads, local attention."""

LENGTHS = (0, 1, 2, 3, 17, 64, 1, 0, 33, 40, 5, 64, 16, 48, 7, 0)  # tokens of documents


def rows(lengths: Sequence[int] = LENGTHS, seed: int = 0) -> list[list[int]]:
    """Documents of random tokens."""
    chance = np.random.default_rng(seed)
    return [chance.integers(0, USED, length).tolist() for length in lengths]


def corpus(path: Path, lengths: Sequence[int] = LENGTHS, seed: int = 0) -> Corpus:
    """A corpus folder of random tokens."""
    return open_corpus(write_corpus(path, rows(lengths, seed), vocab_size=USED))


def parameters(config: LMConfig = NEOX, seed: int = 0, scale: float = 2.0) -> dict[str, Array]:
    """Random parameters whose sums are of size ``scale``, so that losses differ by nats."""
    params = init(config, jax.random.key(seed))
    for name, x in params.items():
        if x.ndim == 2:
            fan_in = x.shape[0] if name.endswith(".kernel") else x.shape[1]
            params[name] = x / x.std() * scale / fan_in**0.5
    return params


def model(folder: Path, config: LMConfig = NEOX, seed: int = 0) -> Path:
    """A model's folder."""
    save_model(folder, config, parameters(config, seed))
    return folder


def plain(config: LMConfig, params: Params, document: Sequence[int]) -> np.ndarray:
    """The slow twin: one document, all its logits, optax's cross-entropy. [T - 1], nats.

    Padded to the context, so that one program does for all lengths.
    """
    tokens = np.zeros(config.context + 1, np.int32)
    tokens[: len(document)] = document
    logits = jax.jit(forward, static_argnums=0)(config, params, tokens[None, :-1])[0]
    found = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[1:])
    return np.asarray(found)[: max(0, len(document) - 1)]


def plain_column(config: LMConfig, params: Params, corpus: Corpus) -> np.ndarray:
    """``plain`` of every document, in order."""
    documents = [corpus.document(i).tolist() for i in range(corpus.n_documents)]
    return np.concatenate([plain(config, params, document) for document in documents])


def stored(out: Path, name: str) -> Any:
    """A column as Zarr alone reads it."""
    import zarr

    return zarr.open_group(str(out / name), mode="r")


def compute(home: Path, out: Path, *models: str, watch: Watch | None = None) -> np.ndarray:
    """Losses [prediction, model]."""
    paths = [home / model for model in models or ["neox"]]
    found = compute_losses(home / "corpus", paths, out, batch_tokens=TOKENS, monitor=watch)
    return found.loss.to_numpy()
