"""The packed trainer: networks that see the same bits, side by side in one wide hidden layer.

All runs of a pack share seed, n_bits, n_tasks, dataset and batch size, so they see the same bits
and the same uniform numbers. Widths, alpha, offset, k, learning rate and decay may differ; so may
codes, if all runs have equally many. The networks' hidden units are the columns of one matrix
(after ParallelMLPs, Farias et al., arXiv 2206.08369). Networks of different widths need no padding,
and each batch is drawn once for all.

For ReLU networks of one hidden layer, three facts make a step cheap:

* The control vector is one-hot, so its product with the kernel is a gather of rows. The batch is
  sorted by its uniform numbers, which sorts the subtasks of every distribution at once; gathers
  and sums by subtask then run through memory in order. With codes, a code's row is the sum of its
  members' rows, computed once a step.
* The loss depends only on the difference z of the two logits, so the gradients of the two output
  columns are exact opposites. It suffices to train the one column out = w1 - w0: Adam's direction
  counts twice for it, weight decay once. The sum w1 + w0 has no gradient and only decays.
* ReLU is positively homogeneous, relu(h) = [h > 0] h. The gradient of ``out`` therefore follows
  from sums over the batch that the first layer's gradients need anyway (``xla.from_sums``).

Gradients and losses have three implementations (``layout.way_of``): XLA in tiles that stay in a
CPU's cache, XLA on the whole batch (both ``xla.py``), and GPU kernels (``fused.py``).

``solo.py`` is the slow reference: a member of a pack equals its solo run up to rounding. Letters of
shapes as in ``layout.py``.
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
    """Sums w1 + w0 and b1 + b0 of the second layer, for all blocks: no gradient, only decay.

    Together with the differences in ``Weights`` they determine both columns.
    """

    out: Float[Array, " U"]
    shift: Float[Array, " R"]


class State(NamedTuple):
    """The state of a pack's training.

    Attributes:
        weights: of each block, as separate arrays: slicing blocks out of joined arrays in every
            step would copy them.
        adam: optax's state, in the structure of ``weights``.
        sums: of the second layer.
        alive: False once a network has diverged. Its weights are then zero, and its losses are
            reported as NaN.
        step: number of updates made.
    """

    weights: tuple[Weights, ...]
    adam: Any
    sums: Sums
    alive: Bool[Array, " R"]
    step: UInt32[Array, ""]


class PackData(NamedTuple):
    """The arrays that a pack's compiled program reads and does not change.

    Attributes:
        stream: of the first run; of it keys and train size are used, which all runs share.
        thresholds, frequencies, masks: of each distribution, as in ``task.Task``.
        codes: control vectors of each distribution; None for the plain task, where C = S.
        lr, weight_decay: of each run.
    """

    stream: RunData
    thresholds: UInt32[Array, "A C-1"]
    frequencies: Float[Array, "A C"]
    masks: UInt32[Array, "A C words"]
    codes: Float[Array, "A C S"] | None
    lr: Float[Array, " R"]
    weight_decay: Float[Array, " R"]


def draw_batch(layout: Layout, data: PackData, step: UInt32[Array, ""], dtype: Any) -> Batch:
    """The samples of step ``step``, which all runs share, padded to whole tiles and sorted."""
    program = layout.program
    position, weight = solo.batch_positions(program, data.stream, step)
    samples = draw(data.stream.samples, position, program.n_bits)
    padding = int(np.prod(layout.tiles)) - program.batch_size
    # A code is a monotonic function of the uniform number: one sort serves all distributions.
    uniform = jnp.pad(samples.uniform, (0, padding))
    order = jnp.argsort(uniform)
    uniform, words = uniform[order], jnp.pad(samples.words, ((0, padding), (0, 0)))[order]
    # Padding has weight 0 and adds nothing to losses and gradients, as do places past the end of
    # an epoch.
    weight = jnp.pad(weight.astype(dtype), (0, padding))[order] / weight.sum()
    subtask = jax.vmap(subtask_of, in_axes=(0, None))(data.thresholds, uniform)
    label = jax.vmap(lambda s, masks: parity(words, masks[s]))(subtask, data.masks)
    return Batch(unpack(words, program.n_bits, dtype), subtask, 2 * label.astype(dtype) - 1, weight)


def advance(layout: Layout, data: PackData, state: State, n_steps: UInt32[Array, ""]) -> State:
    """Make ``n_steps`` updates of every network. A pure function, for ``jax.jit``."""
    blocks = layout.blocks
    lr = tuple(_per_weight(data.lr[block.nets], block) for block in blocks)
    decay = tuple(_per_weight(data.weight_decay[block.nets], block) for block in blocks)
    # Adam's direction counts twice for the differences: w1 and w0 move equally far in opposite
    # directions.
    twice = (Weights(*jnp.array([1, 1, 1, 2, 2], data.lr.dtype)),) * len(blocks)
    fading = 1 - data.lr * data.weight_decay

    def step(state: State, batch: Any) -> State:
        gradient = gradients(state.weights, layout, batch, data.codes)
        direction, adam = optax.scale_by_adam().update(gradient, state.adam)
        # AdamW: the decay is decoupled from Adam's direction. Every network has its own rates.
        weights = jax.tree.map(
            lambda w, d, rate, decay, times: w - rate * (times * d + decay * w),
            state.weights,
            direction,
            lr,
            decay,
            twice,
        )
        alive = state.alive
        # A diverged network is set to zero, before its numbers overflow and harm its neighbours.
        if layout.may_diverge:
            alive &= jnp.concatenate(
                [_within_bounds(own, b) for own, b in zip(weights, blocks, strict=True)]
            )
            keep = tuple(_per_weight(alive[block.nets], block) for block in blocks)
            weights = jax.tree.map(lambda w, alive: jnp.where(alive, w, 0), weights, keep)
        sums = Sums(state.sums.out * fading[layout.owner], state.sums.shift * fading)
        return State(weights, adam, sums, alive, state.step + 1)

    def some_steps(state: State) -> State:
        """Draw ``layout.ahead`` batches and make an update with each, up to the last step."""
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
    # The last group of batches may be used in part only, so the number of iterations is not fixed.
    last = state.step + n_steps
    return jax.lax.while_loop(lambda state: state.step < last, some_steps, state)


def next_batch(layout: Layout, data: PackData, step: UInt32[Array, ""]) -> Any:
    """The batch of step ``step`` in the form that ``gradients`` takes: ``Batch``, or
    ``fused.Inputs`` for the GPU kernels."""
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


def _within_bounds(weights: Weights, block: Block) -> Bool[Array, " R"]:
    """Which networks of a block have every weight within ±``DIVERGED_ABOVE``, and none NaN."""
    small = jax.tree.map(lambda w: jnp.abs(w) <= DIVERGED_ABOVE, weights)  # False for NaN
    units = small.bits.all(0) & small.rows.all(0) & small.bias & small.out
    # own[r, u]: whether unit u belongs to network r. The units of others do not count.
    own = block.owner == np.arange(len(block.widths))[:, None]
    return small.shift & (units | ~own).all(1)


def _per_weight(values: Shaped[Array, " R"], block: Block) -> Weights:
    """One value for each network, as values that broadcast against the block's weights."""
    units = values[block.owner]
    return Weights(bits=units, rows=units, bias=units, out=units, shift=values)


