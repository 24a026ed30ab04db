"""GPT-NeoX: rotary positions, queries, keys and values of one product, layer norms."""

import math
from typing import Any, ClassVar

from flax import nnx

from jquanta.lm.models.base import Block, Embedding, LayerNorm, Linear, Network
from jquanta.lm.models.config import GPTNeoXConfig
from jquanta.lm.models.layout import Layout, Stream
from jquanta.lm.models.rotary import rates


class Attention(nnx.Module):
    """Causal attention whose queries, keys and values come from one product."""

    def __init__(self, config: GPTNeoXConfig):
        self.config = config
        self.qkv = Linear(config.width, 3 * config.width, bias=config.attention_bias)
        self.out = Linear(config.width, config.width, bias=config.attention_bias)

    def __call__(self, x: Stream, layout: Layout) -> Stream:
        config = self.config
        # The product's 3 D numbers lie as [H, 3 head_dim]: a head's query, key and value together.
        query, key, value = layout.split(layout.split_heads(self.qkv(x, layout), config.heads), 3)
        turns = rates(config.rotary_dim, config.rotary_base)
        query, key = (layout.rotate(part, turns) for part in (query, key))
        # Scores are divided by √head_dim.
        attended = layout.attend(query / math.sqrt(config.head_dim), key, value)
        return self.out(layout.join_heads(attended), layout)


class GPTNeoXBlock(Block):
    """Attention and MLP, each behind its layer norm. In parallel both read the block's input; in
    sequence the MLP reads what attention has added to it."""

    attends: ClassVar[Any] = Attention

    def __init__(self, config: GPTNeoXConfig):
        super().__init__(config)
        self.parallel = config.parallel

    def __call__(self, x: Stream, layout: Layout) -> Stream:
        if not self.parallel:
            return super().__call__(x, layout)
        own = layout.select(x)  # keys and values need all positions, all else those wanted
        attention = self.attention(self.attention_norm(x, layout), layout)
        return own + attention + self.mlp(self.mlp_norm(own, layout), layout)


class GPTNeoX(Network):
    """A GPT-NeoX language model (paper, section 3). ``network.build`` makes one with parameters."""

    def __init__(self, config: GPTNeoXConfig):
        self.config = config
        self.embed = Embedding(config.vocab, config.width)
        self.layers = nnx.List(GPTNeoXBlock(config) for _ in range(config.layers))
        self.final_norm = LayerNorm(config.width, config.eps)
        self.unembed = None if config.tied else Linear(config.width, config.vocab, bias=False)

    def deviation(self, name: str) -> float:
        """As Pythia starts: √(2 / 5D) (Nguyen & Salazar, 2019), but 2 / (L·√D) for the two kernels
        that add to the residual stream (Wang & Komatsuzaki's GPT-J, 2021)."""
        if name.endswith(("attention.out.kernel", "mlp.down.kernel")):
            return 2 / (self.config.layers * math.sqrt(self.config.width))
        return math.sqrt(0.4 / self.config.width)
