"""Randomly initialised models of transformers, and the same parameters under our names."""

from pathlib import Path
from typing import Any

import pytest
from jax.typing import DTypeLike
from jaxtyping import Array

from jquanta.lm.models.config import LMConfig
from jquanta.lm.weights.load import load_model
from tests.lm.models.examples import VOCAB

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def neox(**changes: Any) -> Any:
    """Pythia's settings, two layers of two heads unless said otherwise."""
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": VOCAB} | changes
    config = transformers.GPTNeoXConfig(
        intermediate_size=4 * sizes["hidden_size"],
        rotary_pct=0.25,
        attn_implementation="eager",
        **sizes,
    )
    return randomised(transformers.GPTNeoXForCausalLM(config))


def neo(**changes: Any) -> Any:
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
    return randomised(transformers.GPTNeoForCausalLM(transformers.GPTNeoConfig(**sizes | changes)))


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
