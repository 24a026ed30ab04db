"""The solo trainer: one network, plainly. The slow twin that every fast path is held against.

A run is a pure function of its ``Program`` (what fixes shapes) and its ``RunData`` (arrays), so
``jax.vmap`` over stacked ``RunData`` trains seeds, exponents, learning rates, decays and datasets
of one shape together.
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

# Activations that an evaluation holds at once, in numbers: small enough for a laptop's memory.
EVALUATION_BLOCK = 2**22


@dataclass(frozen=True)
class Program:
    """What fixes the shapes of a run's compiled program: runs with equal ones can be stacked."""

    n_tasks: int
    n_bits: int
    width: int
    depth: int
    activation: str
    batch_size: int
    points_per_task: int
    online: bool
    n_codes: int | None  # None for the plain task: no product with codes

    @classmethod
    def of(cls, run: RunConfig) -> "Program":
        """The program of a run."""
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
    """What a run's program reads: arrays only, so that runs stack along a leading axis."""

    samples: Key
    order: Key
    evaluation: Key
    validation: Key
    thresholds: UInt32[Array, " C_minus_1"]
    frequencies: Float[Array, " C"]
    masks: UInt32[Array, "C words"]
    codes: Float[Array, "C S"] | None  # None for the plain task, whose C is S
    train_size: UInt32[Array, ""]
    lr: Float[Array, ""]
    weight_decay: Float[Array, ""]


class State(NamedTuple):
    """What training changes."""

    weights: Any
    adam: Any
    step: UInt32[Array, ""]


class Batch(NamedTuple):
    """One step's samples; ``weight`` is 1, or 0 past the end of an epoch's short last batch."""

    words: UInt32[Array, "B words"]
    subtask: Int32[Array, " B"]  # its code, in the compositional task
    label: Int32[Array, " B"]
    weight: Float[Array, " B"]


class Metrics(NamedTuple):
    """One evaluation. Losses in nats; means are over the exact frequencies."""

    loss: Float[Numbers, ""]
    accuracy: Float[Numbers, ""]
    subtask_loss: Float[Numbers, " C"]
    subtask_accuracy: Float[Numbers, " C"]
    validation_loss: Float[Numbers, ""]  # NaN online


def run_data(run: RunConfig, dtype: Any = jnp.float32) -> RunData:
    """The arrays of a run."""
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
    """The NNX graph of the program's network, without weights."""
    shape = (program.n_tasks, program.n_bits, program.width, program.depth, program.activation)
    return nnx.split(nnx.eval_shape(lambda: MLP(*shape, key=None)))[0]


def init(run: RunConfig, dtype: Any = jnp.float32) -> State:
    """The state before the first update."""
    weights = nnx.state(make_network(run, dtype))
    return State(weights, optax.scale_by_adam().init(weights), jnp.uint32(0))


def batch_positions(
    program: Program, data: RunData, step: UInt32[Array, ""]
) -> tuple[streams.Position, Float[Array, " B"]]:
    """Where in the sample stream step ``step`` reads, and which of its places count."""
    size = program.batch_size
    if program.online:
        return streams.positions(step, size, size), jnp.ones(size)
    batches = (data.train_size + size - 1) // size
    epoch, batch = step // batches, step % batches
    place = batch * size + jnp.arange(size, dtype=jnp.uint32)
    inside = place < data.train_size
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
    """Mean cross-entropy (nats) over the samples of a batch that count."""
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
    """One step of AdamW (Adam where the decay is 0), as in PyTorch: biases decay, too."""
    gradient = jax.grad(training_loss)(state.weights, graph, batch, n_bits, codes)
    direction, adam = optax.scale_by_adam().update(gradient, state.adam)
    weights = jax.tree.map(lambda w, d: w - lr * (d + weight_decay * w), state.weights, direction)
    return State(weights, adam, state.step + 1)


