"""Estimates: operations counted another way, bytes that are there, words that say how long."""

import jax
import numpy as np
import pytest

from benchmarks import losses as benchmark
from jquanta.lm.losses.batches import plan_batches
from jquanta.lm.losses.column import CHUNK
from jquanta.lm.losses.estimate import Estimate, estimate, operations, product_rate
from jquanta.lm.losses.packing import plan_rows
from jquanta.lm.losses.rows import batch_bytes, parameter_bytes
from jquanta.lm.models.network import init, stack
from jquanta.lm.models.pythia import pythia
from tests.lm.losses.examples import NEO, NEOX


def test_operations_are_those_that_the_benchmark_counts() -> None:
    """A document that fills its row; the benchmark leaves out the pairs that are not seen."""
    config, length = pythia("14m"), 1024
    wanted = benchmark.operations(config, np.array([length] * 3))
    unseen = 3 * 2 * config.layers * config.width * length**2
    assert operations(config, 3, length) == pytest.approx(wanted + unseen)


@pytest.mark.parametrize("config", [NEOX, NEO], ids=["neox", "neo"])
def test_parameters_take_what_they_take(config: object) -> None:
    params = stack(config, init(config, jax.random.key(0)))  # type: ignore[arg-type]
    taken = sum(x.nbytes for x in params.values())
    assert parameter_bytes(config, "float32") == taken  # type: ignore[arg-type]
    assert 2 * parameter_bytes(config, "bfloat16") == taken  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_batch_has_room_for_its_scores_and_shares(dtype: str) -> None:
    config, rows, length = pythia("70m"), 8, 1024
    pairs = rows * config.heads * length**2
    assert batch_bytes(config, dtype, rows, length) > pairs * (4 + jax.numpy.dtype(dtype).itemsize)


def test_an_estimate_adds_up() -> None:
    counts = np.array([60, 60, 3, 0, CHUNK])
    plan = plan_rows(np.minimum(counts, 128), 128, 2)
    mine = estimate(NEOX, plan, "float32", rate=1e9)
    twice = estimate(NEOX, plan, "float32", rate=2e9)
    assert mine.seconds == 2 * twice.seconds > 0
    assert mine.disk == 4 * CHUNK
    whole = plan_batches(counts, CHUNK, 512)
    assert estimate(NEOX, whole, "float32", 1e9).disk == 2 * 4 * CHUNK  # one full, one begun
    nothing = plan_rows(np.zeros(2, np.int64), 128, 2)
    assert estimate(NEOX, nothing, "float32", 1e9).seconds == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.1, "about 1 s of"), (119, "119 s of"), (600, "10 min of"), (9e4, "25.0 h of")],
)
def test_words(seconds: float, words: str) -> None:
    assert words in str(Estimate(seconds, 10**9, 4 * 10**6))


def test_the_rate_is_one() -> None:
    assert product_rate("float32", seconds=0.01) > 1e6
