"""A pack's gradients and losses by XLA: on CPUs, and on what the GPU kernels are not for."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, UInt32

from jquanta.parity import solo
from jquanta.parity.layout import Batch, Block, Layout, Way, Weights
from jquanta.parity.network import PRECISION
from jquanta.parity.task import parity, unpack


def gradients(
    weights: tuple[Weights, ...],
    layout: Layout,
    batch: Batch,
    codes: Float[Array, "A C S"] | None = None,
) -> tuple[Weights, ...]:
    """Gradients of every network's mean cross-entropy (nats) over the batch, block by block."""
    found = []
    for block, own in zip(layout.blocks, weights, strict=True):
        one = block.distributions[0]
        theirs = batch._replace(subtask=batch.subtask[one], sign=batch.sign[one])
        found.append(
            _block_gradients(layout, block, own, theirs, None if codes is None else codes[one])
        )
    return tuple(found)


def _block_gradients(
    layout: Layout,
    block: Block,
    weights: Weights,
    batch: Batch,
    codes: Float[Array, "C S"] | None,
) -> Weights:
    """Gradients of one block of networks.

    With g the gradient at the hidden sums before ``out`` is multiplied in, [h > 0] dz, all that is
    needed of the batch are x'g, the sums of g by subtask, and the sum of dz; because
    relu(h) = [h > 0] h, the gradient of ``out`` is K·(x'g) + C·(sums by subtask) + b·(sums of g).
    """
    rows = rows_of(weights.rows, codes)
    own = membership(block.padded, weights.bits.dtype)
    mix = (own * weights.out).T  # block diagonal: each network sums its own units

    def body(sums: Any, cut: tuple[Batch, Array]) -> tuple[Any, None]:
        (by_bit, by_row, total), (tile, bits) = sums, cut
        row = rows.at[tile.subtask].get(mode="promise_in_bounds", indices_are_sorted=True)
        hidden = jnp.matmul(tile.bits, weights.bits, precision=PRECISION) + row + weights.bias
        # Without the barrier each of the three uses computes the sum and the lookup again.
        active = jax.lax.optimization_barrier(jnp.maximum(hidden, 0))
        z = jnp.matmul(active, mix, precision=PRECISION) + weights.shift
        dz = logit_gradient(z, tile.sign[:, None], tile.weight[:, None])
        spread = jnp.matmul(dz, own, precision=PRECISION) if len(block.widths) > 1 else dz
        g = jnp.where(active > 0, spread, 0)
        by_bit += jnp.matmul(bits, g, precision=PRECISION)
        if layout.way is Way.TILES:
            by_row = by_row.at[tile.subtask].add(
                g, mode="promise_in_bounds", indices_are_sorted=True
            )
        else:
            by_row += sorted_sums(g, tile.subtask, len(rows))
        return (by_bit, by_row, total + dz.sum(0)), None

    zero = tuple(map(jnp.zeros_like, (weights.bits, rows, weights.shift)))
    cut = jax.tree.map(lambda column: column.reshape(*layout.tiles, *column.shape[1:]), batch)
    # Transposed once for all blocks: a product that does so itself does it in each (5% of a step).
    by_bit, by_row, total = jax.lax.scan(body, zero, (cut, cut.bits.swapaxes(1, 2)))[0]
    by_member = by_row if codes is None else jnp.matmul(codes.T, by_row, precision=PRECISION)
    return from_sums(weights, rows, by_bit, by_row, by_member, total)


def from_sums(
    weights: Weights,
    rows: Float[Array, "C W"],
    by_bit: Float[Array, "N W"],
    by_row: Float[Array, "C W"],
    by_member: Float[Array, "S W"],
    total: Float[Array, " R"],
) -> Weights:
    """The gradients of all weights from sums over the batch.

    Args:
        weights: of the networks.
        rows: what each code adds to the hidden sums.
        by_bit, by_row: sums of g over the samples in which a bit is set, and of each code.
        by_member: ``by_row``, added up for each subtask over the codes that it is a member of.
        total: sums of the gradient at the logit difference.
    """
    by_unit = by_row.sum(0)
    return Weights(
        bits=by_bit * weights.out,
        rows=by_member * weights.out,
        bias=by_unit * weights.out,
        out=(weights.bits * by_bit).sum(0) + (rows * by_row).sum(0) + weights.bias * by_unit,
        shift=total,
    )


