"""Fits recover planted laws, and their intervals hold the truth as often as they claim."""

import math
import re

import numpy as np
import pytest
from scipy import stats

from jquanta.errors import BadInput
from jquanta.powerlaw import Fit, fit, fit_irreducible, mean_interval, window_sensitivity, zipf

X = np.geomspace(10, 10_000, 12)


def assert_calibrated(hits: int, trials: int, level: float, slack: float = 0.0) -> None:
    """The share of intervals that held the truth is what ``level`` claims.

    If the true coverage is ``level``, hits are binomial(trials, level), and fall outside these
    bounds for one choice of random numbers in 5,000. ``slack`` widens them for a method whose
    coverage is only approximately its level.
    """
    low = stats.binom.ppf(1e-4, trials, level - slack)
    high = stats.binom.ppf(1 - 1e-4, trials, min(level + slack, 1 - 1e-12))
    assert low <= hits <= high, f"{hits / trials:.1%} of {trials} intervals at level {level}"


def holds(result: Fit, truth: float) -> bool:
    low, high = result.interval
    return low <= truth <= high


def noisy(random: np.random.Generator, exponent: float, noise: float, n: int) -> np.ndarray:
    x = np.geomspace(10, 1000, n)
    return 3 * x**-exponent * np.exp(random.normal(0, noise, n))


def seeds(random: np.random.Generator, exponent: float, n_groups: int, n: int) -> np.ndarray:
    """Curves [groups, n] as training makes them: an exponent and a height of their own each, and
    noise that wanders instead of being drawn anew at each point."""
    x = np.geomspace(10, 1000, n)
    own = exponent + random.normal(0, 0.05, (n_groups, 1))
    height = random.normal(0, 0.2, (n_groups, 1))
    return np.exp(height + random.normal(0, 0.03, (n_groups, n)).cumsum(1)) * x**-own


# Frequencies


def test_zipf_is_the_normalised_power_of_the_rank():
    p = zipf(500, 0.4, offset=10)
    by_hand = [(i + 10) ** -1.4 for i in range(1, 501)]
    np.testing.assert_allclose(p, np.array(by_hand) / math.fsum(by_hand), rtol=1e-13)
    assert p.dtype == np.float64
    assert p.sum() == pytest.approx(1, abs=1e-14)


def test_zipf_exponent_is_alpha_plus_one():
    p = zipf(100, 0.4)
    assert math.log(p[9] / p[99]) / math.log(100 / 10) == pytest.approx(1.4)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [((0, 0.4), "n_tasks"), ((5, -1.0), "alpha"), ((5, math.nan), "alpha"), ((5, 1, -1), "offset")],
)
def test_zipf_refuses(arguments, field):
    with pytest.raises(BadInput, match=f"^{field} = "):
        zipf(*arguments)


# The plain law


@pytest.mark.parametrize("slope", [-2.0, -0.4, 0.0, 0.7])
def test_recovers_a_law_without_noise(slope):
    result = fit(X, 5 * X**slope)
    assert result.slope == pytest.approx(slope, abs=1e-12)
    assert result.exponent == -result.slope
    assert result.prefactor == pytest.approx(5)
    assert result.intercept == pytest.approx(math.log(5))
    assert result.interval == pytest.approx((-slope, -slope), abs=1e-10)
    np.testing.assert_allclose(result.predict(X), 5 * X**slope)


def test_agrees_with_scipy_linregress():
    """An independent least squares with its own standard error."""
    y = noisy(np.random.default_rng(1), 0.4, 0.1, 12)
    result = fit(X, y, level=0.9)
    reference = stats.linregress(np.log(X), np.log(y))
    half = stats.t.ppf(0.95, 10) * reference.stderr
    assert result.slope == pytest.approx(reference.slope)
    assert result.intercept == pytest.approx(reference.intercept)
    assert result.r2 == pytest.approx(reference.rvalue**2)
    assert result.interval == pytest.approx((-reference.slope - half, -reference.slope + half))
    assert result.level == 0.9


@pytest.mark.parametrize("n", [3, 12])
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_t_interval_is_calibrated(n, level):
    random = np.random.default_rng(2)
    x = np.geomspace(10, 1000, n)
    trials = 500
    hits = sum(holds(fit(x, noisy(random, 0.4, 0.1, n), level=level), 0.4) for _ in range(trials))
    assert_calibrated(hits, trials, level)


