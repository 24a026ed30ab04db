"""How the networks of a pack lie side by side in memory, and which implementation computes them.

Letters of shapes here and in ``packed.py``, ``xla.py`` and ``fused.py``:

=============  ================================================================================
R              networks (runs) of a block, or of the pack
U              hidden units of all those networks side by side, padding included
B              samples of a batch
N, S, C        task bits, atomic subtasks, codes (C = S for the plain task)
A              distributions of samples in the pack: one for each (alpha, offset, k, codes, …)
words          32-bit words that hold N bits
test_points    test points of an evaluation
=============  ================================================================================
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32

from jquanta.machine import triton
from jquanta.parity.config import RunConfig
from jquanta.parity.solo import Program
from jquanta.parity.tiling import MOST_BLOCKS, MOST_COLUMNS, UNITS, Tiling, padded_units

# A tile of activations has CPU_TILE samples x CPU_BLOCK hidden units x 4 bytes = 1.6 MB, about
# what the caches of two cores hold.
CPU_BLOCK = 400
CPU_TILE = 1000

# A network with a larger weight has diverged. Up to this bound nothing in a step overflows
# float32: pre-activations stay under 1e15 * (n_bits + n_tasks + 1), logits under 1e15 * width
# times that. Products with the zeros between different networks are then zero and not NaN
# (infinity times 0), so that a diverging network does not affect its neighbours.
DIVERGED_ABOVE = 1e15


class Way(enum.Enum):
    """The implementation of a pack's training step and evaluation.

    Run records store the name of the member, so members must not be renamed.
    """

    TILES = "XLA, in tiles that stay in a CPU's cache"
    WHOLE = "XLA, the whole batch at once"
    KERNELS = "GPU kernels"


class Weights(NamedTuple):
    """Weights of the R networks of one block, side by side: U hidden units in all.

    The second layer has two logits, of which only the difference matters to the loss, so it is
    kept as one column of differences (``packed.py``).

    Attributes:
        bits: first layer, weights of the task bits.
        rows: first layer, weights of the control vector: a row for each atomic subtask.
        bias: first layer.
        out: second layer, w1 - w0 of the weights of the two logits.
        shift: second layer, b1 - b0 of the biases of the two logits.
    """

    bits: Float[Array, "N U"]
    rows: Float[Array, "S U"]
    bias: Float[Array, " U"]
    out: Float[Array, " U"]
    shift: Float[Array, " R"]


class Batch(NamedTuple):
    """One step's samples, sorted by their uniform numbers.

    Attributes:
        bits: task bits as 0.0 and 1.0.
        subtask: code of each sample under each distribution, ascending along B.
        sign: +1 where the parity is odd, -1 where it is even, under each distribution.
        weight: 1 over the number of true samples; 0 for padding.
    """

    bits: Float[Array, "B N"]
    subtask: Int32[Array, "A B"]
    sign: Float[Array, "A B"]
    weight: Float[Array, " B"]


class Group(NamedTuple):
    """Neighbouring networks of one distribution: the slice of a block's units that is theirs."""

    units: slice
    distribution: int


@dataclass(frozen=True)
class Block:
    """Neighbouring networks of a pack that are computed as one wide layer.

    Attributes:
        nets: the networks' slice of the pack.
        widths: number of hidden units of each network.
        padded: the same with padding: each network's weights end with zeros, which stay zero.
        distributions: index of each network's distribution.
    """

    nets: slice
    widths: tuple[int, ...]
    padded: tuple[int, ...]
    distributions: tuple[int, ...]

    @property
    def owner(self) -> np.ndarray:
        """[U] the network that each unit belongs to, as an index within the block."""
        return np.repeat(np.arange(len(self.padded)), self.padded)

    @property
    def groups(self) -> list[Group]:
        """The units of each distribution; networks of one distribution are neighbours."""
        groups, start = [], 0
        for one, nets in groupby(range(len(self.padded)), key=self.distributions.__getitem__):
            end = start + sum(self.padded[net] for net in nets)
            groups.append(Group(slice(start, end), one))
            start = end
        return groups


