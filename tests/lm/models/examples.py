"""Randomly initialised models of transformers, and the same parameters under our names."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from jax.typing import DTypeLike
from jaxtyping import Array
from transformers import GPTNeoConfig as TheirNeoConfig
from transformers import GPTNeoForCausalLM, GPTNeoXForCausalLM
from transformers import GPTNeoXConfig as TheirNeoXConfig

from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import forward
from jquanta.lm.models.pythia import PYTHIA
from jquanta.lm.weights.load import load_model

HEAD_DIMS = sorted({row.width // row.heads for row in PYTHIA.values()})  # 32 … 256
VOCAB, USED = 101, 97  # rows of the embedding, tokens of the tokenizer: the rest is padding


def neox(**changes: Any) -> GPTNeoXForCausalLM:
    """Pythia's settings, two layers of two heads unless said otherwise."""
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": VOCAB} | changes
    config = TheirNeoXConfig(
        intermediate_size=4 * sizes["hidden_size"],
        rotary_pct=0.25,
        attn_implementation="eager",
        **sizes,
    )
    return randomised(GPTNeoXForCausalLM(config))


def neo(**changes: Any) -> GPTNeoForCausalLM:
    """TinyStories' settings, four layers of two heads, a narrow window."""
    sizes = {
        "hidden_size": 48,
        "num_layers": 4,
        "num_heads": 2,
        "vocab_size": VOCAB,
        "max_position_embeddings": 512,
        "window_size": 7,
        "attention_types": [[["global", "local"], 2]],
    }
    return randomised(GPTNeoForCausalLM(TheirNeoConfig(**sizes | changes)))


def randomised(model: Any) -> Any:
    """All parameters drawn, the norms' scales and biases too, so that none is 1 or 0.

    Kernels give sums near 1, so that softmaxes are neither flat nor one-hot and no part is
    drowned by another.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, x in model.named_parameters():
            draw = torch.randn(x.shape, generator=generator)
            if x.ndim == 2 and not name.endswith(("wte.weight", "wpe.weight", "embed_in.weight")):
                x.copy_(draw / x.shape[1] ** 0.5)
            elif x.ndim == 2:
                x.copy_(0.3 * draw)
            else:
                x.copy_(0.3 * draw + (1.0 if "n" in name and name.endswith("weight") else 0.0))
    return model.eval()


def ours(model: Any, folder: Path, dtype: DTypeLike) -> tuple[LMConfig, dict[str, Array]]:
    """Its shape and parameters, by way of files."""
    model.save_pretrained(folder)
    loaded = load_model(folder, dtype=dtype)
    return loaded.config, dict(loaded.params)


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
