"""The shape of a language model: a hashable description that the pure functions take.

An architecture's shape lies beside its network (``gpt_neo``). That of GPT-NeoX lies here since
configurations of suites check with it, and so must not import JAX, which is slow to start.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from jquanta.errors import BadInput
from jquanta.run.settings import Range

COPIED, CUT = PLACEMENTS = ("copied", "cut")
"""Where parameters lie: a copy on each local device, or an equal share on each (``cut``)."""

ACTIVATIONS = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "silu", "swish", "relu")
"""Of the MLP, as transformers calls them; ``base.ACTIVATIONS`` computes them."""


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
        "hidden": Range(True, 1, 2**20),
    }
    """What each number of the shape may be, whoever gives it: Python, a suite's configuration, or a
    model's ``config.json`` under Hugging Face's name (``lm/weights/tables.py``)."""

    head_by_head: ClassVar[bool] = False
    """Of queries, keys and values from one product: whether a head's three lie together. Else all
    heads' queries come first, then all keys, then all values."""

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
    hidden: int = 0
    """Width of the MLP's hidden layer; 0 stands for 4 D, which takes its place."""
    activation: str = "gelu"
    """Of the MLP's hidden layer, as transformers calls it."""

    def __post_init__(self) -> None:
        for name in ("width", "heads"):  # what others follow from
            self.RANGES[name].require(name, getattr(self, name))
        self._complete()
        for name, allowed in self.RANGES.items():
            if getattr(self, name) is not None:
                allowed.require(name, getattr(self, name))
        if self.activation not in ACTIVATIONS:
            raise BadInput(
                f"activation = {self.activation!r}: give one of {', '.join(ACTIVATIONS)}"
            )

    def _complete(self) -> None:
        """Put numbers in the place of those that are 0, so that equal shapes are equal objects.

        Raises:
            BadInput: if there are none.
        """
        self._settle("hidden", 4 * self.width)
        self._require_divided()

    def _settle(self, name: str, value: int) -> None:
        if getattr(self, name) == 0:
            object.__setattr__(self, name, value)

    def _require_divided(self) -> None:
        """Raise ``BadInput`` unless the width is a multiple of the heads."""
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
    def attended(self) -> int:
        """Numbers of all heads together: of a position's queries, and of what they attend to."""
        return self.heads * self.head_dim

    @property
    def hidden_layers(self) -> int:
        """Arrays as wide as the MLP's hidden layer that its forward pass makes: the layer before
        and after the activation function."""
        return 2

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
    """The shape of a GPT-NeoX model. By default as Pythia uses it (paper, section 3)."""

    RANGES: ClassVar[Mapping[str, Range]] = {
        **LMConfig.RANGES,
        "rotary": Range(False, 0, 1),
        "rotary_base": Range(False, 1, 1e12),
    }
    head_by_head: ClassVar[bool] = True

    rotary: float = 0.25
    """Share of each head's numbers that is rotated by an angle that grows with the position."""
    rotary_base: float = 10000.0
    """The longest wavelength of the rotations is nearly 2π times this many tokens."""
    parallel: bool = True
    """Whether attention and MLP both read the block's input; otherwise the MLP reads what attention
    has added to it."""
    attention_bias: bool = True
    """Whether attention's linear layers have a bias."""
    tied: bool = False
    """Whether the unembedding is the embedding transposed."""

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
