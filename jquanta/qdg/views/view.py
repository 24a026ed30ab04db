"""What a view of samples is: a function that gives arrays for one sample, whose cosines are taken.

Whole gradients, sketches of them and activations are views. A new one is a class with these
members, and a line in ``stored.VIEWS`` so that what was stored by it is recognised.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Int

from jquanta.errors import BadInput
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.model import Model

OneSample = Callable[[Any, Int[Array, " T"], Int[Array, ""], Int[Array, ""]], Any]
"""(constants, tokens, place of the prefix's last token, target) → a tree of arrays."""


class Function(NamedTuple):
    """A function of one sample, to be compiled and applied to all.

    Attributes:
        one: pure. The same object for the same settings, since what is compiled is kept by it.
        constants: its first argument, the same for all samples: a tree of arrays.
        operations: what a token costs, attention apart: multiplications and additions.
        by_name: of a tree of [q, …] that ``one`` gave for q samples, the same numbers by the names
            of the parameters that they belong to.
        inside: bytes that a sample takes on the way, beside activations and the arrays given.
        cut: whether ``constants`` are two trees, of which the first lies in equal shares on the
            devices (``lm.models.cut``); else each device has a copy of all.
    """

    one: OneSample
    constants: Any
    operations: float
    by_name: Callable[[Any], Any] = lambda found: found
    inside: float = 0.0
    cut: bool = False


class Cost(NamedTuple):
    """What a view of a sample costs, by which a run is planned.

    Attributes:
        operations: of a token, attention apart: multiplications and additions.
        numbers: of what is made, in float32.
        row: of a row of a panel, where outer products are held as two vectors; 0 where that makes
            no difference.
        building: operations by which such a row is built from what is made and kept.
        inside: see ``Function``.
    """

    operations: float
    numbers: int
    row: int = 0
    building: float = 0.0
    inside: float = 0.0


@runtime_checkable
class View(Protocol):
    """How samples are looked at. Views are frozen dataclasses of their options.

    Attributes:
        mode: the name of the view on disk and in configurations.
        what: the name of its vectors, for labels.
        has_absolute: whether inner products of the absolute values of its numbers mean something.
    """

    mode: ClassVar[str]
    what: ClassVar[str]
    has_absolute: ClassVar[bool]

    def function(self, model: Model) -> Function:
        """The view for a model. Raises ``BadInput`` if the options do not fit the model."""

    def cost(self, config: LMConfig) -> Cost:
        """What the view of a sample costs. Raises ``BadInput`` as ``function``."""

    def attributes(self, config: LMConfig) -> dict[str, Any]:
        """The options as attributes of what is stored, ``mode`` among them."""

    @classmethod
    def from_attributes(cls, attributes: Mapping[Any, Any]) -> "View":
        """The view whose ``attributes`` these are; options that are missing have their default."""


def require_float32(model: Model) -> None:
    """Raise ``BadInput`` if parameters are narrower: bfloat16 loses gradients of losses below 0.1
    nats."""
    for name, x in model.params.items():
        if x.dtype.itemsize < 4:
            raise BadInput(f"{name} is {x.dtype}: gradients need float32; load the model in it")
