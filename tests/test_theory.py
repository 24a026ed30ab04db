"""The quantization model against direct sums and mpmath, never against itself."""

import math

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from jquanta import powerlaw, theory
from jquanta.errors import BadInput

ALPHAS = [0.1, 0.4, 1.0, 2.5]


def tail(n: float, s: float) -> mpmath.mpf:
    """Σ_{k>n} k^-s."""
    return mpmath.zeta(s, n + 1)


def log_tail(n: float, s: float) -> mpmath.mpf:
    """Σ_{k>n} k^-s ln k, minus the derivative of the Hurwitz zeta function."""
    return -mpmath.zeta(s, n + 1, 1)


# Exact sums


@pytest.mark.parametrize("alpha", ALPHAS)
def test_frequencies_against_mpmath(alpha):
    k = np.array([1, 2, 17])
    reference = [float(mpmath.mpf(i) ** -(alpha + 1) / mpmath.zeta(alpha + 1)) for i in (1, 2, 17)]
    np.testing.assert_allclose(theory.frequencies(k, alpha), reference, rtol=1e-13)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("n", [0, 1, 40, 10**6])
def test_loss_infinite_against_mpmath(alpha, n):
    s = mpmath.mpf(alpha) + 1
    reference = 0.25 + 1.75 * tail(n, s) / mpmath.zeta(s)
    assert float(theory.loss_infinite(n, alpha, 0.25, 2.0)) == pytest.approx(
        float(reference), rel=1e-12
    )


@pytest.mark.parametrize("offset", [0.0, 10.0])
def test_loss_is_the_direct_sum(offset):
    p = powerlaw.zipf(50, 0.4, offset)
    random = np.random.default_rng(0)
    a = random.uniform(0, 1, 50)
    b = a + random.uniform(0.1, 1, 50)
    for n in (0, 1, 13, 49, 50):
        plain = 0.1 + (0.7 - 0.1) * math.fsum(p[n:])
        assert float(theory.loss(n, p, 0.1, 0.7)) == pytest.approx(plain, rel=1e-13)
        each = math.fsum(p[k] * (a[k] if k < n else b[k]) for k in range(50))
        assert float(theory.loss(n, p, a, b)) == pytest.approx(each, rel=1e-13)


def test_loss_between_and_beyond_whole_quanta():
    p = powerlaw.zipf(5, 0.4)
    third, fourth = theory.loss([3, 4], p)
    assert float(theory.loss(3.25, p)) == pytest.approx(0.75 * third + 0.25 * fourth)
    assert float(theory.loss(80, p)) == 0.0
    assert theory.loss(np.ones((2, 3)), p).shape == (2, 3)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("n", [0, 1, 40, 10**6])
def test_case1_against_mpmath(alpha, n):
    s = mpmath.mpf(alpha) + 1
    zeta = mpmath.zeta(s)
    reference = (s * log_tail(n, s) + mpmath.log(zeta) * tail(n, s)) / zeta
    assert float(theory.case1_infinite(n, alpha)) == pytest.approx(float(reference), rel=1e-11)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("n", [0, 3, 10**6])
def test_case2_against_mpmath(alpha, n):
    """Σ_{k≤n} -p_k ln(C p_k) + Σ_{k>n} -p_k ln p_k is the entropy - ln C · Σ_{k≤n} p_k."""
    s = mpmath.mpf(alpha) + 1
    zeta = mpmath.zeta(s)
    entropy = s * log_tail(0, s) / zeta + mpmath.log(zeta)
    reference = entropy - mpmath.log(3) * (1 - tail(n, s) / zeta)
    assert float(theory.case2_infinite(n, alpha, 3.0)) == pytest.approx(float(reference), rel=1e-11)


def test_nothing_is_left_of_infinitely_many_quanta() -> None:
    n = np.array([1.0, np.inf])
    for case in (theory.case1_infinite, theory.case1_asymptotic, theory.loss_infinite):
        first, last = case(n, 0.4)
        assert first == case(1.0, 0.4)
        assert last == 0


@pytest.mark.parametrize("n", [0, 1, 30])
def test_cases_as_finite_sums_approach_the_infinite_ones(n):
    """At α = 2.5 a sum of 10^5 terms misses less than 1e-10 of the rest."""
    alpha, C = 2.5, 1.1
    p = powerlaw.zipf(100_000, alpha)
    case1 = theory.loss(n, p, b=-np.log(p))
    case2 = theory.loss(n, p, a=-np.log(C * p), b=-np.log(p))
    np.testing.assert_allclose(case1, theory.case1_infinite(n, alpha), atol=1e-10)
    np.testing.assert_allclose(case2, theory.case2_infinite(n, alpha, C), atol=1e-10)


# The paper's limits


