"""A pack's gradients and losses in plain JAX, compiled by XLA.

Used on CPUs, and on GPUs where the kernels of ``fused.py`` cannot be (``layout.way_of``). Letters
of shapes as in ``layout.py``.
"""

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
    """Gradients of every network's mean cross-entropy (nats) over the batch, block by block.

    Args:
        weights: of each block.
        layout: of the pack.
        batch: of ``packed.draw_batch``.
        codes: control vectors of each distribution; None for the plain task.
    """
    found = []
    for block, own in zip(layout.blocks, weights, strict=True):
        one = block.distributions[0]  # a block is of one distribution
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
    """Gradients of one block of networks, by hand-written backpropagation.

    Let h be a unit's pre-activation, z the network's logit difference, dz the gradient of the loss
    with respect to z, and g = [h > 0] dz: the gradient with respect to h is then g · out. Only
    three kinds of sums over the batch are needed: x'g (by task bit), the sums of g by code, and
    the sum of dz. They also give the gradient of ``out``, Σ relu(h) dz: since relu(h) = [h > 0] h,
    this is Σ h g, and h is linear in the first layer's weights (``from_sums``).
    """
    rows = rows_of(weights.rows, codes)
    own = membership(block.padded, weights.bits.dtype)
    mix = (own * weights.out).T  # [U, R] block diagonal: each network sums its own units

    def body(sums: Any, cut: tuple[Batch, Array]) -> tuple[Any, None]:
        (by_bit, by_code, total), (tile, bits) = sums, cut
        # Gather: the one-hot control vector's product with the kernel is one row of it.
        row = rows.at[tile.subtask].get(mode="promise_in_bounds", indices_are_sorted=True)
        hidden = jnp.matmul(tile.bits, weights.bits, precision=PRECISION) + row + weights.bias
        # XLA would fuse the sum and the gather into each of the three uses of ``active`` and so
        # compute them three times. The barrier makes it compute them once.
        active = jax.lax.optimization_barrier(jnp.maximum(hidden, 0))
        z = jnp.matmul(active, mix, precision=PRECISION) + weights.shift
        dz = logit_gradient(z, tile.sign[:, None], tile.weight[:, None])
        # [B, U] each network's dz, repeated for all of its units.
        spread = jnp.matmul(dz, own, precision=PRECISION) if len(block.widths) > 1 else dz
        g = jnp.where(active > 0, spread, 0)
        by_bit += jnp.matmul(bits, g, precision=PRECISION)
        # Sums of g by code. A scatter-add is fast on a CPU; on a GPU its atomic additions are slow
        # and their order varies, so that a segmented scan takes its place.
        if layout.way is Way.TILES:
            by_code = by_code.at[tile.subtask].add(
                g, mode="promise_in_bounds", indices_are_sorted=True
            )
        else:
            by_code += sorted_sums(g, tile.subtask, len(rows))
        return (by_bit, by_code, total + dz.sum(0)), None

    zero = tuple(map(jnp.zeros_like, (weights.bits, rows, weights.shift)))
    cut = jax.tree.map(lambda column: column.reshape(*layout.tiles, *column.shape[1:]), batch)
    # XLA makes this transpose once for all blocks (common subexpression elimination). A product
    # that transposes its input itself does so for every block, which takes 5% of a step.
    by_bit, by_code, total = jax.lax.scan(body, zero, (cut, cut.bits.swapaxes(1, 2)))[0]
    by_subtask = by_code if codes is None else jnp.matmul(codes.T, by_code, precision=PRECISION)
    return from_sums(weights, rows, by_bit, by_code, by_subtask, total)


def from_sums(
    weights: Weights,
    rows: Float[Array, "C U"],
    by_bit: Float[Array, "N U"],
    by_code: Float[Array, "C U"],
    by_subtask: Float[Array, "S U"],
    total: Float[Array, " R"],
) -> Weights:
    """The gradients of all weights from sums over the batch (``_block_gradients`` defines g).

    Args:
        weights: of the networks.
        rows: each code's contribution to the pre-activations.
        by_bit: sums of g over the samples in which each task bit is set.
        by_code: sums of g over the samples of each code.
        by_subtask: for each atomic subtask, the sum of ``by_code`` over the codes of which it is a
            member.
        total: sum over all samples of the gradient with respect to the logit difference.
    """
    by_unit = by_code.sum(0)
    # ``out``: Σ h g over the batch, with h = Σ bits' weights + the code's row + bias.
    return Weights(
        bits=by_bit * weights.out,
        rows=by_subtask * weights.out,
        bias=by_unit * weights.out,
        out=(weights.bits * by_bit).sum(0) + (rows * by_code).sum(0) + weights.bias * by_unit,
        shift=total,
    )


