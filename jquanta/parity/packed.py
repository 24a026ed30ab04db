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

Gradients and losses are made in one of three ways (``layout.way_of``): by XLA in tiles that stay in
a CPU's cache, by XLA on the whole batch (``xla.py``), or by GPU kernels (``fused.py``).

``solo.py`` is the slow twin: a member of a pack equals its solo run to rounding.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Shaped, UInt32

from jquanta import streams
from jquanta.machine import devices
from jquanta.parity import fused, solo, xla
from jquanta.parity.config import RunConfig
from jquanta.parity.layout import (
    DIVERGED_ABOVE,
    Batch,
    Block,
    Layout,
    Way,
    Weights,
    distribution,
    way_of,
)
from jquanta.parity.network import make_network
from jquanta.parity.solo import Metrics, RunData
from jquanta.parity.task import Task, draw, make_task, parity, subtask_of, unpack


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


def advance(layout: Layout, data: PackData, state: State, n_steps: UInt32[Array, ""]) -> State:
    """``n_steps`` updates of every network."""
    blocks = layout.blocks
    lr = tuple(_spread(data.lr[block.nets], block) for block in blocks)
    decay = tuple(_spread(data.weight_decay[block.nets], block) for block in blocks)
    # Adam's term counts twice for the differences: w1 and w0 move by as much in opposite ways.
    twice = (Weights(*jnp.array([1, 1, 1, 2, 2], data.lr.dtype)),) * len(blocks)
    fading = 1 - data.lr * data.weight_decay

    def step(state: State, batch: Any) -> State:
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

    def some_steps(state: State) -> State:
        """As many updates as batches are drawn at once, or as are left."""
        numbers = state.step + jnp.arange(layout.ahead, dtype=jnp.uint32)
        batches = jax.vmap(lambda number: next_batch(layout, data, number))(numbers)
        count = jnp.minimum(last - state.step, layout.ahead)

        def one(i: Array, state: State) -> State:
            return step(state, jax.tree.map(lambda drawn: drawn[i], batches))

        return jax.lax.fori_loop(jnp.uint32(0), count, one, state)

    if layout.ahead == 1:
        return jax.lax.fori_loop(
            jnp.uint32(0),
            n_steps,
            lambda _, state: step(state, next_batch(layout, data, state.step)),
            state,
        )
    last = state.step + n_steps
    return jax.lax.while_loop(lambda state: state.step < last, some_steps, state)


def next_batch(layout: Layout, data: PackData, step: UInt32[Array, ""]) -> Any:
    """The batch of step ``step`` as ``gradients`` takes it."""
    batch = draw_batch(layout, data, step, data.lr.dtype)
    return fused.inputs_of(layout, batch) if layout.way is Way.KERNELS else batch


def gradients(
    weights: tuple[Weights, ...],
    layout: Layout,
    batch: Any,
    codes: Float[Array, "A C S"] | None = None,
) -> tuple[Weights, ...]:
    """Gradients of every network's mean cross-entropy (nats) over a batch of ``next_batch``."""
    way = fused if layout.way is Way.KERNELS else xla
    return way.gradients(weights, layout, batch, codes)


def _bounded(weights: Weights, block: Block) -> Bool[Array, " R"]:
    """Which networks of a block have no weight beyond ``DIVERGED_ABOVE``, nor a NaN."""
    small = jax.tree.map(lambda w: jnp.abs(w) <= DIVERGED_ABOVE, weights)
    units = small.bits.all(0) & small.rows.all(0) & small.bias & small.out
    own = block.owner == np.arange(len(block.widths))[:, None]
    return small.shift & (units | ~own).all(1)


def _spread(values: Shaped[Array, " R"], block: Block) -> Weights:
    """A number for each network of a block as numbers that broadcast against its weights."""
    units = values[block.owner]
    return Weights(bits=units, rows=units, bias=units, out=units, shift=values)


def evaluate(layout: Layout, data: PackData, state: State, number: UInt32[Array, ""]) -> Metrics:
    """Evaluation ``number`` of every network, networks first. As ``solo.evaluate``."""
    program = layout.program
    points = streams.at_index(jnp.arange(program.points_per_task, dtype=jnp.uint32))
    frequencies = data.frequencies[np.array(layout.distributions)]
    way = fused if layout.way is Way.KERNELS else xla

    def measured(key: streams.Key) -> tuple[Float[Array, "R C"], Float[Array, "R C"]]:
        words = draw(key, points, program.n_bits).words
        losses = way.evaluate_block(layout, state.weights, words, data.masks, data.codes)
        loss, accuracy = (jnp.where(state.alive[:, None], values, jnp.nan) for values in losses)
        return loss, accuracy

    loss, accuracy = measured(streams.fold(data.stream.evaluation, number))
    validation = jnp.full(len(layout.widths), jnp.nan, loss.dtype)
    if not program.online:
        validation = (frequencies * measured(data.stream.validation)[0]).sum(1)
    means = (frequencies * loss).sum(1), (frequencies * accuracy).sum(1)
    return Metrics(*means, loss, accuracy, validation)


_advance = jax.jit(advance, static_argnums=0, donate_argnums=2)
_evaluate = jax.jit(evaluate, static_argnums=0)


def _side_by_side(parts: Sequence[np.ndarray], block: Block, axis: int) -> np.ndarray:
    """The networks' arrays joined along their axis of hidden units, each padded with zeros."""
    padded = []
    for part, width, size in zip(parts, block.widths, block.padded, strict=True):
        padding = [(0, 0)] * part.ndim
        padding[axis] = (0, size - width)
        padded.append(np.pad(part, padding))
    return np.concatenate(padded, axis)


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

    def __init__(self, runs: Sequence[RunConfig], dtype: Any = jnp.float32, way: Way | None = None):
        self.runs, self.dtype = tuple(runs), dtype
        self.layout = Layout.of(runs, way or way_of(runs[0], devices.kind(), dtype)[0])
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
            kernel = _side_by_side([named["layers.0.kernel"] for named in own], block, axis=1)
            bias = _side_by_side([named["layers.0.bias"] for named in own], block, axis=0)
            second = _side_by_side([named["layers.1.kernel"] for named in own], block, axis=0)
            last = np.stack([named["layers.1.bias"] for named in own])
            weights.append(
                Weights(
                    bits=jnp.asarray(kernel[n_tasks:]),
                    rows=jnp.asarray(kernel[:n_tasks]),
                    bias=jnp.asarray(bias),
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
        width = self.layout.widths[member]  # what is beyond pads
        rows, bits, bias, out = (
            np.asarray(column)[..., block.owner == net][..., :width]
            for column in (w.rows, w.bits, w.bias, w.out)
        )
        out_sum = np.asarray(state.sums.out)[self.layout.owner == member][:width]
        shift, shift_sum = np.asarray(w.shift)[net], np.asarray(state.sums.shift)[member]
        if not state.alive[member]:
            out, shift = out * np.nan, shift * np.nan
        return {
            "layers.0.kernel": np.concatenate([rows, bits]),
            "layers.0.bias": bias,
            "layers.1.kernel": np.stack([out_sum - out, out_sum + out], axis=1) / 2,
            "layers.1.bias": np.stack([shift_sum - shift, shift_sum + shift]) / 2,
        }
