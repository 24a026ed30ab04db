"""The solo trainer: one network in plain JAX, the reference against which fast paths are tested.

A run is a pure function of its ``Program`` (static: everything that fixes shapes) and its
``RunData`` (arrays), so ``jax.vmap`` over stacked ``RunData`` trains runs of one shape together,
with different seeds, exponents, learning rates, decays and datasets.

Letters of shapes: B samples of a batch, S atomic subtasks, C codes (C = S for the plain task),
N task bits, W hidden units; ``words`` 32-bit words that hold N bits, ``test_points`` test points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int32, UInt32

from jquanta import streams
from jquanta.parity.config import RunConfig
from jquanta.parity.network import MLP, PRECISION, make_network
from jquanta.parity.task import draw, make_task, parity, subtask_of, unpack
from jquanta.streams import Key, Stream

Numbers = Array | np.ndarray  # on the device or on the host

# Most numbers in the activations that an evaluation holds at once: 16 MiB of float32.
EVALUATION_BLOCK = 2**22


@dataclass(frozen=True)
class Program:
    """The static part of a run: all that its compiled program depends on besides arrays.

    Runs with equal programs can be stacked.
    """

    n_tasks: int
    n_bits: int
    width: int
    depth: int
    activation: str
    batch_size: int
    points_per_task: int
    online: bool
    n_codes: int | None  # None for the plain task, which needs no product with codes

    @classmethod
    def of(cls, run: RunConfig) -> "Program":
        """The program of a run; its batch size is at most the size of its dataset."""
        return cls(
            run.task.n_tasks,
            run.task.n_bits,
            run.network.width,
            run.network.depth,
            run.network.activation,
            run.batch_size,
            run.eval.points_per_task,
            run.online,
            run.task.n_codes if run.task.code_list else None,
        )


class RunData(NamedTuple):
    """The arrays that a run's compiled program reads and does not change.

    Arrays only, so that runs can be stacked along a leading axis.

    Attributes:
        samples, order, evaluation, validation: keys of the random streams (``jquanta.streams``).
        thresholds, frequencies, masks: of the task, as in ``task.Task``.
        codes: control vectors; None for the plain task, where C = S.
        train_size: samples of the dataset; 0 online.
        lr, weight_decay: of AdamW.
    """

    samples: Key
    order: Key
    evaluation: Key
    validation: Key
    thresholds: UInt32[Array, " C_minus_1"]
    frequencies: Float[Array, " C"]
    masks: UInt32[Array, "C words"]
    codes: Float[Array, "C S"] | None
    train_size: UInt32[Array, ""]
    lr: Float[Array, ""]
    weight_decay: Float[Array, ""]


class State(NamedTuple):
    """The state of a training.

    Attributes:
        weights: NNX state of the network.
        adam: optax's state, in the structure of ``weights``.
        step: number of updates made.
    """

    weights: Any
    adam: Any
    step: UInt32[Array, ""]


class Batch(NamedTuple):
    """One step's samples.

    Attributes:
        words: task bits, packed.
        subtask: each sample's subtask; in the compositional task, its code.
        label: parity, 0 or 1.
        weight: 1, or 0 for places past the end of an epoch's short last batch.
    """

    words: UInt32[Array, "B words"]
    subtask: Int32[Array, " B"]
    label: Int32[Array, " B"]
    weight: Float[Array, " B"]


class Metrics(NamedTuple):
    """The results of one evaluation. Losses are in nats.

    Attributes:
        loss, accuracy: means over codes, weighted by their exact frequencies.
        subtask_loss, subtask_accuracy: of each code (for the plain task, each subtask).
        validation_loss: as ``loss``, on the validation points; NaN online.
    """

    loss: Float[Numbers, ""]
    accuracy: Float[Numbers, ""]
    subtask_loss: Float[Numbers, " C"]
    subtask_accuracy: Float[Numbers, " C"]
    validation_loss: Float[Numbers, ""]


def run_data(run: RunConfig, dtype: Any = jnp.float32) -> RunData:
    """Make the arrays that a run's program reads, floats in the given dtype."""
    task, train, n_bits = make_task(run.task, run.train.seed), run.train, run.task.n_bits
    size = 0 if run.online else int(train.train_size)
    return RunData(
        samples=streams.key(Stream.SAMPLES, train.seed, n_bits),
        order=streams.key(Stream.ORDER, train.seed, size, run.batch_size),
        evaluation=streams.key(Stream.EVALUATION, train.seed, n_bits),
        validation=streams.key(Stream.VALIDATION, train.seed, n_bits),
        thresholds=jnp.asarray(task.thresholds),
        frequencies=jnp.asarray(task.frequencies, dtype),
        masks=jnp.asarray(task.masks),
        codes=None if task.codes is None else jnp.asarray(task.codes, dtype),
        train_size=jnp.uint32(size),
        lr=jnp.asarray(train.lr, dtype),
        weight_decay=jnp.asarray(train.weight_decay, dtype),
    )


