"""Qwen 2, 2.5 and 3: Llama with biases of queries, keys and values, or with norms of each head."""

from dataclasses import dataclass
from typing import Any, ClassVar

from jquanta.lm.models.base import RMSNorm
from jquanta.lm.models.layout import Heads, Layout, Stream
from jquanta.lm.models.llama import Attention, Llama, LlamaBlock, LlamaConfig


@dataclass(frozen=True)
class Qwen2Config(LlamaConfig):
    """The shape of a Qwen 2 or 2.5 model (Yang et al., 2024)."""

    qkv_bias: bool = True


@dataclass(frozen=True)
class Qwen3Config(LlamaConfig):
    """The shape of a dense Qwen 3 model (Yang et al., 2025)."""


class Qwen3Attention(Attention):
    """Attention whose queries and keys go through a norm, head by head."""

    def __init__(self, config: Qwen3Config):
        super().__init__(config)
        self.query_norm = RMSNorm(config.head_dim, config.eps)
        self.key_norm = RMSNorm(config.head_dim, config.eps)

    def compared(self, x: Stream, layout: Layout) -> tuple[Heads, Heads]:
        query, key = super().compared(x, layout)
        return self.query_norm(query, layout), self.key_norm(key, layout)


class Qwen3Block(LlamaBlock):
    """A block of Llama with that attention."""

    attends: ClassVar[Any] = Qwen3Attention


class Qwen3(Llama):
    """A Qwen 3 language model. ``network.build`` makes one with parameters."""

    block: ClassVar[Any] = Qwen3Block
