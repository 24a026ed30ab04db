"""Laws in several variables: planted ones are found as often as intervals claim, whatever the
solver, and what a grid cannot tell is refused or said."""

import itertools
import math
import re

import numpy as np
import pytest
from scipy.optimize import least_squares, nnls

from jquanta import projection, surface
from jquanta.errors import BadInput
from jquanta.surface import Surface, fit, window_sensitivity
from tests.test_powerlaw import assert_calibrated

N = np.geomspace(1e4, 1e6, 7)[:, None]
S = np.geomspace(100, 1e5, 9)
D = np.geomspace(1e6, 1e9, 5)[:, None, None]
ALPHA_N, ALPHA_S = 0.4, 0.5
DRAWS = 200


def law(E: float) -> np.ndarray:
    return np.asarray(E + 40 * N**-ALPHA_N + 9 * S**-ALPHA_S)


def noisy(E: float, seed: int, noise: float = 0.02) -> np.ndarray:
    chance = np.random.default_rng(seed)
    return law(E) * np.exp(chance.normal(0, noise, (len(N), len(S))))


def holds(interval: tuple[float, float], truth: float) -> bool:
    return interval[0] <= truth <= interval[1]


# What is planted is found


@pytest.mark.parametrize("E", [0.0, 0.5])
def test_recovers_a_law_without_noise(E: float) -> None:
    found = fit({"N": N, "S": S}, law(E))
    # Rounding: the sum of squares is flat to 1e-16 about its minimum, in parameters to 1e-8.
    assert found.exponents == pytest.approx((ALPHA_N, ALPHA_S), abs=1e-6)
    assert found.prefactors == pytest.approx((40, 9), rel=1e-5)
    assert found.floor == pytest.approx(E, abs=1e-6)
    np.testing.assert_allclose(found.predict({"N": N, "S": S}), law(E), rtol=1e-6)
    assert found.windows == ((pytest.approx(1e4), pytest.approx(1e6)), (100, pytest.approx(1e5)))
    assert found.n_points == 63


def test_three_variables() -> None:
    y = 0.3 + 40 * N**-0.4 + 9 * S**-0.5 + 200 * D**-0.45
    found = fit({"N": N, "S": S, "D": D}, y)
    assert found.exponents == pytest.approx((0.4, 0.5, 0.45), abs=1e-6)
    assert found.prefactors == pytest.approx((40, 9, 200), rel=1e-5)
    assert found.floor == pytest.approx(0.3, abs=1e-6)
    fixed = fit({"N": N, "S": S, "D": D}, y - 0.3, floor=False)
    assert fixed.exponents == pytest.approx((0.4, 0.5, 0.45), abs=1e-6)
    assert fixed.floor == 0
    assert fixed.floor_interval == (0, 0)


def test_intervals_hold_the_truth_as_often_as_they_claim() -> None:
    """Independent noise at each point: Student's t with the law linearised, 95%."""
    hits = dict.fromkeys(("N", "S", "E", "a", "c"), 0)
    for seed in range(DRAWS):
        found = fit({"N": N, "S": S}, noisy(0.5, seed))
        best = found.allocation()
        for name, interval, truth in (
            ("N", found.intervals[0], ALPHA_N),
            ("S", found.intervals[1], ALPHA_S),
            ("E", found.floor_interval, 0.5),
            ("a", best.intervals[0], ALPHA_S / (ALPHA_N + ALPHA_S)),
            ("c", best.intervals[2], ALPHA_N * ALPHA_S / (ALPHA_N + ALPHA_S)),
        ):
            hits[name] += holds(interval, truth)
    for name, count in hits.items():
        assert 0.90 <= count / DRAWS <= 0.99, f"{name}: {count} of {DRAWS}"


