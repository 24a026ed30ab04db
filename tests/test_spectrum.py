"""Sigmoids of many losses: planted ones recovered, as SciPy finds them; noise told from them."""

import numpy as np
import pytest
from scipy.optimize import curve_fit
from scipy.special import expit, stdtrit

from jquanta import powerlaw, spectrum
from jquanta.errors import BadInput
from jquanta.spectrum import KINDS, LEARNED, Checkpoints, Fits, Spectrum

AT = np.geomspace(10, 10_000, 32)
FEW = 13.0 * 2 ** np.arange(8)  # as those of the small suite
BELOW = 0.3


@pytest.fixture(scope="module")
def many() -> Checkpoints:
    return Checkpoints(AT)


@pytest.fixture(scope="module")
def few() -> Checkpoints:
    return Checkpoints(FEW)


def falls(
    x: np.ndarray, time: np.ndarray, width: float, high: float = 7.0, low: float = 3.0
) -> np.ndarray:
    """Sigmoids [curves, n] of these ln τ."""
    return high + (low - high) * expit((x - time[:, None]) / width)


def noisy(curves: np.ndarray, noise: float, seed: int = 0) -> np.ndarray:
    chance = np.random.default_rng(seed)
    return (curves + noise * chance.standard_normal(curves.shape)).astype(np.float32)


@pytest.mark.parametrize("width", [0.12, 0.25, 0.5])
def test_planted_sigmoids_lie_in_their_intervals(many: Checkpoints, width: float) -> None:
    """Widths of half a gap between checkpoints to two; noise of a tenth of the drop or less."""
    count, noise = 4000, 0.3
    chance = np.random.default_rng(1)
    time = chance.uniform(many.x[4], many.x[-5], count)
    found = many.fit(noisy(falls(many.x, time, width), noise), BELOW)
    # Wide ones are now and then taken for a line or half seen.
    learned = found.kind == LEARNED
    assert learned.mean() > 0.97
    t = stdtrit(len(AT) - 4, 0.975)
    for value, error, truth in (
        (found.log_time, found.log_time_error, time),
        (found.log_width, found.log_width_error, np.full(count, np.log(width))),
    ):
        inside = (np.abs(value - truth) < t * error)[learned].mean()
        # 95%, to 1.4% (four standard errors of a share of 4,000) and 1% for the linearisation.
        assert inside == pytest.approx(0.95, abs=0.024)
    # A level is the mean of at least three losses, of many more mostly.
    assert np.median(np.abs(found.high - 7)[learned]) < noise / np.sqrt(3)
    assert np.median(np.abs(found.low - 3)[learned]) < noise / np.sqrt(3)


def test_a_step_between_two_checkpoints_is_known_to_the_gap(few: Checkpoints) -> None:
    time = np.random.default_rng(0).uniform(few.x[1], few.x[-2], 2000)
    found = few.fit(noisy(np.where(few.x < time[:, None], 6.0, 1.0), 0.05), BELOW)
    assert (found.kind == LEARNED).mean() > 0.99
    gap = np.log(2)
    near = np.abs(found.log_time - time) < gap / 2 + 0.05  # the middle of the gap that it lies in
    assert near.mean() > 0.99
    np.testing.assert_allclose(np.median(found.log_time_error), gap / np.sqrt(12), rtol=0.02)


@pytest.mark.parametrize("low", [3.0, 0.1])
def test_it_is_the_least_squares_fit_of_scipy(many: Checkpoints, low: float) -> None:
    """With a low level that noise would take below 0 for half of the curves, too."""

    def sigmoid(x: np.ndarray, *of: float) -> np.ndarray:
        high, low, time, log_width = of
        return np.asarray(high + (low - high) * expit((x - time) / np.exp(log_width)))

    time = np.random.default_rng(2).uniform(many.x[6], many.x[-4], 24)
    losses = noisy(falls(many.x, time, 0.4, low=low), 0.3)
    found = many.fit(losses, BELOW)
    held = 0
    for row, loss in enumerate(losses.astype(np.float64)):
        start = loss[:3].mean(), max(loss[-3:].mean(), 0.1), time[row], np.log(0.4)
        bounds = [-np.inf, 0, many.x[0], -9], [np.inf, np.inf, many.x[-1], 9]
        best, spread = curve_fit(sigmoid, many.x, loss, start, bounds=bounds)
        ours = found.high[row], found.low[row], found.log_time[row], found.log_width[row]
        errors = np.sqrt(np.diag(spread))
        errors[errors < 1e-6] = 1  # of a level that is held at 0
        # Ten steps, and float32.
        assert (np.abs(ours - best) < errors / 20).all()
        left = [np.square(loss - sigmoid(many.x, *of)).sum() for of in (ours, best)]
        assert left[0] == pytest.approx(left[1], rel=1e-4)
        if best[1] > 0.01:  # SciPy does not take a level that is held at 0 from the errors
            told = found.log_time_error[row], found.log_width_error[row]
            assert told == pytest.approx(errors[2:], rel=0.05)
        held += best[1] < 1e-6
    assert (held > 4) == (low < 1)


