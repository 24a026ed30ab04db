"""How a batch's inputs and a pack's hidden units are cut into tiles for the GPU kernels.

Samples are sorted by code; neighbouring codes form blocks, and the samples of each block are cut
into segments. The text of ``kernels.py`` explains why, and names the letters of shapes.
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float16, Int32, Shaped

UNITS = 64
"""Hidden units of a tile: the fewest rows that a Hopper tensor-core instruction takes."""

FORWARD_SAMPLES, BACKWARD_SAMPLES = 64, 128
"""Samples of a tile in the forward and the backward kernel. Measured on an H200 with the networks
of Figure 2: with 32, 64 and 128 samples forward takes 0.20, 0.14 and 0.15 ms, backward 0.19, 0.20
and 0.18 ms."""

CHUNK = 128
"""Most columns of the inputs in one product; wider inputs take several products."""

MOST_COLUMNS = 256
"""Inputs of more columns are left to XLA: a tile's weights and inputs must fit into the shared
memory of one streaming multiprocessor."""

MOST_BLOCKS = 256
"""Packs of more blocks of codes are left to XLA: each block adds padding and partial sums."""

PROGRAMS = 512
"""Number of kernel programs to aim at: about four for each multiprocessor of a large GPU. With
twice as many the kernels are no faster, and their partial sums take more memory."""

LEAST_SEGMENTS = 8
"""Fewest segments that a batch is cut into, so that programs of unequal length balance out."""


@dataclass(frozen=True)
class Tiling:
    """How the kernels cut a batch: columns of the inputs, blocks of codes, segments of samples.

    Attributes:
        n_bits: number of task bits.
        n_codes: number of codes, or of subtasks in the plain task.
        batch: samples of a step.
        columns: of an input: the task bits, then the one-hot vector of the code in its block.
        segment: most samples of a segment.
    """

    n_bits: int
    n_codes: int
    batch: int
    columns: int
    segment: int

    @property
    def block(self) -> int:
        """Number of codes in a block."""
        return self.columns - self.n_bits

    @property
    def blocks(self) -> int:
        """Number of blocks of codes."""
        return -(-self.n_codes // self.block)

    @property
    def segments(self) -> int:
        """Most segments that a batch can have, however its samples spread over the codes.

        Each block may end with a segment that is not full, which adds one segment for each block
        but one to those of a batch without blocks.
        """
        return -(-self.batch // self.segment) + self.blocks - 1

    @property
    def padded(self) -> int:
        """Number of samples with a tile of zeros behind them, into which the last tile may read."""
        return self.batch + BACKWARD_SAMPLES

    @property
    def chunks(self) -> list[slice]:
        """The slice of columns that each product takes."""
        width = min(CHUNK, self.columns)
        return [slice(i, i + width) for i in range(0, self.columns, width)]

    @classmethod
    def of(cls, n_bits: int, n_codes: int, batch: int, tiles: int) -> "Tiling | None":
        """Choose the cheapest tiling, by ``cost``.

        Args:
            n_bits, n_codes, batch: as the attributes.
            tiles: number of tiles of hidden units in the pack.

        Returns:
            The tiling; None where the task bits need more than ``MOST_COLUMNS`` columns.
        """
        choices = [16, 32, 64, *range(CHUNK, MOST_COLUMNS + 1, CHUNK)]
        # Segments short enough for PROGRAMS programs (a program takes one tile of units and one
        # segment) and LEAST_SEGMENTS segments, rounded up to whole tiles of samples.
        whole = max(1, min(batch * tiles // PROGRAMS, batch // LEAST_SEGMENTS))
        segment = -(-whole // BACKWARD_SAMPLES) * BACKWARD_SAMPLES
        found = [cls(n_bits, n_codes, batch, k, segment) for k in choices if k > n_bits]
        return min(found, key=lambda tiling: tiling.cost, default=None)

    @property
    def cost(self) -> float:
        """Relative cost of a hidden unit in a step: columns, times samples and overhead of blocks.

        Each block ends with half a tile of padding on average. It also has partial sums, 4 bytes a
        column, which are written and read: at 4.3 TB/s these 8 bytes take as long as the 8
        operations a column of 116 samples at 500 Tflop/s.
        """
        return self.columns * (self.batch + self.blocks * (BACKWARD_SAMPLES / 2 + 116))


def padded_units(width: int) -> int:
    """Hidden units of a network of ``width`` units after padding to whole tiles."""
    return math.ceil(width / UNITS) * UNITS


def segments_of(code: Int32[Array, " B"], tiling: Tiling) -> Int32[Array, "3 segments"]:
    """Cut a batch that is sorted by code into segments.

    The number of true segments depends on the data, but shapes must not; later ones are empty.

    Returns:
        First sample, end and block of each segment; all 0 where it is empty.
    """
    edges = jnp.arange(tiling.blocks + 1) * tiling.block
    # Of each block: its first sample, its number of segments, and the number after its last one.
    starts = jnp.searchsorted(code, edges, method="compare_all").astype(jnp.int32)
    count = -(-jnp.diff(starts) // tiling.segment)
    ends = jnp.cumsum(count)
    number = jnp.arange(tiling.segments)
    after = jnp.searchsorted(ends, number, side="right", method="compare_all")
    block = jnp.minimum(after, tiling.blocks - 1)  # beyond the last segment any index is fine
    # number - (ends - count) is the segment's index within its block.
    first = starts[block] + (number - ends[block] + count[block]) * tiling.segment
    last = jnp.minimum(first + tiling.segment, starts[block + 1])
    there = number < ends[-1]
    return jnp.stack([jnp.where(there, x, 0) for x in (first, last, block)]).astype(jnp.int32)


def columns_of(
    bits: Shaped[Array, "B N"], code: Int32[Array, " B"], tiling: Tiling
) -> Float16[Array, "padded columns"]:
    """Inputs of the kernels: each sample's task bits and its code's one-hot vector in its block.

    A tile of zeros follows the samples.
    """
    column = np.arange(tiling.block)
    own = (code % tiling.block)[:, None] == column
    joined = jnp.concatenate([bits, own], axis=1).astype(jnp.float16)
    return jnp.pad(joined, ((0, BACKWARD_SAMPLES), (0, 0)))
