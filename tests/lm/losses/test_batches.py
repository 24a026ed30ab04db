"""Batches hold every document once, in few shapes, with the padding that was promised."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from jquanta.lm.losses import batches
from jquanta.lm.losses.batches import ALIGNMENT, MOST_LENGTHS, padded_lengths, plan_batches

COUNTS = st.lists(st.integers(0, 300), max_size=60).map(lambda counts: np.array(counts, np.int64))


def spread(count: int = 3000) -> NDArray[np.int64]:
    """Predictions of documents whose lengths are log-normal, cut at 1,024 tokens."""
    tokens = np.random.default_rng(0).lognormal(5.8, 1.1, count).astype(np.int64)
    return np.clip(tokens, 0, 1024) - (tokens > 0)


@given(COUNTS, st.integers(1, 2000), st.integers(1, 5))
def test_every_document_is_in_one_batch_that_takes_it(
    counts: NDArray[np.int64], tokens: int, devices: int
) -> None:
    plan = plan_batches(counts, 300, tokens, devices)
    seen = [number for batch in plan.batches for number in batch.documents]
    assert sorted(seen) == np.flatnonzero(counts).tolist()
    assert plan.documents == len(seen)
    assert plan.predictions == counts.sum()
    done = 0
    for batch in plan.batches:
        done += len(batch.documents)
        assert batch.done == done
        assert 0 < len(batch.documents) <= batch.rows
        assert batch.rows % devices == 0
        assert counts[batch.documents].max() <= batch.length <= 300
        assert batch.rows // devices * batch.length <= max(tokens, batch.length)
    longest_first = [(-counts[number], number) for number in seen]
    assert longest_first == sorted(longest_first)  # the same on every machine
    shapes = {(batch.rows, batch.length) for batch in plan.batches}
    assert len(shapes) == len(plan.lengths) <= MOST_LENGTHS


def computed(counts: list[int], lengths: tuple[int, ...], bend: float) -> float:
    """Work, if each document is padded to the least length that takes it."""
    padded = [min(n for n in lengths if n >= count) for count in counts]
    return sum(n + bend * n**2 for n in padded)


# The bends are powers of two, so that both sums are exact.
@given(st.lists(st.integers(1, 130), min_size=1, max_size=20), st.sampled_from([0, 2**-10, 2**-3]))
def test_lengths_are_the_fewest_and_pad_least(counts: list[int], bend: float) -> None:
    """Against every choice of lengths there is."""
    found = tuple(padded_lengths(np.array(counts), 144, bend=bend))
    possible = sorted({-(-count // ALIGNMENT) * ALIGNMENT for count in counts})
    enough = (1 + batches.PADDING) * sum(n + bend * n**2 for n in counts)

    def best(number: int) -> int:
        """Of so many lengths, the longest among them."""
        chosen = combinations(possible[:-1], number - 1)
        return min(computed(counts, (*shorter, possible[-1]), bend) for shorter in chosen)

    assert computed(counts, found, bend) == best(len(found))
    for fewer in range(1, len(found)):
        assert best(fewer) > enough
    assert len(found) == len(possible) or computed(counts, found, bend) <= enough


def test_padding_of_a_real_spread_is_low() -> None:
    counts = spread()
    plan = plan_batches(counts, 2048, 2048)
    assert plan.lengths[-1] == 1024
    assert len(plan.lengths) <= 12
    assert plan.padding < 0.1  # of which a twelfth is what lengths may cost
    computed = sum(batch.rows * batch.length for batch in plan.batches)
    assert plan.padding == pytest.approx(1 - counts.sum() / computed)
    assert f"{plan.padding:.1%} of the positions are padding" in str(plan)


def test_no_length_is_beyond_the_context() -> None:
    assert padded_lengths(np.array([97, 99, 3]), 100) == [16, 100]


def test_nothing_to_do() -> None:
    plan = plan_batches(np.zeros(3, np.int64), 100, 100)
    assert plan.batches == ()
    assert plan.padding == 0
    assert str(plan) == "no predictions"
