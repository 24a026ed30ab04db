"""A pack's gradients and losses by the GPU kernels: what stands around them.

The same functions as in ``xla.py``, for a block that holds all networks of the pack, each padded to
whole tiles of units.
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
    """A batch as the kernels read it."""

    inputs: Float16[Array, "A P K"]
    segments: Int32[Array, "A 3 G"]
    sign: Float32[Array, "A B"]
    weight: Float32[Array, " B"]


def inputs_of(layout: Layout, batch: Batch) -> Inputs:
    """The batch of ``packed.draw_batch`` for the kernels."""
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
    """Gradients of every network's mean cross-entropy (nats) over the batch."""
    (own,), (block,), tiling = weights, layout.blocks, layout.tiling
    network = block.owner[::UNITS].astype(np.int32)
    distribution = np.array(block.distributions, np.int32)[network]
    common = tiling, batch.inputs, batch.segments, jnp.asarray(distribution)

    rows = _rows_of(block, own.rows, codes)
    high, low, scale = _split_columns(own.bits, rows + own.bias, tiling)
    parts, active = kernels.forward(*common, high, low, own.out * scale)
    # tiles[r, t] is 1 where tile t belongs to network r, else 0: the product adds up each network's
    # tiles, in a fixed order.
    tiles = xla.membership(tuple(n // UNITS for n in block.padded), jnp.float32)
    z = jnp.matmul(tiles, parts, precision=PRECISION) + own.shift[:, None]

    sign = batch.sign[np.array(block.distributions)]
    dz = xla.logit_gradient(z, sign, batch.weight[None])
    # |dz| is at most its sample's weight, so |dz / unit| is at most 2^TOP. What two float16 parts
    # then cannot hold is below 2^-38 of the weight.
    unit = batch.weight.max() * 2.0**-kernels.TOP
    beyond = (0, 0), (0, tiling.padded - tiling.batch)
    halves = (jnp.pad(half, beyond) for half in kernels.split(dz / unit))
    bit_sums, code_sums = kernels.backward(*common, jnp.asarray(network), active, *halves)
    by_bit = bit_sums.sum(0) * unit
    by_row = _by_code(block, code_sums, batch.segments, tiling) * unit
    by_member = _by_member(block, by_row, codes)
    return (xla.from_sums(own, rows, by_bit, by_row, by_member, dz.sum(1)),)


def _split_columns(
    bits: Float32[Array, "N U"], rows: Float32[Array, "C U"], tiling: Tiling
) -> tuple[Float16[Array, "rows U"], Float16[Array, "rows U"], Float32[Array, " U"]]:
    """Bits' weights and, below them, the rows of all codes, with zeros up to whole blocks.

    Returns:
        Two float16 parts, whose sum times the scale is the weights; and each unit's scale.
    """
    top = jnp.maximum(jnp.abs(bits).max(0), jnp.abs(rows).max(0))
    scale = kernels.powers_below(top) * 2.0**-kernels.TOP
    missing = tiling.blocks * tiling.block - len(rows)
    joined = jnp.concatenate([bits, jnp.pad(rows, ((0, missing), (0, 0)))])
    return *kernels.split(joined / scale), scale


def _by_code(
    block: Block,
    sums: Float32[Array, "G M U"],
    segments: Int32[Array, "A 3 G"],
    tiling: Tiling,
) -> Float32[Array, "C U"]:
    """Each segment's sums by the codes of its block, added up over the segments of a block."""
    found = []
    for units, one in block.groups:
        first, end, number = segments[one]
        # own[k, g]: whether segment g is of block k. An empty one is of none.
        own = (number == jnp.arange(tiling.blocks)[:, None]) & (end > first)
        part = sums[:, :, units]
        joined = jnp.einsum("kg,gmu->kmu", own.astype(part.dtype), part, precision=PRECISION)
        found.append(joined.reshape(-1, part.shape[2])[: tiling.n_codes])
    return _joined(found)


def _rows_of(
    block: Block, rows: Float32[Array, "S U"], codes: Float[Array, "A C S"] | None
) -> Float32[Array, "C U"]:
    """What each code adds to the hidden sums of each network."""
    if codes is None:
        return rows
    return _joined([xla.rows_of(rows[:, units], codes[one]) for units, one in block.groups])


def _by_member(
    block: Block, by_row: Float32[Array, "C U"], codes: Float[Array, "A C S"] | None
) -> Float32[Array, "S U"]:
    """Sums by code, added up for each subtask over the codes that it is a member of."""
    if codes is None:
        return by_row
    return _joined(
        [
            jnp.matmul(codes[one].T, by_row[:, units], precision=PRECISION)
            for units, one in block.groups
        ]
    )


def _joined(parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=1)


def evaluate_block(
    layout: Layout,
    weights: tuple[Weights, ...],
    words: UInt32[Array, "E words"],
    masks: UInt32[Array, "A C words"],
    codes: Float[Array, "A C S"] | None,
) -> tuple[Float[Array, "R C"], Float[Array, "R C"]]:
    """Loss (nats) and accuracy of every network and subtask or code on one block of bits."""
    (own,), (block,) = weights, layout.blocks
    bits = unpack(words, layout.program.n_bits, own.bits.dtype)
    hidden = jnp.matmul(own.bits.T, bits.T, precision=PRECISION) + own.bias[:, None]
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
    """``x`` with zeros at the end of its last axis, up to a multiple."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % multiple)])
