"""The packed trainer's GPU kernels: many one-hidden-layer ReLU networks without a hidden layer in
memory.

Written with Pallas for Triton. Three ideas carry them:

* **The subtask's row rides in the padding of the matrix product.** A matrix unit wants the task
  bits padded to a power of two columns (100 become 128). The spare columns hold a one-hot vector of
  the sample's code within a *block* of neighbouring codes. Samples are sorted by code, so a
  *segment* of samples of one block is one plain product with the bits' weights and the block's rows
  below each other; its transpose gives the gradients of both. No lookup, no scatter, no atomic
  addition: each sum is made in a fixed order, and equal inputs give equal bits.
* **Products on the matrix units, to float32's precision.** Inputs are 0 or 1, exact in float16.
  The other factor is split into the sum of two float16 numbers, which hold 22 of a float32's 24
  bits; products are accumulated in float32.
* **The hidden layer is never stored.** The forward kernel keeps one byte for each sample and unit:
  whether the unit is active. From it the backward kernel makes the gradient at the hidden sums
  again: for all units of one network it is the same number times that byte.

Hidden units are columns, each network padded to whole tiles of ``UNITS``, so that a tile belongs to
one network. Letters as in ``packed.py``; besides, T tiles of units, K columns of the padded inputs,
M codes of a block, G segments, P samples with padding.

On a CPU the kernels run in Pallas' interpret mode: slow, with the same arithmetic. What that does
not show, compiling for a GPU does (``tests/parity/test_kernels.py``): a loop's carry must be an
array, and Triton has no population count.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Float16, Float32, Int32, UInt32

from jquanta.machine import devices
from jquanta.parity.tiling import BACKWARD_SAMPLES, FORWARD_SAMPLES, UNITS, Tiling

try:
    from jax.experimental.pallas import triton as plt
except ImportError:  # JAX means to drop this backend one day
    AVAILABLE = False
else:
    AVAILABLE = True

TOP = 13
"""The largest number of a column is scaled to 2^13 … 2^14 before it is split: far from float16's
largest, 2^16, and its smallest, 2^-24."""

ActiveByte = jnp.float8_e5m2  # 0 or 1; to float16 by appending a zero byte


def split(x: Float32[Array, "*shape"]) -> tuple[Float16[Array, "*shape"], Float16[Array, "*shape"]]:
    """x as the sum of two float16 numbers, good for 22 bits where 2^-2 <= |x| < 2^15.

    Not ``x - x.astype(float16).astype(float32)``: XLA on a GPU may leave out the two conversions
    (``xla_allow_excess_precision``), and the low half would be 0. ``reduce_precision`` is kept.
    """
    high = jax.lax.reduce_precision(x, exponent_bits=5, mantissa_bits=10)
    return high.astype(jnp.float16), (x - high).astype(jnp.float16)


def powers_below(x: Float32[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """The largest power of two that is at most |x|; 1 for 0. Scaling by it is exact."""
    exponent = jnp.floor(jnp.log2(jnp.where(x == 0, 1, jnp.abs(x))))
    # Near a power of two a rounded logarithm may be off by one. That is harmless: TOP leaves room.
    return jnp.exp2(jnp.clip(exponent, -100, 100))


def forward(
    tiling: Tiling,
    inputs: Float16[Array, "A P K"],
    segments: Int32[Array, "A 3 G"],
    distribution: Int32[Array, " T"],
    high: Float16[Array, "rows U"],
    low: Float16[Array, "rows U"],
    out: Float32[Array, " U"],
) -> tuple[Float32[Array, "T B"], Array]:
    """Each tile's part of the logit difference, and the active units.

    Args:
        tiling: how inputs lie.
        inputs: of ``tiling.columns_of`` for each distribution.
        segments: of ``tiling.segments_of`` for each distribution.
        distribution: of each tile's network.
        high, low: the weights of the bits and, below them, of all codes in whole blocks, split.
        out: of the second layer, in units that make up for the columns' scales.

    Returns:
        The sums over each tile's units [T, B], and 1 where a unit is active, else 0, float8 [P, U].
    """
    tiles, units = len(distribution), out.shape[0]
    rows = tiling.padded
    if 2**31 < rows * units <= 2**32:
        # Pallas counts bytes up to 2^32 with 32 bits, and Triton takes those as signed: what lies
        # beyond 2^31 would be written before the array. A larger array is counted with 64 bits.
        rows = 2**32 // units + 1
    return pl.pallas_call(
        partial(_forward, tiling),
        grid=(tiles, tiling.segments),
        out_shape=(
            jax.ShapeDtypeStruct((tiles, tiling.batch), jnp.float32),
            jax.ShapeDtypeStruct((rows, units), ActiveByte),
        ),
        **_options(warps=4, stages=_forward_stages(tiling)),
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
    """A program: one tile of units, one segment of samples."""
    tile, segment = pl.program_id(0), pl.program_id(1)
    own = distribution[tile]
    first, end, block = (segments[own, i, segment] for i in range(3))
    column, unit = jnp.arange(UNITS), pl.ds(tile * UNITS, UNITS)
    # The tile's weights, loaded once: they stay in shared memory while all samples pass. Below the
    # bits' weights lie the rows of all blocks, of which this segment needs those of its own.
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
        # The last tile reads beyond the segment. What comes of that is not stored.
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
    inputs: Float16[Array, "A P K"],
    segments: Int32[Array, "A 3 G"],
    distribution: Int32[Array, " T"],
    network: Int32[Array, " T"],
    active: Array,
    high: Float16[Array, "R P"],
    low: Float16[Array, "R P"],
) -> tuple[Float32[Array, "G N U"], Float32[Array, "G M U"]]:
    """Sums of the gradient at the hidden sums over each segment's samples.

    Args:
        tiling, inputs, segments, distribution: as ``forward``.
        network: of each tile.
        active: of ``forward``.
        high, low: the gradient at each network's logit difference, split.

    Returns:
        The sums over samples in which a bit is set, and over those of each code of the block.
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
        **_options(warps=4, stages=3),
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
    """A program: one tile of units, one segment of samples, one chunk of columns."""
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
        # Beyond the segment lie another's samples, or bytes that were never written: they count 0.
        on = plt.load(active.at[sample, unit], mask=mask, other=0.0).astype(jnp.float16)
        x = inputs[own, sample, column]
        # The gradient at the hidden sums, without the factor ``out``, which is common to a unit's
        # samples. A number times 0 or 1 is exact, so that both halves stay what they were.
        upper, lower = ((on * part[net, sample][:, None]).T for part in (high, low))
        # Added tile by tile in float32: a matrix unit cuts off the bits that a long sum outgrows.
        return total + (_dot(upper, x) + _dot(lower, x))

    zero = jnp.zeros((UNITS, width), jnp.float32)
    total = jax.lax.fori_loop(0, _tiles(first, end, BACKWARD_SAMPLES), step, zero).T
    # The chunk's first columns may be bits and its last ones codes: each array takes its own.
    place = chunk * width + jnp.arange(width)
    units = (tile * UNITS + jnp.arange(UNITS))[None, :]
    for sums, start, count in ((by_bit, 0, tiling.n_bits), (by_code, tiling.n_bits, tiling.block)):
        row = (place - start)[:, None]
        mask = jnp.broadcast_to((row >= 0) & (row < count), total.shape)
        plt.store(sums.at[segment, row, units], total, mask=mask)


