"""What makes a token monogenic or polygenic: the paper's numbers as defaults (section 3)."""

from dataclasses import dataclass

from jquanta.errors import BadInput
from jquanta.run.settings import knob


@dataclass(frozen=True)
class Monogenic:
    """A sharp drop at one size. Losses in nats."""

    above: float = knob(5.0, "nats: loss of all smaller models")
    below: float = knob(0.3, "nats: loss of the model and all larger")

    def __post_init__(self) -> None:
        if not 0 < self.below < self.above:
            raise BadInput(
                f"monogenic: above {self.above:g} and below {self.below:g}: give nats, "
                "0 < below < above"
            )


@dataclass(frozen=True)
class Polygenic:
    """A steady fall: the line of loss on ln N, the natural logarithm."""

    slope: float = knob(-0.3, "largest slope, in nats a factor e of parameters")
    r2: float = knob(0.98, "least share of variance explained")

    def __post_init__(self) -> None:
        if not (self.slope < 0 <= self.r2 < 1):
            raise BadInput(
                f"polygenic: slope {self.slope:g} and r2 {self.r2:g}: give slope < 0 and "
                "0 <= r2 < 1"
            )


MONOGENIC, POLYGENIC = Monogenic(), Polygenic()
"""The paper's."""
