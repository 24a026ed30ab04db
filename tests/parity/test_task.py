import math
from collections import Counter
from functools import cache
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jquanta import streams
from jquanta.parity.config import TaskConfig
from jquanta.parity.task import (
    Samples,
    draw,
    draw_subsets,
    make_task,
    n_words,
    parity,
    subtask_of,
    unpack,
    whole_inputs,
)
from jquanta.streams import Stream
from tests import chance
from tests.parity import twins

UNITS = 2**32  # values of a uniform word


@cache
def samples(n_bits: int, count: int = 20_000, seed: int = 0) -> Samples:
    key = streams.key(Stream.SAMPLES, seed, n_bits)
    position = streams.at_index(jnp.arange(count, dtype=jnp.uint32))
    return jax.tree.map(np.asarray, draw(key, position, n_bits))


def units(config: TaskConfig) -> np.ndarray:
    """How many of the 2^32 uniform words fall to each subtask."""
    ends = make_task(config, 0).thresholds.astype(np.int64)
    return np.diff(np.concatenate([[0], ends, [UNITS]]))


# Subsets


@pytest.mark.parametrize(
    ("n_tasks", "n_bits", "k"),
    [(500, 100, 3), (2000, 80, 2), (45, 10, 2), (30, 10, 2), (1, 1, 1), (10, 10, 1), (1, 40, 40)],
)
def test_subsets_are_distinct_sorted_and_in_range(n_tasks: int, n_bits: int, k: int) -> None:
    subsets = draw_subsets(0, n_tasks, n_bits, k)
    assert subsets.shape == (n_tasks, k)
    assert subsets.min() >= 0
    assert subsets.max() < n_bits
    assert (np.diff(subsets, axis=1) > 0).all()
    assert len(np.unique(subsets, axis=0)) == n_tasks


@pytest.mark.parametrize(("n_bits", "k"), [(6, 2), (8, 4), (5, 5)])
def test_as_many_subtasks_as_subsets_are_all_of_them(n_bits: int, k: int) -> None:
    subsets = draw_subsets(1, math.comb(n_bits, k), n_bits, k)
    assert sorted(map(tuple, subsets.tolist())) == list(combinations(range(n_bits), k))


@pytest.mark.parametrize("n_tasks", [3, 4], ids=["drawn until distinct", "shuffled list"])
def test_subsets_are_uniform(n_tasks: int) -> None:
    """Of 15 subsets each is equally often the first, second, ..., and so is each pair of them."""
    every = {subset: i for i, subset in enumerate(combinations(range(6), 2))}
    drawn = np.array(
        [
            [every[tuple(row)] for row in draw_subsets(seed, n_tasks, 6, 2).tolist()]
            for seed in range(800)
        ]
    )
    counts = [np.bincount(column, minlength=15) for column in drawn.T]
    assert chance.follows(counts, np.full(15, 1 / 15))
    pairs = Counter(tuple(sorted(row)) for row in drawn[:, :2].tolist())
    assert chance.follows([pairs[pair] for pair in combinations(range(15), 2)], 1 / 105)


def test_subsets_depend_on_seed_and_shape_only() -> None:
    config = TaskConfig(n_tasks=20, n_bits=30, k=3)
    subsets = make_task(config, 4).subsets
    for other in [
        TaskConfig(20, 30, 3, alpha=0.9),
        TaskConfig(20, 30, 3, offset=7.0),
        TaskConfig(20, 30, 3, frequencies="uniform"),
    ]:
        np.testing.assert_array_equal(make_task(other, 4).subsets, subsets)
    with jax.enable_x64(True):
        np.testing.assert_array_equal(draw_subsets(4, 20, 30, 3), subsets)
    shared = set(map(tuple, subsets.tolist())) & set(
        map(tuple, make_task(config, 5).subsets.tolist())
    )
    assert len(shared) <= 5  # 20 of 4,060 twice: 0.1 in common; more than 5, probability 1e-9


@pytest.mark.parametrize(("n_tasks", "n_bits", "k"), [(500, 100, 3), (6, 32, 1), (5, 33, 31)])
def test_masks_hold_the_subsets(n_tasks: int, n_bits: int, k: int) -> None:
    task = make_task(TaskConfig(n_tasks, n_bits, k), 0)
    assert task.masks.shape == (n_tasks, n_words(n_bits))
    bits = twins.bits_of(task.masks, 32 * n_words(n_bits))
    assert [np.flatnonzero(row).tolist() for row in bits] == task.subsets.tolist()


# Frequencies and thresholds

STEEP = [
    TaskConfig(n_tasks=2000, n_bits=80, k=2, alpha=5.0),
    TaskConfig(n_tasks=2000, n_bits=80, k=2, alpha=40.0),
    TaskConfig(n_tasks=3, alpha=300.0),
]
FLAT = [
    TaskConfig(),
    TaskConfig(alpha=0.8, offset=10.0),
    TaskConfig(alpha=-0.9),
    TaskConfig(frequencies="uniform", alpha=5.0, offset=3.0),
    TaskConfig(n_tasks=2),
]


@pytest.mark.parametrize("config", STEEP + FLAT)
def test_no_subtask_is_floored_away(config: TaskConfig) -> None:
    """Each has at least one uniform word: thresholds rise strictly, and end inside 2^32."""
    task = make_task(config, 0)
    assert task.thresholds.dtype == np.uint32
    assert units(config).min() >= 1
    assert units(config).sum() == UNITS
    assert abs(task.frequencies.sum() - 1) < 1e-12


@pytest.mark.parametrize("config", FLAT)
def test_thresholds_reproduce_the_frequencies(config: TaskConfig) -> None:
    """Both ends of a subtask's range are rounded by half a unit, so 1 unit in all; the rest is
    the float64 sum over 500 terms, below 500 x 2^-53 x 2^32 = 2e-4 units."""
    error = units(config) - make_task(config, 0).frequencies * UNITS
    assert np.abs(error).max() <= 1.001


