"""The quantization model: what losses and exponents it predicts (paper, section 2, appendix A).

Quanta are ordered by use frequency; quantum k is used on a fraction p_k ∝ k^-(alpha + 1) of
samples. A sample that needs quantum k has loss b before k is learned and a < b after. What follows
is a chain of two steps, each exact or in the paper's limit::

    scale → n quanta learned                n → mean loss
    N parameters: n = N / c                 loss(n, p)                 finitely many quanta, exact
    D samples, S steps: learned(D, p, tau)  loss_infinite(n, alpha)    infinitely many, exact sum
                   learned_asymptotic(...)  loss_asymptotic(n, alpha)  the paper's power law

``loss_N``, ``loss_D`` and ``loss_S`` chain them. ``p`` is an array [S] of frequencies, largest
first, summing to 1, as ``powerlaw.zipf`` gives them (or uniform ones). ``alpha`` is always the
paper's: the Zipf exponent is alpha + 1.

Losses come in the unit of a and b, whatever it is: pass nats and get nats, pass bits and get bits.
The cases of appendix A are in nats. All results are float64 in the shape of the scale given
(0-dimensional for a number); every function raises ``BadInput`` for arguments outside their range.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike
from scipy.special import zeta

from jquanta import powerlaw
from jquanta.errors import BadInput

Values = Float64[np.ndarray, "*shape"]
PerQuantum = Float64[np.ndarray, " S"]

SCAN_POINTS = 2000  # of ``finite_exponents``: more would change an exponent by 0.001 at most


class Exponents(NamedTuple):
    """Scaling exponents, positive when the loss falls.

    Attributes:
        alpha_N: of the loss against parameters, or against the number n of quanta learned.
        alpha_D: of the loss against training samples, over many epochs.
        alpha_S: of the loss against steps, in one epoch.
        learned: of the number n of quanta learned, against samples or steps.
    """

    alpha_N: float
    alpha_D: float
    alpha_S: float
    learned: float


def exponents(alpha: float) -> Exponents:
    """The paper's exponents: alpha_N = α, alpha_D = alpha_S = α/(α+1), and 1/(α+1) for n.

    Also the relation between studies, α_D = α_N/(α_N+1): ``exponents(alpha_N).alpha_D``.
    """
    _check_alpha(alpha)
    alpha_D = alpha / (alpha + 1)
    return Exponents(alpha_N=alpha, alpha_D=alpha_D, alpha_S=alpha_D, learned=1 / (alpha + 1))


def finite_exponents(
    alpha: float,
    n_tasks: int,
    window: tuple[float, float],
    *,
    offset: float = 0.0,
    a: float = 0.0,
    b: float = 1.0,
) -> Exponents:
    """What log-log fits would measure with finitely many subtasks, for a fit to be judged against.

    The loss of the last subtasks vanishes instead of going on as a power law, so exponents of the
    loss come out larger than in the limit, the more so the closer the window comes to n_tasks; an
    offset makes them smaller at the head. Scales are spaced evenly in their logarithm, with no
    noise. For another spacing, fit the exact loss at the very scales of the experiment:
    ``powerlaw.fit(D, theory.loss_D(D, p, tau))``.

    Args:
        alpha: the paper's alpha, above -1.
        n_tasks: number of subtasks S.
        window: (first, last) number of subtasks learned, 1 ≤ first < last < n_tasks: the window
            of the fit, told in what the theory knows. It stands for N from c·first to c·last and
            for D, or steps, from where the first-th to where the last-th subtask is learned,
            whatever c and tau are.
        offset: of the frequencies, as in ``powerlaw.zipf``.
        a, b: loss after and before learning; measured losses are fitted as they are, a included.
    """
    first, last = window
    if not 1 <= first < last < n_tasks:
        raise BadInput(
            f"window = ({first}, {last}): give 1 <= first < last < n_tasks = {n_tasks}, in subtasks"
        )
    p = powerlaw.zipf(n_tasks, alpha, offset)
    n = np.geomspace(first, last, SCAN_POINTS)
    # Where subtask k's threshold lies amid its neighbours': geometric means, between whole k too.
    middle = -(np.log(p[:-1]) + np.log(p[1:])) / 2
    low, high = np.interp([first, last], np.arange(1, n_tasks), middle)
    D = np.exp(np.linspace(low, high, SCAN_POINTS))
    by_D = powerlaw.fit(D, loss_D(D, p, a=a, b=b)).exponent
    return Exponents(
        alpha_N=powerlaw.fit(n, loss(n, p, a, b)).exponent,
        alpha_D=by_D,
        alpha_S=by_D,
        learned=powerlaw.fit(D, learned(D, p)).slope,
    )


def frequencies(k: ArrayLike, alpha: float) -> Values:
    """p_k = k^-(α+1) / ζ(α+1), k ≥ 1, of infinitely many quanta; ``powerlaw.zipf``: of finitely."""
    _check_alpha(alpha)
    k = _scale("k", k, 1)
    return np.asarray(k ** -(alpha + 1) / _zeta(alpha + 1))


def loss(n: ArrayLike, p: ArrayLike, a: ArrayLike = 0.0, b: ArrayLike = 1.0) -> Values:
    """Mean loss after the first n of finitely many quanta: Σ_{k≤n} p_k a_k + Σ_{k>n} p_k b_k.

    With plain a and b that is a + (b-a) Σ_{k>n} p_k. Appendix A's case 1 is ``b=-np.log(p)``; its
    case 2 adds ``a=-np.log(C * p)``.

    Args:
        n: quanta learned, at least 0. Between whole numbers the loss is interpolated: the next
            quantum is learned in part. From n = S on, all are learned.
        p: [S] frequencies.
        a, b: loss of a sample after and before its quantum is learned; numbers, or [S].
    """
    p, a, b = _check_model(p, a, b)
    after = np.concatenate([[0.0], np.cumsum(p * a)])
    before = np.concatenate([np.cumsum((p * b)[::-1])[::-1], [0.0]])  # smallest first: exact tails
    return np.asarray(np.interp(_scale("n", n, 0), np.arange(len(p) + 1), after + before))


def loss_infinite(n: ArrayLike, alpha: float, a: float = 0.0, b: float = 1.0) -> Values:
    """L(n) = a + (b-a) Σ_{k>n} p_k with infinitely many quanta, summed exactly; n ≥ 0."""
    _check_alpha(alpha)
    _check_losses(a, b)
    tail = _tail(_scale("n", n, 0), alpha + 1)
    return np.asarray(a + (b - a) * tail / _zeta(alpha + 1))


def loss_asymptotic(n: ArrayLike, alpha: float, a: float = 0.0, b: float = 1.0) -> Values:
    """The paper's limit for many quanta, L(n) ≈ a + (b-a) n^-α / (α ζ(α+1)); n > 0."""
    _check_alpha(alpha)
    _check_losses(a, b)
    n = _scale("n", n, 0, itself=False)
    return np.asarray(a + (b - a) * n**-alpha / (alpha * _zeta(alpha + 1)))