@pytest.mark.parametrize("n_groups", [3, 8])
def test_t_interval_over_groups_is_calibrated(n_groups):
    random = np.random.default_rng(3)
    x, groups = np.geomspace(10, 1000, 20), np.arange(n_groups)[:, None]
    trials = 500
    curves = [seeds(random, 0.4, n_groups, 20) for _ in range(trials)]
    hits = sum(holds(fit(x, y, groups=groups), 0.4) for y in curves)
    assert_calibrated(hits, trials, 0.95)

    # The same curves, taken for independent points, claim far more than they know: groups matter.
    overconfident = sum(holds(fit(x, y), 0.4) for y in curves)
    assert overconfident < stats.binom.ppf(1e-4, trials, 0.95)


# A bootstrap's coverage is approximate: a few percent, for few units, is what to expect of it.
@pytest.mark.parametrize("n", [12, 40])
def test_bootstrap_over_points_is_calibrated(n):
    random = np.random.default_rng(4)
    x = np.geomspace(10, 1000, n)
    trials = 300
    hits = sum(
        holds(fit(x, noisy(random, 0.4, 0.1, n), method="bootstrap"), 0.4) for _ in range(trials)
    )
    assert_calibrated(hits, trials, 0.95, slack=0.03)


@pytest.mark.parametrize("n_groups", [6, 20])
def test_bootstrap_over_groups_is_calibrated(n_groups):
    random = np.random.default_rng(5)
    x, groups = np.geomspace(10, 1000, 20), np.arange(n_groups)[:, None]
    trials = 300
    hits = sum(
        holds(fit(x, seeds(random, 0.4, n_groups, 20), groups=groups, method="bootstrap"), 0.4)
        for _ in range(trials)
    )
    assert_calibrated(hits, trials, 0.95, slack=0.03)


def test_groups_with_shared_x_give_the_t_interval_of_their_exponents():
    y = seeds(np.random.default_rng(6), 0.4, 4, 20)
    x = np.geomspace(10, 1000, 20)
    result = fit(x, y, groups=np.array(["a", "b", "c", "d"])[:, None])
    own = np.array([fit(x, curve).exponent for curve in y])
    reference = stats.t.interval(0.95, 3, own.mean(), stats.sem(own))
    assert result.exponent == pytest.approx(own.mean())
    assert result.interval == pytest.approx(reference)
    assert result.n_points == 80


def test_bootstrap_resamples_what_it_says():
    """With one x for all groups, a resample's exponent is the mean of its groups' own exponents."""
    random = np.random.default_rng(7)
    x = np.geomspace(10, 1000, 20)
    y = seeds(random, 0.4, 6, 20)
    result = fit(x, y, groups=np.arange(6)[:, None], method="bootstrap", level=0.8)
    own = np.array([-np.polyfit(np.log(x), np.log(curve), 1)[0] for curve in y])
    resampled = own[random.integers(6, size=(200_000, 6))].mean(1)
    tail = stats.norm.cdf(-math.sqrt(6 / 5) * stats.t.ppf(0.9, 5))
    reference = np.quantile(resampled, [tail, 1 - tail])
    # A 5% quantile of 4,000 draws has a standard error of 1.1% of the width between both.
    tolerance = 0.04 * np.diff(reference)[0]
    assert result.interval == pytest.approx(tuple(reference), abs=tolerance)


def test_bootstrap_over_points_resamples_points():
    """Each resample is fitted as it is; a line takes two of the points' degrees of freedom."""
    random = np.random.default_rng(13)
    x = np.geomspace(10, 1000, 8)
    y = noisy(random, 0.4, 0.1, 8)
    result = fit(x, y, method="bootstrap", level=0.8)
    picks = random.integers(8, size=(100_000, 8))
    lx, ly = np.log(x)[picks], np.log(y)[picks]
    lx, ly = lx - lx.mean(1, keepdims=True), ly - ly.mean(1, keepdims=True)
    resampled = -(lx * ly).sum(1) / (lx * lx).sum(1)
    tail = stats.norm.cdf(-math.sqrt(8 / 6) * stats.t.ppf(0.9, 6))
    reference = np.quantile(resampled, [tail, 1 - tail])
    # A 5% quantile of 4,000 draws has a standard error of 1.1% of the width between both.
    tolerance = 0.035 * np.diff(reference)[0]
    assert result.interval == pytest.approx(tuple(reference), abs=tolerance)


def test_bootstrap_repeats_exactly_and_follows_its_seed():
    y = noisy(np.random.default_rng(8), 0.4, 0.1, 12)
    first = fit(X, y, method="bootstrap")
    assert fit(X, y, method="bootstrap") == first
    assert fit(X, y, method="bootstrap", seed=1).interval != first.interval


# Windows and missing points


