"""How the networks of a pack lie side by side: which pack, in which order, in blocks and tiles."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from jquanta.parity.config import RunConfig
from jquanta.parity.solo import Program

CPU_BLOCK = 400  # units: tile x block x 4 bytes = 1.6 MB is what two cores' caches hold
CPU_TILE = 1000  # samples

# A network with a larger weight has diverged. Below it nothing in a step overflows float32: hidden
# sums stay under 1e15 * (n_bits + n_tasks + 1), logits under 1e15 * width times that. So products
# with the zeros of other networks stay zero, and a diverging network touches nobody.
DIVERGED_ABOVE = 1e15


@dataclass(frozen=True)
class Block:
    """Neighbouring networks of one distribution, computed together."""

    nets: slice
    widths: tuple[int, ...]
    distribution: int

    @property
    def owner(self) -> np.ndarray:
        """[W] the place in the block of each unit's network."""
        return np.repeat(np.arange(len(self.widths)), self.widths)


@dataclass(frozen=True)
class Layout:
    """What fixes a pack's compiled program."""

    program: Program  # of the first run; its width is not used
    widths: tuple[int, ...]
    distributions: tuple[int, ...]  # of each network
    may_diverge: bool  # whether any weight could pass DIVERGED_ABOVE
    block: int | None  # least units of a block; None takes a whole distribution at once
    tile: int | None  # most samples of a tile; None takes the whole batch

    @classmethod
    def of(cls, runs: Sequence[RunConfig]) -> "Layout":
        """The layout of runs that share bits."""
        places: dict[object, int] = {}
        for run in runs:
            places.setdefault(distribution(run), len(places))
        on_cpu = jax.default_backend() == "cpu"
        return cls(
            Program.of(runs[0]),
            tuple(run.network.width for run in runs),
            tuple(places[distribution(run)] for run in runs),
            any(map(may_diverge, runs)),
            CPU_BLOCK if on_cpu else None,
            CPU_TILE if on_cpu else None,
        )

    @property
    def owner(self) -> np.ndarray:
        """[U] the network of each unit."""
        return np.repeat(np.arange(len(self.widths)), self.widths)

    @property
    def tiles(self) -> tuple[int, int]:
        """Number of tiles, and samples in each."""
        return tiles(self.program.batch_size, self.tile)

    @property
    def blocks(self) -> list[Block]:
        """The networks cut into blocks."""
        ends = np.cumsum(self.widths).tolist()
        blocks: list[Block] = []
        first = 0
        for net, end in enumerate(ends):
            start = ends[first] - self.widths[first]
            one = self.distributions[net]
            last = net + 1 == len(ends) or self.distributions[net + 1] != one
            if last or (self.block is not None and end - start >= self.block):
                widths = self.widths[first : net + 1]
                blocks.append(Block(slice(first, net + 1), widths, one))
                first = net + 1
        return blocks


def tiles(batch_size: int, most: int | None) -> tuple[int, int]:
    """A batch in equal tiles: their number, and the samples in each, at most ``most``.

    The padding is under one sample a tile.
    """
    count = -(-batch_size // (most or batch_size))
    return count, -(-batch_size // count)


def packable(run: RunConfig) -> bool:
    """Whether the run's network is of the kind that packs: one hidden layer of ReLUs."""
    return run.network.depth == 2 and run.network.activation == "relu"


def distribution(run: RunConfig) -> tuple[object, ...]:
    """What decides a run's subtasks and labels, given the bits and the uniform numbers."""
    task = run.task
    return task.n_tasks, task.k, task.frequencies, task.alpha, task.offset, task.codes


def may_diverge(run: RunConfig) -> bool:
    """Whether a weight of the run could pass ``DIVERGED_ABOVE``.

    While the gradients are finite, Adam's term is under 7.3 whatever they are: by Cauchy and
    Schwarz (1 - b1) / √(1 - b2) / √(1 - b1²/b2) with b1 = 0.9, b2 = 0.999. It counts twice for
    the differences; decay only shrinks a weight unless lr · decay is beyond 2.
    """
    train = run.train
    return train.lr * train.weight_decay > 2 or 15 * train.steps * train.lr > DIVERGED_ABOVE / 2
