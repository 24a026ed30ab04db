"""Gemma (the first): Llama with larger embeddings, and norms whose scale is written 1 + gain."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from flax import nnx
from jaxtyping import Array, Int

from jquanta.lm.models.base import parameter
from jquanta.lm.models.layout import Layout, Stream
from jquanta.lm.models.llama import Llama, LlamaBlock, LlamaConfig


@dataclass(frozen=True)
class GemmaConfig(LlamaConfig):
    """The shape of a Gemma model (Gemma Team, 2024); Gemma 2 and 3 are others."""

    activation: str = "gelu_pytorch_tanh"
    tied: bool = True


class GemmaNorm(nnx.Module):
    """RMSNorm whose scale is 1 + gain."""

    def __init__(self, size: int, eps: float):
        self.eps = eps
        self.gain = parameter(size)

    def __call__(self, x: Stream, layout: Layout) -> Stream:
        return layout.root_norm(x, 1 + self.gain[...], self.eps)


class GemmaBlock(LlamaBlock):
    """A block of Llama with those norms."""

    norm: ClassVar[Any] = GemmaNorm


class Gemma(Llama):
    """A Gemma language model. ``network.build`` makes one with parameters."""

    block: ClassVar[Any] = GemmaBlock

    def embedded(self, tokens: Int[Array, "*positions"], layout: Layout) -> Stream:
        """The embedding times √D."""
        return math.sqrt(self.config.width) * super().embedded(tokens, layout)