def network_of(program: Program) -> Any:
    """The NNX graph definition of the program's network, without weights."""
    # ``eval_shape`` traces the constructor without computing any weights.
    shape = (program.n_tasks, program.n_bits, program.width, program.depth, program.activation)
    return nnx.split(nnx.eval_shape(lambda: MLP(*shape, key=None)))[0]


def init(run: RunConfig, dtype: Any = jnp.float32) -> State:
    """The state before the first update: the run's initial weights, and Adam's zeros."""
    weights = nnx.state(make_network(run, dtype))
    return State(weights, optax.scale_by_adam().init(weights), jnp.uint32(0))


def batch_positions(
    program: Program, data: RunData, step: UInt32[Array, ""]
) -> tuple[streams.Position, Float[Array, " B"]]:
    """The positions in the sample stream that step ``step`` reads.

    Online, step after step reads on. On finite data, sample i of the dataset is at position i, and
    every epoch visits all of them in a new random order.

    Returns:
        The positions, and 1 for those that count, 0 past the end of an epoch's short last batch.
    """
    size = program.batch_size
    if program.online:
        return streams.positions(step, size, size), jnp.ones(size)
    # The epoch's order is a keyed permutation that is evaluated where needed and never stored.
    batches = (data.train_size + size - 1) // size
    epoch, batch = step // batches, step % batches
    place = batch * size + jnp.arange(size, dtype=jnp.uint32)
    inside = place < data.train_size  # places outside read sample 0 with weight 0
    key = streams.fold(data.order, epoch)
    index = streams.permute(key, jnp.where(inside, place, 0), data.train_size)
    return streams.at_index(index), inside.astype(jnp.float32)


def draw_batch(program: Program, data: RunData, step: UInt32[Array, ""]) -> Batch:
    """The samples of step ``step``."""
    position, weight = batch_positions(program, data, step)
    samples = draw(data.samples, position, program.n_bits)
    subtask = subtask_of(data.thresholds, samples.uniform)
    label = parity(samples.words, data.masks[subtask])
    return Batch(samples.words, subtask, label, weight)


