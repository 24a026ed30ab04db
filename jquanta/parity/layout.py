"""How the networks of a pack lie side by side, and which way they are computed."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32

from jquanta.parity import kernels
from jquanta.parity.config import RunConfig
from jquanta.parity.solo import Program
from jquanta.parity.tiling import MOST_BLOCKS, MOST_COLUMNS, UNITS, Tiling, padded_units

CPU_BLOCK = 400  # units: tile x block x 4 bytes = 1.6 MB is what two cores' caches hold
CPU_TILE = 1000  # samples

# A network with a larger weight has diverged. Below it nothing in a step overflows float32: hidden
# sums stay under 1e15 * (n_bits + n_tasks + 1), logits under 1e15 * width times that. So products
# with the zeros of other networks stay zero, and a diverging network touches nobody.
DIVERGED_ABOVE = 1e15


class Way(enum.Enum):
    """How a pack is computed."""

    TILES = "XLA, in tiles that stay in a CPU's cache"
    WHOLE = "XLA, the whole batch at once"
    KERNELS = "GPU kernels"


class Weights(NamedTuple):
    """The networks of one block, side by side: W hidden units in all, R networks."""

    bits: Float[Array, "N W"]
    rows: Float[Array, "S W"]
    bias: Float[Array, " W"]
    out: Float[Array, " W"]  # w1 - w0 of the second layer
    shift: Float[Array, " R"]  # b1 - b0 of the second layer


class Batch(NamedTuple):
    """One step's samples in ascending order of their uniform numbers."""

    bits: Float[Array, "B N"]
    subtask: Int32[Array, "A B"]  # ascending
    sign: Float[Array, "A B"]  # +1 for odd parity, -1 for even
    weight: Float[Array, " B"]  # 1 over the true batch size, 0 for padding


class Group(NamedTuple):
    """Neighbouring networks of one distribution: their units in a block."""

    units: slice
    distribution: int


@dataclass(frozen=True)
class Block:
    """Neighbouring networks, computed together.

    Attributes:
        nets: their places in the pack.
        widths: the hidden units of each.
        padded: the same with padding: each network's weights end with zeros, which stay zero.
        distributions: of each.
    """

    nets: slice
    widths: tuple[int, ...]
    padded: tuple[int, ...]
    distributions: tuple[int, ...]

    @property
    def owner(self) -> np.ndarray:
        """[W] the place in the block of each unit's network."""
        return np.repeat(np.arange(len(self.padded)), self.padded)

    @property
    def groups(self) -> list[Group]:
        """The units of each distribution."""
        groups, start = [], 0
        for one, nets in groupby(range(len(self.padded)), key=self.distributions.__getitem__):
            end = start + sum(self.padded[net] for net in nets)
            groups.append(Group(slice(start, end), one))
            start = end
        return groups


@dataclass(frozen=True)
class Layout:
    """What fixes a pack's compiled program."""

    program: Program  # of the first run; its width is not used
    widths: tuple[int, ...]
    distributions: tuple[int, ...]  # of each network
    may_diverge: bool  # whether any weight could pass DIVERGED_ABOVE
    way: Way
    block: int | None  # least units of a block; None takes a whole distribution at once
    tile: int | None  # most samples of a tile; None takes the whole batch

    @classmethod
    def of(cls, runs: Sequence[RunConfig], way: Way) -> "Layout":
        """The layout of runs that share bits."""
        places: dict[object, int] = {}
        for run in runs:
            places.setdefault(distribution(run), len(places))
        in_tiles = way is Way.TILES
        return cls(
            Program.of(runs[0]),
            tuple(run.network.width for run in runs),
            tuple(places[distribution(run)] for run in runs),
            any(map(may_diverge, runs)),
            way,
            CPU_BLOCK if in_tiles else None,
            CPU_TILE if in_tiles else None,
        )

    @property
    def owner(self) -> np.ndarray:
        """[U] the network of each unit, padding included."""
        return np.concatenate([block.nets.start + block.owner for block in self.blocks])

    @property
    def tiles(self) -> tuple[int, int]:
        """Number of tiles, and samples in each."""
        return tiles(self.program.batch_size, self.tile)

    @property
    def ahead(self) -> int:
        """Batches that are drawn at once."""
        return ahead(self.way, self.program.batch_size)

    @property
    def tiling(self) -> Tiling:
        """How the inputs lie in the kernels' products."""
        program, units = self.program, sum(map(padded_units, self.widths))
        found = tiling_of(program, units)
        assert found is not None  # else ``way_of`` would not have chosen the kernels
        return found

    @property
    def blocks(self) -> list[Block]:
        """The networks cut into blocks. The kernels take all of them at once."""
        if self.way is Way.KERNELS:
            padded = tuple(map(padded_units, self.widths))
            every = slice(0, len(self.widths))
            return [Block(every, self.widths, padded, self.distributions)]
        ends = np.cumsum(self.widths).tolist()
        blocks: list[Block] = []
        first = 0
        for net, end in enumerate(ends):
            start = ends[first] - self.widths[first]
            one = self.distributions[net]
            last = net + 1 == len(ends) or self.distributions[net + 1] != one
            if last or (self.block is not None and end - start >= self.block):
                nets = slice(first, net + 1)
                widths = self.widths[nets]
                blocks.append(Block(nets, widths, widths, self.distributions[nets]))
                first = net + 1
        return blocks


AHEAD_SAMPLES, MOST_AHEAD = 2**18, 16
"""Samples drawn at once, about, and batches at most."""


def ahead(way: Way, batch_size: int) -> int:
    """Batches that are drawn at once.

    Sorting one batch leaves most of a GPU idle: on an H200 ten at once take 0.03 ms each, and one
    by itself 0.24. A CPU is busy with one, and it stays in the cache.
    """
    return 1 if way is Way.TILES else max(1, min(MOST_AHEAD, AHEAD_SAMPLES // batch_size))


def way_of(run: RunConfig, backend: str, dtype: Any = jnp.float32) -> tuple[Way, str]:
    """How a pack of runs like this one is computed on ``backend``, and why: one place decides.

    Args:
        run: the first of the pack.
        backend: as ``devices.kind`` names them.
        dtype: of the weights.
    """
    if backend == "cpu":
        return Way.TILES, "this is a CPU"
    if backend != "gpu" or not kernels.AVAILABLE:
        return (
            Way.WHOLE,
            "the kernels are for NVIDIA GPUs since Ampere, through JAX's Triton backend",
        )
    if dtype != jnp.float32:
        return Way.WHOLE, f"the kernels compute in float32, not {jnp.dtype(dtype).name}"
    bits, tiling = run.task.n_bits, tiling_of(Program.of(run), UNITS)
    if tiling is None:
        return Way.WHOLE, f"the kernels take fewer than {MOST_COLUMNS} task bits, not {bits}"
    if tiling.blocks > MOST_BLOCKS:
        codes = f"{tiling.n_codes:,} subtasks or codes"
        return Way.WHOLE, f"beside {bits} task bits the kernels have no room for {codes}"
    return Way.KERNELS, "this is a GPU that they are written for"


def tiling_of(program: Program, units: int) -> Tiling | None:
    """How a pack's inputs lie in the kernels' products; None where they are too wide."""
    codes = program.n_codes or program.n_tasks
    return Tiling.of(program.n_bits, codes, program.batch_size, units // UNITS)


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