@dataclass(frozen=True)
class Layout:
    """Everything static that a pack's compiled program depends on (an argument of ``jax.jit``).

    Attributes:
        program: of the first run; its width is not used.
        widths: number of hidden units of each network.
        distributions: index of each network's distribution.
        may_diverge: whether a weight of any network could exceed ``DIVERGED_ABOVE``.
        way: the implementation.
        block: fewest hidden units of a block; None puts all networks of a distribution in one.
        tile: most samples of a tile; None makes the whole batch one tile.
    """

    program: Program
    widths: tuple[int, ...]
    distributions: tuple[int, ...]
    may_diverge: bool
    way: Way
    block: int | None
    tile: int | None

    @classmethod
    def of(cls, runs: Sequence[RunConfig], way: Way) -> "Layout":
        """The layout of runs that share their task bits and uniform numbers."""
        # Distributions are numbered in the order of their first runs.
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
        """[U] the network that each unit of the pack belongs to, as an index within the pack."""
        return np.concatenate([block.nets.start + block.owner for block in self.blocks])

    @property
    def tiles(self) -> tuple[int, int]:
        """Number of tiles in a batch, and number of samples in a tile."""
        return tiles(self.program.batch_size, self.tile)

    @property
    def ahead(self) -> int:
        """Number of batches that are drawn at once."""
        return ahead(self.way, self.program.batch_size)

    @property
    def tiling(self) -> Tiling:
        """How the GPU kernels cut batch and units into tiles. For ``Way.KERNELS`` only."""
        program, units = self.program, sum(map(padded_units, self.widths))
        found = tiling_of(program, units)
        assert found is not None  # else ``way_of`` would not have chosen the kernels
        return found

    @property
    def blocks(self) -> list[Block]:
        """The pack's networks, in blocks.

        The GPU kernels take all networks as one block. For XLA a block is of one distribution,
        and is closed as soon as it has ``block`` units.
        """
        if self.way is Way.KERNELS:
            padded = tuple(map(padded_units, self.widths))
            every = slice(0, len(self.widths))
            return [Block(every, self.widths, padded, self.distributions)]
        # Go through the networks; ``first`` is the first one of the block that is being filled.
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
"""About how many samples are drawn at once, and in how many batches at most."""


def ahead(way: Way, batch_size: int) -> int:
    """Number of batches that are drawn and sorted at once.

    Sorting a single batch leaves most of a GPU idle: on an H200 it takes 0.24 ms, and 0.03 ms a
    batch if ten are sorted together. On a CPU a single batch keeps the cores busy and stays in the
    cache.
    """
    return 1 if way is Way.TILES else max(1, min(MOST_AHEAD, AHEAD_SAMPLES // batch_size))


def way_of(run: RunConfig, backend: str, dtype: Any = jnp.float32) -> tuple[Way, str]:
    """Choose the implementation for a pack. No other function decides this.

    Args:
        run: the first run of the pack.
        backend: a device kind as returned by ``devices.kind``.
        dtype: of the weights.

    Returns:
        The implementation, and the reason for it in words.
    """
    if backend == "cpu":
        return Way.TILES, "this is a CPU"
    if backend != "gpu" or not triton.AVAILABLE:
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
    """The GPU kernels' tiling for a pack of ``units`` hidden units; None if inputs are too wide."""
    codes = program.n_codes or program.n_tasks
    return Tiling.of(program.n_bits, codes, program.batch_size, units // UNITS)


def tiles(batch_size: int, most: int | None) -> tuple[int, int]:
    """Cut a batch into tiles of equal size.

    Args:
        batch_size: number of samples.
        most: most samples of a tile; None makes the whole batch one tile.

    Returns:
        The number of tiles, and the samples in each. Padding is under one sample a tile.
    """
    count = -(-batch_size // (most or batch_size))
    return count, -(-batch_size // count)


def packable(run: RunConfig) -> bool:
    """Whether ``Packed`` can train the run: its network must have one hidden layer of ReLUs."""
    return run.network.depth == 2 and run.network.activation == "relu"


def distribution(run: RunConfig) -> tuple[object, ...]:
    """The fields that determine a run's subtasks and labels, given bits and uniform numbers.

    Runs for which these are equal have the same distribution of samples.
    """
    task = run.task
    return task.n_tasks, task.k, task.frequencies, task.alpha, task.offset, task.codes


def may_diverge(run: RunConfig) -> bool:
    """Whether a weight of the run could exceed ``DIVERGED_ABOVE`` within its steps.

    For any finite gradients, Adam's direction is bounded by
    (1 - b1) / √(1 - b2) / √(1 - b1²/b2) < 7.3 with b1 = 0.9, b2 = 0.999 (Cauchy-Schwarz
    inequality), so a step moves a weight by at most 7.3 · lr, and a difference of two weights by
    twice that. Weight decay only shrinks weights, unless lr · decay is above 2.
    """
    train = run.train
    # Half of the bound is left for the initial weights.
    return train.lr * train.weight_decay > 2 or 15 * train.steps * train.lr > DIVERGED_ABOVE / 2