def logit_gradient(
    z: Float[Array, "*#shape"], sign: Float[Array, "*#shape"], weight: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    """The gradient of a weighted cross-entropy softplus(-sign · z) at z."""
    return -sign * weight * jax.nn.sigmoid(-sign * z)


def sorted_sums(
    values: Float[Array, "B W"], key: Int32[Array, " B"], count: int
) -> Float[Array, "count W"]:
    """Sums of the rows of each key, which ascend: without a scatter, which a GPU is slow at.

    A running sum that starts anew at each key, made as a tree: its order is fixed, and no sum is a
    difference of larger ones. The last row of each key holds its sum.
    """
    fresh = jnp.concatenate([jnp.ones(1, bool), key[1:] != key[:-1]])[:, None]

    def join(left: tuple[Array, Array], right: tuple[Array, Array]) -> tuple[Array, Array]:
        (sum_left, fresh_left), (sum_right, fresh_right) = left, right
        return jnp.where(fresh_right, sum_right, sum_left + sum_right), fresh_left | fresh_right

    running = jax.lax.associative_scan(join, (values, fresh))[0]
    last = jnp.searchsorted(key, jnp.arange(count), side="right") - 1
    there = (last >= 0) & (key[last] == jnp.arange(count))
    return jnp.where(there[:, None], running[last], 0)


def rows_of(rows: Float[Array, "S W"], codes: Float[Array, "C S"] | None) -> Float[Array, "C W"]:
    """What each code adds to the hidden sums, as ``MLP.rows_of``."""
    return rows if codes is None else jnp.matmul(codes, rows, precision=PRECISION)


def membership(widths: tuple[int, ...], dtype: Any) -> Float[Array, "R W"]:
    """1 where a unit belongs to a network."""
    nets = np.arange(len(widths))
    return jnp.asarray(nets[:, None] == np.repeat(nets, widths), dtype)


def evaluate_block(
    layout: Layout,
    weights: tuple[Weights, ...],
    words: UInt32[Array, "E words"],
    masks: UInt32[Array, "A C words"],
    codes: Float[Array, "A C S"] | None,
) -> tuple[Float[Array, "R C"], Float[Array, "R C"]]:
    """Loss (nats) and accuracy of every network and subtask or code on one block of bits."""
    each = []
    for block, own in zip(layout.blocks, weights, strict=True):
        bits, one = unpack(words, layout.program.n_bits, own.bits.dtype), block.distributions[0]
        theirs = None if codes is None else codes[one]
        each.append(_block_losses(block, own, bits, words, masks[one], theirs))
    loss, accuracy = zip(*each, strict=True)
    return jnp.concatenate(loss, axis=1).T, jnp.concatenate(accuracy, axis=1).T


def _block_losses(
    block: Block,
    weights: Weights,
    bits: Float[Array, "E N"],
    words: UInt32[Array, "E words"],
    masks: UInt32[Array, "C words"],
    codes: Float[Array, "C S"] | None,
) -> tuple[Float[Array, "C R"], Float[Array, "C R"]]:
    """Loss (nats) and accuracy of one block's networks."""
    mix = (membership(block.padded, bits.dtype) * weights.out).T
    shared = jnp.matmul(bits, weights.bits, precision=PRECISION) + weights.bias

    def one(arguments: tuple[Array, Array]) -> tuple[Array, Array]:
        row, mask = arguments
        odd = parity(words, mask)[:, None] == 1
        z = jnp.matmul(jnp.maximum(shared + row, 0), mix, precision=PRECISION) + weights.shift
        loss = jax.nn.softplus(jnp.where(odd, -z, z)).mean(0)
        return loss, ((z > 0) == odd).astype(bits.dtype).mean(0)

    at_once = max(1, solo.EVALUATION_BLOCK // shared.size)
    return jax.lax.map(one, (rows_of(weights.rows, codes), masks), batch_size=at_once)
