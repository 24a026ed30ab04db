"""GPT-Neo as TinyStories uses it: GPT-2 with local attention in every second block."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from flax import nnx

from jquanta.errors import BadInput
from jquanta.lm.models.base import Block, Linear
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.gpt2 import GPT2
from jquanta.lm.models.layout import Layout, Stream
from jquanta.run.settings import Range

Reach = Literal["global", "local"]


@dataclass(frozen=True)
class GPTNeoConfig(LMConfig):
    """The shape of a GPT-Neo model, as TinyStories uses it (paper, section 3)."""

    RANGES: ClassVar[Mapping[str, Range]] = {**LMConfig.RANGES, "window": Range(True, 1, 2**24)}

    activation: str = "gelu_new"
    reach: tuple[Reach, ...] = ()
    """Of each block's attention: global sees all earlier positions, local the last few. Empty
    alternates the two, global first."""
    window: int = 256
    """Positions that a query of local attention sees, its own included."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.reach:
            pattern: tuple[Reach, ...] = ("global", "local")
            object.__setattr__(self, "reach", (pattern * self.layers)[: self.layers])
        unknown = sorted(set(self.reach) - {"global", "local"})
        if len(self.reach) != self.layers or unknown:
            raise BadInput(
                f"reach = {self.reach}: give 'global' or 'local' for each of {self.layers} layers"
            )

    @property
    def windows(self) -> tuple[int | None, ...]:
        return tuple(self.window if reach == "local" else None for reach in self.reach)

    def of_one_block(self) -> LMConfig:
        return replace(self, layers=1, reach=self.reach[:1])


class Attention(nnx.Module):
    """Causal attention with a kernel each for queries, keys and values. Scores are not scaled."""

    def __init__(self, config: GPTNeoConfig):
        self.heads = config.heads
        self.query = Linear(config.width, config.width, bias=False)
        self.key = Linear(config.width, config.width, bias=False)
        self.value = Linear(config.width, config.width, bias=False)
        self.out = Linear(config.width, config.width)

    def __call__(self, x: Stream, layout: Layout) -> Stream:
        query, key, value = (
            layout.split_heads(linear(x, layout), self.heads)
            for linear in (self.query, self.key, self.value)
        )
        return self.out(layout.join_heads(layout.attend(query, key, value)), layout)


class GPTNeoBlock(Block):
    """A block of GPT-Neo."""

    attends: ClassVar[Any] = Attention


class GPTNeo(GPT2):
    """A GPT-Neo language model (paper, section 3). ``network.build`` makes one with parameters."""

    block: ClassVar[Any] = GPTNeoBlock
