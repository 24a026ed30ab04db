import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jquanta import streams
from jquanta.parity import solo
from jquanta.parity.config import RunConfig, Scalar
from jquanta.parity.task import draw, make_task
from tests.parity import twins
from tests.parity.twins import small_run

# One program: what differs between these runs does not fix shapes.
MIXED = [
    small_run(train__train_size=40),
    small_run(train__train_size=57, train__seed=1, task__alpha=1.2),
    small_run(train__train_size=100, train__lr=0.1, train__weight_decay=0.1),
    small_run(train__train_size=33, train__lr=0.01, train__seed=7, task__frequencies="uniform"),
]


def after(runs: list[RunConfig], *n_steps: int, dtype: Any = jnp.float32) -> solo.State:
    """The state after some chunks of updates."""
    stack = solo.Stack(runs, dtype)
    state = stack.start()
    for n in n_steps:
        state = stack.advance(state, n)
    return jax.tree.map(np.asarray, state)


def member(tree: Any, number: int) -> list[np.ndarray]:
    return [np.asarray(leaf[number]) for leaf in jax.tree.leaves(tree)]


def assert_equal(one: list[np.ndarray], other: list[np.ndarray], atol: float = 0.0) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


# Evaluation

DEEP: dict[str, Scalar] = {"network.depth": 3, "network.activation": "tanh"}


