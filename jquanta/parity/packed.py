"""The packed trainer: networks that see the same bits, side by side in one wide layer.

All runs of a pack share seed, n_bits, n_tasks, dataset and batch size, so they see the same bits
and the same uniform numbers. Widths, alpha, offset, k, learning rate and decay may differ, and
codes where they are equally many. Their hidden units are the columns of one matrix (after
ParallelMLPs, Farias et al., arXiv 2206.08369): ragged widths without padding, the batch made once.

What makes a step cheap, for ReLU networks of one hidden layer:

* The control vector is one-hot, so its product is a lookup of rows. The batch is sorted by its
  uniform numbers, which sorts the subtasks of every alpha at once: rows are read and their
  gradients added in order. A code's row is the sum of its members', made once a step.
* Only the difference z of the two logits matters. Gradients to the two output columns are exact
  opposites, so one column out = w1 - w0 follows the same path when Adam's term is doubled and the
  decay is not; w1 + w0 only decays.
* ReLU is positively homogeneous: the gradient of ``out`` follows from the sums over the batch that
  the first layer's gradients need anyway, without another pass over the batch.
* On a CPU the batch is worked through in tiles and the units in blocks that stay in cache.

``solo.py`` is the slow twin: a member of a pack equals its solo run to rounding.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int32, Shaped, UInt32

from jquanta import streams
from jquanta.parity import solo
from jquanta.parity.config import RunConfig
from jquanta.parity.layout import DIVERGED_ABOVE, Block, Layout, distribution
from jquanta.parity.network import PRECISION, make_network
from jquanta.parity.solo import Metrics, RunData
from jquanta.parity.task import Task, draw, make_task, parity, subtask_of, unpack


class Weights(NamedTuple):
    """The networks of one block, side by side: W hidden units in all, R networks."""

    bits: Float[Array, "N W"]
    rows: Float[Array, "S W"]
    bias: Float[Array, " W"]
    out: Float[Array, " W"]  # w1 - w0 of the second layer
    shift: Float[Array, " R"]  # b1 - b0 of the second layer


class Sums(NamedTuple):
    """What the differences leave out: w1 + w0 and b1 + b0 see no gradient, only decay."""

    out: Float[Array, " U"]
    shift: Float[Array, " R"]


class State(NamedTuple):
    """What training changes: U hidden units in all, R networks."""

    weights: tuple[Weights, ...]  # of each block, apart: cutting and joining would cost passes
    adam: Any
    sums: Sums
    alive: Bool[
        Array, " R"
    ]  # false once a network has diverged: it rests at zero, and counts as NaN
    step: UInt32[Array, ""]


class PackData(NamedTuple):
    """What a pack's program reads. A distributions: one for each (alpha, offset, k, …)."""

    stream: RunData  # of the first run: keys and train_size, which all share
    thresholds: UInt32[Array, "A C-1"]
    frequencies: Float[Array, "A C"]
    masks: UInt32[Array, "A C words"]
    codes: Float[Array, "A C S"] | None  # None for the plain task, whose C is S
    lr: Float[Array, " R"]
    weight_decay: Float[Array, " R"]


class Batch(NamedTuple):
    """One step's samples in ascending order of their uniform numbers."""

    bits: Float[Array, "B N"]
    subtask: Int32[Array, "A B"]  # ascending
    sign: Float[Array, "A B"]  # +1 for odd parity, -1 for even
    weight: Float[Array, " B"]  # 1 over the true batch size, 0 for padding


def draw_batch(layout: Layout, data: PackData, step: UInt32[Array, ""], dtype: Any) -> Batch:
    """The samples of step ``step``, which all runs share, padded to whole tiles."""
    program = layout.program
    position, weight = solo.batch_positions(program, data.stream, step)
    samples = draw(data.stream.samples, position, program.n_bits)
    padding = int(np.prod(layout.tiles)) - program.batch_size
    uniform = jnp.pad(samples.uniform, (0, padding))
    order = jnp.argsort(uniform)
    uniform, words = uniform[order], jnp.pad(samples.words, ((0, padding), (0, 0)))[order]
    weight = jnp.pad(weight.astype(dtype), (0, padding))[order] / weight.sum()
    subtask = jax.vmap(subtask_of, in_axes=(0, None))(data.thresholds, uniform)
    label = jax.vmap(lambda s, masks: parity(words, masks[s]))(subtask, data.masks)
    return Batch(unpack(words, program.n_bits, dtype), subtask, 2 * label.astype(dtype) - 1, weight)


