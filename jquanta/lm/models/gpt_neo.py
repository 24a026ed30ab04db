"""GPT-Neo as TinyStories uses it: learned positions, local attention, tied embeddings."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from jquanta.lm.models.base import Network
from jquanta.lm.models.config import GPTNeoConfig
from jquanta.lm.models.parts import (
    MLP,
    Embedding,
    LayerNorm,
    Linear,
    Stream,
    attend,
    attend_at,
    gelu_new,
    join_heads,
    rows_at,
    split_heads,
)


class Attention(nnx.Module):
    """Causal attention, of the last ``window`` tokens or of all; scores are not scaled by √d."""

    def __init__(self, config: GPTNeoConfig, window: int | None):
        self.heads, self.window = config.heads, window
        self.query = Linear(config.width, config.width, bias=False)
        self.key = Linear(config.width, config.width, bias=False)
        self.value = Linear(config.width, config.width, bias=False)
        self.out = Linear(config.width, config.width)

    def __call__(self, x: Stream, at: Int[Array, "B T_out"] | None = None) -> Stream:
        query, key, value = (
            split_heads(layer(x), self.heads) for layer in (self.query, self.key, self.value)
        )
        if at is not None:
            return self.out(join_heads(attend_at(query, key, value, at, self.window)))
        return self.out(join_heads(attend(query, key, value, self.window)))


class Block(nnx.Module):
    """Attention, then an MLP, each behind a layer norm of its own."""

    def __init__(self, config: GPTNeoConfig, window: int | None):
        self.attention_norm = LayerNorm(config)
        self.attention = Attention(config, window)
        self.mlp_norm = LayerNorm(config)
        self.mlp = MLP(config.width, gelu_new)

    def __call__(self, x: Stream, at: Int[Array, "B T_out"] | None = None) -> Stream:
        x = rows_at(x, at) + self.attention(self.attention_norm(x), at)
        return x + self.mlp(self.mlp_norm(x))


class GPTNeo(Network):
    """A GPT-Neo language model (paper, section 3). ``network.build`` makes one with parameters."""

    def __init__(self, config: GPTNeoConfig):
        self.config = config
        self.embed = Embedding(config.vocab, config.width)
        self.positions = Embedding(config.context, config.width)
        windows = [config.window if reach == "local" else None for reach in config.reach]
        self.layers = nnx.List(Block(config, window) for window in windows)
        self.final_norm = LayerNorm(config)

    def embedded(self, tokens: Int[Array, "B T"]) -> Stream:
        return self.embed(tokens) + self.positions(jnp.arange(tokens.shape[1]))

    @property
    def unembedding(self) -> Float[Array, "D V"]:
        return self.embed.embedding[...].T

    def deviation(self, name: str) -> float:
        """As GPT-2 and GPT-Neo start."""
        return 0.02
