"""Where tokens jump in several seeds: planted places and noise found, chance as by shuffling."""

import itertools

import numpy as np
import pytest
import xarray as xr

import jquanta as jq
from jquanta.errors import BadInput
from jquanta.lm.taxonomy import jumps
from tests.lm.taxonomy.examples import table


def stored(place: np.ndarray, n: int, seed: int = 0) -> xr.Dataset:
    """Losses [P, n, seeds] of tokens that are learned at these places [P, seeds], n for never.

    Before, a token's loss is noise that is often below the threshold as well, but for the last
    place before.
    """
    chance = np.random.default_rng(seed)
    rows, seeds = place.shape
    losses = chance.uniform(0.2, 6, (rows, n, seeds))
    behind = np.arange(n)[:, None] >= place[:, None]
    losses = np.where(behind, chance.uniform(0, 0.29, losses.shape), losses)
    losses = np.where(np.arange(n)[:, None] == place[:, None] - 1, 2.0, losses)
    names = [f"{at}-seed{s}" for at in range(n) for s in range(seeds)]
    sizes = [at + 1 for at in range(n) for _ in range(seeds)]
    return jq.by_seed(table(losses.reshape(rows, -1).astype(np.float32), sizes, names))


def sizes(n: int) -> np.ndarray:
    return np.array([3 * 2**i for i in range(n)])


def textbook(x: np.ndarray) -> float:
    """ICC(1) of numbers [tokens, seeds] by the analysis of variance."""
    seeds = x.shape[1]
    between, within = seeds * x.mean(1).var(ddof=1), x.var(1, ddof=1).mean()
    return float((between - within) / (between + (seeds - 1) * within))


def test_every_number_is_that_of_plain_counting() -> None:
    n, seeds, rows = 5, 3, 4000
    chance = np.random.default_rng(1)
    place = (chance.integers(0, n + 1, (rows, 1)) + chance.integers(-1, 2, (rows, seeds))).clip(
        0, n
    )
    found = jumps.agreement(stored(place, n), sizes(n), block=777)  # no multiple of anything
    jump = (place > 0) & (place < n)
    every = jump.all(1)
    assert found.seeds == ("0", "1", "2")
    assert found.any == jump.any(1).sum()
    assert found.all == every.sum()
    assert found.same == sum(len(set(p)) == 1 for p in place[every].tolist())
    assert found.near == sum(max(p) - min(p) <= 1 for p in place[every].tolist())
    for seed in range(seeds):
        np.testing.assert_array_equal(
            found.places[seed], np.bincount(place[:, seed], minlength=n + 1)
        )
    pairs = np.zeros((n + 1, n + 1), int)
    for one, other in itertools.permutations(range(seeds), 2):
        np.add.at(pairs, (place[:, one], place[:, other]), 1)
    np.testing.assert_array_equal(found.pairs, pairs)
    # In another order of sums: equal to rounding.
    assert found.icc == pytest.approx(textbook(np.log(sizes(n))[place[every]]), abs=1e-12)


def test_chance_is_what_shuffling_gives() -> None:
    n, seeds, rows = 5, 3, 20_000
    chance = np.random.default_rng(2)
    weights = np.array([0.2, 0.3, 0.2, 0.1, 0.1, 0.1])
    place = np.stack([chance.choice(n + 1, rows, p=np.roll(weights, s)) for s in range(seeds)], 1)
    found = jumps.agreement(stored(place, n), sizes(n))
    jump = ((place > 0) & (place < n)).all(1)
    shuffled: dict[str, list[float]] = {"any": [], "all": [], "near": [], "icc": []}
    for _ in range(30):
        whole = np.stack([chance.permutation(of) for of in place.T], 1)
        within = np.stack([chance.permutation(of) for of in place[jump].T], 1)
        some = ((whole > 0) & (whole < n)).any(1)
        one = (np.ptp(whole, axis=1) == 0) & (whole[:, 0] > 0) & (whole[:, 0] < n)
        shuffled["any"].append(one.sum() / some.sum())
        shuffled["all"].append((np.ptp(within, axis=1) == 0).mean())
        shuffled["near"].append((np.ptp(within, axis=1) <= 1).mean())
        shuffled["icc"].append(textbook(np.log(sizes(n))[within]))
    for name, values in shuffled.items():
        # Four standard errors of the mean of 30 shuffles.
        error = 4 * np.std(values) / np.sqrt(len(values))
        assert getattr(found, f"chance_{name}") == pytest.approx(np.mean(values), abs=error), name
    # The places were drawn independently, so all is chance.
    assert found.all_interval[0] < found.chance_all < found.all_interval[1]
    assert found.icc_interval[0] < found.chance_icc < found.icc_interval[1]
    assert found.chance_icc < 0  # since the seeds differ as a whole