def gradients(
    weights: tuple[Weights, ...],
    layout: Layout,
    batch: Batch,
    codes: Float[Array, "A C S"] | None = None,
) -> tuple[Weights, ...]:
    """Gradients of every network's mean cross-entropy (nats) over the batch, block by block."""
    return tuple(
        _block_gradients(
            block,
            layout.tiles,
            own,
            batch._replace(
                subtask=batch.subtask[block.distribution], sign=batch.sign[block.distribution]
            ),
            None if codes is None else codes[block.distribution],
        )
        for block, own in zip(layout.blocks, weights, strict=True)
    )


def _block_gradients(
    block: Block,
    tiles: tuple[int, int],
    weights: Weights,
    batch: Batch,
    codes: Float[Array, "C S"] | None,
) -> Weights:
    """Gradients of one block of networks.

    With g the gradient at the hidden sums before ``out`` is multiplied in, [h > 0] dz, all that is
    needed of the batch are x'g, the sums of g by subtask, and the sum of dz; because
    relu(h) = [h > 0] h, the gradient of ``out`` is K·(x'g) + C·(sums by subtask) + b·(sums of g).
    """
    rows = _rows_of(weights, codes)
    own = _membership(block.widths, weights.bits.dtype)
    mix = (own * weights.out).T  # block diagonal: each network sums its own units

    def body(sums: Any, cut: tuple[Batch, Array]) -> tuple[Any, None]:
        (by_bit, by_row, total), (tile, bits) = sums, cut
        row = rows.at[tile.subtask].get(mode="promise_in_bounds", indices_are_sorted=True)
        hidden = jnp.matmul(tile.bits, weights.bits, precision=PRECISION) + row + weights.bias
        # Without the barrier each of the three uses computes the sum and the lookup again.
        active = jax.lax.optimization_barrier(jnp.maximum(hidden, 0))
        z = jnp.matmul(active, mix, precision=PRECISION) + weights.shift
        sign, weight = tile.sign[:, None], tile.weight[:, None]
        dz = -sign * weight * jax.nn.sigmoid(-sign * z)
        spread = jnp.matmul(dz, own, precision=PRECISION) if len(block.widths) > 1 else dz
        g = jnp.where(active > 0, spread, 0)
        by_bit += jnp.matmul(bits, g, precision=PRECISION)
        by_row = by_row.at[tile.subtask].add(g, mode="promise_in_bounds", indices_are_sorted=True)
        return (by_bit, by_row, total + dz.sum(0)), None

    zero = tuple(map(jnp.zeros_like, (weights.bits, rows, weights.shift)))
    cut = jax.tree.map(lambda column: column.reshape(*tiles, *column.shape[1:]), batch)
    # Transposed once for all blocks: a product that does so itself does it in each (5% of a step).
    by_bit, by_row, total = jax.lax.scan(body, zero, (cut, cut.bits.swapaxes(1, 2)))[0]
    by_unit = by_row.sum(0)
    by_member = by_row if codes is None else jnp.matmul(codes.T, by_row, precision=PRECISION)
    return Weights(
        bits=by_bit * weights.out,
        rows=by_member * weights.out,
        bias=by_unit * weights.out,
        out=(weights.bits * by_bit).sum(0) + (rows * by_row).sum(0) + weights.bias * by_unit,
        shift=total,
    )


def _rows_of(weights: Weights, codes: Float[Array, "C S"] | None) -> Float[Array, "C W"]:
    """What each code adds to the hidden sums, as ``MLP.rows_of``."""
    return weights.rows if codes is None else jnp.matmul(codes, weights.rows, precision=PRECISION)


def _membership(widths: tuple[int, ...], dtype: Any) -> Float[Array, "R W"]:
    """1 where a unit belongs to a network."""
    nets = np.arange(len(widths))
    return jnp.asarray(nets[:, None] == np.repeat(nets, widths), dtype)