def cross_entropy(logits: Float[Array, "*B 2"], label: Int32[Array, "*B"]) -> Float[Array, "*B"]:
    """Softmax cross-entropy in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, label)


def training_loss(
    weights: Any,
    graph: Any,
    batch: Batch,
    n_bits: int,
    codes: Float[Array, "C S"] | None = None,
) -> Float[Array, ""]:
    """Mean cross-entropy (nats) over the samples of a batch, weighted by ``batch.weight``."""
    network = nnx.merge(graph, weights)
    dtype = network.layers[0].kernel.dtype
    logits = network.at(batch.subtask, unpack(batch.words, n_bits, dtype), codes)
    weight = batch.weight.astype(dtype)
    return (cross_entropy(logits, batch.label) * weight).sum() / weight.sum()


def update(
    state: State,
    graph: Any,
    batch: Batch,
    n_bits: int,
    lr: Float[Array, ""],
    weight_decay: Float[Array, ""],
    codes: Float[Array, "C S"] | None = None,
) -> State:
    """One step of AdamW (of Adam where the decay is 0). As in PyTorch, biases decay, too."""
    gradient = jax.grad(training_loss)(state.weights, graph, batch, n_bits, codes)
    direction, adam = optax.scale_by_adam().update(gradient, state.adam)
    # The decay is decoupled from Adam's direction. Rates are arrays, so that vmap can vary them.
    weights = jax.tree.map(lambda w, d: w - lr * (d + weight_decay * w), state.weights, direction)
    return State(weights, adam, state.step + 1)


def evaluate_block(
    network: MLP,
    words: UInt32[Array, "test_points words"],
    masks: UInt32[Array, "C words"],
    n_bits: int,
    codes: Float[Array, "C S"] | None = None,
) -> tuple[Float[Array, " C"], Float[Array, " C"]]:
    """Mean loss (nats) and accuracy of every code on the same block of test points.

    Since all codes are tested on the same task bits, the bits' contribution to the first layer is
    one matrix product for all of them. It also correlates the noise of their losses.
    """
    rows = network.rows_of(codes)
    shared = network.bits_part(unpack(words, n_bits, rows.dtype))

    def one(row: Float[Array, " W"], mask: UInt32[Array, " words"]) -> tuple[Array, Array]:
        logits = network.head(row + shared)
        label = parity(words, mask)
        right = (logits.argmax(-1) == label).astype(logits.dtype)
        return cross_entropy(logits, label).mean(), right.mean()

    # As many codes at once as the limit on activations allows; the rest in a loop.
    at_once = max(1, EVALUATION_BLOCK // shared.size)
    return jax.lax.map(lambda args: one(*args), (rows, masks), batch_size=at_once)


def evaluate(
    program: Program, graph: Any, data: RunData, weights: Any, number: UInt32[Array, ""]
) -> Metrics:
    """Evaluation number ``number``: the losses of all codes on a fresh block of test points.

    Runs on finite data are also evaluated on a fixed block of validation points, so that a step
    for early stopping can be chosen without looking at the test points.
    """
    network = nnx.merge(graph, weights)
    mean = partial(jnp.dot, data.frequencies, precision=PRECISION)

    def measured(
        words: UInt32[Array, "test_points words"],
    ) -> tuple[Float[Array, " C"], Float[Array, " C"]]:
        return evaluate_block(network, words, data.masks, program.n_bits, data.codes)

    points = streams.at_index(jnp.arange(program.points_per_task, dtype=jnp.uint32))
    block = draw(streams.fold(data.evaluation, number), points, program.n_bits)
    loss, accuracy = measured(block.words)
    # ``online`` is static: an online run's program has no validation in it.
    if program.online:
        validation = jnp.full((), jnp.nan, loss.dtype)
    else:
        held_out = draw(data.validation, points, program.n_bits)
        validation = mean(measured(held_out.words)[0])
    return Metrics(mean(loss), mean(accuracy), loss, accuracy, validation)


def advance(program: Program, data: RunData, state: State, n_steps: UInt32[Array, ""]) -> State:
    """Make ``n_steps`` updates. A pure function, for ``jax.jit`` and ``jax.vmap``."""
    graph = network_of(program)

    def step(_: Array, state: State) -> State:
        batch = draw_batch(program, data, state.step)
        rates = data.lr, data.weight_decay
        return update(state, graph, batch, program.n_bits, *rates, data.codes)

    return jax.lax.fori_loop(jnp.uint32(0), n_steps, step, state)


# Donating the state lets XLA write the new one into its buffers.
@partial(jax.jit, static_argnums=0, donate_argnums=2)
def _stacked_advance(program: Program, data: RunData, state: State, n_steps: Array) -> State:
    return jax.vmap(partial(advance, program), in_axes=(0, 0, None))(data, state, n_steps)


@partial(jax.jit, static_argnums=0)
def _stacked_evaluate(program: Program, data: RunData, weights: Any, number: Array) -> Metrics:
    one = partial(evaluate, program, network_of(program))
    return jax.vmap(one, in_axes=(0, 0, None))(data, weights, number)


class Stack:
    """Runs of one ``Program``, trained together by ``jax.vmap`` along a leading axis R.

    Args:
        runs: with equal programs; ``ValueError`` if they are not.
        dtype: of the weights.
    """

    def __init__(self, runs: Sequence[RunConfig], dtype: Any = jnp.float32):
        self.runs, self.dtype = tuple(runs), dtype
        self.program = Program.of(runs[0])
        if any(Program.of(run) != self.program for run in runs):
            raise ValueError("runs of different programs cannot be stacked")
        self.data = _stack([run_data(run, dtype) for run in runs])

    def start(self) -> State:
        """The state before the first update."""
        return _stack([init(run, self.dtype) for run in self.runs])

    def advance(self, state: State, n_steps: int) -> State:
        """Make ``n_steps`` updates of every run. ``state`` is donated: do not use it again."""
        return _stacked_advance(self.program, self.data, state, jnp.uint32(n_steps))

    def evaluate(self, state: State, number: int) -> Metrics:
        """Evaluation ``number`` of every run; arrays begin with the axis R."""
        return _stacked_evaluate(self.program, self.data, state.weights, jnp.uint32(number))

    def weights(self, state: State, member: int) -> dict[str, np.ndarray]:
        """The weights of run number ``member`` by their names in ``MLP``, as NumPy arrays.

        Names are such as ``layers.0.kernel``.
        """
        return named_weights(jax.tree.map(lambda x: x[member], state.weights))


def named_weights(weights: Any) -> dict[str, np.ndarray]:
    """An NNX state as NumPy arrays by dotted name, such as ``layers.0.kernel``."""
    flat = nnx.to_flat_state(weights)
    return {".".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in flat}


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
