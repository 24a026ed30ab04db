"""What makes a token monogenic or polygenic: the paper's numbers as defaults (section 3)."""

from dataclasses import dataclass
from typing import Annotated

from jquanta.cli import door
from jquanta.errors import BadInput


@dataclass(frozen=True)
class Monogenic:
    """A sharp drop at one size. Losses in nats."""

    above: Annotated[float, door.option("loss of all smaller models (default: 5.0 nats)")] = 5.0
    below: Annotated[float, door.option("loss of the model and all larger (default: 0.3 nats)")] = (
        0.3
    )

    def __post_init__(self) -> None:
        if not 0 < self.below < self.above:
            raise BadInput(
                f"monogenic: above {self.above:g} and below {self.below:g}: give nats, "
                "0 < below < above"
            )


@dataclass(frozen=True)
class Polygenic:
    """A steady fall: the line of loss on ln N, the natural logarithm."""

    slope: Annotated[
        float, door.option("largest slope, in nats a factor e of parameters (default: -0.3)")
    ] = -0.3
    r2: Annotated[float, door.option("least share of variance explained (default: 0.98)")] = 0.98

    def __post_init__(self) -> None:
        if not (self.slope < 0 <= self.r2 < 1):
            raise BadInput(
                f"polygenic: slope {self.slope:g} and r2 {self.r2:g}: give slope < 0 and "
                "0 <= r2 < 1"
            )


MONOGENIC, POLYGENIC = Monogenic(), Polygenic()
"""The paper's."""