@pytest.mark.parametrize("alpha", ALPHAS)
def test_limits_meet_the_exact_sums(alpha):
    """An integral from n exceeds the sum from n + 1 by about half a term, n^-(α+1) / 2: a share
    α/(2n) of n^-α/α, itself right up to a share of the order of (α+1)/n ≤ (α+1)/10. In case 1 the
    first term weighs at most (α+1)/α as much."""
    n = np.array([10.0, 100.0, 10_000.0])
    plain = theory.loss_asymptotic(n, alpha) / theory.loss_infinite(n, alpha) - 1
    np.testing.assert_allclose(plain, alpha / (2 * n), rtol=(alpha + 1) / 10)
    case1 = theory.case1_asymptotic(n, alpha) / theory.case1_infinite(n, alpha) - 1
    assert np.all(np.abs(case1) < (alpha + 1) / (2 * n))


def test_limits_are_the_paper_s_formulas():
    """Written out as in the paper, in mpmath, at α = 0.4, n = 30, C = 2."""
    alpha, n, C = mpmath.mpf(0.4), 30, 2
    zeta = mpmath.zeta(alpha + 1)
    constant = (1 + alpha + alpha * mpmath.log(zeta)) / (alpha**2 * zeta)
    power = mpmath.mpf(n) ** -alpha
    case1 = constant * power + (alpha + 1) / (alpha * zeta) * power * mpmath.log(n)
    case2 = mpmath.log(C) / (alpha * zeta) * power - mpmath.log(C) + constant
    assert float(theory.loss_asymptotic(n, 0.4)) == pytest.approx(float(power / (alpha * zeta)))
    assert float(theory.case1_asymptotic(n, 0.4)) == pytest.approx(float(case1))
    assert float(theory.case2_asymptotic(n, 0.4, C)) == pytest.approx(float(case2))


def test_case2_limit_is_off_by_a_constant():
    """The paper's integral stands for the entropy; what depends on n is right."""
    n = np.array([1e3, 1e4, 1e5])
    gap = theory.case2_infinite(n, 0.4, 2.0) - theory.case2_asymptotic(n, 0.4, 2.0)
    zeta = mpmath.zeta(1.4)
    entropy = 1.4 * log_tail(0, mpmath.mpf(1.4)) / zeta + mpmath.log(zeta)
    integral = (1.4 + 0.4 * mpmath.log(zeta)) / (0.16 * zeta)
    np.testing.assert_allclose(gap, float(entropy - integral), atol=1e-4)
    assert float(entropy - integral) > 0.15


@pytest.mark.parametrize("alpha", ALPHAS)
def test_laws_in_N_D_and_S_have_the_paper_s_exponents(alpha):
    scale = np.geomspace(1e3, 1e7, 9)
    predicted = theory.exponents(alpha)
    measured = theory.Exponents(
        powerlaw.fit(scale, theory.loss_N_asymptotic(scale, alpha, c=7)).exponent,
        powerlaw.fit(scale, theory.loss_D_asymptotic(scale, alpha, tau=30)).exponent,
        powerlaw.fit(scale, theory.loss_S_asymptotic(scale, alpha, tau=2)).exponent,
        powerlaw.fit(scale, theory.learned_asymptotic(scale, alpha, tau=30)).slope,
    )
    assert measured == pytest.approx(predicted)
    assert predicted == pytest.approx(
        (alpha, alpha / (1 + alpha), alpha / (1 + alpha), 1 / (1 + alpha))
    )


@pytest.mark.parametrize("tau", [1.0, 40.0])
def test_learned_is_the_direct_count(tau):
    p = powerlaw.zipf(200, 0.4, offset=3)
    D = np.concatenate([[0.0], np.geomspace(1, 1e7, 60)])
    reference = [sum(1 for frequency in p if d * frequency > tau) for d in D]
    np.testing.assert_array_equal(theory.learned(D, p, tau), reference)
    assert reference[0] == 0
    assert reference[-1] == 200


def test_learned_needs_more_than_the_threshold():
    p = np.array([0.5, 0.25, 0.125, 0.125])
    np.testing.assert_array_equal(theory.learned([4, 8, 8.01], p, tau=1.0), [1, 2, 4])


@pytest.mark.parametrize("alpha", ALPHAS)
def test_learned_asymptotic_is_the_count_before_rounding_down(alpha):
    D = np.geomspace(1e2, 1e5, 37)
    k = np.arange(1, 200_000)
    p = theory.frequencies(k, alpha)
    counts = [np.count_nonzero(d * p > 2.5) for d in D]
    np.testing.assert_array_equal(np.floor(theory.learned_asymptotic(D, alpha, 2.5)), counts)


