"""The shape of a language model: a hashable description that the pure functions take."""

from dataclasses import dataclass, replace
from typing import Literal, Self

from jquanta.errors import BadInput

Reach = Literal["global", "local"]


@dataclass(frozen=True)
class LMConfig:
    """What the two architectures share. Use ``GPTNeoXConfig`` or ``GPTNeoConfig``.

    Raises:
        BadInput: if a size is not positive, or the heads do not divide the width.
    """

    layers: int
    """Blocks, each of attention and an MLP."""
    width: int
    """D, the size of the residual stream; the MLP is four times as wide."""
    heads: int
    """H, attention heads a block."""
    vocab: int
    """V, rows of the embedding, padding rows included; all take part in the softmax."""
    context: int = 2048
    """The most tokens a sequence may have."""
    eps: float = 1e-5
    """Added to the variance in layer norms."""

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "vocab", "context"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} = {getattr(self, name)}: must be at least 1")
        if self.width % self.heads:
            raise BadInput(
                f"heads = {self.heads}: does not divide the width {self.width}; "
                "choose a width that is a multiple of the heads"
            )

    @property
    def head_dim(self) -> int:
        """Numbers a head's query, key and value have."""
        return self.width // self.heads

    @property
    def windows(self) -> tuple[int | None, ...]:
        """Tokens that each block's attention sees, the present one included; None for all."""
        return (None,) * self.layers

    def of_one_block(self) -> Self:
        """The shape of a model with a single block. All blocks of a model have that block's
        parameters and products; only numbers and windows differ."""
        return replace(self, layers=1)


@dataclass(frozen=True)
class GPTNeoXConfig(LMConfig):
    """GPT-NeoX as Pythia uses it (paper, section 3)."""

    rotary: float = 0.25
    """Share of each head's numbers that is rotated by position."""
    rotary_base: float = 10000.0
    """The longest wavelength is 2π times nearly this many tokens."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rotary_dim < 2 or self.rotary_dim % 2:
            raise BadInput(
                f"rotary = {self.rotary}: {self.rotary_dim} of a head's {self.head_dim} numbers "
                "would be rotated, which must be an even number of at least 2; choose wider heads"
            )

    @property
    def rotary_dim(self) -> int:
        """How many of a head's numbers are rotated."""
        return int(self.head_dim * self.rotary)


@dataclass(frozen=True)
class GPTNeoConfig(LMConfig):
    """GPT-Neo as TinyStories uses it: learned positions, tied embeddings (paper, section 3)."""

    reach: tuple[Reach, ...] = ()
    """Of each block's attention; empty alternates global and local, global first."""
    window: int = 256
    """Tokens that local attention sees, the present one included."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 1:
            raise BadInput(f"window = {self.window}: must be at least 1")
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

    def of_one_block(self) -> Self:
        return replace(self, layers=1, reach=self.reach[:1])