@pytest.mark.parametrize("at", [FEW, AT], ids=["8", "32"])
def test_noise_is_taken_for_something_else_in_five_of_a_hundred(at: np.ndarray) -> None:
    checkpoints, count = Checkpoints(at), 20_000
    noise = noisy(np.full((count, len(at)), 5.0), 0.4, seed=3)
    kinds = checkpoints.fit(noise, BELOW).kind
    # Thresholds are quantiles of 8,192 curves, and refined fits a little better than the grid.
    assert (kinds != KINDS.index("flat")).mean() == pytest.approx(0.05, abs=0.012)
    line = noise - (3 * (checkpoints.x - checkpoints.x.mean())).astype(np.float32)
    kinds = checkpoints.fit(line - line.min(), BELOW).kind
    assert (kinds == KINDS.index("gradual")).mean() > 0.93


def test_every_kind_is_found(few: Checkpoints) -> None:
    x, order = few.x, np.arange(8)
    curves = {
        "learned": falls(x, x[[4]], 0.3)[0],
        "early": falls(x, x[[0]] - 1.0, 0.8)[0],
        "late": falls(x, x[[-1]] + 1.5, 0.7, low=0)[0],
        "gradual": 9 - x,
        "known": np.full(8, 0.1),
        "flat": np.full(8, 6.0),
        "rising": falls(x, x[[4]], 0.3, 1, 5)[0],
        "returning": np.where((order > 2) & (order < 5), 1.0, 5.0),
    }
    found = few.fit(noisy(np.stack(list(curves.values())), 0.02), BELOW)
    assert [KINDS[kind] for kind in found.kind] == list(curves)
    assert found.r2[[4, 5]].tolist() == [0, 0]
    assert (found.r2[[0, 1, 2, 3, 6, 7]] > 0.98).all()


def test_losses_without_any_noise(few: Checkpoints) -> None:
    """Constants, to the bit, and levels that divide by nothing."""
    rows = np.stack([np.zeros(8), np.full(8, 4.0), falls(few.x, few.x[[3]] + 0.1, 0.3)[0]])
    found = few.fit(rows.astype(np.float32), BELOW)
    assert [KINDS[kind] for kind in found.kind] == ["known", "flat", "learned"]
    assert np.isnan(found.log_time[:2]).all()
    assert found.low[:2].tolist() == found.high[:2].tolist() == [0, 4]
    assert found.log_time[2] == pytest.approx(few.x[3] + 0.1, abs=1e-3)


def test_chunks_and_a_single_curve_are_one_fit(few: Checkpoints) -> None:
    rows = noisy(falls(few.x, np.random.default_rng(4).uniform(3, 7, 9000), 0.4), 0.3)
    whole = few.fit(rows, BELOW)
    for column, last in zip(whole, few.fit(rows[-700:], BELOW), strict=True):
        np.testing.assert_array_equal(column[-700:], last)
    assert len(few.fit(rows[:0], BELOW).kind) == 0


