"""What a step trains on: which streams it reads, where, and what a finite dataset means."""

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jquanta.parity import solo
from jquanta.parity.config import FIELDS, RunConfig, Scalar
from jquanta.parity.task import make_task
from tests.parity import twins
from tests.parity.twins import small_run

STREAMS = {"subsets", "weights", "samples", "order", "evaluation", "validation"}


def data_of(run: RunConfig) -> solo.RunData:
    return jax.tree.map(jnp.asarray, solo.run_data(run))


draw_batch = jax.jit(solo.draw_batch, static_argnums=0)
batch_positions = jax.jit(solo.batch_positions, static_argnums=0)


def at_steps(function: Any, run: RunConfig, steps: Iterable[int]) -> Any:
    """The results of some steps, steps first."""
    # No network has a part in it: with its shape out of the way, few programs serve all runs.
    program = replace(solo.Program.of(run), width=1, depth=2, activation="relu")
    data = data_of(run)
    results = [function(program, data, jnp.asarray(np.uint32(step))) for step in steps]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *results)


def batches(run: RunConfig, *steps: int) -> solo.Batch:
    return at_steps(draw_batch, run, steps)


def visited(run: RunConfig, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Index and weight [steps, B] of one epoch of a finite run."""
    a_pass = math.ceil(run.train.train_size / run.batch_size)
    steps = range(epoch * a_pass, (epoch + 1) * a_pass)
    position, weight = at_steps(batch_positions, run, steps)
    assert not position.high.any()
    return position.low, weight


# Which streams depend on what


def streams_of(run: RunConfig) -> dict[str, bytes]:
    data = solo.run_data(run)
    weights = solo.named_weights(solo.init(run).weights)
    return {
        "subsets": make_task(run.task, run.train.seed).subsets.tobytes(),
        "weights": b"".join(weight.tobytes() for weight in weights.values()),
        **{name: np.asarray(getattr(data, name)).tobytes() for name in STREAMS & set(data._fields)},
    }


CHANGES: dict[str, tuple[Scalar, set[str]]] = {
    "task.n_tasks": (7, {"subsets", "weights"}),
    "task.n_bits": (11, STREAMS - {"order"}),
    "task.k": (3, {"subsets"}),
    "task.alpha": (0.9, set()),
    "task.offset": (2.0, set()),
    "task.frequencies": ("uniform", set()),
    "task.codes": ("0 1 2 3 4 5*2", set()),
    "network.width": (9, {"weights"}),
    "network.depth": (3, {"weights"}),
    "network.activation": ("sigmoid", set()),
    "train.train_size": (50, {"order"}),
    "train.batch_size": (17, {"order"}),
    "train.steps": (50, set()),
    "train.lr": (0.1, set()),
    "train.weight_decay": (0.1, set()),
    "train.early_stop": (True, set()),
    "train.seed": (1, STREAMS),
    "eval.log_every": (7, set()),
    "eval.points_per_task": (50, set()),
}


@pytest.fixture(scope="module")
def finite_streams() -> dict[str, bytes]:
    return streams_of(small_run(train__train_size=40))


def test_every_field_is_in_the_table() -> None:
    assert list(CHANGES) == list(FIELDS)


@pytest.mark.parametrize("field", CHANGES)
def test_a_stream_depends_on_what_the_contract_says(
    field: str, finite_streams: dict[str, bytes]
) -> None:
    value, expected = CHANGES[field]
    changed = streams_of(small_run(**{"train.train_size": 40, field: value}))
    assert {name for name in STREAMS if changed[name] != finite_streams[name]} == expected


def test_equal_runs_share_every_stream(finite_streams: dict[str, bytes]) -> None:
    assert streams_of(small_run(train__train_size=40)) == finite_streams


# Batches


@pytest.mark.parametrize("train_size", [math.inf, 40])
@pytest.mark.parametrize("change", [{"task.alpha": 1.5}, {"network.width": 9}, {"train.lr": 1.0}])
def test_runs_of_one_seed_share_bits(change: dict[str, Any], train_size: float) -> None:
    steps = (0, 1, 17)
    one = batches(small_run(train__train_size=train_size), *steps)
    other = batches(small_run(**change, train__train_size=train_size), *steps)
    np.testing.assert_array_equal(one.words, other.words)
    np.testing.assert_array_equal(one.weight, other.weight)
    if "task.alpha" in change:  # the same uniform numbers, so steeper is never rarer
        assert (other.subtask <= one.subtask).all()
        assert (other.subtask < one.subtask).any()
    else:
        np.testing.assert_array_equal(one.subtask, other.subtask)
        np.testing.assert_array_equal(one.label, other.label)


def test_online_positions_are_step_times_batch() -> None:
    """A batch twice as large is two batches in a row, also where the position passes 2^32."""
    for step in (0, 1, 999, 2**27, 2**31 - 1):
        double = batches(small_run(train__batch_size=32), step)
        single = batches(small_run(), 2 * step, 2 * step + 1)
        for one, two in zip(double, single, strict=True):
            np.testing.assert_array_equal(one[0], two.reshape(-1, *two.shape[2:]))
    far, near = batches(small_run(), 2**28), batches(small_run(), 0)
    assert (far.words != near.words).any()  # position 2^32 is not position 0


def test_neighbours_in_a_stack_do_not_change_a_batch() -> None:
    runs = [
        small_run(train__train_size=40),
        small_run(train__train_size=57, train__seed=5),
        small_run(train__train_size=100, task__alpha=2.0),
    ]
    stack = solo.Stack(runs)
    draw = jax.jit(jax.vmap(partial(solo.draw_batch, stack.program), in_axes=(0, None)))
    for step in (0, 2, 3, 11):
        together = draw(stack.data, jnp.uint32(step))
        for member, run in enumerate(runs):
            for one, alone in zip(together, batches(run, step), strict=True):
                np.testing.assert_array_equal(one[member], alone[0])


@pytest.mark.parametrize("train_size", [math.inf, 50])
def test_a_label_is_the_parity_of_its_subset(train_size: float) -> None:
    run = small_run(train__train_size=train_size, task__n_bits=40, task__k=3)
    subsets = make_task(run.task, run.train.seed).subsets
    drawn = batches(run, *range(10))
    for words, subtask, label in zip(drawn.words, drawn.subtask, drawn.label, strict=True):
        expected = twins.labels(twins.bits_of(words, 40), subsets, subtask)
        np.testing.assert_array_equal(label, expected)


# Finite data


@pytest.mark.parametrize("train_size", [100, 96, 17, 16, 15, 1])
def test_an_epoch_visits_every_sample_once(train_size: int) -> None:
    run = small_run(train__train_size=train_size)
    orders = []
    for epoch in (0, 1, 2, 50):
        index, weight = visited(run, epoch)
        flat = weight.ravel()
        assert flat.tolist() == [1] * train_size + [0] * (flat.size - train_size)
        orders.append(index.ravel()[flat == 1])
        np.testing.assert_array_equal(np.sort(orders[-1]), np.arange(train_size))
    if train_size >= 15:  # two random orders of 15 are equal with probability 1e-12
        assert len({tuple(order) for order in orders}) == len(orders)


def test_a_dataset_smaller_than_the_batch_is_the_batch() -> None:
    run = small_run(train__train_size=10)
    assert solo.Program.of(run).batch_size == 10
    assert batches(run, 0).words.shape == (1, 10, 1)


def test_a_dataset_is_a_prefix_of_every_larger_one_and_of_the_online_stream() -> None:
    def dataset(train_size: int) -> dict[int, tuple[int, ...]]:
        run = small_run(train__train_size=train_size, task__n_bits=40)
        index, weight = visited(run, 3)
        steps = range(3 * len(index), 4 * len(index))
        drawn = batches(run, *steps)
        rows = np.concatenate([drawn.words, drawn.subtask[..., None], drawn.label[..., None]], -1)
        counts = weight == 1
        pairs = zip(index[counts].tolist(), rows[counts].tolist(), strict=True)
        return {i: tuple(row) for i, row in pairs}

    small, large = dataset(100), dataset(200)
    assert sorted(small) == list(range(100))
    assert sorted(large) == list(range(200))
    assert len(set(large.values())) == 200  # 40 bits: two are equal with probability 2e-8
    assert small == {i: large[i] for i in range(100)}
    online = batches(small_run(task__n_bits=40), *range(4)).words.reshape(-1, 2)
    assert [large[i][:2] for i in range(64)] == list(map(tuple, online.tolist()))


def test_a_short_batch_averages_over_its_true_size() -> None:
    """D 100, batch 16: the last of 7 batches has 4 samples. float32 against float64: means of
    losses near 0.7 are off by a few times 2^-24."""
    run = small_run(train__train_size=100)
    program, state = solo.Program.of(run), solo.init(run)
    batch = jax.tree.map(lambda x: jnp.asarray(x[0]), batches(run, 6))
    loss = jax.jit(
        lambda batch: solo.training_loss(state.weights, solo.network_of(program), batch, 10)
    )
    inputs = twins.one_hot_inputs(batch.subtask, twins.bits_of(batch.words, 10), 6)
    losses = twins.cross_entropy(
        twins.logits(solo.named_weights(state.weights), inputs), np.asarray(batch.label)
    )
    assert batch.weight.tolist() == [1] * 4 + [0] * 12
    assert abs(losses[:4].mean() - losses.mean()) > 1e-4  # else the test could not tell
    assert float(loss(batch)) == pytest.approx(losses[:4].mean(), abs=1e-6)
    assert float(loss(batch._replace(weight=jnp.ones(16)))) == pytest.approx(
        losses.mean(), abs=1e-6
    )


def test_padding_of_a_short_batch_trains_nothing() -> None:
    """One update equals that of the trimmed batch, to the rounding of sums in another order."""
    run = small_run(train__train_size=100)
    graph, weights = solo.network_of(solo.Program.of(run)), solo.init(run).weights
    padded = jax.tree.map(lambda x: jnp.asarray(x[0]), batches(run, 6))
    gradient = jax.jit(lambda batch: jax.grad(solo.training_loss)(weights, graph, batch, 10))
    trimmed = jax.tree.map(lambda x: x[:4], padded)
    for one, other in zip(
        jax.tree.leaves(gradient(padded)), jax.tree.leaves(gradient(trimmed)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-7)