def evaluate_block(
    network: MLP,
    words: UInt32[Array, "E words"],
    masks: UInt32[Array, "C words"],
    n_bits: int,
    codes: Float[Array, "C S"] | None = None,
) -> tuple[Float[Array, " C"], Float[Array, " C"]]:
    """Loss (nats) and accuracy of every subtask or code on one block of task bits that all share.

    The bits' part of the first layer is then one matrix product for all subtasks; the noise of
    their losses is correlated through the block.
    """
    rows = network.rows_of(codes)
    shared = network.bits_part(unpack(words, n_bits, rows.dtype))

    def one(row: Float[Array, " W"], mask: UInt32[Array, " words"]) -> tuple[Array, Array]:
        logits = network.head(row + shared)
        label = parity(words, mask)
        right = (logits.argmax(-1) == label).astype(logits.dtype)
        return cross_entropy(logits, label).mean(), right.mean()

    at_once = max(1, EVALUATION_BLOCK // shared.size)
    return jax.lax.map(lambda args: one(*args), (rows, masks), batch_size=at_once)


def evaluate(
    program: Program, graph: Any, data: RunData, weights: Any, number: UInt32[Array, ""]
) -> Metrics:
    """Evaluation number ``number``: a fresh block of test points for every subtask.

    Finite datasets are also measured on a block of validation points that stays the same, so
    that a stopping step can be chosen without looking at the test points.
    """
    network = nnx.merge(graph, weights)
    mean = partial(jnp.dot, data.frequencies, precision=PRECISION)

    def measured(words: UInt32[Array, "E words"]) -> tuple[Float[Array, " C"], Float[Array, " C"]]:
        return evaluate_block(network, words, data.masks, program.n_bits, data.codes)

    points = streams.at_index(jnp.arange(program.points_per_task, dtype=jnp.uint32))
    block = draw(streams.fold(data.evaluation, number), points, program.n_bits)
    loss, accuracy = measured(block.words)
    if program.online:
        validation = jnp.full((), jnp.nan, loss.dtype)
    else:
        held_out = draw(data.validation, points, program.n_bits)
        validation = mean(measured(held_out.words)[0])
    return Metrics(mean(loss), mean(accuracy), loss, accuracy, validation)


def advance(program: Program, data: RunData, state: State, n_steps: UInt32[Array, ""]) -> State:
    """``n_steps`` updates."""
    graph = network_of(program)

    def step(_: Array, state: State) -> State:
        batch = draw_batch(program, data, state.step)
        rates = data.lr, data.weight_decay
        return update(state, graph, batch, program.n_bits, *rates, data.codes)

    return jax.lax.fori_loop(jnp.uint32(0), n_steps, step, state)


@partial(jax.jit, static_argnums=0, donate_argnums=2)
def _stacked_advance(program: Program, data: RunData, state: State, n_steps: Array) -> State:
    return jax.vmap(partial(advance, program), in_axes=(0, 0, None))(data, state, n_steps)


@partial(jax.jit, static_argnums=0)
def _stacked_evaluate(program: Program, data: RunData, weights: Any, number: Array) -> Metrics:
    one = partial(evaluate, program, network_of(program))
    return jax.vmap(one, in_axes=(0, 0, None))(data, weights, number)


class Stack:
    """Runs of one ``Program``, trained together along a leading axis."""

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
        """``n_steps`` updates of every run. The given state's memory is used again."""
        return _stacked_advance(self.program, self.data, state, jnp.uint32(n_steps))

    def evaluate(self, state: State, number: int) -> Metrics:
        """Evaluation ``number`` of every run, runs first."""
        return _stacked_evaluate(self.program, self.data, state.weights, jnp.uint32(number))

    def weights(self, state: State, member: int) -> dict[str, np.ndarray]:
        """The weights of one run by their names in the network, such as ``layers.0.kernel``."""
        return named_weights(jax.tree.map(lambda x: x[member], state.weights))


def named_weights(weights: Any) -> dict[str, np.ndarray]:
    """Weights by dotted name."""
    flat = nnx.to_flat_state(weights)
    return {".".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in flat}


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
