"""GPT-Neo as TinyStories uses it: learned positions, local attention, tied embeddings."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from jquanta.lm.models.base import Network
from jquanta.lm.models.config import GPTNeoConfig
from jquanta.lm.models.layout import Layout
from jquanta.lm.models.parts import (
    MLP,
    Embedding,
    LayerNorm,
    Linear,
    Stream,
    gelu_new,
    join_heads,
    split_heads,
)


class Attention(nnx.Module):
    """Causal attention; scores are not scaled by √d."""

    def __init__(self, config: GPTNeoConfig):
        self.heads = config.heads
        self.query = Linear(config.width, config.width, bias=False)
        self.key = Linear(config.width, config.width, bias=False)
        self.value = Linear(config.width, config.width, bias=False)
        self.out = Linear(config.width, config.width)

    def __call__(self, x: Stream, layout: Layout) -> Stream:
        query, key, value = (
            split_heads(layer(x), self.heads) for layer in (self.query, self.key, self.value)
        )
        return self.out(join_heads(layout.attend(query, key, value)))


class Block(nnx.Module):
    """Attention, then an MLP, each behind a layer norm of its own."""

    def __init__(self, config: GPTNeoConfig):
        self.attention_norm = LayerNorm(config)
        self.attention = Attention(config)
        self.mlp_norm = LayerNorm(config)
        self.mlp = MLP(config.width, gelu_new)

    def __call__(self, x: Stream, layout: Layout) -> Stream:
        x = layout.wanted(x) + self.attention(self.attention_norm(x), layout)
        return x + self.mlp(self.mlp_norm(x))


class GPTNeo(Network):
    """A GPT-Neo language model (paper, section 3). ``network.build`` makes one with parameters."""

    def __init__(self, config: GPTNeoConfig):
        self.config = config
        self.embed = Embedding(config.vocab, config.width)
        self.positions = Embedding(config.context, config.width)
        self.layers = nnx.List(Block(config) for _ in range(config.layers))
        self.final_norm = LayerNorm(config)

    def embedded(
        self, tokens: Int[Array, "B T"], places: Int[Array, "B T"] | None = None
    ) -> Stream:
        in_order = jnp.arange(tokens.shape[1])
        return self.embed(tokens) + self.positions(in_order if places is None else places)

    @property
    def unembedding(self) -> Float[Array, "D V"]:
        return self.embed.embedding[...].T

    def deviation(self, name: str) -> float:
        """As GPT-2 and GPT-Neo start."""
        return 0.02
