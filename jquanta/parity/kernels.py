"""The packed trainer's GPU kernels: many ReLU networks of one hidden layer, whose activations are
never written to memory.

They are written in Pallas and compiled by Triton. Three ideas make them fast:

* **The control vector fits into the padding of the matrix product.** A tensor core needs the task
  bits padded to a power of two columns (100 become 128). The spare columns hold a one-hot vector of
  the sample's code within a *block* of neighbouring codes. Samples are sorted by code. For a
  *segment*, a run of samples of one block, the pre-activations are then a single matrix product
  with the bits' weights and, below them, the block's rows; the transposed product gives the
  gradients of both. No gather, no scatter, no atomic addition is needed. Every sum is made in a
  fixed order, so that equal inputs give bitwise equal results.
* **Products run on tensor cores at almost float32's precision.** Inputs are 0 or 1, which float16
  holds exactly. The other factor is split into the sum of two float16 numbers, which hold 22 of a
  float32's 24 bits. Products are accumulated in float32.
* **Activations are not stored.** For each sample and hidden unit the forward kernel stores one
  byte: whether the unit is active. The backward kernel recomputes the gradients at the
  pre-activations from it: up to the factor ``out`` of the unit, that gradient is the one at the
  network's logit difference times that byte.

Hidden units are columns. Each network is padded to whole tiles of ``UNITS``, so that a tile belongs
to one network. Letters of shapes as in ``layout.py``; besides, ``tiles`` of hidden units, and the
properties of ``Tiling``: ``columns`` of the padded inputs, ``segments``, ``padded`` samples, and
``block_codes`` for ``Tiling.block``.

On a CPU the kernels run in Pallas' interpret mode: slowly, with the same arithmetic. Two limits of
Triton show only when the kernels are compiled for a GPU (``tests/parity/test_kernels.py`` does so):
a loop's carry must be an array, and there is no population count.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Float16, Float32, Int32, UInt32

from jquanta.machine import devices
from jquanta.machine.triton import options, plt
from jquanta.parity.tiling import BACKWARD_SAMPLES, FORWARD_SAMPLES, UNITS, Tiling

TOP = 13
"""Before a column is split, it is scaled so that its largest number lies in 2^13 … 2^14: far below
float16's largest number, 2^16, and so that small ones are far above its smallest, 2^-24."""

ActiveByte = jnp.float8_e5m2  # holds 0 or 1; the conversion to float16 only appends a zero byte


def split(x: Float32[Array, "*shape"]) -> tuple[Float16[Array, "*shape"], Float16[Array, "*shape"]]:
    """Split x into a high and a low part, float16, whose sum is x to 22 bits.

    This holds for 2^-2 <= |x| < 2^15; smaller numbers have an absolute error of at most 2^-25.
    """
    # Not ``x - x.astype(float16).astype(float32)``: XLA on a GPU may leave out such a pair of
    # conversions (``xla_allow_excess_precision``), and the low part would be 0. It never leaves
    # out ``reduce_precision``, which here rounds to float16's 5 and 10 bits.
    high = jax.lax.reduce_precision(x, exponent_bits=5, mantissa_bits=10)
    return high.astype(jnp.float16), (x - high).astype(jnp.float16)