def learned(scale: ArrayLike, p: ArrayLike, tau: float = 1.0) -> Values:
    """n(D) or n(S): the number of quanta with D·p_k > τ, counted exactly.

    Args:
        scale: training samples D, over many epochs, or steps S of one epoch; at least 0.
        p: [S] frequencies.
        tau: threshold, above 0: how many samples that use a quantum teach it. For S, in steps:
            that number divided by the batch size.
    """
    p = _check_frequencies(p)
    _check_tau(tau)
    with np.errstate(divide="ignore"):
        needed = tau / _scale("scale", scale, 0)
    return np.asarray(len(p) - np.searchsorted(p[::-1], needed, side="right"), np.float64)


def learned_asymptotic(scale: ArrayLike, alpha: float, tau: float = 1.0) -> Values:
    """The k at which D·p_k = τ with infinitely many quanta: n(D) = (D / (τ ζ(α+1)))^{1/(α+1)}.

    Arguments as in ``learned``; ``scale`` above 0. The exact count is its whole part.
    """
    _check_alpha(alpha)
    _check_tau(tau)
    scale = _scale("scale", scale, 0, itself=False)
    return np.asarray((scale / (tau * _zeta(alpha + 1))) ** (1 / (alpha + 1)))


def loss_N(
    N: ArrayLike, p: ArrayLike, c: float = 1.0, a: ArrayLike = 0.0, b: ArrayLike = 1.0
) -> Values:
    """L(N), exact and finite: ``loss`` after n = N / c quanta of c parameters each."""
    return loss(_quanta(N, c), p, a, b)


