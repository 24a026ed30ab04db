"""GPT-2: learned positions, layer norms before attention and MLP, tied embeddings."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from flax import nnx
from jaxtyping import Array, Int

from jquanta.lm.models.base import Block, Embedding, LayerNorm, Linear, Network
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.layout import Layout, Stream


@dataclass(frozen=True)
class GPT2Config(LMConfig):
    """The shape of a GPT-2 model (Radford et al., 2019)."""

    activation: str = "gelu_new"


class Attention(nnx.Module):
    """Causal attention whose queries, keys and values come from one product."""

    def __init__(self, config: LMConfig):
        self.config = config
        self.qkv = Linear(config.width, 3 * config.width)
        self.out = Linear(config.width, config.width)

    def __call__(self, x: Stream, layout: Layout) -> Stream:
        # The product's 3 D numbers: the queries of all heads, then their keys, then their values.
        query, key, value = (
            layout.split_heads(part, self.config.heads)
            for part in layout.split(self.qkv(x, layout), 3)
        )
        # Scores are divided by √head_dim.
        attended = layout.attend(query / math.sqrt(self.config.head_dim), key, value)
        return self.out(layout.join_heads(attended), layout)


class GPT2Block(Block):
    """A block of GPT-2."""

    attends: ClassVar[Any] = Attention


class GPT2(Network):
    """A GPT-2 language model. ``network.build`` makes one with parameters."""

    block: ClassVar[Any] = GPT2Block

    def __init__(self, config: LMConfig):
        self.config = config
        self.embed = Embedding(config.vocab, config.width)
        self.positions = Embedding(config.context, config.width)
        self.layers = nnx.List(self.block(config) for _ in range(config.layers))
        self.final_norm = LayerNorm(config.width, config.eps)
        self.unembed = None

    def embedded(self, tokens: Int[Array, "*positions"], layout: Layout) -> Stream:
        places = layout.places(tokens)
        return self.embed(tokens, layout) + self.positions(places, layout)