def test_window_includes_its_ends_and_ignores_the_rest():
    """Step 0, a plateau before the window and a crash after it are none of the fit's business."""
    x = np.array([0, 1, 10, 100, 1000, 10_000])
    y = np.array([1.0, 1.0, 0.1, 0.01, 0.001, 0.0])
    result = fit(x, y, window=(10, 1000))
    assert result.exponent == pytest.approx(1)
    assert (result.window, result.n_points, result.n_missing) == ((10, 1000), 3, 0)
    assert fit(x[1:5], y[1:5], window=(10, math.inf)) == result


def test_nan_is_left_out_and_counted():
    y = 5 * X**-0.4
    y[[2, 5]] = np.nan
    x = X.copy()
    x[7] = np.nan
    result = fit(x, y)
    assert result.exponent == pytest.approx(0.4)
    assert (result.n_points, result.n_missing) == (9, 3)
    assert str(result).endswith("(n = 9, 3 missing)")


def test_window_sensitivity_is_a_fit_a_window():
    y = np.where(X < 500, X**-0.2, 500**0.3 * X**-0.5)  # a bend: the exponent hangs on the window
    windows = [(10, 500), (500, 10_000)]
    early, late = window_sensitivity(X, y, windows)
    assert early.exponent == pytest.approx(0.2)
    assert late.exponent == pytest.approx(0.5)
    assert [early, late] == [fit(X, y, window) for window in windows]


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ((0.39, 0.47), "0.43 [0.39, 0.47] over 400…9000 (n = 12)"),
        ((0.428, 0.432), "0.430 [0.428, 0.432] over 400…9000 (n = 12)"),
        ((-math.inf, math.inf), "0.43 [-inf, inf] over 400…9000 (n = 12)"),
    ],
)
def test_str(interval, text):
    assert str(Fit(-0.43, 0.0, interval, 0.95, (400, 9000), 12, 0, 0.99)) == text


# The law above a floor


@pytest.mark.parametrize("floor", [0.0, 0.05, 2.0])
@pytest.mark.parametrize("slope", [-0.8, -0.3])
def test_recovers_an_irreducible_term(floor, slope):
    result = fit_irreducible(X, floor + 3 * X**slope)
    assert result.exponent == pytest.approx(-slope, rel=1e-5)
    assert result.floor == pytest.approx(floor, abs=1e-6)
    assert result.prefactor == pytest.approx(3, rel=1e-5)
    np.testing.assert_allclose(result.predict(X), floor + 3 * X**slope, rtol=1e-6)
    assert result.r2 == pytest.approx(1)


def test_irreducible_is_the_least_squares_of_ln_y():
    """Against another optimiser, without derivatives and from one start."""
    from scipy.optimize import minimize

    random = np.random.default_rng(9)
    x = np.geomspace(1, 1e4, 20)
    y = (0.05 + x**-0.4) * np.exp(random.normal(0, 0.05, 20))

    def cost(theta):
        return np.sum(
            (np.log(y) - np.log(np.exp(theta[0]) + np.exp(theta[1]) * x ** theta[2])) ** 2
        )

    best = minimize(cost, [-3, 0, -0.5], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 0})
    result = fit_irreducible(x, y)
    assert result.slope == pytest.approx(best.x[2], rel=1e-5)
    assert result.floor == pytest.approx(np.exp(best.x[0]), rel=1e-5)


def test_irreducible_interval_is_calibrated():
    random = np.random.default_rng(10)
    x = np.geomspace(1, 1e4, 20)
    trials = 300
    hits = sum(
        holds(
            fit_irreducible(x, (0.05 + x**-0.4) * np.exp(random.normal(0, 0.05, 20))),
            0.4,
        )
        for _ in range(trials)
    )
    # From the derivatives at the solution: approximate, as the model is not linear.
    assert_calibrated(hits, trials, 0.95, slack=0.02)


def test_irreducible_interval_over_groups_is_calibrated():
    random = np.random.default_rng(11)
    x, groups = np.geomspace(1, 1e4, 20), np.arange(6)[:, None]
    trials = 200
    hits = 0
    for _ in range(trials):
        own = 0.4 + random.normal(0, 0.03, (6, 1))
        y = (0.05 + x**-own) * np.exp(random.normal(0, 0.02, (6, 20)))
        hits += holds(fit_irreducible(x, y, groups=groups), 0.4)
    assert_calibrated(hits, trials, 0.95, slack=0.03)


def test_a_plain_law_hides_a_floor():
    x = np.geomspace(1, 1e4, 20)
    y = 0.1 + x**-0.5
    assert fit(x, y).exponent < 0.3
    result = fit_irreducible(x, y)
    assert result.exponent == pytest.approx(0.5, rel=1e-5)
    assert " above 0.1 (n = 20)" in str(result)