def _tiles(first: Array, end: Array, samples: int) -> Array:
    return (end - first + samples - 1) // samples


def _dot(a: Array, b: Array) -> Array:
    """A product on the matrix units: float16 in, float32 out."""
    return jax.lax.dot(a, b, preferred_element_type=jnp.float32)


POINTS, CODES = 32, 32
"""Test points and codes of a program of ``losses``: one warp's."""

UNROLLED = 8
"""Hidden units that it takes in one round of its loop. ``UNITS`` is a multiple."""


def losses(
    points: int,
    hidden: Float32[Array, "U E"],
    rows: Float32[Array, "U C"],
    out: Float32[Array, " U"],
    shift: Float32[Array, " R"],
    spans: Int32[Array, "3 R"],
    words: UInt32[Array, "words E"],
    masks: UInt32[Array, "A words C"],
) -> tuple[Float32[Array, "R blocks C"], Float32[Array, "R blocks C"]]:
    """Summed cross-entropy (nats) and right answers of every network and code, by blocks of test
    points.

    Args:
        points: test points that count; what is beyond pads.
        hidden: what the task bits and the bias add to the hidden sums; E is a multiple of
            ``POINTS``.
        rows: what each code adds; C is a multiple of ``CODES``.
        out, shift: of the second layer, for each unit and network.
        spans: first unit, end and distribution of each network.
        words: the points' task bits.
        masks: the codes' subsets.
    """
    networks, blocks, codes = len(shift), hidden.shape[1] // POINTS, rows.shape[1]
    shape = jax.ShapeDtypeStruct((networks, blocks, codes), jnp.float32)
    return pl.pallas_call(
        partial(_losses, points, words.shape[0]),
        grid=(codes // CODES, blocks, networks),
        out_shape=(shape, shape),
        **_options(warps=1, stages=1),
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
    """A program: some codes, some points, one network; z [CODES, POINTS] stays in registers."""
    group, block, net = (pl.program_id(i) for i in range(3))
    first, end, own = (spans[i, net] for i in range(3))
    code, point = pl.ds(group * CODES, CODES), pl.ds(block * POINTS, POINTS)

    def units(i: Array, z: Array) -> Array:
        # The last round may pass the network's last unit. Its padding follows, up to a multiple of
        # UNITS and so of UNROLLED, where ``out`` is 0.
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

    # Triton has no population count. The parity of all words is that of their exclusive or, whose
    # halves are folded onto each other until one bit is left.
    folded = jax.lax.fori_loop(0, n_words, word, jnp.zeros((CODES, POINTS), jnp.uint32))
    for places in (16, 8, 4, 2, 1):
        folded = folded ^ (folded >> places)
    odd = (folded & 1) == 1
    wrong = jnp.where(odd, -z, z)
    each = jnp.maximum(wrong, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(wrong)))  # softplus
    inside = (block * POINTS + jnp.arange(POINTS) < points)[None, :]
    loss[net, block, code] = jnp.sum(jnp.where(inside, each, 0.0), axis=1)
    right[net, block, code] = jnp.sum(jnp.where(inside & ((z > 0) == odd), 1.0, 0.0), axis=1)


def _options(warps: int, stages: int) -> dict[str, Any]:
    """Of ``pallas_call``: what Triton compiles with."""
    if interpreted():
        return {"interpret": True}
    return {"compiler_params": plt.CompilerParams(num_warps=warps, num_stages=stages)}


def _forward_stages(tiling: Tiling) -> int:
    """Loads of samples in flight in the forward kernel.

    Beside weights of 256 columns two of them need 102,400 bytes of shared memory. GPUs of compute
    capability 8.6, 8.9 and 12 have 101,376 (GeForce RTX, A10, L4, L40).
    """
    return 2 if len(tiling.chunks) == 1 or devices.capability() in AMPLE else 1


AMPLE = (8.0, 9.0, 10.0, 10.3)
"""Compute capabilities of the GPUs with at least 163 KB of shared memory for a program: A100, H100
and H200, B200, B300."""


def interpreted() -> bool:
    """Whether kernels run as plain JAX: where there is no GPU."""
    return jax.default_backend() == "cpu"