def test_losses_of_scale_chain_count_and_sum():
    p = powerlaw.zipf(100, 0.4)
    for d in (0, 100, 5000):
        rest = math.fsum(f for f in p if d * f <= 20)
        assert float(theory.loss_D(d, p, 20, 0.1, 1.1)) == pytest.approx(0.1 + rest)
        assert float(theory.loss_S(d, p, 20, 0.1, 1.1)) == pytest.approx(0.1 + rest)
    assert float(theory.loss_N(30, p, c=3)) == pytest.approx(math.fsum(p[10:]))


# Finitely many subtasks


def test_finite_exponents_tend_to_the_limit():
    """α 1, 10^5 subtasks: beyond n = 1,000 only 1% of the tail is missing, at n = 100, 0.1%."""
    measured = theory.finite_exponents(1.0, 100_000, (100, 1000))
    assert measured == pytest.approx(theory.exponents(1.0), abs=0.01)


@pytest.mark.parametrize("offset", [0.0, 10.0])
def test_finite_exponents_are_fits_of_the_direct_sums(offset):
    """Scanned here on a grid of our own, over N from 5 to 300 and over the D that teach as many."""
    measured = theory.finite_exponents(0.4, 500, (5, 300), offset=offset)
    weights = (np.arange(1, 501) + offset) ** -1.4
    p = weights / weights.sum()
    rest = np.array([math.fsum(p[n:]) for n in range(501)])

    def slope(x, y):
        return np.polyfit(np.log(x), np.log(y), 1)[0]

    N = np.geomspace(5, 300, 3000)
    whole = N.astype(int)
    partly = rest[whole] - (N - whole) * p[whole]
    # Subtask k is p[k - 1]; half way, in logarithms, from where it is learned to where the next is.
    D = np.geomspace((p[4] * p[5]) ** -0.5, (p[299] * p[300]) ** -0.5, 3000)
    count = (D[:, None] * p > 1).sum(1)
    by_D = -slope(D, rest[count])
    # Grids of 2,000 and 3,000 points over steps of whole subtasks: see SCAN_POINTS.
    expected = (-slope(N, partly), by_D, by_D, slope(D, count))
    assert measured == pytest.approx(expected, abs=1e-3)


def test_finitely_many_subtasks_steepen_the_loss():
    """The paper's task, 500 subtasks at α = 0.4: far above 0.4 and 0.29 over most of its range."""
    limit = theory.exponents(0.4)
    early, late = (theory.finite_exponents(0.4, 500, w) for w in ((2, 20), (20, 200)))
    assert limit.alpha_D < early.alpha_D < late.alpha_D
    assert limit.alpha_N < late.alpha_N
    more = theory.finite_exponents(0.4, 5000, (20, 200))
    assert limit.alpha_D < more.alpha_D < late.alpha_D
    # What is learned follows 1/(α+1) all the same.
    assert late.learned == pytest.approx(limit.learned, abs=0.02)


def test_a_floor_flattens_the_measured_exponent():
    plain = theory.finite_exponents(0.4, 500, (5, 300))
    assert theory.finite_exponents(0.4, 500, (5, 300), a=0.2).alpha_N < plain.alpha_N


# Refusals


