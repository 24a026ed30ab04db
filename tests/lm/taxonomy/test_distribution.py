"""Histograms against numpy's, means against the exact ones."""

import numpy as np
import pytest

from jquanta.errors import BadInput
from jquanta.lm.taxonomy import distribution, tables
from jquanta.lm.taxonomy.distribution import distributions
from jquanta.sweep.scaling import NATS_PER_BIT
from tests.lm.taxonomy import examples
from tests.lm.taxonomy.examples import table
from tests.monitors import Watch

ROWS = 5_000


@pytest.fixture
def losses() -> np.ndarray:
    """Some at 0, some a rounding below, some far beyond the last bin, and a few at it."""
    found = np.random.default_rng(3).exponential(4, (ROWS, 4)).astype(np.float32)
    found[:7] = 0
    found[7] = -1e-7
    found[8:12] = 90
    found[12:14] = 30 * NATS_PER_BIT + 1e-4
    return found


def test_bins_are_numpys(losses: np.ndarray) -> None:
    found = distributions(table(losses))
    bits = np.maximum(losses.astype(float), 0) / NATS_PER_BIT
    assert found.counts.shape == (4, 3000)
    for number in range(4):
        wanted, edges = np.histogram(bits[:, number], bins=3000, range=(0, 30))
        np.testing.assert_array_equal(found.counts[number], wanted)
        np.testing.assert_allclose(found.edges, edges, atol=1e-12)
        assert found.beyond[number] == (bits[:, number] >= 30).sum() >= 6
    np.testing.assert_array_equal(found.counts.sum(1) + found.beyond, ROWS)
    np.testing.assert_allclose(found.mean, losses.mean(0, dtype=np.float64), rtol=1e-12)


def test_the_integrand_adds_up_to_the_mean(losses: np.ndarray) -> None:
    some = losses[14:]
    some = some[(some < 20).all(1)]  # none beyond: the histogram holds all
    found = distributions(table(some))
    width = found.edges[1]
    area = found.integrand.sum(1) * width
    # Every loss is moved to the middle of its bin: by half a bin at most.
    np.testing.assert_allclose(area, found.mean / NATS_PER_BIT, atol=width / 2)
    np.testing.assert_allclose(found.density.sum(1) * width, 1, rtol=1e-12)


@pytest.mark.parametrize("size", [1, 7, 999, ROWS, 10 * ROWS])
def test_blocks_change_nothing(
    size: int, losses: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = losses[:400] if size == 1 else losses
    whole = distributions(table(some))
    monkeypatch.setattr(distribution, "blocks", lambda x: tables.blocks(x, size))
    monkeypatch.setattr(distribution, "COLUMNS", 3)
    watch = Watch()
    parts = distributions(table(some), monitor=watch)
    shares = [share for _, share, *_ in watch.reports]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    np.testing.assert_array_equal(parts.counts, whole.counts)
    np.testing.assert_array_equal(parts.beyond, whole.beyond)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12)  # sums in another order


def test_merged_bins_and_some_models(losses: np.ndarray) -> None:
    found = distributions(table(losses))
    coarse = found.merged(300)
    np.testing.assert_allclose(np.diff(coarse.edges), 0.1)
    for number in range(4):
        bits = np.maximum(losses[:, number].astype(float), 0) / NATS_PER_BIT
        # Edges of the wide bins are among the narrow ones', so none moves.
        wanted = np.histogram(bits, bins=found.edges[::10])[0]
        np.testing.assert_array_equal(coarse.counts[number], wanted)
    np.testing.assert_array_equal(found.of(np.array([2, 0])).counts, found.counts[[2, 0]])


def test_unfinished_columns_are_refused() -> None:
    losses = examples.random(10)
    losses[4, 1] = np.nan
    with pytest.raises(BadInput, match="prediction 4"):
        distributions(table(losses))


def test_the_mean_of_models() -> None:
    losses = examples.random(500, 4)
    found = distributions(table(losses))
    mean = found.averaged([[0, 2], [3]])
    np.testing.assert_allclose(mean.density[0], found.density[[0, 2]].mean(0))
    np.testing.assert_allclose(mean.integrand[1], found.integrand[3])
    np.testing.assert_allclose(mean.mean, [found.mean[[0, 2]].mean(), found.mean[3]])
    assert mean.counts.sum() + mean.beyond.sum() == 2 * 500
