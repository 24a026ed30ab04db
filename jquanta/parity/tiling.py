"""How a batch's inputs and a pack's hidden units are cut into tiles for the GPU kernels.

Letters as in ``kernels.py``, which tells the idea: samples sorted by code, codes in blocks, each
block's samples in segments.
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float16, Int32, Shaped

UNITS = 64
"""Hidden units of a tile: the least rows of a Hopper matrix instruction."""

FORWARD_SAMPLES, BACKWARD_SAMPLES = 64, 128
"""Samples of a tile. On an H200, of 32, 64 and 128 for the networks of Figure 2: forward 0.20, 0.14
and 0.15 ms, backward 0.19, 0.20 and 0.18."""

CHUNK = 128
"""Most columns of the inputs in one product; wider inputs take several."""

MOST_COLUMNS = 256
"""Inputs of more columns are left to XLA: a tile's weights and inputs must fit the shared memory of
a multiprocessor."""

MOST_BLOCKS = 256
"""Packs of more blocks are left to XLA: each block pads a tile and has partial sums of its own."""

PROGRAMS = 512
"""Kernel programs wanted at least, about four for each multiprocessor of a large GPU. With twice as
many the kernels take as long, and their partial sums more memory."""

LEAST_SEGMENTS = 8
"""Pieces of a batch at least: programs are of unequal length, and short ones even out."""


@dataclass(frozen=True)
class Tiling:
    """How a pack's inputs lie in the kernels' products.

    Attributes:
        n_bits: task bits of an input.
        n_codes: codes, or subtasks of the plain task.
        batch: samples of a step.
        columns: K: the bits, then a block's one-hot vector, padded.
        segment: most samples of a segment.
    """

    n_bits: int
    n_codes: int
    batch: int
    columns: int
    segment: int

    @property
    def block(self) -> int:
        """Codes of a block."""
        return self.columns - self.n_bits

    @property
    def blocks(self) -> int:
        """Blocks of codes."""
        return -(-self.n_codes // self.block)

    @property
    def segments(self) -> int:
        """Most segments of a batch: its full ones, and in all blocks but one a shorter last one."""
        return -(-self.batch // self.segment) + self.blocks - 1

    @property
    def padded(self) -> int:
        """Samples and a tile of zeros behind them: the last segment's last tile reads into it."""
        return self.batch + BACKWARD_SAMPLES

    @property
    def chunks(self) -> list[slice]:
        """The columns of each product."""
        width = min(CHUNK, self.columns)
        return [slice(i, i + width) for i in range(0, self.columns, width)]

    @classmethod
    def of(cls, n_bits: int, n_codes: int, batch: int, tiles: int) -> "Tiling | None":
        """The tiling that costs least, or None where the inputs are too wide.

        Args:
            n_bits, n_codes, batch: see above.
            tiles: tiles of hidden units.
        """
        choices = [16, 32, 64, *range(CHUNK, MOST_COLUMNS + 1, CHUNK)]
        whole = max(1, min(batch * tiles // PROGRAMS, batch // LEAST_SEGMENTS))
        segment = -(-whole // BACKWARD_SAMPLES) * BACKWARD_SAMPLES
        found = [cls(n_bits, n_codes, batch, k, segment) for k in choices if k > n_bits]
        return min(found, key=lambda tiling: tiling.cost, default=None)

    @property
    def cost(self) -> float:
        """What a unit costs in a step: samples times columns, and what the blocks add to that.

        Each block ends with half a tile of padding on average. It also has its own partial sums,
        4 bytes a column, written and read. At 4.3 TB/s that takes as long as the products of 116
        samples, which are 8 operations a column each, at 500 Tflop/s.
        """
        return self.columns * (self.batch + self.blocks * (BACKWARD_SAMPLES / 2 + 116))


def padded_units(width: int) -> int:
    """Units that a network of ``width`` takes with padding."""
    return math.ceil(width / UNITS) * UNITS


def segments_of(code: Int32[Array, " B"], tiling: Tiling) -> Int32[Array, "3 G"]:
    """First sample, end and block of each segment of a sorted batch; an empty one ends where it
    begins."""
    edges = jnp.arange(tiling.blocks + 1) * tiling.block
    # Where each block's samples start, how many segments it takes, and the number after its last.
    starts = jnp.searchsorted(code, edges, method="compare_all").astype(jnp.int32)
    count = -(-jnp.diff(starts) // tiling.segment)
    ends = jnp.cumsum(count)
    number = jnp.arange(tiling.segments)
    after = jnp.searchsorted(ends, number, side="right", method="compare_all")
    block = jnp.minimum(after, tiling.blocks - 1)  # beyond the last segment any will do
    # number - (ends - count) is a segment's place within its block.
    first = starts[block] + (number - ends[block] + count[block]) * tiling.segment
    last = jnp.minimum(first + tiling.segment, starts[block + 1])
    there = number < ends[-1]
    return jnp.stack([jnp.where(there, x, 0) for x in (first, last, block)]).astype(jnp.int32)


def columns_of(
    bits: Shaped[Array, "B N"], code: Int32[Array, " B"], tiling: Tiling
) -> Float16[Array, "P K"]:
    """Each sample's bits and the one-hot vector of its code within its block, padded by a tile."""
    column = np.arange(tiling.block)
    own = (code % tiling.block)[:, None] == column
    joined = jnp.concatenate([bits, own], axis=1).astype(jnp.float16)
    return jnp.pad(joined, ((0, BACKWARD_SAMPLES), (0, 0)))
