"""GPT-NeoX as Pythia uses it: rotary positions, parallel residual, untied embeddings."""

import math

import jax.numpy as jnp
from flax import nnx

from jquanta.lm.models.base import Network
from jquanta.lm.models.config import GPTNeoXConfig
from jquanta.lm.models.layout import Layout
from jquanta.lm.models.parts import (
    MLP,
    Embedding,
    LayerNorm,
    Linear,
    Stream,
    gelu,
    join_heads,
    rotate,
    split_heads,
)


class Attention(nnx.Module):
    """Causal attention; queries, keys and values come from one product."""

    def __init__(self, config: GPTNeoXConfig):
        self.config = config
        self.qkv = Linear(config.width, 3 * config.width)
        self.out = Linear(config.width, config.width)

    def __call__(self, x: Stream, layout: Layout) -> Stream:
        config, places = self.config, layout.places
        # Columns lie as [heads, 3 * head_dim]: each head's query, key and value side by side.
        query, key, value = jnp.split(split_heads(self.qkv(x), config.heads), 3, axis=-1)
        query, key = (
            rotate(h, config.rotary_dim, config.rotary_base, places) for h in (query, key)
        )
        query = query / math.sqrt(config.head_dim)
        return self.out(join_heads(layout.attend(query, key, value)))


class Block(nnx.Module):
    """Attention and MLP side by side, each behind a layer norm of its own."""

    def __init__(self, config: GPTNeoXConfig):
        self.attention_norm = LayerNorm(config)
        self.attention = Attention(config)
        self.mlp_norm = LayerNorm(config)
        self.mlp = MLP(config.width, gelu)

    def __call__(self, x: Stream, layout: Layout) -> Stream:
        own = layout.wanted(x)
        return own + self.attention(self.attention_norm(x), layout) + self.mlp(self.mlp_norm(own))


class GPTNeoX(Network):
    """A GPT-NeoX language model (paper, section 3). ``network.build`` makes one with parameters."""

    def __init__(self, config: GPTNeoXConfig):
        self.config = config
        self.embed = Embedding(config.vocab, config.width)
        self.layers = nnx.List(Block(config) for _ in range(config.layers))
        self.final_norm = LayerNorm(config)
        self.unembed = Linear(config.width, config.vocab, bias=False)

    def deviation(self, name: str) -> float:
        """As Pythia starts: √(2/5D) (Nguyen & Salazar, 2019), but 2/(L·√D) where a block adds to
        the residual stream (Wang & Komatsuzaki's GPT-J, 2021)."""
        if name.endswith(("attention.out.kernel", "mlp.down.kernel")):
            return 2 / (self.config.layers * math.sqrt(self.config.width))
        return math.sqrt(0.4 / self.config.width)
