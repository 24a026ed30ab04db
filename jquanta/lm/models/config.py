"""The shape of a language model: a hashable description that the pure functions take.

An architecture's shape lies beside its network (``gpt_neo``). That of GPT-NeoX lies here since
configurations of suites check with it, and so must not import JAX, which is slow to start.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from jquanta.errors import BadInput
from jquanta.run.settings import Range


@dataclass(frozen=True)
class LMConfig:
    """What all architectures share. Use one of its subclasses, such as ``GPTNeoXConfig``.

    Raises:
        BadInput: if a number is outside its range, or the heads do not divide the width.
    """

    RANGES: ClassVar[Mapping[str, Range]] = {
        "layers": Range(True, 1, 1000),
        "width": Range(True, 1, 2**17),
        "heads": Range(True, 1, 2**12),
        "vocab": Range(True, 1, 2**24),
        "context": Range(True, 1, 2**24),
        "eps": Range(False, 0, 1),
    }
    """What each number of the shape may be, whoever gives it: Python, a suite's configuration, or a
    model's ``config.json`` under Hugging Face's name (``lm/weights/tables.py``)."""

    layers: int
    """L, blocks, each of attention and an MLP."""
    width: int
    """D, numbers of the residual stream at each position."""
    heads: int
    """H, attention heads a block."""
    vocab: int
    """V, rows of the embedding, those of no token included; all take part in the softmax."""
    context: int = 2048
    """The most tokens a sequence may have."""
    eps: float = 1e-5
    """Added to the variance in layer norms."""

    def __post_init__(self) -> None:
        for name, allowed in self.RANGES.items():
            allowed.require(name, getattr(self, name))
        if self.width % self.heads:
            raise BadInput(
                f"heads = {self.heads}: does not divide the width {self.width}; "
                "choose a width that is a multiple of the heads"
            )

    @property
    def head_dim(self) -> int:
        """Numbers of a head's query, key or value: width / heads."""
        return self.width // self.heads

    @property
    def hidden(self) -> int:
        """Width of the MLP's hidden layer."""
        return 4 * self.width

    @property
    def windows(self) -> tuple[int | None, ...]:
        """The most positions that a query of each block sees, its own included; None for all."""
        return (None,) * self.layers

    def of_one_block(self) -> "LMConfig":
        """The shape of a model with a single block. All blocks of a model have parameters of the
        same shapes and compute the same; only the numbers and the windows differ."""
        return replace(self, layers=1)


@dataclass(frozen=True)
class GPTNeoXConfig(LMConfig):
    """GPT-NeoX as Pythia uses it (paper, section 3)."""

    RANGES: ClassVar[Mapping[str, Range]] = {
        **LMConfig.RANGES,
        "rotary": Range(False, 0, 1),
        "rotary_base": Range(False, 1, 1e12),
    }

    rotary: float = 0.25
    """Share of each head's numbers that is rotated by an angle that grows with the position."""
    rotary_base: float = 10000.0
    """The longest wavelength of the rotations is nearly 2π times this many tokens."""

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
