"""Sizes, tokens, and plain arithmetic on logits, shared by the tests of all architectures."""

from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import forward
from jquanta.lm.models.pythia import PYTHIA

HEAD_DIMS = sorted({row.width // row.heads for row in PYTHIA.values()})  # 32 … 256
VOCAB, USED = 101, 97  # rows of the embedding, tokens of the tokenizer: the rest is padding


def documents(count: int, length: int, seed: int = 0) -> np.ndarray:
    """Random tokens [B, T]."""
    return np.random.default_rng(seed).integers(0, USED, (count, length))


@partial(jax.jit, static_argnums=0)
def logits(config: LMConfig, params: Any, tokens: Any) -> Array:
    """``forward`` as it is used: compiled."""
    return forward(config, params, tokens)


def losses(logits: Any, tokens: np.ndarray) -> np.ndarray:
    """Cross-entropies [B, T - 1] in nats, from logits [B, T, V] of ours."""
    before = np.asarray(logits)[:, :-1]
    own = np.take_along_axis(before, tokens[:, 1:, None], axis=-1)[..., 0]
    return np.log(np.exp(before).sum(-1)) - own