def evaluate(layout: Layout, data: PackData, state: State, number: UInt32[Array, ""]) -> Metrics:
    """Evaluation ``number`` of all networks, as ``solo.evaluate``; arrays begin with the axis R."""
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


# Donating the state lets XLA write the new one into its buffers.
_advance = jax.jit(advance, static_argnums=0, donate_argnums=2)
_evaluate = jax.jit(evaluate, static_argnums=0)


def _side_by_side(parts: Sequence[np.ndarray], block: Block, axis: int) -> np.ndarray:
    """Join one array of each network along its axis of hidden units, each padded with zeros."""
    padded = []
    for part, width, size in zip(parts, block.widths, block.padded, strict=True):
        padding = [(0, 0)] * part.ndim
        padding[axis] = (0, size - width)
        padded.append(np.pad(part, padding))
    return np.concatenate(padded, axis)


def _codes_of(tasks: Sequence[Task], dtype: Any) -> Float[Array, "A C S"] | None:
    """Control vectors of the codes of each distribution; None if all are of the plain task."""
    if all(task.codes is None for task in tasks):
        return None
    each = [np.eye(task.config.n_tasks) if task.codes is None else task.codes for task in tasks]
    return jnp.asarray(np.stack(each), dtype)


class Packed:
    """Runs that share their bits, trained together. The interface is that of ``solo.Stack``.

    Args:
        runs: of networks that ``layout.packable`` allows, with the fields that the module's text
            names in common. Runs of one distribution should be neighbours: they can share a block.
        dtype: of the weights.
        way: implementation; ``layout.way_of`` chooses if None.
    """

    def __init__(self, runs: Sequence[RunConfig], dtype: Any = jnp.float32, way: Way | None = None):
        self.runs, self.dtype = tuple(runs), dtype
        self.layout = Layout.of(runs, way or way_of(runs[0], devices.kind(), dtype)[0])
        # A run of each distribution, in the order in which ``Layout.of`` numbers them.
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
        """The state before the first update: the initial weights of the solo runs, side by side."""
        networks = (nnx.state(make_network(run, self.dtype)) for run in self.runs)
        each = [solo.named_weights(network) for network in networks]
        n_tasks = self.layout.program.n_tasks
        # On the host, with NumPy: JAX would compile a small program for each shape.
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
        """Make ``n_steps`` updates of every run. ``state`` is donated: do not use it again."""
        return _advance(self.layout, self.data, state, jnp.uint32(n_steps))

    def evaluate(self, state: State, number: int) -> Metrics:
        """Evaluation ``number`` of every run; arrays begin with the axis R."""
        return _evaluate(self.layout, self.data, state, jnp.uint32(number))

    def weights(self, state: State, member: int) -> dict[str, np.ndarray]:
        """The weights of run number ``member`` by their names in ``MLP``, as NumPy arrays.

        Names are such as ``layers.0.kernel``. A run that diverged has NaN in its last layer.
        """
        # Find the block that the run is in, then the run's units in that block.
        blocks = self.layout.blocks
        place = next(i for i, block in enumerate(blocks) if member < block.nets.stop)
        block, w = blocks[place], state.weights[place]
        net = member - block.nets.start
        width = self.layout.widths[member]  # units beyond this are padding
        rows, bits, bias, out = (
            np.asarray(column)[..., block.owner == net][..., :width]
            for column in (w.rows, w.bits, w.bias, w.out)
        )
        out_sum = np.asarray(state.sums.out)[self.layout.owner == member][:width]
        shift, shift_sum = np.asarray(w.shift)[net], np.asarray(state.sums.shift)[member]
        if not state.alive[member]:
            out, shift = out * np.nan, shift * np.nan
        # Back from sums and differences: w0 = (sum - difference) / 2, w1 = (sum + difference) / 2.
        return {
            "layers.0.kernel": np.concatenate([rows, bits]),
            "layers.0.bias": bias,
            "layers.1.kernel": np.stack([out_sum - out, out_sum + out], axis=1) / 2,
            "layers.1.bias": np.stack([shift_sum - shift, shift_sum + shift]) / 2,
        }