def test_sums_are_those_of_a_loop(few: Checkpoints) -> None:
    chance = np.random.default_rng(5)
    rows = noisy(falls(few.x, chance.uniform(1, 9, 500), 0.5), 0.5)
    weights = chance.uniform(0, 2, 500)
    fits = few.fit(rows, BELOW)
    found = Spectrum(few)
    for part in slice(0, 123), slice(123, None):
        found.add(rows[part], Fits(*(x[part] for x in fits)), weights[part])
    np.testing.assert_allclose(found.mean, weights @ rows / weights.sum(), rtol=1e-6)
    np.testing.assert_allclose(found.falls.sum(), found.mean[0] - found.mean[-1])
    fitted = np.zeros(8)
    drops = np.zeros_like(found.drops)
    for row, weight, kind, time, wide, high, low in zip(
        rows, weights, fits.kind, fits.log_time, np.exp(fits.log_width), fits.high, fits.low,
        strict=True,
    ):  # fmt: skip
        own = high + (low - high) * expit((few.x - time) / wide) if high > low else row.mean()
        fitted += weight * (own if kind == LEARNED else row.mean())
        if high > low:
            place = min(int((time - few.x[0]) / np.diff(found.edges)[0]), drops.shape[1] - 1)
            drops[kind, place] += weight * (high - low)
    np.testing.assert_allclose(found.rebuilt(), fitted / weights.sum(), rtol=1e-5)
    np.testing.assert_allclose(found.drops, drops, rtol=1e-4, atol=1e-9)


def test_the_spectrum_rebuilds_a_planted_law(many: Checkpoints) -> None:
    """Quanta of Zipf's law, learned at times ∝ 1 / p: the mean loss falls as t^-α/(α+1)."""
    alpha, count = 0.5, 20_000
    p = powerlaw.zipf(count, alpha)
    time = np.log(3.0 / p)  # the first at step 8, before all checkpoints; most after the last
    rows = noisy(falls(many.x, time, 0.4, high=5.0, low=0.0), 0.05)
    found = Spectrum(many)
    fits = many.fit(rows, BELOW)
    found.add(rows, fits, p)
    seen = (time > many.x[2]) & (time < many.x[-3])
    assert (fits.kind[seen] == LEARNED).mean() > 0.99
    law = powerlaw.fit(p[seen], np.exp(fits.log_time[seen]))
    assert law.interval[0] < 1 < law.interval[1]
    kinds = range(len(KINDS))
    window = (50, 3000)
    measured, rebuilt, times = (
        powerlaw.fit(AT, curve, window).exponent
        for curve in (found.mean, found.rebuilt(kinds), found.from_times(kinds))
    )
    # The mean's noise is that of the most frequent quanta, which the sigmoids smooth.
    truth = p @ falls(many.x, time, 0.4, high=5.0, low=0.0)
    assert np.abs(found.rebuilt(kinds) - truth).max() < np.abs(found.mean - truth).max()
    by_truth = powerlaw.fit(AT, truth, window).exponent
    assert rebuilt == pytest.approx(by_truth, abs=0.005)
    assert times == pytest.approx(by_truth, abs=0.02)
    assert measured == pytest.approx(by_truth, abs=0.01)
    # The unlearned tail ends with the last of 20,000 quanta, so the exponent is a little larger.
    assert by_truth == pytest.approx(alpha / (alpha + 1), abs=0.04)


def test_a_law_of_lines_has_no_spectrum(many: Checkpoints) -> None:
    """Tokens that all fall as lines in ln t also rebuild the mean from sigmoids, but are not
    learned: so the share that is learned has to be told beside."""
    chance = np.random.default_rng(6)
    slopes = chance.uniform(0.3, 0.6, (3000, 1))
    rows = noisy(8 - slopes * (many.x - many.x[0]), 0.2)
    found = Spectrum(many)
    found.add(rows, many.fit(rows, BELOW))
    assert found.number[KINDS.index("gradual")] > 0.9 * len(rows)
    assert found.falls[LEARNED] < 0.1 * found.falls.sum()
    np.testing.assert_allclose(found.rebuilt(range(len(KINDS))), found.mean, rtol=0.03)


def test_bad_input(few: Checkpoints) -> None:
    with pytest.raises(BadInput, match="5 checkpoints: a sigmoid has four numbers, and needs"):
        Checkpoints([1, 2, 3, 4, 5])
    for wrong in ([0, 1, 2, 3, 4, 5], [1, 2, 3, 3, 4, 5], [1, 2, 3, 4, 5, np.nan]):
        with pytest.raises(BadInput, match="steps: give finite numbers, positive and ascending"):
            Checkpoints(wrong, "steps")
    with pytest.raises(BadInput, match=r"shape \(2, 3\): give \[curves, 8\]"):
        few.fit(np.ones((2, 3)), BELOW)
    rows = np.ones((4, 8), np.float32)
    rows[2, 5] = np.nan
    with pytest.raises(BadInput, match="curve 2: a loss is not finite"):
        few.fit(rows, BELOW)
    assert np.isnan(Spectrum(few).mean_width())
    assert spectrum.LEAST == 6
