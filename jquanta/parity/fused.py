"""A pack's gradients and losses by the GPU kernels: the plain JAX code around the kernels.

The public functions are those of ``xla.py``. Here all networks of the pack are one block, and each
network's hidden units are padded to whole tiles. Letters of shapes as in ``layout.py``; the words
among them (``padded``, ``columns``, ``segments``) are the properties of ``Tiling``, except
``block_codes``, which is ``Tiling.block``.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float16, Float32, Int32, UInt32

from jquanta.parity import kernels, xla
from jquanta.parity.layout import Batch, Block, Layout, Weights
from jquanta.parity.network import PRECISION
from jquanta.parity.task import unpack
from jquanta.parity.tiling import UNITS, Tiling, columns_of, segments_of


class Inputs(NamedTuple):
    """A batch in the form that the kernels read.

    Attributes:
        inputs: of ``tiling.columns_of``, for each distribution.
        segments: of ``tiling.segments_of``, for each distribution.
        sign, weight: as in ``layout.Batch``.
    """

    inputs: Float16[Array, "A padded columns"]
    segments: Int32[Array, "A 3 segments"]
    sign: Float32[Array, "A B"]
    weight: Float32[Array, " B"]


def inputs_of(layout: Layout, batch: Batch) -> Inputs:
    """Convert a batch of ``packed.draw_batch`` to the form that the kernels read."""
    tiling, every = layout.tiling, range(len(batch.subtask))
    return Inputs(
        jnp.stack([columns_of(batch.bits, batch.subtask[a], tiling) for a in every]),
        jnp.stack([segments_of(batch.subtask[a], tiling) for a in every]),
        batch.sign,
        batch.weight,
    )


def gradients(
    weights: tuple[Weights, ...],
    layout: Layout,
    batch: Inputs,
    codes: Float[Array, "A C S"] | None = None,
) -> tuple[Weights, ...]:
    """Gradients of every network's mean cross-entropy (nats) over the batch.

    Arguments as for ``xla.gradients``, the batch as ``Inputs``.
    """
    (own,), (block,), tiling = weights, layout.blocks, layout.tiling
    network = block.owner[::UNITS].astype(np.int32)  # of each tile of units
    distribution = np.array(block.distributions, np.int32)[network]
    common = tiling, batch.inputs, batch.segments, jnp.asarray(distribution)

    rows = _rows_of(block, own.rows, codes)
    high, low, scale = _split_columns(own.bits, rows + own.bias, tiling)
    parts, active = kernels.forward(*common, high, low, own.out * scale)
    # tiles[r, t] is 1 where tile t belongs to network r, else 0. The product adds up each network's
    # tiles, always in the same order, which atomic additions in the kernel would not.
    tiles = xla.membership(tuple(n // UNITS for n in block.padded), jnp.float32)
    z = jnp.matmul(tiles, parts, precision=PRECISION) + own.shift[:, None]

    sign = batch.sign[np.array(block.distributions)]
    dz = xla.logit_gradient(z, sign, batch.weight[None])
    # |dz| is at most its sample's weight, so |dz / unit| is at most 2^TOP. The error of its two
    # float16 parts is then below 2^-38 of the weight.
    unit = batch.weight.max() * 2.0**-kernels.TOP
    # Zeros up to ``tiling.padded``: the last tile reads beyond the batch.
    beyond = (0, 0), (0, tiling.padded - tiling.batch)
    halves = (jnp.pad(half, beyond) for half in kernels.split(dz / unit))
    bit_sums, code_sums = kernels.backward(*common, jnp.asarray(network), active, *halves)
    by_bit = bit_sums.sum(0) * unit
    by_code = _by_code(block, code_sums, batch.segments, tiling) * unit
    by_subtask = _by_subtask(block, by_code, codes)
    return (xla.from_sums(own, rows, by_bit, by_code, by_subtask, dz.sum(1)),)


def _split_columns(
    bits: Float32[Array, "N U"], rows: Float32[Array, "C U"], tiling: Tiling
) -> tuple[Float16[Array, "rows U"], Float16[Array, "rows U"], Float32[Array, " U"]]:
    """First-layer weights as two float16 matrices: task bits, below them all codes' rows.

    Zeros fill up the last block of codes.

    Returns:
        High part, low part, and a scale for each unit: weights = (high + low) · scale.
    """
    # One power of two for each unit, which brings its largest weight to about 2^TOP.
    top = jnp.maximum(jnp.abs(bits).max(0), jnp.abs(rows).max(0))
    scale = kernels.powers_below(top) * 2.0**-kernels.TOP
    missing = tiling.blocks * tiling.block - len(rows)
    joined = jnp.concatenate([bits, jnp.pad(rows, ((0, missing), (0, 0)))])
    return *kernels.split(joined / scale), scale


def _by_code(
    block: Block,
    sums: Float32[Array, "segments block_codes U"],
    segments: Int32[Array, "A 3 segments"],
    tiling: Tiling,
) -> Float32[Array, "C U"]:
    """Sums for all codes, from each segment's sums for the codes of its block.

    The segments of a block are added up.
    """
    found = []
    for units, one in block.groups:
        first, end, number = segments[one]
        # own[k, g]: whether segment g belongs to block k. Empty segments belong to none.
        own = (number == jnp.arange(tiling.blocks)[:, None]) & (end > first)
        part = sums[:, :, units]
        joined = jnp.einsum("kg,gmu->kmu", own.astype(part.dtype), part, precision=PRECISION)
        found.append(joined.reshape(-1, part.shape[2])[: tiling.n_codes])
    return _joined(found)


def _rows_of(
    block: Block, rows: Float32[Array, "S U"], codes: Float[Array, "A C S"] | None
) -> Float32[Array, "C U"]:
    """Each code's contribution to the pre-activations of each network."""
    if codes is None:
        return rows
    return _joined([xla.rows_of(rows[:, units], codes[one]) for units, one in block.groups])