def test_nudged_thresholds_move_by_a_unit_a_subtask_at_most() -> None:
    config = STEEP[0]
    error = units(config) - make_task(config, 0).frequencies * UNITS
    assert np.abs(error).max() <= config.n_tasks  # 5e-7 of the samples, all from the frequent


def test_frequencies_are_those_of_the_paper() -> None:
    for config in FLAT[:3]:
        weights = [(i + config.offset) ** -(config.alpha + 1) for i in range(1, 501)]
        exact = np.array(weights) / math.fsum(weights)
        # float64 powers and sums, a few units in the last place
        np.testing.assert_allclose(make_task(config, 0).frequencies, exact, rtol=1e-13)
    np.testing.assert_allclose(make_task(FLAT[3], 0).frequencies, 1 / 500, rtol=1e-15)


@pytest.mark.parametrize("config", [*STEEP, *FLAT])
def test_subtasks_change_exactly_at_the_thresholds(config: TaskConfig) -> None:
    ends = make_task(config, 0).thresholds
    number = np.arange(1, config.n_tasks)
    thresholds = jnp.asarray(ends)
    np.testing.assert_array_equal(subtask_of(thresholds, thresholds), number)
    np.testing.assert_array_equal(subtask_of(thresholds, jnp.asarray(ends - 1)), number - 1)
    extremes = jnp.asarray([0, UNITS - 1], dtype=jnp.uint32)
    assert subtask_of(thresholds, extremes).tolist() == [0, config.n_tasks - 1]


@pytest.mark.parametrize(
    "config",
    [
        TaskConfig(n_tasks=50),
        TaskConfig(n_tasks=50, alpha=1.5, offset=5.0),
        TaskConfig(n_tasks=50, frequencies="uniform"),
    ],
    ids=["zipf", "offset", "uniform"],
)
def test_subtasks_come_with_their_frequencies(config: TaskConfig) -> None:
    task = make_task(config, 0)
    subtask = subtask_of(jnp.asarray(task.thresholds), jnp.asarray(samples(100, 200_000).uniform))
    assert chance.follows(np.bincount(np.asarray(subtask), minlength=50), task.frequencies)


def test_one_subtask() -> None:
    config = TaskConfig(n_tasks=1, n_bits=10, k=10)
    task = make_task(config, 0)
    assert task.frequencies.tolist() == [1.0]
    assert task.thresholds.shape == (0,)
    assert task.masks.tolist() == [[1023]]
    uniform = jnp.asarray(samples(10, 100).uniform)
    assert not subtask_of(jnp.asarray(task.thresholds), uniform).any()


# Samples


@pytest.mark.parametrize("n_bits", [1, 31, 32, 33, 64, 100])
def test_bits_are_fair_and_those_beyond_are_zero(n_bits: int) -> None:
    words = samples(n_bits, 4_000).words
    assert words.shape == (4_000, n_words(n_bits))
    assert n_words(n_bits) * 32 - n_bits in range(32)
    bits = twins.bits_of(words, 32 * n_words(n_bits))
    assert not bits[:, n_bits:].any()
    assert chance.fair(bits[:, :n_bits])
    np.testing.assert_array_equal(unpack(jnp.asarray(words), n_bits, jnp.float32), bits[:, :n_bits])


def test_bits_and_subtask_are_independent() -> None:
    """No two of the 33 bits correlate, nor does one with a bit of the uniform word."""
    drawn = samples(33)
    uniform = twins.bits_of(drawn.uniform[:, None], 32)
    assert chance.fair(uniform)
    assert chance.uncorrelated(np.hstack([twins.bits_of(drawn.words, 33), uniform]))


@pytest.mark.parametrize(("n_bits", "k"), [(10, 2), (33, 5), (100, 3), (64, 64)])
def test_label_is_the_parity_of_the_subset(n_bits: int, k: int) -> None:
    n_tasks = min(40, math.comb(n_bits, k))
    task = make_task(TaskConfig(n_tasks, n_bits, k), 0)
    words = samples(n_bits, 4_000).words[:1000]
    subtask = np.arange(1000) % n_tasks
    label = parity(jnp.asarray(words), jnp.asarray(task.masks[subtask]))
    expected = twins.labels(twins.bits_of(words, n_bits), task.subsets, subtask)
    np.testing.assert_array_equal(label, expected)
    assert chance.fair(expected[:, None])


def test_parity_of_one_mask_for_all() -> None:
    words, mask = samples(33, 4_000).words[:50], np.array([2**31 + 5, 1], np.uint32)
    label = parity(jnp.asarray(words), jnp.asarray(mask))
    np.testing.assert_array_equal(label, twins.bits_of(words, 33)[:, [0, 2, 31, 32]].sum(1) % 2)


def test_inputs_are_control_vector_then_bits() -> None:
    bits = jnp.asarray([[0.0, 1.0], [1.0, 1.0]])
    inputs = whole_inputs(jnp.asarray([2, 0]), bits, jnp.eye(3))
    assert inputs.tolist() == [[0, 0, 1, 0, 1], [1, 0, 0, 1, 1]]


def test_seeds_share_no_sample() -> None:
    """100 bits and a uniform word: 8,000 samples coincide with probability 1e-32."""
    both = [np.column_stack([*samples(100, 4_000, seed)]) for seed in (0, 1)]
    assert len(np.unique(np.vstack(both), axis=0)) == 8_000
    words = [twins.bits_of(rows, 128) for rows in both]
    assert chance.uncorrelated(np.hstack([bits[:, :100] for bits in words]))
