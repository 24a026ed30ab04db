"""By how much rotary position embeddings turn: rates, and how long-context models stretch them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float64

from jquanta.errors import BadInput
from jquanta.run.settings import Range


@dataclass(frozen=True)
class Scaling:
    """How the rates of a model are lowered, so that it can read longer texts than it was first
    trained on.

    Raises:
        BadInput: if a number is outside its range.
    """

    RANGES: ClassVar[Mapping[str, Range]] = {
        "factor": Range(False, 1e-3, 1e6),
        "low": Range(False, 1e-3, 1e6),
        "high": Range(False, 1e-3, 1e6),
        "original": Range(True, 1, 2**24),
    }
    """What each number may be."""

    kind: Literal["linear", "llama3"]
    """``linear`` divides all rates by the factor. ``llama3`` (Grattafiori et al., 2024) divides
    those of long wavelengths, leaves those of short ones, and goes from one to the other between
    them."""
    factor: float
    low: float = 1.0
    """Wavelengths above ``original / low`` tokens are long."""
    high: float = 4.0
    """Wavelengths below ``original / high`` tokens are short."""
    original: int = 8192
    """The context, in tokens, that the model was first trained on."""

    def __post_init__(self) -> None:
        for name, allowed in self.RANGES.items():
            allowed.require(name, getattr(self, name))
        if self.kind == "llama3" and self.low >= self.high:
            raise BadInput(f"low = {self.low}: give a factor below high = {self.high}")

    def __call__(self, rates: Float64[np.ndarray, " half"]) -> Float64[np.ndarray, " half"]:
        """The rates, lowered."""
        slow = rates / self.factor
        if self.kind == "linear":
            return slow
        turns = self.original * rates / (2 * math.pi)  # wavelengths that fit into the context
        share = np.clip((turns - self.low) / (self.high - self.low), 0, 1)
        return (1 - share) * slow + share * rates


def rates(n: int, base: float, scaling: Scaling | None = None) -> Float64[np.ndarray, " half"]:
    """By how much each pair of numbers turns from one position to the next, in radians:
    base^(-2i/n) for i < n/2 (Su et al., 2021), then lowered.

    Args:
        n: how many of a head's numbers are rotated; even.
        base: 2π · base is nearly the longest wavelength, in tokens.
        scaling: of models for long texts.
    """
    plain: Float64[np.ndarray, " half"] = base ** (-np.arange(0, n, 2) / n)
    return plain if scaling is None else scaling(plain)