def logit_gradient(
    z: Float[Array, "*#shape"], sign: Float[Array, "*#shape"], weight: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    """Gradient with respect to z of the cross-entropy (nats) weight · softplus(-sign · z)."""
    return -sign * weight * jax.nn.sigmoid(-sign * z)


def sorted_sums(
    values: Float[Array, "B U"], key: Int32[Array, " B"], count: int
) -> Float[Array, "count U"]:
    """Sum of the rows of each key, by a segmented associative scan. Zero for keys not present.

    Args:
        values: rows to add up.
        key: key of each row, ascending, from 0.
        count: number of keys.

    The scan is a running sum that starts again at each new key; the last row of a key then holds
    its sum. A GPU does this faster than a scatter-add, always adds in the same order, and unlike
    differences of an ordinary running sum it loses no digits to cancellation.
    """
    fresh = jnp.concatenate([jnp.ones(1, bool), key[1:] != key[:-1]])[:, None]

    # The operator of a segmented sum. It is associative: a right part that contains the start of a
    # segment ignores what lies to its left.
    def join(left: tuple[Array, Array], right: tuple[Array, Array]) -> tuple[Array, Array]:
        (sum_left, fresh_left), (sum_right, fresh_right) = left, right
        return jnp.where(fresh_right, sum_right, sum_left + sum_right), fresh_left | fresh_right

    running = jax.lax.associative_scan(join, (values, fresh))[0]
    # The last row of each key, if it has any.
    last = jnp.searchsorted(key, jnp.arange(count), side="right") - 1
    there = (last >= 0) & (key[last] == jnp.arange(count))
    return jnp.where(there[:, None], running[last], 0)


def rows_of(rows: Float[Array, "S U"], codes: Float[Array, "C S"] | None) -> Float[Array, "C U"]:
    """Each code's contribution to the pre-activations, as ``MLP.rows_of``."""
    return rows if codes is None else jnp.matmul(codes, rows, precision=PRECISION)


def membership(widths: tuple[int, ...], dtype: Any) -> Float[Array, "R U"]:
    """1 where a unit belongs to a network, else 0, for networks of the given widths in a row."""
    nets = np.arange(len(widths))
    return jnp.asarray(nets[:, None] == np.repeat(nets, widths), dtype)


def evaluate_block(
    layout: Layout,
    weights: tuple[Weights, ...],
    words: UInt32[Array, "test_points words"],
    masks: UInt32[Array, "A C words"],
    codes: Float[Array, "A C S"] | None,
) -> tuple[Float[Array, "R C"], Float[Array, "R C"]]:
    """Mean loss (nats) and accuracy of every network on every code, on shared test points.

    Args:
        layout: of the pack.
        weights: of each block of networks.
        words: task bits of the test points, packed; all codes are tested on the same bits.
        masks: packed subsets of the codes of each distribution.
        codes: control vectors of each distribution; None for the plain task.
    """
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
    bits: Float[Array, "test_points N"],
    words: UInt32[Array, "test_points words"],
    masks: UInt32[Array, "C words"],
    codes: Float[Array, "C S"] | None,
) -> tuple[Float[Array, "C R"], Float[Array, "C R"]]:
    """Mean loss (nats) and accuracy of one block's networks on every code."""
    mix = (membership(block.padded, bits.dtype) * weights.out).T  # [U, R] block diagonal
    shared = jnp.matmul(bits, weights.bits, precision=PRECISION) + weights.bias

    def one(arguments: tuple[Array, Array]) -> tuple[Array, Array]:
        row, mask = arguments
        odd = parity(words, mask)[:, None] == 1
        z = jnp.matmul(jnp.maximum(shared + row, 0), mix, precision=PRECISION) + weights.shift
        loss = jax.nn.softplus(jnp.where(odd, -z, z)).mean(0)
        return loss, ((z > 0) == odd).astype(bits.dtype).mean(0)

    # As many codes at once as the limit on activations allows; the rest in a loop.
    at_once = max(1, solo.EVALUATION_BLOCK // shared.size)
    return jax.lax.map(one, (rows_of(weights.rows, codes), masks), batch_size=at_once)
