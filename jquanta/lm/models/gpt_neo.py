"""GPT-Neo as TinyStories uses it: learned positions, local attention, tied embeddings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from flax import nnx
from jaxtyping import Array, Float, Int

from jquanta.errors import BadInput
from jquanta.lm.models.base import MLP, Embedding, LayerNorm, Linear, Network, gelu_new
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.layout import Layout, Stream
from jquanta.run.settings import Range

Reach = Literal["global", "local"]


@dataclass(frozen=True)
class GPTNeoConfig(LMConfig):
    """The shape of a GPT-Neo model, as TinyStories uses it (paper, section 3)."""

    RANGES: ClassVar[Mapping[str, Range]] = {**LMConfig.RANGES, "window": Range(True, 1, 2**24)}

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


class Block(nnx.Module):
    """Attention, then an MLP that reads what attention has added, each behind its layer norm."""

    def __init__(self, config: GPTNeoConfig):
        self.attention_norm = LayerNorm(config)
        self.attention = Attention(config)
        self.mlp_norm = LayerNorm(config)
        self.mlp = MLP(config.width, gelu_new)

    def __call__(self, x: Stream, layout: Layout) -> Stream:
        x = layout.select(x) + self.attention(self.attention_norm(x, layout), layout)
        return x + self.mlp(self.mlp_norm(x, layout), layout)


class GPTNeo(Network):
    """A GPT-Neo language model (paper, section 3). ``network.build`` makes one with parameters."""

    def __init__(self, config: GPTNeoConfig):
        self.config = config
        self.embed = Embedding(config.vocab, config.width)
        self.positions = Embedding(config.context, config.width)
        self.layers = nnx.List(Block(config) for _ in range(config.layers))
        self.final_norm = LayerNorm(config)

    def embedded(self, tokens: Int[Array, "*positions"], layout: Layout) -> Stream:
        places = layout.places(tokens)
        return self.embed(tokens, layout) + self.positions(places, layout)

    @property
    def unembedding(self) -> Float[Array, "D V"]:
        return self.embed.embedding[...].T

    def deviation(self, name: str) -> float:
        """As GPT-2 and GPT-Neo start."""
        return 0.02