P = powerlaw.zipf(4, 0.4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.exponents(0.0), "alpha = 0.0"),
        (lambda: theory.frequencies(0, 0.4), "k: give numbers of at least 1"),
        (lambda: theory.loss(-1, P), "n: give numbers of at least 0"),
        (lambda: theory.loss(math.nan, P), "n: give numbers"),
        (lambda: theory.loss(1, P, a=1.0), "a, b: the loss after"),
        (lambda: theory.loss(1, P, b=np.ones(3)), r"b has shape \(3,\)"),
        (lambda: theory.loss(1, P[::-1]), "p: quanta are ordered"),
        (lambda: theory.loss(1, 2 * P), "p: give positive frequencies"),
        (lambda: theory.loss(1, 0.4), "p: give positive frequencies"),
        (lambda: theory.loss_infinite(1, -0.4), "alpha = -0.4"),
        (lambda: theory.loss_asymptotic(0, 0.4), "n: give numbers above 0"),
        (lambda: theory.learned(10, P, tau=0), "tau = 0"),
        (lambda: theory.learned(-10, P), "scale: give numbers"),
        (lambda: theory.learned_asymptotic(0, 0.4), "scale: give numbers above 0"),
        (lambda: theory.loss_N(10, P, c=0), "c = 0"),
        (lambda: theory.case2_infinite(1, 0.4, 1.0), "C = 1.0"),
        (lambda: theory.finite_exponents(0.4, 500, (0, 10)), r"window = \(0, 10\)"),
        (lambda: theory.finite_exponents(0.4, 500, (10, 500)), "n_tasks = 500"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(BadInput, match=f"^{message}" if "n_tasks" not in message else message):
        call()


# The solvable model of emergence


@pytest.mark.parametrize("start", [0.02, 0.3])
def test_strengths_are_gradient_flow(start):
    """Both layers integrated, at a rate that makes quantum k half learned at tau / p_k."""
    p, tau = powerlaw.zipf(4, 0.5), 30.0
    rate = math.log(1 / start - 1) / (2 * tau)

    def flow(_, layers):
        first, second = np.split(layers, 2)
        wrong = p * (1 - first * second)
        return rate * np.concatenate([wrong * second, wrong * first])

    t = np.linspace(0, 300, 31)
    begin = np.full(8, math.sqrt(start))
    layers = solve_ivp(flow, (0, 300), begin, t_eval=t, rtol=1e-10, atol=1e-12).y
    found = theory.strengths(t, p, tau, start)
    np.testing.assert_allclose(found, (layers[:4] * layers[4:]).T, rtol=1e-7)
    np.testing.assert_allclose(np.diag(theory.strengths(tau / p, p, tau, start)), 0.5)
    # In ln t the slope at the middle is 1 / 4w.
    near = theory.strengths(tau / p[0] * np.exp([-1e-4, 1e-4]), p, tau, start)[:, 0]
    assert np.diff(near)[0] / 2e-4 == pytest.approx(math.log(1 / start - 1) / 4, rel=1e-6)


def test_laws_of_the_solvable_model():
    """Exponents of many quanta, for windows in which neither end of the spectrum matters."""
    alpha = 0.8
    p = powerlaw.zipf(20_000, alpha)
    t = np.geomspace(1e3, 1e5, 8)
    by_time = powerlaw.fit(t, theory.loss_emerging(t, p)).exponent
    assert by_time == pytest.approx(theory.exponents(alpha).alpha_S, abs=0.01)
    n = np.array([30, 100, 300, 1000])
    late = [float(theory.loss_emerging(1e12, p, n=int(one))) for one in n]
    assert powerlaw.fit(n, late).exponent == pytest.approx(alpha, rel=0.03)
    D = np.geomspace(1e3, 1e5, 8).round()
    for shots in (1, 5):
        by_data = powerlaw.fit(D, theory.loss_shots(D, p, shots)).exponent
        assert by_data == pytest.approx(theory.exponents(alpha).alpha_D, abs=0.01)
    C = np.geomspace(1e4, 1e6, 6)
    best = theory.frontier(C, p[:2000] / p[:2000].sum())
    assert powerlaw.fit(C, best.loss).exponent == pytest.approx(
        theory.compute_exponent(alpha), abs=0.03
    )
    assert powerlaw.fit(C, best.n).slope == pytest.approx(1 / (alpha + 2), abs=0.03)


def test_losses_of_the_solvable_model_are_plain_sums():
    p = powerlaw.zipf(6, 0.4)
    r = theory.strengths([3.0, 40.0], p, 2.0, 0.1)
    wanted = [0.1 + 0.6 * sum(p[k] * (1 - (row[k] if k < 4 else 0)) ** 2 for k in range(6))
              for row in r]  # fmt: skip
    found = theory.loss_emerging([3.0, 40.0], p, 2.0, 0.1, n=4, a=0.1, b=0.7)
    np.testing.assert_allclose(found, wanted)
    best = theory.frontier(60.0, p, 2.0, 0.1)
    every = [float(theory.loss_emerging(60.0 / n, p, 2.0, 0.1, n)) for n in range(1, 7)]
    assert (best.n, best.loss) == (1 + np.argmin(every), min(every))
    chance = np.random.default_rng(0)
    drawn = chance.multinomial(50, p, 40_000) < 3
    # Four standard errors of 40,000 draws of a number below 1.
    assert float(theory.loss_shots(50, p, 3)) == pytest.approx((drawn @ p).mean(), abs=0.01)
    assert float(theory.loss_shots(0, p)) == pytest.approx(1)


def test_bad_arguments_of_the_solvable_model():
    p = powerlaw.zipf(3, 0.4)
    for start in (0, 0.5, math.nan):
        with pytest.raises(BadInput, match="give a strength between 0 and 1/2"):
            theory.strengths(1.0, p, start=start)
    with pytest.raises(BadInput, match="n = -1: give a number of quanta"):
        theory.loss_emerging(1.0, p, n=-1)
    with pytest.raises(BadInput, match="shots = 0: give at least 1"):
        theory.loss_shots(10, p, 0)
    with pytest.raises(BadInput, match="C: give numbers above 0"):
        theory.frontier(0.0, p)
    with pytest.raises(BadInput, match="t: give numbers of at least 0"):
        theory.strengths(-1.0, p)
