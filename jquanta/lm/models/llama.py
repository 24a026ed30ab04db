"""Llama and Mistral: rotary positions, grouped queries, RMSNorm, a gated MLP.

The decoders since (``qwen``, ``olmo2``, ``gemma``) are this one with other norms, and are written
as differences from it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from flax import nnx

from jquanta.errors import BadInput
from jquanta.lm.models.base import ACTIVATIONS, Block, Embedding, Linear, Network, RMSNorm
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.layout import Heads, Layout, Stream
from jquanta.lm.models.rotary import Scaling, rates
from jquanta.run.settings import Range


@dataclass(frozen=True)
class LlamaConfig(LMConfig):
    """The shape of a Llama model (Touvron et al., 2023), SmolLM among them."""

    RANGES: ClassVar[Mapping[str, Range]] = {
        **LMConfig.RANGES,
        "kv_heads": Range(True, 1, 2**12),
        "head_size": Range(True, 1, 2**12),
        "rotary_base": Range(False, 1, 1e12),
        "window": Range(True, 1, 2**24),
        "local_from": Range(True, 0, 1000),
    }

    activation: str = "silu"
    kv_heads: int = 0
    """Heads of keys and values, each of which serves as many queries; 0 stands for one a query."""
    head_size: int = 0
    """Numbers of a head's query, key or value; 0 stands for width / heads."""
    rotary_base: float = 10000.0
    """The longest wavelength of the rotations is nearly 2π times this many tokens."""
    scaling: Scaling | None = None
    """Of the rotations, in models for long texts."""
    qkv_bias: bool = False
    """Whether the linear layers of queries, keys and values have a bias."""
    out_bias: bool = False
    """Whether attention's last linear layer has one."""
    mlp_bias: bool = False
    """Whether the MLP's linear layers have one."""
    tied: bool = False
    """Whether the unembedding is the embedding transposed."""
    window: int | None = None
    """Positions that a query sees, its own included, in blocks with local attention; None where
    there are no such blocks."""
    local_from: int = 0
    """The first block with local attention."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window is None:
            object.__setattr__(self, "local_from", 0)
        if self.head_size % 2:
            raise BadInput(
                f"head_size = {self.head_size}: rotations need an even number; choose another"
            )
        if self.heads % self.kv_heads:
            raise BadInput(
                f"kv_heads = {self.kv_heads}: does not divide the {self.heads} heads; each head of "
                "keys serves as many queries"
            )

    def _complete(self) -> None:
        self._settle("hidden", 4 * self.width)
        self._settle("kv_heads", self.heads)
        if self.head_size == 0:
            self._require_divided()
            self._settle("head_size", self.width // self.heads)

    @property
    def head_dim(self) -> int:
        return self.head_size

    @property
    def hidden_layers(self) -> int:
        """The gate before and after the activation function, and the layer that it multiplies."""
        return 3

    @property
    def windows(self) -> tuple[int | None, ...]:
        return tuple(self.window if i >= self.local_from else None for i in range(self.layers))


@dataclass(frozen=True)
class MistralConfig(LlamaConfig):
    """The shape of a Mistral model (Jiang et al., 2023): a Llama whose attention may be local."""


class Attention(nnx.Module):
    """Causal attention with rotated queries and keys, of which each key serves a group of
    queries (Ainslie et al., 2023)."""

    def __init__(self, config: LlamaConfig):
        self.config = config
        wide, narrow = (heads * config.head_dim for heads in (config.heads, config.kv_heads))
        self.query = Linear(config.width, wide, bias=config.qkv_bias)
        self.key = Linear(config.width, narrow, bias=config.qkv_bias)
        self.value = Linear(config.width, narrow, bias=config.qkv_bias)
        self.out = Linear(wide, config.width, bias=config.out_bias)

    def __call__(self, x: Stream, layout: Layout) -> Stream:
        config = self.config
        turns = rates(config.head_dim, config.rotary_base, config.scaling)
        query, key = (layout.rotate(part, turns) for part in self.compared(x, layout))
        value = layout.split_heads(self.value(x, layout), config.kv_heads)
        group = config.heads // config.kv_heads
        key, value = (layout.shared(part, group) for part in (key, value))
        # Scores are divided by √head_dim.
        attended = layout.attend(query / math.sqrt(config.head_dim), key, value)
        return self.out(layout.join_heads(attended), layout)

    def compared(self, x: Stream, layout: Layout) -> tuple[Heads, Heads]:
        """Queries and keys before they are rotated."""
        query, key = self.query(x, layout), self.key(x, layout)
        return (
            layout.split_heads(query, self.config.heads),
            layout.split_heads(key, self.config.kv_heads),
        )


class GatedMLP(nnx.Module):
    """An MLP whose hidden layer is multiplied by another one that went through the activation
    (Shazeer, 2020): SwiGLU where that is ``silu``."""

    def __init__(self, config: LlamaConfig):
        self.activation = ACTIVATIONS[config.activation]
        self.gate = Linear(config.width, config.hidden, bias=config.mlp_bias)
        self.up = Linear(config.width, config.hidden, bias=config.mlp_bias)
        self.down = Linear(config.hidden, config.width, bias=config.mlp_bias)

    def __call__(self, x: Stream, layout: Layout) -> Stream:
        gate = self.activation(self.gate(x, layout))
        return self.down(gate * self.up(x, layout), layout)


class LlamaBlock(Block):
    """A block of Llama."""

    attends: ClassVar[Any] = Attention
    norm: ClassVar[Any] = RMSNorm
    feeds: ClassVar[Any] = GatedMLP


class Llama(Network):
    """A Llama or Mistral language model. ``network.build`` makes one with parameters."""

    block: ClassVar[Any] = LlamaBlock

    def __init__(self, config: LlamaConfig):
        self.config = config
        self.embed = Embedding(config.vocab, config.width)
        self.layers = nnx.List(self.block(config) for _ in range(config.layers))
        self.final_norm = self.block.norm(config.width, config.eps)
        self.unembed = None if config.tied else Linear(config.width, config.vocab, bias=False)
