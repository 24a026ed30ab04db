"""The packed trainer as the benchmarks call it. Free of torch, whose memory is not ours."""

from collections.abc import Sequence
from typing import Protocol

import jax

from jquanta.parity.config import RunConfig
from jquanta.parity.packed import Packed


class Contestant(Protocol):
    """What the benchmark times. Both calls return when the work is done."""

    def train(self, n_steps: int) -> None:
        """Updates by fresh batches."""

    def evaluate(self) -> object:
        """Losses and accuracies, of the mean and of every subtask."""


class Ours:
    """The packed trainer, each call waited for."""

    def __init__(self, runs: Sequence[RunConfig]):
        self.pack = Packed(runs)
        self.state = self.pack.start()
        self.evaluations = 0

    def train(self, n_steps: int) -> None:
        """``n_steps`` updates of every network."""
        self.state = jax.block_until_ready(self.pack.advance(self.state, n_steps))

    def evaluate(self) -> object:
        """The next evaluation of every network."""
        self.evaluations += 1
        return jax.block_until_ready(self.pack.evaluate(self.state, self.evaluations))
