import math
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from jquanta.parity import solo
from jquanta.parity.config import RunConfig, Scalar
from jquanta.parity.network import MLP, make_network
from jquanta.parity.task import whole_inputs
from tests import chance
from tests.parity import twins
from tests.parity.twins import small_run

PAPER_SIZE = RunConfig()
ACTIVATIONS = ["relu", "tanh", "sigmoid"]


def weights_of(network: MLP) -> dict[str, np.ndarray]:
    return solo.named_weights(nnx.state(network))


def batch(run: RunConfig, count: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (count, run.task.n_bits)).astype(float)
    return rng.integers(0, run.task.n_tasks, count), bits


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


# Shapes and counts


def test_the_network_of_the_paper() -> None:
    shapes = {name: w.shape for name, w in weights_of(make_network(PAPER_SIZE)).items()}
    assert shapes == {
        "layers.0.kernel": (600, 500),
        "layers.0.bias": (500,),
        "layers.1.kernel": (500, 2),
        "layers.1.bias": (2,),
    }
    # 600 inputs x 500 + 500 biases + 500 x 2 + 2 biases
    assert sum(math.prod(shape) for shape in shapes.values()) == 301_502
    assert PAPER_SIZE.n_params == 301_502


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("width", [1, 9])
def test_parameter_count(width: int, depth: int) -> None:
    run = small_run(network__width=width, network__depth=depth)
    assert run.n_params == sum(w.size for w in weights_of(make_network(run)).values())
    sizes = [6 + 10, *[width] * (depth - 1), 2]
    assert run.n_params == sum(a * b + b for a, b in pairwise(sizes))


# Initial weights


def test_weights_start_uniform_within_the_paper_s_bounds() -> None:
    """±1/√fan_in for kernels and biases; Kolmogorov-Smirnov against the uniform distribution."""
    run = small_run(task__n_tasks=40, network__width=150, network__depth=3)
    for name, weight in weights_of(make_network(run)).items():
        bound = 1 / math.sqrt(50 if name.startswith("layers.0.") else 150)
        assert np.abs(weight).max() <= bound, name
        if weight.size > 2:
            ks = stats.kstest(weight.ravel(), stats.uniform(-bound, 2 * bound).cdf)
            assert ks.pvalue > chance.FALSE_ALARM, name
            assert np.abs(weight).max() > 0.8 * bound, name  # missed by 150 with probability 3e-15


def test_weights_of_one_network_are_independent() -> None:
    """Layers of one shape are other draws, and a bias does not repeat its kernel."""
    run = small_run(network__width=300, network__depth=4)
    weights = weights_of(make_network(run))
    second, third = weights["layers.1.kernel"], weights["layers.2.kernel"]
    biases = np.stack([weights["layers.1.bias"], weights["layers.2.bias"]])
    assert chance.uncorrelated(np.stack([second.ravel(), third.ravel(), second.T.ravel()], axis=1))
    assert chance.uncorrelated(np.vstack([second[:9], second[:, :9].T, third[:9], biases]).T)
    assert len(np.unique(np.vstack([second, third, biases]), axis=0)) == 602  # no row repeats


FREE: list[dict[str, Scalar]] = [
    {"train__lr": 0.1},
    {"train__weight_decay": 1.0},
    {"train__steps": 7, "train__batch_size": 3, "train__train_size": 20},
    {"task__alpha": 1.0, "task__offset": 3.0},
    {"task__frequencies": "uniform"},
    {"task__k": 3},
    {"network__activation": "tanh"},
    {"network__activation": "sigmoid"},
    {"eval__log_every": 2, "eval__points_per_task": 9},
]
BINDING: list[dict[str, Scalar]] = [
    {"train__seed": 1},
    {"network__width": 9},
    {"network__depth": 3},
    {"task__n_tasks": 7},
    {"task__n_bits": 11},
]


@pytest.mark.parametrize("changes", FREE, ids=str)
def test_weights_do_not_depend_on(changes: dict[str, Any]) -> None:
    one, other = (weights_of(make_network(run)) for run in (small_run(), small_run(**changes)))
    assert same(one, other)


@pytest.mark.parametrize("changes", BINDING, ids=str)
def test_weights_depend_on_seed_and_shape(changes: dict[str, Any]) -> None:
    """Not one number of the smaller network is found again in place: each is a fresh draw."""
    one, other = (weights_of(make_network(run)) for run in (small_run(), small_run(**changes)))
    for name in one:
        common = tuple(map(slice, np.minimum(one[name].shape, other[name].shape)))
        assert not np.isclose(one[name][common], other[name][common], rtol=1e-6, atol=0).any()


def test_float64_starts_from_the_same_numbers(x64: None) -> None:
    with jax.enable_x64(False):
        single = weights_of(make_network(small_run()))
    double = weights_of(make_network(small_run(), jnp.float64))
    assert all(weight.dtype == np.float64 for weight in double.values())
    assert same(single, double)


# Logits


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_logits_are_those_of_numpy(activation: str, depth: int, x64: None) -> None:
    """float64: sums of about 20 terms of size 1 in another order, 20 x 2^-53, a few layers."""
    run = small_run(network__activation=activation, network__depth=depth)
    network = make_network(run, jnp.float64)
    subtask, bits = batch(run)
    expected = twins.logits(
        weights_of(network), twins.one_hot_inputs(subtask, bits, run.task.n_tasks), activation
    )
    at = network.at(jnp.asarray(subtask), jnp.asarray(bits))
    assert at.dtype == jnp.float64
    np.testing.assert_allclose(at, expected, rtol=0, atol=1e-14)


def test_activations_differ() -> None:
    """Else the test above could not tell which one ran."""
    subtask, bits = map(jnp.asarray, batch(small_run()))
    networks = [make_network(small_run(network__activation=name)) for name in ACTIVATIONS]
    outputs = [network.at(subtask, bits) for network in networks]
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-3
    assert np.abs(outputs[0] - outputs[2]).max() > 1e-3


@pytest.mark.parametrize("run", [small_run(network__depth=3), PAPER_SIZE], ids=["small", "paper"])
def test_a_lookup_of_rows_is_the_one_hot_product(run: RunConfig) -> None:
    """float32: 600 terms below 1/√600 added in another order: 600 x 2^-24 x 0.04, then a layer."""
    network = make_network(run)
    subtask, bits = (jnp.asarray(x) for x in batch(run))
    whole = network(whole_inputs(subtask, bits.astype(jnp.float32), jnp.eye(run.task.n_tasks)))
    np.testing.assert_allclose(network.at(subtask, bits.astype(jnp.float32)), whole, atol=2e-6)


def test_the_graph_computes_in_the_precision_of_its_weights(x64: None) -> None:
    """One graph serves float32 and float64: no layer casts to the dtype it was made with."""
    run = small_run(network__depth=3)
    network = make_network(run, jnp.float64)
    merged = nnx.merge(solo.network_of(solo.Program.of(run)), nnx.state(network))
    subtask, bits = (jnp.asarray(x) for x in batch(run))
    logits = merged.at(subtask, bits)
    assert logits.dtype == jnp.float64
    np.testing.assert_array_equal(logits, network.at(subtask, bits))