def loss_D(
    D: ArrayLike, p: ArrayLike, tau: float = 1.0, a: ArrayLike = 0.0, b: ArrayLike = 1.0
) -> Values:
    """L(D), exact and finite: ``loss`` after the quanta with D·p_k > τ, over many epochs."""
    return loss(learned(D, p, tau), p, a, b)


def loss_S(
    S: ArrayLike, p: ArrayLike, tau: float = 1.0, a: ArrayLike = 0.0, b: ArrayLike = 1.0
) -> Values:
    """L(S), exact and finite: the same law as L(D), with τ in steps and each sample seen once."""
    return loss_D(S, p, tau, a, b)


def loss_N_asymptotic(
    N: ArrayLike, alpha: float, c: float = 1.0, a: float = 0.0, b: float = 1.0
) -> Values:
    """The paper's L(N) - a ∝ N^-α, with its factor: n = N / c; N > 0."""
    return loss_asymptotic(_quanta(N, c), alpha, a, b)


def loss_D_asymptotic(
    D: ArrayLike, alpha: float, tau: float = 1.0, a: float = 0.0, b: float = 1.0
) -> Values:
    """The paper's L(D) - a ∝ D^{-α/(α+1)}, with its factor; D > 0."""
    return loss_asymptotic(learned_asymptotic(D, alpha, tau), alpha, a, b)


def loss_S_asymptotic(
    S: ArrayLike, alpha: float, tau: float = 1.0, a: float = 0.0, b: float = 1.0
) -> Values:
    """The paper's L(S) - a ∝ S^{-α/(α+1)}, with its factor; τ in steps, S > 0."""
    return loss_D_asymptotic(S, alpha, tau, a, b)


def case1_infinite(n: ArrayLike, alpha: float) -> Values:
    """Appendix A, case 1 (a_k = 0, b_k = -ln p_k), in nats: Σ_{k>n} -p_k ln p_k, summed exactly.

    An unlearned sample costs what is paid for knowing only how often it occurs. n ≥ 0; at n = 0 it
    is the entropy of the frequencies.
    """
    _check_alpha(alpha)
    n, s = _scale("n", n, 0), alpha + 1
    zeta = _zeta(s)
    return np.asarray((s * _log_tail(n, s) + math.log(zeta) * _tail(n, s)) / zeta)


def case1_asymptotic(n: ArrayLike, alpha: float) -> Values:
    """The paper's case 1 for many quanta, in nats: n^-α (1+α+α ln ζ + α(α+1) ln n) / (α² ζ)."""
    _check_alpha(alpha)
    n = _scale("n", n, 0, itself=False)
    zeta = _zeta(alpha + 1)
    constant = (1 + alpha + alpha * math.log(zeta)) / (alpha**2 * zeta)
    return np.asarray(n**-alpha * (constant + (alpha + 1) / (alpha * zeta) * np.log(n)))


def case2_infinite(n: ArrayLike, alpha: float, C: float) -> Values:
    """Appendix A, case 2 (b_k = -ln p_k, a_k = -ln(C p_k), C > 1), in nats, summed exactly.

    Learning multiplies the probability of the right answer by C; at n → ∞ the loss tends to the
    entropy of the frequencies less ln C. n ≥ 0. Losses a_k stay positive for C ≤ ζ(α+1) only.
    """
    _check_C(C)
    entropy = float(case1_infinite(0, alpha))
    return np.asarray(entropy - math.log(C) * (1 - loss_infinite(n, alpha)))