def _by_subtask(
    block: Block, by_code: Float32[Array, "C U"], codes: Float[Array, "A C S"] | None
) -> Float32[Array, "S U"]:
    """For each atomic subtask, the sum of ``by_code`` over the codes of which it is a member."""
    if codes is None:
        return by_code
    return _joined(
        [
            jnp.matmul(codes[one].T, by_code[:, units], precision=PRECISION)
            for units, one in block.groups
        ]
    )


def _joined(parts: list[Array]) -> Array:
    """Concatenate the parts of the groups along the axis of hidden units."""
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=1)


def evaluate_block(
    layout: Layout,
    weights: tuple[Weights, ...],
    words: UInt32[Array, "test_points words"],
    masks: UInt32[Array, "A C words"],
    codes: Float[Array, "A C S"] | None,
) -> tuple[Float[Array, "R C"], Float[Array, "R C"]]:
    """Mean loss (nats) and accuracy of every network on every code; see ``xla.evaluate_block``."""
    (own,), (block,) = weights, layout.blocks
    bits = unpack(words, layout.program.n_bits, own.bits.dtype)
    hidden = jnp.matmul(own.bits.T, bits.T, precision=PRECISION) + own.bias[:, None]
    # First unit, end (padding left out) and distribution of each network.
    ends = np.cumsum(block.padded)
    starts = ends - np.array(block.padded)
    spans = np.stack([starts, starts + np.array(block.widths), np.array(block.distributions)])
    points, n_codes = len(words), masks.shape[1]
    found = kernels.losses(
        points,
        _padded(hidden, kernels.POINTS),
        _padded(_rows_of(block, own.rows, codes).T, kernels.CODES),
        own.out,
        own.shift,
        jnp.asarray(spans, jnp.int32),
        _padded(words.T, kernels.POINTS),
        _padded(masks.swapaxes(1, 2), kernels.CODES),
    )
    loss, right = (sums.sum(1)[:, :n_codes] / points for sums in found)
    return loss, right


def _padded(x: Array, multiple: int) -> Array:
    """Pad the last axis of ``x`` with zeros to a multiple of ``multiple``."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % multiple)])