def powers_below(x: Float32[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """The largest power of two that is at most |x|; 1 where x is 0.

    Multiplying or dividing by it is exact. Near a power of two the rounded logarithm may be off by
    one, which does no harm, since ``TOP`` leaves room.
    """
    exponent = jnp.floor(jnp.log2(jnp.where(x == 0, 1, jnp.abs(x))))
    return jnp.exp2(jnp.clip(exponent, -100, 100))


def forward(
    tiling: Tiling,
    inputs: Float16[Array, "A padded columns"],
    segments: Int32[Array, "A 3 segments"],
    distribution: Int32[Array, " tiles"],
    high: Float16[Array, "rows U"],
    low: Float16[Array, "rows U"],
    out: Float32[Array, " U"],
) -> tuple[Float32[Array, "tiles B"], Array]:
    """Run the forward kernel: logit differences by tile, and which units are active.

    Args:
        tiling: how the batch is cut.
        inputs: of ``tiling.columns_of``, for each distribution.
        segments: of ``tiling.segments_of``, for each distribution.
        distribution: of each tile's network.
        high, low: first-layer weights of the task bits and, below them, of all codes in whole
            blocks, divided by each unit's scale and split.
        out: second-layer weights, multiplied by each unit's scale.

    Returns:
        Each tile's part of its network's logit difference [tiles, B]; and float8 [padded, U], 1
        where a unit is active and 0 elsewhere (rows beyond B are not written).
    """
    tiles, units = len(distribution), out.shape[0]
    rows = tiling.padded
    if 2**31 < rows * units <= 2**32:
        # Pallas addresses arrays of up to 2^32 bytes by 32-bit offsets, which Triton takes as
        # signed: what lies beyond 2^31 would be written before the array. Arrays of more than
        # 2^32 bytes get 64-bit offsets, so make this one as large.
        rows = 2**32 // units + 1
    return pl.pallas_call(
        partial(_forward, tiling),
        grid=(tiles, tiling.segments),
        out_shape=(
            jax.ShapeDtypeStruct((tiles, tiling.batch), jnp.float32),
            jax.ShapeDtypeStruct((rows, units), ActiveByte),
        ),
        **options(warps=4, stages=_forward_stages(tiling)),
    )(inputs, segments, distribution, high, low, out)


def _forward(
    tiling: Tiling,
    inputs: Any,
    segments: Any,
    distribution: Any,
    high: Any,
    low: Any,
    out: Any,
    z: Any,
    active: Any,
) -> None:
    """Body of the forward kernel: a program computes one tile of units for one segment.

    The last two arguments are the outputs of ``forward``; all from ``inputs`` on are Pallas Refs.
    """
    tile, segment = pl.program_id(0), pl.program_id(1)
    own = distribution[tile]
    first, end, block = (segments[own, i, segment] for i in range(3))
    column, unit = jnp.arange(UNITS), pl.ds(tile * UNITS, UNITS)
    # Load the tile's weights once; they stay in shared memory while the loop goes through the
    # samples. Below the bits' weights lie the rows of all blocks, of which this segment needs only
    # those of its own block.
    weights = []
    for chunk in tiling.chunks:
        row = chunk.start + jnp.arange(chunk.stop - chunk.start)
        row = row + jnp.where(row < tiling.n_bits, 0, block * tiling.block)
        place = row[:, None], (tile * UNITS + column)[None, :]
        weights.append((high[place], low[place]))
    factor = out[unit]

    def step(i: Array, carry: Array) -> Array:
        start = first + i * FORWARD_SAMPLES
        sample = pl.ds(start, FORWARD_SAMPLES)
        hidden = jnp.zeros((FORWARD_SAMPLES, UNITS), jnp.float32)
        for chunk, (upper, lower) in zip(tiling.chunks, weights, strict=True):
            x = inputs[own, sample, chunk]
            hidden = hidden + _dot(x, upper) + _dot(x, lower)
        # The last tile of samples reads beyond the segment's end; masks keep its results out.
        inside = start + jnp.arange(FORWARD_SAMPLES) < end
        sums = jnp.sum(jnp.maximum(hidden, 0.0) * factor[None, :], axis=1)
        plt.store(z.at[tile, sample], sums, mask=inside)
        byte = jnp.where(hidden > 0, 1.0, 0.0).astype(jnp.float16).astype(ActiveByte)
        mask = jnp.broadcast_to(inside[:, None], byte.shape)
        plt.store(active.at[sample, unit], byte, mask=mask)
        return carry

    jax.lax.fori_loop(0, _tiles(first, end, FORWARD_SAMPLES), step, jnp.int32(0))


def backward(
    tiling: Tiling,
    inputs: Float16[Array, "A padded columns"],
    segments: Int32[Array, "A 3 segments"],
    distribution: Int32[Array, " tiles"],
    network: Int32[Array, " tiles"],
    active: Array,
    high: Float16[Array, "R padded"],
    low: Float16[Array, "R padded"],
) -> tuple[Float32[Array, "segments N U"], Float32[Array, "segments block_codes U"]]:
    """Run the backward kernel: gradients at the pre-activations, summed over each segment.

    The gradients lack the factor ``out`` of the second layer, as g in ``xla.py``.

    Args:
        tiling, inputs, segments, distribution: as for ``forward``.
        network: of each tile.
        active: of ``forward``.
        high, low: gradient with respect to each network's logit difference, scaled and split.

    Returns:
        For each segment, the sums over its samples in which a task bit is set, and over its
        samples of each code of its block. An empty segment has sums of 0.
    """
    units = active.shape[1]
    shape = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    return pl.pallas_call(
        partial(_backward, tiling),
        grid=(units // UNITS, tiling.segments, len(tiling.chunks)),
        out_shape=(
            shape((tiling.segments, tiling.n_bits, units)),
            shape((tiling.segments, tiling.block, units)),
        ),
        **options(warps=4, stages=3),
    )(inputs, segments, distribution, network, active, high, low)


def _backward(
    tiling: Tiling,
    inputs: Any,
    segments: Any,
    distribution: Any,
    network: Any,
    active: Any,
    high: Any,
    low: Any,
    by_bit: Any,
    by_code: Any,
) -> None:
    """Body of the backward kernel: a program computes one tile of units for one segment of samples
    and one chunk of columns. ``by_bit`` and ``by_code`` are the outputs."""
    tile, segment, chunk = (pl.program_id(i) for i in range(3))
    own, net = distribution[tile], network[tile]
    first, end = segments[own, 0, segment], segments[own, 1, segment]
    width = tiling.chunks[0].stop
    unit, column = pl.ds(tile * UNITS, UNITS), pl.ds(chunk * width, width)

    def step(i: Array, total: Array) -> Array:
        start = first + i * BACKWARD_SAMPLES
        sample = pl.ds(start, BACKWARD_SAMPLES)
        inside = start + jnp.arange(BACKWARD_SAMPLES) < end
        mask = jnp.broadcast_to(inside[:, None], (BACKWARD_SAMPLES, UNITS))
        # Beyond the segment's end lie samples of another, or bytes that were never written: mask.
        on = plt.load(active.at[sample, unit], mask=mask, other=0.0).astype(jnp.float16)
        x = inputs[own, sample, column]
        # The gradient at the pre-activations without the factor ``out``. Multiplying by 0 or 1 is
        # exact, so that the two parts still add up to 22 bits.
        upper, lower = ((on * part[net, sample][:, None]).T for part in (high, low))
        # Tiles are added up in float32 outside the product: a tensor core truncates what it adds
        # to a large accumulator.
        return total + (_dot(upper, x) + _dot(lower, x))

    zero = jnp.zeros((UNITS, width), jnp.float32)
    total = jax.lax.fori_loop(0, _tiles(first, end, BACKWARD_SAMPLES), step, zero).T
    # A chunk may begin with columns of task bits and end with columns of codes: each output takes
    # those that belong to it.
    place = chunk * width + jnp.arange(width)
    units = (tile * UNITS + jnp.arange(UNITS))[None, :]
    for sums, start, count in ((by_bit, 0, tiling.n_bits), (by_code, tiling.n_bits, tiling.block)):
        row = (place - start)[:, None]
        mask = jnp.broadcast_to((row >= 0) & (row < count), total.shape)
        plt.store(sums.at[segment, row, units], total, mask=mask)


def _tiles(first: Array, end: Array, samples: int) -> Array:
    """Number of tiles of ``samples`` samples from ``first`` up to ``end``."""
    return (end - first + samples - 1) // samples


def _dot(a: Array, b: Array) -> Array:
    """A product on the tensor cores: float16 factors, float32 result."""
    return jax.lax.dot(a, b, preferred_element_type=jnp.float32)


POINTS, CODES = 32, 32
"""Test points and codes that one program of ``losses`` computes, with one warp."""

UNROLLED = 8
"""Hidden units in one iteration of that program's loop. ``UNITS`` is a multiple of it."""


def losses(
    points: int,
    hidden: Float32[Array, "U test_points"],
    rows: Float32[Array, "U C"],
    out: Float32[Array, " U"],
    shift: Float32[Array, " R"],
    spans: Int32[Array, "3 R"],
    words: UInt32[Array, "words test_points"],
    masks: UInt32[Array, "A words C"],
) -> tuple[Float32[Array, "R blocks C"], Float32[Array, "R blocks C"]]:
    """Run the evaluation kernel.

    Args:
        points: number of true test points; later ones are padding.
        hidden: contribution of the task bits and the bias to the pre-activations; ``test_points``
            is a multiple of ``POINTS``.
        rows: contribution of each code; C is a multiple of ``CODES``.
        out, shift: of the second layer, for each unit and each network.
        spans: first unit, end and distribution of each network.
        words: packed task bits of the test points.
        masks: packed subsets of the codes of each distribution.

    Returns:
        For every network, block of ``POINTS`` test points and code: the sum of the cross-entropy
        (nats), and the number of right answers.
    """
    networks, blocks, codes = len(shift), hidden.shape[1] // POINTS, rows.shape[1]
    shape = jax.ShapeDtypeStruct((networks, blocks, codes), jnp.float32)
    return pl.pallas_call(
        partial(_losses, points, words.shape[0]),
        grid=(codes // CODES, blocks, networks),
        out_shape=(shape, shape),
        **options(warps=1, stages=1),
    )(hidden, rows, out, shift, spans, words, masks)


def _losses(
    points: int,
    n_words: int,
    hidden: Any,
    rows: Any,
    out: Any,
    shift: Any,
    spans: Any,
    words: Any,
    masks: Any,
    loss: Any,
    right: Any,
) -> None:
    """Body of the evaluation kernel: a program computes ``CODES`` codes on ``POINTS`` test points
    for one network. The logit differences z [CODES, POINTS] stay in registers; ``loss`` and
    ``right`` are the outputs."""
    group, block, net = (pl.program_id(i) for i in range(3))
    first, end, own = (spans[i, net] for i in range(3))
    code, point = pl.ds(group * CODES, CODES), pl.ds(block * POINTS, POINTS)

    def units(i: Array, z: Array) -> Array:
        # The last iteration may go beyond the network's last unit, into its padding up to a
        # multiple of UNITS (and so of UNROLLED), where ``out`` is 0.
        for j in range(UNROLLED):
            unit = first + i * UNROLLED + j
            sums = hidden[unit, point][None, :] + rows[unit, code][:, None]
            z = z + out[unit] * jnp.maximum(sums, 0.0)
        return z

    zero = jnp.zeros((CODES, POINTS), jnp.float32)
    count = (end - first + UNROLLED - 1) // UNROLLED
    z = jax.lax.fori_loop(0, count, units, zero) + shift[net]

    def word(i: Array, common: Array) -> Array:
        return common ^ (words[i, point][None, :] & masks[own, i, code][:, None])

    # Parity without a population count, which Triton lacks: the exclusive or of all words has the
    # same parity, and so has that of its two halves, and so on until one bit is left.
    folded = jax.lax.fori_loop(0, n_words, word, jnp.zeros((CODES, POINTS), jnp.uint32))
    for places in (16, 8, 4, 2, 1):
        folded = folded ^ (folded >> places)
    odd = (folded & 1) == 1
    wrong = jnp.where(odd, -z, z)
    each = jnp.maximum(wrong, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(wrong)))  # softplus
    inside = (block * POINTS + jnp.arange(POINTS) < points)[None, :]
    loss[net, block, code] = jnp.sum(jnp.where(inside, each, 0.0), axis=1)
    right[net, block, code] = jnp.sum(jnp.where(inside & ((z > 0) == odd), 1.0, 0.0), axis=1)


def _forward_stages(tiling: Tiling) -> int:
    """Pipeline stages of the forward kernel's loop: how many loads of samples are in flight.

    With weights of 256 columns, two stages need 102,400 bytes of shared memory. GPUs of compute
    capability 8.6, 8.9 and 12 have 101,376 (GeForce RTX, A10, L4, L40).
    """
    return 2 if len(tiling.chunks) == 1 or devices.capability() in AMPLE else 1


AMPLE = (8.0, 9.0, 10.0, 10.3)
"""Compute capabilities of GPUs with at least 163 KB of shared memory for one program: A100, H100
and H200, B200, B300."""