def planted(kept: float, n: int, rows: int, seed: int) -> np.ndarray:
    """Each token has a place from 1 to n - 1, which each of three seeds keeps with this
    probability, and else draws anew among the others."""
    chance = np.random.default_rng(seed)
    own = chance.integers(1, n, (rows, 1))
    other = 1 + (own - 1 + chance.integers(1, n - 1, (rows, 3))) % (n - 1)
    return np.where(chance.random((rows, 3)) < kept, own, other)


def test_the_planted_share_lies_in_its_interval() -> None:
    """Of 40 corpora of 1,000 tokens: 95% of intervals should, and of 40 at least 33 do but once in
    4,000 times."""
    n, kept = 7, 0.8
    # All three keep their place, or all three go to the same other one.
    truth = kept**3 + (n - 2) * ((1 - kept) / (n - 2)) ** 3
    inside = 0
    for seed in range(40):
        place = planted(kept, n, 1000, seed)
        low, high = jumps.agreement(stored(place, n, seed), sizes(n)).all_interval
        inside += low < truth < high
    assert inside >= 33


def test_the_planted_noise_of_seeds_lies_in_its_interval() -> None:
    """ln of the step of a jump: a token's own, and noise of the seed that is half as wide."""
    n, rows, seeds, spacing = 120, 6000, 3, 0.1
    chance = np.random.default_rng(3)
    own = chance.normal(n / 2, 10, (rows, 1))  # in places, which are `spacing` apart in ln
    place = np.rint(own + chance.normal(0, 5, (rows, seeds))).astype(int).clip(1, n - 1)
    at = np.rint(1e6 * np.exp(spacing * np.arange(n))).astype(np.int64)
    found = jumps.agreement(stored(place, n), at)
    # Rounding to whole places adds a variance of 1/12 to the noise: 0.003 of the whole.
    truth = 10**2 / (10**2 + 5**2 + 1 / 12)
    low, high = found.icc_interval
    assert low < truth < high
    assert high - low < 0.05


def test_agreement_and_none() -> None:
    n = 4
    one = np.repeat(np.random.default_rng(0).integers(0, n + 1, (500, 1)), 2, axis=1)
    found = jumps.agreement(stored(one, n), sizes(n))
    assert found.same == found.any == found.all == found.near
    assert found.icc == pytest.approx(1)
    never = jumps.agreement(stored(np.full((9, 2), n), n), sizes(n))
    assert never.any == never.all == 0
    assert np.isnan([never.icc, never.chance_all, never.chance_any, *never.any_interval]).all()
    same = jumps.agreement(stored(np.full((60, 2), 2), n), sizes(n))
    assert same.same == 60
    assert np.isnan(same.icc)  # nothing varies


def test_a_column_at_a_time_is_as_all_at_once() -> None:
    chance = np.random.default_rng(4)
    losses = chance.uniform(0, 0.6, (1000, 6)).astype(np.float32)
    wanted = [next(j for j in range(7) if (row[j:] < 0.3).all()) for row in losses]
    assert jumps.learned(losses, 0.3).tolist() == wanted


def test_bad_input() -> None:
    good = stored(np.full((9, 2), 1), 3)
    with pytest.raises(BadInput, match="losses of one seed"):
        jumps.agreement(good.isel(seed=[0]), sizes(3))
    with pytest.raises(BadInput, match="2 sizes or steps: give at least 3"):
        jumps.agreement(good.isel(model=[0, 1]), sizes(2))
    with pytest.raises(BadInput, match="positive and ascending"):
        jumps.agreement(good, sizes(3)[::-1])
    for below in (0, -1, float("nan"), float("inf")):
        with pytest.raises(BadInput, match=f"below = {below:g}: give a positive number of nats"):
            jumps.agreement(good, sizes(3), below)
    wrong = good.copy(deep=True)
    wrong["loss"] = (wrong.loss.dims, good.loss.to_numpy().copy())
    wrong.loss[4, 1, 0] = np.nan
    with pytest.raises(BadInput, match=r"1@main, seed 0: no loss of prediction 4 \(NaN\)"):
        jumps.agreement(wrong, sizes(3))
