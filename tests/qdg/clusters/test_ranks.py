"""Rank-frequency curves and slopes where both are known."""

import numpy as np
import pytest
import xarray as xr

from jquanta.errors import BadInput
from jquanta.powerlaw import fit
from jquanta.qdg.clusters.cluster import imported
from jquanta.qdg.clusters.ranks import (
    clipped,
    envelope_slope,
    rank_frequency,
    rank_sizes,
    window_table,
)


def of_sizes(*rows: list[int]) -> xr.Dataset:
    """Clusters of these sizes, one row a count."""
    return imported(np.stack([np.repeat(np.arange(len(row)), row) for row in rows]))


def power(exponent: float, ranks: int, samples: int) -> xr.Dataset:
    """The curves of one count whose sizes fall as rank^-exponent, as nearly as numbers can."""
    size = np.round(samples * np.arange(1, ranks + 1) ** -exponent).astype(int)
    return rank_frequency(of_sizes(size.tolist()))


def test_sizes_by_rank_and_their_envelope() -> None:
    found = rank_frequency(of_sizes([7, 3], [6, 2, 2], [4, 3, 2, 1]))
    assert found["size"].to_numpy().tolist() == [[7, 3, 0, 0], [6, 2, 2, 0], [4, 3, 2, 1]]
    assert found.envelope.to_numpy().tolist() == [7, 3, 2, 1]
    assert found["rank"].to_numpy().tolist() == [1, 2, 3, 4]
    assert found["count"].to_numpy().tolist() == [2, 3, 4]
    assert rank_sizes(np.array([3, 0, 3, 9])).tolist() == [2, 1, 1]


@pytest.mark.parametrize("exponent", [0.8, 1.24])
def test_the_slope_of_a_power_law(exponent: float) -> None:
    fit = envelope_slope(power(exponent, 1200, 10**6))
    # sizes of 140 and more, rounded to whole numbers: a few thousandths each, over 900 of them
    assert fit.exponent == pytest.approx(exponent, abs=1e-3)
    assert fit.window == (100, 1000)
    assert fit.interval[0] <= fit.exponent <= fit.interval[1]


def test_several_clusterings_give_the_interval() -> None:
    curves = [power(a, 1200, 10**6) for a in (1.0, 1.1, 1.2)]
    fit = envelope_slope(*curves)
    assert fit.exponent == pytest.approx(1.1, abs=2e-3)
    # Student's t with 2 degrees of freedom: 4.303 · 0.1 / √3
    assert fit.interval == pytest.approx((1.1 - 0.2484, 1.1 + 0.2484), abs=3e-3)
    assert np.ptp(envelope_slope(curves[1]).interval) < 0.01  # of one: far too narrow


def test_the_interval_of_a_staircase_counts_each_step_once() -> None:
    """Steps of equal length in the logarithm, each off the law by noise of its own."""
    rank = np.arange(1, 1001)
    step = np.floor(5 * np.log(rank)).astype(int)
    law = 1e9 * np.exp(-1.2 * (step + 0.5) / 5)
    random, held, of_ranks = np.random.default_rng(0), [], []
    for _ in range(200):
        size = law * np.exp(0.1 * random.standard_normal(step.max() + 1))[step]
        curves = xr.Dataset({"envelope": ("rank", size)}, {"rank": rank})
        low, high = envelope_slope(curves).interval
        held.append(low <= 1.2 <= high)
        low, high = fit(rank, size, (100, 1000)).interval
        of_ranks.append(low <= 1.2 <= high)
    # 12 steps, of ever more ranks: cluster-robust intervals fall somewhat short of 95%.
    assert np.mean(held) > 0.85
    assert np.mean(of_ranks) < 0.5


def test_a_flat_envelope_has_slope_zero() -> None:
    fit = envelope_slope(rank_frequency(of_sizes([5, *[1] * 50])))
    assert fit.exponent == pytest.approx(0, abs=1e-12)


def test_clusterings_of_different_counts_are_fitted_where_all_have_ranks() -> None:
    curves = [power(1.1, ranks, 10**6) for ranks in (300, 400)]
    assert envelope_slope(*curves).window == (100, 300)
    assert window_table(*curves)[-1].window == (100, 300)


def test_windows_end_with_the_ranks_there_are() -> None:
    assert clipped((100, 1000), 1500) == (100, 1000)
    assert clipped((100, 1000), 400) == (100, 400)
    assert clipped((100, 1000), 60) == (20, 60)
    table = window_table(power(1.1, 400, 10**6))
    assert [fit.window for fit in table] == [(30, 300), (50, 400), (100, 400), (134, 400)]
    table = window_table(power(1.1, 1200, 10**6))
    expected = [(30, 300), (50, 500), (100, 500), (100, 1000), (200, 1000)]
    assert [fit.window for fit in table] == expected


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="give the rank-frequency curves"):
        envelope_slope()
    with pytest.raises(BadInput, match="needs at least 3"):
        envelope_slope(rank_frequency(of_sizes([3, 2])))