def advance(layout: Layout, data: PackData, state: State, n_steps: UInt32[Array, ""]) -> State:
    """``n_steps`` updates of every network."""
    blocks = layout.blocks
    lr = tuple(_spread(data.lr[block.nets], block) for block in blocks)
    decay = tuple(_spread(data.weight_decay[block.nets], block) for block in blocks)
    # Adam's term counts twice for the differences: w1 and w0 move by as much in opposite ways.
    twice = (Weights(*jnp.array([1, 1, 1, 2, 2], data.lr.dtype)),) * len(blocks)
    fading = 1 - data.lr * data.weight_decay

    def step(_: Array, state: State) -> State:
        batch = draw_batch(layout, data, state.step, data.lr.dtype)
        gradient = gradients(state.weights, layout, batch, data.codes)
        direction, adam = optax.scale_by_adam().update(gradient, state.adam)
        weights = jax.tree.map(
            lambda w, d, rate, decay, times: w - rate * (times * d + decay * w),
            state.weights,
            direction,
            lr,
            decay,
            twice,
        )
        alive = state.alive
        if layout.may_diverge:
            alive &= jnp.concatenate(
                [_bounded(own, b) for own, b in zip(weights, blocks, strict=True)]
            )
            keep = tuple(_spread(alive[block.nets], block) for block in blocks)
            weights = jax.tree.map(lambda w, alive: jnp.where(alive, w, 0), weights, keep)
        sums = Sums(state.sums.out * fading[layout.owner], state.sums.shift * fading)
        return State(weights, adam, sums, alive, state.step + 1)

    return jax.lax.fori_loop(jnp.uint32(0), n_steps, step, state)


def _bounded(weights: Weights, block: Block) -> Bool[Array, " R"]:
    """Which networks of a block have no weight beyond ``DIVERGED_ABOVE``, nor a NaN."""
    small = jax.tree.map(lambda w: jnp.abs(w) <= DIVERGED_ABOVE, weights)
    units = small.bits.all(0) & small.rows.all(0) & small.bias & small.out
    bad = jnp.zeros(len(block.widths), bool).at[block.owner].max(~units, indices_are_sorted=True)
    return small.shift & ~bad


def _spread(values: Shaped[Array, " R"], block: Block) -> Weights:
    """A number for each network of a block as numbers that broadcast against its weights."""
    units = values[block.owner]
    return Weights(bits=units, rows=units, bias=units, out=units, shift=values)


def evaluate(layout: Layout, data: PackData, state: State, number: UInt32[Array, ""]) -> Metrics:
    """Evaluation ``number`` of every network, networks first. As ``solo.evaluate``."""
    program = layout.program
    points = streams.at_index(jnp.arange(program.points_per_task, dtype=jnp.uint32))
    frequencies = data.frequencies[np.array(layout.distributions)]

    def measured(key: streams.Key) -> tuple[Float[Array, "R C"], Float[Array, "R C"]]:
        words = draw(key, points, program.n_bits).words
        losses = evaluate_block(layout, data, state.weights, words)
        loss, accuracy = (jnp.where(state.alive[:, None], values, jnp.nan) for values in losses)
        return loss, accuracy

    loss, accuracy = measured(streams.fold(data.stream.evaluation, number))
    validation = jnp.full(len(layout.widths), jnp.nan, loss.dtype)
    if not program.online:
        validation = (frequencies * measured(data.stream.validation)[0]).sum(1)
    means = (frequencies * loss).sum(1), (frequencies * accuracy).sum(1)
    return Metrics(*means, loss, accuracy, validation)


