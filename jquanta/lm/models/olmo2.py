"""OLMo 2: Llama with norms after attention and MLP in place of before, and of queries and keys."""

from dataclasses import dataclass
from typing import Any, ClassVar

from jquanta.lm.models.base import RMSNorm
from jquanta.lm.models.layout import Heads, Layout, Stream
from jquanta.lm.models.llama import Attention, Llama, LlamaBlock, LlamaConfig


@dataclass(frozen=True)
class Olmo2Config(LlamaConfig):
    """The shape of an OLMo 2 model (OLMo Team, 2024)."""


class Olmo2Attention(Attention):
    """Attention whose queries and keys go through a norm, those of all heads together."""

    def __init__(self, config: Olmo2Config):
        super().__init__(config)
        self.query_norm = RMSNorm(config.heads * config.head_dim, config.eps)
        self.key_norm = RMSNorm(config.kv_heads * config.head_dim, config.eps)

    def compared(self, x: Stream, layout: Layout) -> tuple[Heads, Heads]:
        query = self.query_norm(self.query(x, layout), layout)
        key = self.key_norm(self.key(x, layout), layout)
        return (
            layout.split_heads(query, self.config.heads),
            layout.split_heads(key, self.config.kv_heads),
        )


class Olmo2Block(LlamaBlock):
    """Attention, then an MLP, each before its norm: what they add has unit size."""

    attends: ClassVar[Any] = Olmo2Attention

    def __call__(self, x: Stream, layout: Layout) -> Stream:
        x = layout.select(x) + self.attention_norm(self.attention(x, layout), layout)
        return x + self.mlp_norm(self.mlp(x, layout), layout)


class Olmo2(Llama):
    """An OLMo 2 language model. ``network.build`` makes one with parameters."""

    block: ClassVar[Any] = Olmo2Block