def case2_asymptotic(n: ArrayLike, alpha: float, C: float) -> Values:
    """The paper's case 2: n^-α ln C/(α ζ) - ln C + (1+α+α ln ζ)/(α² ζ), in nats.

    Its constant puts an integral from 1 for the entropy of the frequencies and stays off by that
    difference at any n; its power of n is right. ``case2_infinite`` has the entropy itself.
    """
    _check_C(C)
    constant = float(case1_asymptotic(1, alpha))
    return np.asarray(constant - math.log(C) * (1 - loss_asymptotic(n, alpha)))


def _zeta(s: float) -> float:
    return float(zeta(s))


def _tail(n: Values, s: float) -> Values:
    """Σ_{k>n} k^-s, the Hurwitz zeta function."""
    return np.asarray(zeta(s, n + 1))


def _log_tail(n: Values, s: float) -> Values:
    """Σ_{k>n} k^-s ln k, by Euler and Maclaurin from the 32nd term on.

    Their next term is of the order of 1e-12 of the sum.
    """
    k = n[..., None] + np.arange(1, 33)
    m = n + 33
    log = np.log(m)
    integral = m ** (1 - s) * (log + 1 / (s - 1)) / (s - 1)
    first = m ** (-s - 1) * (1 - s * log)  # derivatives of x^-s ln x at m
    third = m ** (-s - 3) * (3 * s**2 + 6 * s + 2 - s * (s + 1) * (s + 2) * log)
    rest = integral + m**-s * log / 2 - first / 12 + third / 720
    return np.asarray((k**-s * np.log(k)).sum(-1) + rest)


def _quanta(N: ArrayLike, c: float) -> Values:
    """Quanta that N parameters hold, c parameters each."""
    if not (math.isfinite(c) and c > 0):
        raise BadInput(f"c = {c}: give a number of parameters a quantum above 0")
    return np.asarray(_scale("N", N, 0) / c)


def _scale(name: str, values: ArrayLike, least: float, itself: bool = True) -> Values:
    """``values`` as float64 if all are at least ``least``, or above it; NaN is refused, too."""
    scale = np.asarray(values, np.float64)
    if not np.all(scale >= least if itself else scale > least):
        bound = f"of at least {least:g}" if itself else f"above {least:g}"
        raise BadInput(f"{name}: give numbers {bound}")
    return scale


def _check_frequencies(p: ArrayLike) -> PerQuantum:
    p = np.asarray(p, np.float64)
    if p.ndim != 1 or not (np.all(p > 0) and math.isclose(p.sum(), 1, rel_tol=1e-6)):
        raise BadInput("p: give positive frequencies [S] that sum to 1, as powerlaw.zipf does")
    if np.any(np.diff(p) > 0):
        raise BadInput("p: quanta are ordered by use frequency; sort p from large to small")
    return p


def _check_model(p: ArrayLike, a: ArrayLike, b: ArrayLike) -> tuple[PerQuantum, ...]:
    p, a, b = _check_frequencies(p), np.asarray(a, np.float64), np.asarray(b, np.float64)
    for name, values in (("a", a), ("b", b)):
        if values.shape not in ((), p.shape):
            raise BadInput(f"{name} has shape {values.shape}: give a number or [S] = {p.shape}")
    _check_losses(a, b)
    return p, np.broadcast_to(a, p.shape), np.broadcast_to(b, p.shape)


def _check_alpha(alpha: float) -> None:
    if not (math.isfinite(alpha) and alpha > 0):
        raise BadInput(
            f"alpha = {alpha}: infinitely many quanta need a finite alpha above 0 (the Zipf "
            "exponent less 1)"
        )


def _check_losses(a: ArrayLike, b: ArrayLike) -> None:
    if not np.all(np.asarray(a) < np.asarray(b)):
        raise BadInput("a, b: the loss after learning, a, must be below the loss before, b")


def _check_tau(tau: float) -> None:
    if not (math.isfinite(tau) and tau > 0):
        raise BadInput(f"tau = {tau}: give a finite threshold above 0")


def _check_C(C: float) -> None:
    if not (math.isfinite(C) and C > 1):
        raise BadInput(f"C = {C}: give a finite factor above 1")