def evaluate_block(
    layout: Layout,
    data: PackData,
    weights: tuple[Weights, ...],
    words: UInt32[Array, "E words"],
) -> tuple[Float[Array, "R C"], Float[Array, "R C"]]:
    """Loss (nats) and accuracy of every network and subtask or code on one block of bits."""
    bits = unpack(words, layout.program.n_bits, data.lr.dtype)
    each = [
        _block_losses(
            block,
            own,
            bits,
            words,
            data.masks[block.distribution],
            None if data.codes is None else data.codes[block.distribution],
        )
        for block, own in zip(layout.blocks, weights, strict=True)
    ]
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
    mix = (_membership(block.widths, bits.dtype) * weights.out).T
    shared = jnp.matmul(bits, weights.bits, precision=PRECISION) + weights.bias

    def one(arguments: tuple[Array, Array]) -> tuple[Array, Array]:
        row, mask = arguments
        odd = parity(words, mask)[:, None] == 1
        z = jnp.matmul(jnp.maximum(shared + row, 0), mix, precision=PRECISION) + weights.shift
        loss = jax.nn.softplus(jnp.where(odd, -z, z)).mean(0)
        return loss, ((z > 0) == odd).astype(bits.dtype).mean(0)

    at_once = max(1, solo.EVALUATION_BLOCK // shared.size)
    return jax.lax.map(one, (_rows_of(weights, codes), masks), batch_size=at_once)


_advance = jax.jit(advance, static_argnums=0, donate_argnums=2)
_evaluate = jax.jit(evaluate, static_argnums=0)


def _codes_of(tasks: Sequence[Task], dtype: Any) -> Float[Array, "A C S"] | None:
    """The codes of each distribution, or None: all are the plain task and need no product."""
    if all(task.codes is None for task in tasks):
        return None
    each = [np.eye(task.config.n_tasks) if task.codes is None else task.codes for task in tasks]
    return jnp.asarray(np.stack(each), dtype)


class Packed:
    """Runs that share bits, trained together. The same calls as ``solo.Stack``.

    Runs of one distribution should be neighbours: the lookup of rows is theirs alone.
    """

    def __init__(self, runs: Sequence[RunConfig], dtype: Any = jnp.float32):
        self.runs, self.dtype = tuple(runs), dtype
        self.layout = Layout.of(runs)
        found = {distribution(run): run for run in runs}
        tasks = [make_task(run.task, run.train.seed) for run in found.values()]
        self.data = PackData(
            solo.run_data(runs[0], dtype),
            jnp.asarray(np.stack([task.thresholds for task in tasks])),
            jnp.asarray(np.stack([task.frequencies for task in tasks]), dtype),
            jnp.asarray(np.stack([task.masks for task in tasks])),
            _codes_of(tasks, dtype),
            jnp.asarray([run.train.lr for run in runs], dtype),
            jnp.asarray([run.train.weight_decay for run in runs], dtype),
        )

    def start(self) -> State:
        """The state before the first update: the solo networks' weights, side by side."""
        networks = (nnx.state(make_network(run, self.dtype)) for run in self.runs)
        each = [solo.named_weights(network) for network in networks]
        n_tasks = self.layout.program.n_tasks
        # On the host: on the device each shape would be a small program to compile.
        weights, sums = [], []
        for block in self.layout.blocks:
            own = each[block.nets]
            kernel = np.concatenate([named["layers.0.kernel"] for named in own], axis=1)
            second = np.concatenate([named["layers.1.kernel"] for named in own])
            last = np.stack([named["layers.1.bias"] for named in own])
            weights.append(
                Weights(
                    bits=jnp.asarray(kernel[n_tasks:]),
                    rows=jnp.asarray(kernel[:n_tasks]),
                    bias=jnp.asarray(np.concatenate([named["layers.0.bias"] for named in own])),
                    out=jnp.asarray(second[:, 1] - second[:, 0]),
                    shift=jnp.asarray(last[:, 1] - last[:, 0]),
                )
            )
            sums.append((second.sum(1), last.sum(1)))
        joined = Sums(*(jnp.asarray(np.concatenate(parts)) for parts in zip(*sums, strict=True)))
        adam = jax.jit(optax.scale_by_adam().init)(tuple(weights))
        alive = jnp.ones(len(self.runs), bool)
        return State(tuple(weights), adam, joined, alive, jnp.uint32(0))

    def advance(self, state: State, n_steps: int) -> State:
        """``n_steps`` updates of every run. The given state's memory is used again."""
        return _advance(self.layout, self.data, state, jnp.uint32(n_steps))

    def evaluate(self, state: State, number: int) -> Metrics:
        """Evaluation ``number`` of every run, runs first."""
        return _evaluate(self.layout, self.data, state, jnp.uint32(number))

    def weights(self, state: State, member: int) -> dict[str, np.ndarray]:
        """The weights of one run by their names in the network, such as ``layers.0.kernel``."""
        blocks = self.layout.blocks
        place = next(i for i, block in enumerate(blocks) if member < block.nets.stop)
        block, w = blocks[place], state.weights[place]
        net = member - block.nets.start
        rows, bits, bias, out = (
            np.asarray(column)[..., block.owner == net]
            for column in (w.rows, w.bits, w.bias, w.out)
        )
        out_sum = np.asarray(state.sums.out)[self.layout.owner == member]
        shift, shift_sum = np.asarray(w.shift)[net], np.asarray(state.sums.shift)[member]
        if not state.alive[member]:
            out, shift = out * np.nan, shift * np.nan
        return {
            "layers.0.kernel": np.concatenate([rows, bits]),
            "layers.0.bias": bias,
            "layers.1.kernel": np.stack([out_sum - out, out_sum + out], axis=1) / 2,
            "layers.1.bias": np.stack([shift_sum - shift, shift_sum + shift]) / 2,
        }
