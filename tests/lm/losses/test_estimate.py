"""Estimates: operations counted another way, bytes that are there, words that say how long."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import losses as benchmark
from jquanta.lm.losses.batches import plan_batches
from jquanta.lm.losses.column import CHUNK
from jquanta.lm.losses.compute import plan_for
from jquanta.lm.losses.estimate import Estimate, estimate, operations, plan_on, rate
from jquanta.lm.losses.packing import plan_rows
from jquanta.lm.losses.rows import batch_bytes, parameter_bytes
from jquanta.lm.models.network import init, stack
from jquanta.lm.models.pythia import pythia
from jquanta.machine.computer import H200
from tests.lm.losses import examples
from tests.lm.losses.examples import NEO, NEOX

SLOW = replace(H200, single=1e9, triple=1e9, half=1e9)


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
    mine = estimate(NEOX, plan, "float32", SLOW)
    twice = estimate(NEOX, plan, "float32", replace(SLOW, triple=2e9))
    assert mine.seconds == 2 * twice.seconds > 0
    assert mine.disk == 4 * CHUNK
    assert mine.programs == 1
    whole = plan_batches(counts, CHUNK, 512)
    assert estimate(NEOX, whole, "float32", SLOW).disk == 2 * 4 * CHUNK  # one full, one begun
    nothing = plan_rows(np.zeros(2, np.int64), 128, 2)
    assert estimate(NEOX, nothing, "float32", SLOW).seconds == 0


def test_rates_are_those_of_the_products_that_losses_take() -> None:
    assert rate(H200, "float32") == H200.triple > H200.single
    assert rate(H200, "bfloat16") == H200.half
    old = replace(H200, kind="other")  # a GPU without TF32
    assert rate(old, "float32") == H200.single
    assert rate(H200, "float64") == H200.single


def test_a_plan_for_here_is_the_one_that_is_computed(tmp_path: Path) -> None:
    corpus = examples.corpus(tmp_path / "corpus", [64, 60, 0, 50, 1, 33] * 4)
    computer = replace(SLOW, kind="cpu", devices=jax.local_device_count())
    mine = plan_on(computer, np.diff(corpus.starts), NEOX, "float32")
    assert str(mine) == str(plan_for(corpus, NEOX))


def test_a_card_that_is_elsewhere_takes_its_own_batches() -> None:
    """Rows of one length, as many as its memory takes."""
    counts = np.full(4096, 1023)
    mine = plan_on(H200, counts, pythia("70m"), "float32")
    assert mine.lengths == [1024]
    less = plan_on(replace(H200, memory=H200.memory // 64), counts, pythia("70m"), "float32")
    assert less.batches[0].rows < mine.batches[0].rows


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.1, "about 1 s of"), (89, "89 s of"), (600, "10 min of"), (9e4, "25.0 h of")],
)
def test_words(seconds: float, words: str) -> None:
    assert words in str(Estimate(seconds, 10**9, 4 * 10**6, programs=2))