def test_intervals_between_seeds_hold_the_truth() -> None:
    """Seeds with exponents of their own, and noise that wanders along each network's training."""
    hits = [0, 0, 0]
    for draw in range(DRAWS // 2):
        chance = np.random.default_rng(draw)
        own = chance.normal(0, 0.01, (2, 5, 1, 1))
        y = 0.5 + 40 * N ** -(ALPHA_N + own[0]) + 9 * S ** -(ALPHA_S + own[1])
        y = y * np.exp(chance.normal(0, 0.003, (5, len(N), len(S))).cumsum(-1))
        found = fit({"N": N, "S": S}, y, groups=np.arange(5)[:, None, None])
        truths = (ALPHA_N, ALPHA_S, 0.5)
        for place, (interval, truth) in enumerate(
            zip((*found.intervals, found.floor_interval), truths, strict=True)
        ):
            hits[place] += holds(interval, truth)
    for count in hits:
        assert_calibrated(count, DRAWS // 2, 0.95)


def test_a_bootstrap_has_the_width_of_the_linearised_interval() -> None:
    """Where noise is small, and independent, both are of one normal distribution."""
    y = noisy(0.5, 3)
    linear, resampled = (fit({"N": N, "S": S}, y, method=m) for m in ("t", "bootstrap"))
    assert resampled.exponents == linear.exponents
    for one, other in zip(
        (*linear.intervals, linear.floor_interval, *linear.allocation().intervals),
        (*resampled.intervals, resampled.floor_interval, *resampled.allocation().intervals),
        strict=True,
    ):
        # 1,000 resamples of 63 points: the spread of a spread of 63 residuals is 9%.
        assert np.ptp(other) == pytest.approx(np.ptp(one), rel=0.3)
    again = fit({"N": N, "S": S}, y, method="bootstrap")
    assert again == resampled
    groups = np.arange(7)[:, None]
    between = fit({"N": N, "S": S}, y, method="bootstrap", groups=groups)
    for interval, value in zip(between.intervals, between.exponents, strict=True):
        assert holds(interval, value)


# The slow twins


def full_form(x: list[np.ndarray], y: np.ndarray) -> np.ndarray:
    """(E, ln A_i, α_i) of the least squares of relative errors, by scipy from many starts."""
    k = len(x)
    columns = [np.broadcast_to(one, y.shape).ravel() for one in x]
    values = y.ravel()

    def residuals(theta: np.ndarray) -> np.ndarray:
        terms = [np.exp(theta[1 + i] - theta[1 + k + i] * np.log(columns[i])) for i in range(k)]
        return np.asarray((theta[0] + sum(terms) - values) / values)

    low = np.array([0.0] + [-np.inf] * k + [0.0] * k)
    best = None
    for alphas in itertools.product((0.2, 0.6, 1.2), repeat=k):
        heights = [
            np.log(values.mean() / 2) + alpha * np.log(column).mean()
            for alpha, column in zip(alphas, columns, strict=True)
        ]
        start = np.array([values.min() / 2, *heights, *alphas])
        found = least_squares(
            residuals, start, bounds=(low, np.inf), x_scale="jac", xtol=1e-14, ftol=1e-14,
            gtol=1e-14, max_nfev=2000,
        )  # fmt: skip
        if best is None or found.cost < best.cost:
            best = found
    assert best is not None
    return np.asarray(best.x)


@pytest.mark.parametrize("E", [0.0, 0.05, 0.5])
def test_the_fit_is_that_of_scipy_on_the_full_form(E: float) -> None:
    y = noisy(E, 8)
    found, twin = fit({"N": N, "S": S}, y), full_form([N, S], y)
    # As far as scipy's steps go on an ill-conditioned problem.
    assert found.exponents == pytest.approx(twin[3:], rel=1e-3)
    assert np.log(found.prefactors) == pytest.approx(twin[1:3], rel=1e-3)
    assert found.floor == pytest.approx(twin[0], abs=1e-3)

    def cost(E: float, a: np.ndarray, alpha: np.ndarray) -> float:
        model = E + a[0] * N ** -alpha[0] + a[1] * S ** -alpha[1]
        return float(np.sum(((y - model) / y) ** 2))

    ours = cost(found.floor, np.array(found.prefactors), np.array(found.exponents))
    theirs = cost(twin[0], np.exp(twin[1:3]), twin[3:])
    assert ours <= theirs * (1 + 1e-9)
    assert found.error == pytest.approx(math.sqrt(ours / y.size))


def test_terms_are_those_of_nonnegative_least_squares() -> None:
    chance = np.random.default_rng(0)
    columns = chance.normal(1, 1, (20, 12, 4))
    weights = chance.integers(0, 3, (20, 12)).astype(float)
    found = projection.nonnegative(columns, weights)
    for one, weight, terms in zip(columns, weights, found, strict=True):
        root = np.sqrt(weight)
        np.testing.assert_allclose(terms, nnls(one * root[:, None], root)[0], atol=1e-9)
    assert (found == 0).any()  # some are at their bound


def test_derivatives_are_finite_differences() -> None:
    y = noisy(0.5, 1)
    grid = surface._select({"N": N, "S": S}, y, {}, None, True).points
    ones, alpha, h = np.ones((1, y.size)), np.array([[0.3, 0.7]]), 1e-6

    def rest(at: np.ndarray) -> np.ndarray:
        terms, _ = projection.solve_terms(grid, at, ones)
        return projection._reduced(grid, at, terms, ones)[1][0]

    terms, _ = projection.solve_terms(grid, alpha, ones)
    (reduced,), (left,) = projection._reduced(grid, alpha, terms, ones)
    for i in range(2):
        move = h * np.eye(2)[[i]]
        slope = (rest(alpha + move) - rest(alpha - move)) / (2 * h)
        # Kaufman's form leaves out what lies within the span of the terms: the gradient is exact.
        assert -left @ reduced[:, i] == pytest.approx(left @ slope, rel=1e-5)


def test_the_reduced_problem_is_well_conditioned_and_the_full_one_is_not() -> None:
    """At the law of Hoffmann et al. (arXiv 2203.15556, approach 3), in their ranges of N and D."""
    sizes, tokens = np.geomspace(7e7, 1.6e10, 10)[:, None], np.geomspace(5e9, 5e11, 10)
    y = 1.69 + 406.4 * sizes**-0.34 + 410.7 * tokens**-0.28
    found = fit({"N": sizes, "D": tokens}, y)
    n, d = (np.broadcast_to(x, y.shape).ravel() for x in (sizes, tokens))
    by_hand = np.stack(
        [
            np.ones(y.size), n**-0.34, d**-0.28,
            -406.4 * n**-0.34 * np.log(n), -410.7 * d**-0.28 * np.log(d),
        ],
        axis=1,
    ) / y.reshape(-1, 1)  # fmt: skip
    assert np.linalg.cond(by_hand) == pytest.approx(found.condition_full, rel=1e-3)
    assert found.condition < 10
    assert found.condition_full > 1e5


# What a grid cannot tell


def test_an_irreducible_term_that_is_not_told_is_said() -> None:
    far = fit({"N": N, "S": S}, noisy(0.5, 0))
    assert far.floor_told
    assert far.floor_known
    assert str(far).startswith("0.4")
    none = fit({"N": N, "S": S}, noisy(0.0, 1))
    assert not none.floor_told
    assert none.floor_interval[0] == 0
    assert "E (" in str(none)
    # A corner of the grid, far above E: any E from 0 to the smallest loss fits.
    corner = {"N": N[:3], "S": S[:4]}
    unknown = fit(corner, noisy(0.01, 2, 0.05)[:3, :4])
    assert not unknown.floor_known
    assert "E (not identified)" in str(unknown)


def test_a_variable_without_effect_has_no_exponent() -> None:
    y = (1 + 9 * S**-0.5) * np.exp(np.random.default_rng(4).normal(0, 1e-3, (7, 9)))
    y = y * (N / N[0]) ** 0.01  # rises
    found = fit({"N": N, "S": S}, y)
    assert math.isnan(found.exponents[0])
    assert found.intervals[0] == (-math.inf, math.inf)
    assert "no term in N" in str(found)
    assert np.isfinite(found.predict({"N": N, "S": S})).all()
    with pytest.raises(BadInput, match="a term of the law is 0"):
        found.allocation()


def test_windows_and_what_is_missing() -> None:
    y = law(0.5)
    y[2, 3] = np.nan
    found = fit({"N": N, "S": S}, y, {"S": (S[2], S[7])})
    assert (found.n_points, found.n_missing) == (7 * 6 - 1, 1)
    assert found.windows[1] == (S[2], S[7])
    assert found.exponents == pytest.approx((ALPHA_N, ALPHA_S), abs=1e-5)
    apart = window_sensitivity({"N": N, "S": S}, law(0.5))
    assert list(apart) == [
        "all", "N without its smallest", "N without its largest",
        "S without its smallest", "S without its largest",
    ]  # fmt: skip
    assert [one.n_points for one in apart.values()] == [63, 54, 54, 56, 56]
    few = window_sensitivity({"N": N[:3], "S": S}, law(0.5)[:3])
    assert list(few) == ["all", "S without its smallest", "S without its largest"]


def test_units_and_order_do_not_matter() -> None:
    y = noisy(0.5, 5)
    one = fit({"N": N, "S": S}, y)
    other = fit({"S": 1000 * S, "N": N}, 3 * y)
    assert other.exponents == pytest.approx(one.exponents[::-1], rel=1e-6)
    assert other.floor == pytest.approx(3 * one.floor, rel=1e-6)
    assert other.error == pytest.approx(one.error)


GRID = {"N": N, "S": S}
REFUSED = [
    ({"x": {"N": N}}, "two or three variables"),
    ({"x": {"N": N[:2], "S": S}, "y": law(0)[:2]}, "N has 2 different values"),
    ({"x": {"N": N[:6, 0], "S": 20 * N[:6, 0]}, "y": law(0)[:6, 0]}, "S is a function of N"),
    ({"x": {"N": N[:, 0] ** 2, "S": N[:, 0]}, "y": law(0)[:, 0]}, "S is a function of N"),
    ({"x": {"N": N[:3, 0], "S": S[[4, 0, 8]]}, "y": law(0)[:3, 0]}, "3 different points for a law"),
    ({"y": np.ones((7, 9))}, "y does not vary"),
    ({"y": -law(0)}, "y has 63 of 63 values that are zero, negative"),
    ({"x": {"N": N - N[0], "S": S}}, "N has 9 of 63 values that are zero, negative"),
    ({"y": np.ones((3, 9))}, "shapes (7, 1), (9,), (3, 9)"),
    ({"windows": {"D": (1, 2)}}, "windows: 'D' is not one of N, S"),
    ({"windows": {"N": (2, 1)}}, "give low below high"),
    ({"windows": {"N": (1, 2)}}, "N has 0 different values"),
    ({"method": "ols"}, "give 't' or 'bootstrap'"),
    ({"level": 2}, "level = 2"),
    ({"groups": 0}, "groups: only one, 0"),
    ({"groups": np.arange(7)[:, None] % 3, "method": "bootstrap"}, "3 groups can carry 75.0%"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[m for _, m in REFUSED])
def test_refuses_in_one_line(change: dict, message: str) -> None:
    given = {"x": GRID, "y": law(0.0), "windows": None} | change
    x, y, windows = (given.pop(name) for name in ("x", "y", "windows"))
    with pytest.raises(BadInput, match=re.escape(message)) as caught:
        fit(x, y, windows, **given)
    assert "\n" not in str(caught.value)


def test_what_a_law_cannot_do() -> None:
    y = 0.3 + 40 * N**-0.4 + 9 * S**-0.5 + 200 * D**-0.45
    three: Surface = fit({"N": N, "S": S, "D": D}, y)
    with pytest.raises(BadInput, match="in 3 variables, and not in two"):
        three.allocation()
    with pytest.raises(BadInput, match="give N, S, D"):
        three.predict({"N": N})