def expected_losses(
    run: RunConfig, weights: twins.Weights, words: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Loss and accuracy of every subtask, one after another, from whole inputs."""
    bits = twins.bits_of(words, run.task.n_bits)
    losses, accuracies = [], []
    for i in range(run.task.n_codes):
        subtask = np.full(len(bits), i)
        label = twins.labels(bits, make_task(run.task, run.train.seed).subsets, subtask)
        inputs = twins.whole_inputs(subtask, bits, run.task)
        logits = twins.logits(weights, inputs, run.network.activation)
        losses.append(twins.cross_entropy(logits, label).mean())
        accuracies.append(((logits[:, 1] > logits[:, 0]) == label).mean())
    return np.array(losses), np.array(accuracies)


@pytest.mark.parametrize("at_once", [None, 4, 0], ids="{} at once".format)
@pytest.mark.parametrize("changes", [{}, DEEP], ids=["shallow", "deep"])
def test_a_block_of_bits_serves_every_subtask(
    changes: dict[str, Any], at_once: int | None, x64: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """float64: a mean of 32 losses, rounded as they are. 4 at once leave 2 of 6 for the end."""
    run = small_run(**changes, task__n_bits=40)
    if at_once is not None:  # activations of so many subtasks
        monkeypatch.setattr(solo, "EVALUATION_BLOCK", at_once * 32 * 8)
    network = nnx.merge(solo.network_of(solo.Program.of(run)), solo.init(run, jnp.float64).weights)
    words = np.random.default_rng(0).integers(0, 2**32, (32, 2), np.uint32) & [2**32 - 1, 255]
    masks = jnp.asarray(make_task(run.task, run.train.seed).masks)
    block = jax.jit(lambda words: solo.evaluate_block(network, words, masks, 40))
    loss, accuracy = block(jnp.asarray(words, jnp.uint32))
    expected = expected_losses(run, solo.named_weights(nnx.state(network)), words)
    np.testing.assert_allclose(loss, expected[0], rtol=0, atol=1e-14)
    np.testing.assert_array_equal(accuracy, expected[1])


def test_means_are_over_the_exact_frequencies_and_blocks_are_those_of_the_streams() -> None:
    """float32 against float64, each with the points of its own streams: a mean of losses near
    0.7 is off by a few times 2^-24. An accuracy of 32 points is exact, their mean is not."""
    stack = solo.Stack(MIXED)
    state = stack.advance(stack.start(), 30)
    metrics = stack.evaluate(state, 4)
    for i, run in enumerate(MIXED):
        weights, seed = stack.weights(state, i), run.train.seed
        index = streams.at_index(jnp.arange(32, dtype=jnp.uint32))
        key = streams.key(streams.Stream.EVALUATION, seed, 10)
        test = np.asarray(draw(streams.fold(key, 4), index, 10).words)
        held_out = draw(streams.key(streams.Stream.VALIDATION, seed, 10), index, 10).words
        loss, accuracy = expected_losses(run, weights, test)
        validation, _ = expected_losses(run, weights, np.asarray(held_out))
        frequencies = make_task(run.task, seed).frequencies
        np.testing.assert_allclose(metrics.subtask_loss[i], loss, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(metrics.subtask_accuracy[i], accuracy)
        assert metrics.loss[i] == pytest.approx(frequencies @ loss, abs=1e-6)
        assert metrics.accuracy[i] == pytest.approx(frequencies @ accuracy, abs=1e-6)
        assert metrics.validation_loss[i] == pytest.approx(frequencies @ validation, abs=1e-6)


def test_each_evaluation_has_fresh_points_and_validation_keeps_its_own() -> None:
    stack = solo.Stack(MIXED)
    state = stack.advance(stack.start(), 5)
    evaluations = [stack.evaluate(state, number) for number in (0, 1, 2, 0)]
    losses = np.array([metrics.subtask_loss for metrics in evaluations])
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        assert (losses[one] != losses[other]).all()
    np.testing.assert_array_equal(losses[0], losses[3])
    validation = np.array([metrics.validation_loss for metrics in evaluations])
    assert (validation == validation[0]).all()
    assert (validation != np.array([metrics.loss for metrics in evaluations])).all()


def test_online_runs_have_no_validation_loss() -> None:
    stack = solo.Stack([small_run()])
    metrics = stack.evaluate(stack.start(), 0)
    assert np.isnan(metrics.validation_loss).all()
    assert np.isfinite(metrics.loss).all()


# Training


def test_a_member_is_its_solo_run(x64: None) -> None:
    """Other seeds, exponents, datasets, learning rates and decays beside it change nothing. In
    float64 a difference can only be sums in another order, some 2^-53 a step; Adam divides by
    √v + 1e-8, so that a gradient of pure rounding moves a weight by lr x 2^-53 / 1e-8 at most."""
    together = after(MIXED, 30, dtype=jnp.float64)
    for i, run in enumerate(MIXED):
        alone = after([run], 30, dtype=jnp.float64)
        assert_equal(member(together, i), member(alone, 0), atol=1e-9)
    one, other = (member(together.weights, i) for i in (0, 1))
    apart = [np.abs(x - y).max() for x, y in zip(one, other, strict=True)]
    assert min(apart) > 1e-3  # the members do differ


def test_a_member_evaluates_as_alone() -> None:
    """float32, same weights: nothing but sums in another order, a few times 2^-24."""
    together = solo.Stack(MIXED)
    metrics = together.evaluate(together.start(), 2)
    for i, run in enumerate(MIXED):
        alone = solo.Stack([run])
        assert_equal(member(metrics, i), member(alone.evaluate(alone.start(), 2), 0), atol=1e-6)


def test_a_diverging_member_touches_nobody() -> None:
    """The same program with a harmless run in its place gives the same bits."""
    diverging = small_run(train__train_size=57, train__lr=1e20)
    stack = solo.Stack([*MIXED[:3], diverging])
    state = stack.advance(stack.start(), 30)
    with_it, without = jax.tree.map(np.asarray, state), after(MIXED, 30)
    assert np.isnan(stack.weights(state, 3)["layers.0.kernel"]).any()
    metrics = stack.evaluate(state, 1)
    assert np.isnan(metrics.loss[3])
    assert np.isfinite(metrics.loss[:3]).all()
    for i in range(3):
        assert_equal(member(with_it, i), member(without, i))


def test_chunks_of_steps_are_steps() -> None:
    """Bit for bit: the state holds all that training depends on, its Adam sums and its step."""
    at_once, in_chunks = after(MIXED, 7), after(MIXED, 3, 0, 4)
    assert at_once.step.tolist() == [7] * 4
    for i in range(4):
        assert_equal(member(at_once, i), member(in_chunks, i))
    assert not np.array_equal(member(at_once, 0)[1], member(after(MIXED, 6), 0)[1])


def test_a_run_starts_with_its_network() -> None:
    stack = solo.Stack(MIXED)
    state = stack.start()
    for i, run in enumerate(MIXED):
        start = solo.named_weights(solo.init(run).weights)
        assert list(start) == [f"layers.{j}.{part}" for j in (0, 1) for part in ("bias", "kernel")]
        assert all(np.array_equal(stack.weights(state, i)[name], start[name]) for name in start)
    assert not any(leaf.any() for leaf in jax.tree.leaves(state.adam))
    assert not state.step.any()


@pytest.mark.parametrize(
    "change",
    [
        {"network.width": 9},
        {"network.activation": "tanh"},
        {"train.batch_size": 17},
        {"train.train_size": math.inf},
        {"eval.points_per_task": 9},
    ],
    ids=str,
)
def test_runs_of_different_shapes_cannot_be_stacked(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot be stacked"):
        solo.Stack([MIXED[0], small_run(**{"train.train_size": 40} | change)])


def products(jaxpr: Any) -> list[Any]:
    """Every matrix product of a program, in whatever loops it sits."""
    found = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "dot_general"]
    for eqn in jaxpr.eqns:
        for inner in jax.tree.leaves(eqn.params, is_leaf=lambda x: hasattr(x, "jaxpr")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                found += products(inner)
    return found


def test_every_product_is_a_plain_float32_product() -> None:
    """JAX's default would be TF32 on recent GPUs, with 10 bits of mantissa."""
    run = small_run(train__train_size=40, network__depth=3)
    program, data, state = solo.Program.of(run), solo.run_data(run), solo.init(run)
    graph, one = solo.network_of(program), jnp.uint32(1)
    training = jax.make_jaxpr(partial(solo.advance, program))(data, state, one)
    evaluation = jax.make_jaxpr(partial(solo.evaluate, program, graph))(data, state.weights, one)
    # Forward 3, backward 3 for weights and 2 for hidden units; 3 for each of 2 blocks, 3 means.
    assert len(products(training.jaxpr)) >= 8
    assert len(products(evaluation.jaxpr)) >= 9
    for product in products(training.jaxpr) + products(evaluation.jaxpr):
        assert product.params["precision"] == (jax.lax.Precision.HIGHEST,) * 2, product