# Refusals: one line that names the argument and what to do


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        ([0, 1, 2, 3], [1, 1, 1, 1], {}, "x has 1 of 4 values that are zero, negative or infinite"),
        ([1, 2, 3, 4], [1, 0, -1, 1], {}, "y has 2 of 4 values .* narrow the window"),
        ([1, 2, 3, 4], [1, np.inf, 1, 1], {}, "y has 1 of 4 values"),
        ([1, 2, 3, np.inf], [1, 1, 1, 1], {}, "x has 1 of 4 values"),
        ([1, 2], [1, 2], {}, "2 measured points, and a fit needs at least 3"),
        ([1, 2, 3], [1, np.nan, 2], {}, "2 measured points"),
        ([], [], {}, "0 measured points"),
        ([1, 2, 3, 4], [1, 2, 3, 4], {"window": (2, 3)}, r"2 measured points in the window 2…3"),
        ([5, 5, 5], [1, 2, 3], {}, "x is 5 at every point"),
        ([1, 2, 3], [1, 2], {}, r"shapes \(3,\), \(2,\), \(\)"),
        ([1, 2, 3], [1, 2, 3], {"window": (3, 1)}, r"window = \(3, 1\)"),
        ([1, 2, 3], [1, 2, 3], {"window": (math.nan, 1)}, "window = "),
        ([1, 2, 3], [1, 2, 3], {"level": 95}, "level = 95"),
        ([1, 2, 3], [1, 2, 3], {"groups": [0, 0, 0]}, "groups: only one, 0"),
    ],
)
@pytest.mark.parametrize("law", [fit, fit_irreducible])
def test_refuses(law, x, y, options, message):
    if law is fit_irreducible:
        message = message.replace("needs at least 3", "needs at least 4")
        # 3 points are too few for a floor: say it again, so that the other error shows.
        x, y = ([*v, *v] if len(v) == 3 and "measured" not in message else v for v in (x, y))
        if "shapes" in message:
            message = r"shapes \(6,\), \(2,\), \(\)"
        if "groups" in options:
            options = {"groups": [0] * 6}
    with pytest.raises(BadInput) as caught:
        law(x, y, **options)
    assert re.search(message, str(caught.value))
    assert "\n" not in str(caught.value)


def test_refuses_an_unknown_method():
    with pytest.raises(BadInput, match="method = 'ols': give 't' or 'bootstrap'"):
        fit(X, X, method="ols")


def test_bootstrap_refuses_more_than_its_groups_can_carry():
    """Three groups lie on one side of the truth in 2 of 8 cases, and so do all their mixtures."""
    y = seeds(np.random.default_rng(12), 0.4, 3, 12)
    groups = np.arange(3)[:, None]
    with pytest.raises(BadInput, match=r"3 groups can carry 75.0% at most.* at least 6.*'t'"):
        fit(X, y, groups=groups, method="bootstrap")
    assert fit(X, y, groups=groups, method="bootstrap", level=0.75).n_points == 36


def test_irreducible_refuses_what_cannot_determine_three_parameters():
    with pytest.raises(BadInput, match="needs at least 4"):
        fit_irreducible([1, 2, 3], [3, 2, 1])
    with pytest.raises(BadInput, match="3 different values"):
        fit_irreducible([1, 1, 2, 2], [1, 2, 3, 4])
    with pytest.raises(BadInput, match="does not vary"):
        fit_irreducible([1, 2, 3, 4], [2, 2, 2, 2])


def test_the_interval_of_a_mean_is_that_of_a_fit_to_groups() -> None:
    """The exponents of each group's own line: their mean and its interval are those of the fit."""
    chance = np.random.default_rng(0)
    x = np.array([1.0, 10.0, 100.0, 1000.0])
    y = np.exp(chance.normal(0, 0.1, (4, len(x)))) * x**-0.5
    own = np.array([fit(x, each).exponent for each in y])
    low, high = mean_interval(own, 0.9)
    found = fit(x, y, groups=np.arange(4)[:, None], level=0.9)
    assert found.interval == pytest.approx((float(low), float(high)))
    wanted = stats.t.interval(0.9, 3, own.mean(), stats.sem(own))
    assert (float(low), float(high)) == pytest.approx(wanted)
    low, high = mean_interval(y)
    assert low.shape == high.shape == (4,)
    for wrong in (1.0, [1.0]):
        with pytest.raises(BadInput, match="an interval needs at least 2 repeats"):
            mean_interval(wrong)
    with pytest.raises(BadInput, match="level"):
        mean_interval(own, 1.5)
