"""The losses and exponents that the quantization model predicts (paper, section 2 and appendix A).

Quanta are ordered by use frequency; quantum k is used on a fraction p_k ∝ k^-(alpha + 1) of the
samples. A sample that needs quantum k has loss b before k is learned and loss a < b after. A
prediction has two steps: from a scale to the number n of quanta learned, and from n to the mean
loss. Each step is available exactly and in the paper's limit of many quanta::

    scale → n quanta learned                n → mean loss
    N parameters: n = N / c                 loss(n, p)                 finitely many quanta, exact
    D samples, S steps: learned(D, p, tau)  loss_infinite(n, alpha)    infinitely many, exact sum
                   learned_asymptotic(...)  loss_asymptotic(n, alpha)  the paper's power law

``loss_N``, ``loss_D`` and ``loss_S`` do both steps. ``strengths`` and ``loss_emerging`` are of a
model whose quanta are learned smoothly, each as a sigmoid, and which knows what compute is best for
(``frontier``, ``compute_exponent``). ``p`` is an array [S] of the frequencies of S
quanta (the subtasks of multitask sparse parity), largest first, summing to 1, as
``powerlaw.zipf`` returns them (or uniform ones). ``alpha`` is always the paper's: the Zipf exponent
is alpha + 1.

Losses have the unit of a and b: with a and b in nats they are in nats, with bits in bits. The cases
of appendix A are in nats. All results are float64 arrays of the shape of the scale given
(0-dimensional for a number). Every function raises ``BadInput`` for arguments outside their range.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike
from scipy.special import bdtr, expit, zeta

from jquanta import powerlaw
from jquanta.errors import BadInput
from jquanta.masks import unmasked

Values = Float64[np.ndarray, "*shape"]
PerQuantum = Float64[np.ndarray, " S"]

# Points of the fits of ``finite_exponents``; with more, exponents change by 0.001 at most.
SCAN_POINTS = 2000


class Exponents(NamedTuple):
    """Scaling exponents, positive when the loss falls.

    Attributes:
        alpha_N: of the loss against parameters, or against the number n of quanta learned.
        alpha_D: of the loss against training samples, trained for many epochs.
        alpha_S: of the loss against steps, where every sample is seen once.
        learned: of the number n of quanta learned against samples or steps.
    """

    alpha_N: float
    alpha_D: float
    alpha_S: float
    learned: float


class Frontier(NamedTuple):
    """What is best for each amount of compute.

    Attributes:
        n: number of quanta that have a place in the network.
        loss: in the unit of a and b.
    """

    n: Float64[np.ndarray, "*shape"]
    loss: Float64[np.ndarray, "*shape"]


def exponents(alpha: float) -> Exponents:
    """The paper's exponents: alpha_N = α, alpha_D = alpha_S = α/(α+1), and 1/(α+1) for n.

    ``exponents(alpha_N).alpha_D`` is the paper's relation between the exponents of a scaling study,
    α_D = α_N/(α_N+1).
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
    """The exponents that log-log fits would measure with finitely many subtasks, without noise.

    Compare a measured exponent with these. With finitely many subtasks the loss ends at a, so a
    fitted exponent of the loss is larger than in the limit, the more so the closer the window comes
    to n_tasks; an offset makes it smaller at the head. The exact loss is fitted at scales spaced
    evenly in their logarithm. For the very scales of an experiment call
    ``powerlaw.fit(D, theory.loss_D(D, p, tau))``.

    Args:
        alpha: the paper's alpha, above -1.
        n_tasks: number of subtasks S.
        window: (first, last), the numbers of subtasks learned at the two ends of the fit,
            1 ≤ first < last < n_tasks. Whatever c and tau are, this is the window from c·first to
            c·last for N, and for D (or steps) from where subtask number ``first`` is learned to
            where number ``last`` is.
        offset: of the frequencies, as in ``powerlaw.zipf``.
        a, b: loss of a subtask after and before it is learned, both in nats or both in bits. The
            loss is fitted without subtracting a.

    Raises:
        BadInput: if an argument is outside its range.
    """
    first, last = window
    if not 1 <= first < last < n_tasks:
        raise BadInput(
            f"window = ({first}, {last}): give 1 <= first < last < n_tasks = {n_tasks}, in subtasks"
        )
    p = powerlaw.zipf(n_tasks, alpha, offset)
    n = np.geomspace(first, last, SCAN_POINTS)
    # Subtask k is learned at D = tau / p_k. A window that ends with k learned ends at the geometric
    # mean of this and the next threshold; for k that are not whole, interpolate.
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
    """Frequencies of infinitely many quanta, p_k = k^-(α+1) / ζ(α+1), k ≥ 1.

    For finitely many see ``powerlaw.zipf``.
    """
    _check_alpha(alpha)
    k = _scale("k", k, 1)
    return np.asarray(k ** -(alpha + 1) / _zeta(alpha + 1))


def loss(n: ArrayLike, p: ArrayLike, a: ArrayLike = 0.0, b: ArrayLike = 1.0) -> Values:
    """Mean loss after the first n of finitely many quanta: Σ_{k≤n} p_k a_k + Σ_{k>n} p_k b_k.

    If a and b are the same for all quanta, this is a + (b-a) Σ_{k>n} p_k. Case 1 of appendix A is
    ``b=-np.log(p)``; case 2 has ``a=-np.log(C * p)`` besides.

    Args:
        n: number of quanta learned, at least 0. Between whole numbers the loss is interpolated
            linearly, as if a part of the next quantum were learned. From n = S on, all are learned.
        p: [S] frequencies.
        a, b: loss of a sample after and before its quantum is learned, both in nats or both in
            bits; numbers, or arrays [S].
    """
    p, a, b = _check_model(p, a, b)
    # The loss for n = 0 … S, split into the parts of learned and of unlearned quanta.
    after = np.concatenate([[0.0], np.cumsum(p * a)])
    # Summed from the smallest term on, so that a small tail keeps its relative precision.
    before = np.concatenate([np.cumsum((p * b)[::-1])[::-1], [0.0]])
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
        scale: number of training samples D, trained for many epochs; or of steps S, where every
            sample is seen once. At least 0.
        p: [S] frequencies.
        tau: threshold, above 0: the number of samples that use a quantum before it is learned. If
            ``scale`` is in steps, that number divided by the batch size.
    """
    p = _check_frequencies(p)
    _check_tau(tau)
    with np.errstate(divide="ignore"):
        needed = tau / _scale("scale", scale, 0)
    # Frequencies in ascending order; those after the insertion point are above the threshold.
    return np.asarray(len(p) - np.searchsorted(p[::-1], needed, side="right"), np.float64)


def learned_asymptotic(scale: ArrayLike, alpha: float, tau: float = 1.0) -> Values:
    """The k at which D·p_k = τ with infinitely many quanta: n(D) = (D / (τ ζ(α+1)))^{1/(α+1)}.

    The exact number of quanta learned is this rounded down.

    Args:
        scale, tau: as in ``learned``; ``scale`` above 0.
        alpha: the paper's alpha, above 0.
    """
    _check_alpha(alpha)
    _check_tau(tau)
    scale = _scale("scale", scale, 0, itself=False)
    return np.asarray((scale / (tau * _zeta(alpha + 1))) ** (1 / (alpha + 1)))


def loss_N(
    N: ArrayLike, p: ArrayLike, c: float = 1.0, a: ArrayLike = 0.0, b: ArrayLike = 1.0
) -> Values:
    """L(N) for finitely many quanta, exact: ``loss`` with n = N / c, c parameters a quantum."""
    return loss(_quanta(N, c), p, a, b)


def loss_D(
    D: ArrayLike, p: ArrayLike, tau: float = 1.0, a: ArrayLike = 0.0, b: ArrayLike = 1.0
) -> Values:
    """L(D) for finitely many quanta, exact: those with D·p_k > τ are learned, over many epochs."""
    return loss(learned(D, p, tau), p, a, b)


def loss_S(
    S: ArrayLike, p: ArrayLike, tau: float = 1.0, a: ArrayLike = 0.0, b: ArrayLike = 1.0
) -> Values:
    """L(S) for finitely many quanta, exact: as L(D), with τ in steps and each sample seen once."""
    return loss_D(S, p, tau, a, b)


def loss_N_asymptotic(
    N: ArrayLike, alpha: float, c: float = 1.0, a: float = 0.0, b: float = 1.0
) -> Values:
    """The paper's law L(N) - a ∝ N^-α with its prefactor, from n = N / c; N > 0."""
    return loss_asymptotic(_quanta(N, c), alpha, a, b)


def loss_D_asymptotic(
    D: ArrayLike, alpha: float, tau: float = 1.0, a: float = 0.0, b: float = 1.0
) -> Values:
    """The paper's law L(D) - a ∝ D^{-α/(α+1)} with its prefactor; D > 0."""
    return loss_asymptotic(learned_asymptotic(D, alpha, tau), alpha, a, b)


def loss_S_asymptotic(
    S: ArrayLike, alpha: float, tau: float = 1.0, a: float = 0.0, b: float = 1.0
) -> Values:
    """The paper's law L(S) - a ∝ S^{-α/(α+1)} with its prefactor; τ in steps, S > 0."""
    return loss_D_asymptotic(S, alpha, tau, a, b)


def strengths(
    t: ArrayLike, p: ArrayLike, tau: float = 1.0, start: float = 0.01
) -> Float64[np.ndarray, "*shape S"]:
    """How far each quantum is learned, from ``start`` at t = 0 to 1: a sigmoid for each.

    The solvable model of Nam et al., "An exactly solvable model for emergence and scaling laws in
    the multitask sparse parity problem" (arXiv 2404.17563), derived here for equal layers. Output
    is Σ_k a_k b_k g_k(x), where the quantum's own function g_k is ±1 on its share p_k of samples
    and 0 elsewhere, and r_k = a_k b_k should be 1. The squared error is Σ_k p_k (1 - r_k)² / 2, so
    that gradient flow at rate η, from a_k = b_k, has

        da_k/dt = η p_k b_k (1 - r_k),    dr_k/dt = 2 η p_k r_k (1 - r_k).

    That is a logistic function of t, r_k = σ(2 η p_k t - ln(1/start - 1)). It is 1/2 at
    t = τ / p_k with τ = ln(1/start - 1) / 2η: learning times are ∝ 1 / p_k, as in ``learned``, and
    one fitted number, τ, gives those of all quanta. In ln t all sigmoids have about one width,
    1 / ln(1/start - 1) (the w of ``jquanta.spectrum``).

    Args:
        t: steps, or samples seen; at least 0.
        p: [S] frequencies.
        tau: t · p_k at which a quantum is half learned, above 0.
        start: of every quantum at t = 0, between 0 and 1/2.

    Returns:
        [..., S] for t of shape [...].
    """
    p = _check_frequencies(p)
    _check_tau(tau)
    if not 0 < start < 0.5:
        raise BadInput(f"start = {start:g}: give a strength between 0 and 1/2")
    t = _scale("t", t, 0)
    return np.asarray(expit(math.log(1 / start - 1) * (t[..., None] * p / tau - 1)))


def loss_emerging(
    t: ArrayLike,
    p: ArrayLike,
    tau: float = 1.0,
    start: float = 0.01,
    n: float = math.inf,
    a: float = 0.0,
    b: float = 1.0,
) -> Values:
    """L(t) of the solvable model: a + (b-a) Σ_k p_k (1 - r_k(t))², r_k as of ``strengths``.

    A smooth form of ``loss_S``, with the same exponent α/(α+1) for many quanta.

    Args:
        t, p, tau, start: as in ``strengths``.
        n: number of quanta that have a place in the network, at least 0, the most frequent first:
            the others stay at 0. In the model that is the number of parameters, and for t → ∞
            the loss falls as n^-α.
        a, b: loss of a quantum that is learned, and of one of strength 0.
    """
    _check_losses(a, b)
    if not n >= 0:
        raise BadInput(f"n = {n}: give a number of quanta of at least 0")
    strength = strengths(t, p, tau, start)
    place = np.arange(strength.shape[-1]) < n
    left = np.square(1 - np.where(place, strength, 0))
    return np.asarray(a + (b - a) * (left * unmasked(p, "p", np.float64)).sum(-1))


def loss_shots(
    D: ArrayLike, p: ArrayLike, shots: int = 1, a: float = 0.0, b: float = 1.0
) -> Values:
    """The expected L(D) if a quantum is learned from ``shots`` samples of its own: of D samples it
    has a binomial number, so a + (b-a) Σ_k p_k P(fewer than ``shots`` of D). Falls as D^{-α/(α+1)}.

    Args:
        D: number of training samples, whole, at least 0.
        p: [S] frequencies.
        shots: at least 1; all that the model leaves open.
        a, b: loss after and before.
    """
    p = _check_frequencies(p)
    _check_losses(a, b)
    if shots < 1:
        raise BadInput(f"shots = {shots}: give at least 1 sample")
    D = _scale("D", D, 0)
    # P(at most m of D), the regularised incomplete beta function.
    fewer = bdtr(np.minimum(shots - 1, D)[..., None], D[..., None].astype(np.int64), p)
    return np.asarray(a + (b - a) * (fewer * p).sum(-1))


def compute_exponent(alpha: float) -> float:
    """The exponent of the loss against compute C = n · t at the best n: α / (α + 2).

    With n places and after t steps the loss is about n^-α + t^{-α/(α+1)} (constants left out). For
    t = C / n both terms fall alike where n^-α ∝ (C/n)^{-α/(α+1)}, that is n ∝ C^{1/(α+2)}: then the
    loss is ∝ C^{-α/(α+2)}.
    """
    _check_alpha(alpha)
    return alpha / (alpha + 2)


def frontier(
    C: ArrayLike,
    p: ArrayLike,
    tau: float = 1.0,
    start: float = 0.01,
    a: float = 0.0,
    b: float = 1.0,
) -> Frontier:
    """The least loss of the solvable model at compute C = n · t, and the n that reaches it, of all
    whole numbers up to S.

    Args:
        C: compute, in places times the unit of t; above 0.
        p, tau, start, a, b: as in ``loss_emerging``.
    """
    C = _scale("C", C, 0, itself=False)
    best_n, best = np.zeros(C.shape), np.full(C.shape, math.inf)
    for n in range(1, len(_check_frequencies(p)) + 1):
        left = loss_emerging(C / n, p, tau, start, n, a, b)
        best_n = np.where(left < best, n, best_n)
        best = np.minimum(left, best)
    return Frontier(np.asarray(best_n), np.asarray(best))


def case1_infinite(n: ArrayLike, alpha: float) -> Values:
    """Appendix A, case 1 (a_k = 0, b_k = -ln p_k), in nats: Σ_{k>n} -p_k ln p_k, summed exactly.

    Before quantum k is learned, a sample that needs it is predicted with its frequency p_k as
    probability. n ≥ 0; at n = 0 the loss is the entropy of the frequencies.
    """
    _check_alpha(alpha)
    n, s = _scale("n", n, 0), alpha + 1
    zeta, known = _zeta(s), np.where(np.isfinite(n), n, 0)
    # p_k = k^-s / ζ, so -ln p_k = s ln k + ln ζ: two sums over k > n.
    left = (s * _log_tail(known, s) + math.log(zeta) * _tail(known, s)) / zeta
    return np.where(np.isfinite(n), left, 0.0)  # in the limit of all quanta nothing is left


def case1_asymptotic(n: ArrayLike, alpha: float) -> Values:
    """The paper's case 1 for many quanta, in nats: n^-α (1+α+α ln ζ + α(α+1) ln n) / (α² ζ)."""
    _check_alpha(alpha)
    n = _scale("n", n, 0, itself=False)
    zeta = _zeta(alpha + 1)
    # Both sums of ``case1_infinite`` replaced by integrals from n on.
    constant = (1 + alpha + alpha * math.log(zeta)) / (alpha**2 * zeta)
    known = np.where(np.isfinite(n), n, 1)
    left = known**-alpha * (constant + (alpha + 1) / (alpha * zeta) * np.log(known))
    return np.where(np.isfinite(n), left, 0.0)


def case2_infinite(n: ArrayLike, alpha: float, C: float) -> Values:
    """Appendix A, case 2 (b_k = -ln p_k, a_k = -ln(C p_k), C > 1), in nats, summed exactly.

    Learning a quantum multiplies the probability of the right answer by C. For n → ∞ the loss tends
    to the entropy of the frequencies minus ln C. n ≥ 0. All losses a_k are positive only if
    C ≤ ζ(α+1).
    """
    _check_C(C)
    # Σ_{k≤n} p_k (-ln C p_k) + Σ_{k>n} p_k (-ln p_k) = entropy - ln C Σ_{k≤n} p_k.
    entropy = float(case1_infinite(0, alpha))
    return np.asarray(entropy - math.log(C) * (1 - loss_infinite(n, alpha)))


def case2_asymptotic(n: ArrayLike, alpha: float, C: float) -> Values:
    """The paper's case 2: n^-α ln C/(α ζ) - ln C + (1+α+α ln ζ)/(α² ζ), in nats.

    The paper's constant replaces the sum in the entropy of the frequencies by an integral from 1,
    an error that does not vanish for large n; the power of n is right. ``case2_infinite`` uses the
    entropy itself.
    """
    _check_C(C)
    constant = float(case1_asymptotic(1, alpha))
    return np.asarray(constant - math.log(C) * (1 - loss_asymptotic(n, alpha)))


def _zeta(s: float) -> float:
    """The Riemann zeta function."""
    return float(zeta(s))


def _tail(n: Values, s: float) -> Values:
    """Σ_{k>n} k^-s, the Hurwitz zeta function."""
    return np.asarray(zeta(s, n + 1))


def _log_tail(n: Values, s: float) -> Values:
    """Σ_{k>n} k^-s ln k: 32 terms summed directly, the rest by the Euler-Maclaurin formula.

    The first term left out of the formula is about 1e-12 of the sum.
    """
    k = n[..., None] + np.arange(1, 33)
    m = n + 33
    log = np.log(m)
    # With f(x) = x^-s ln x, Σ_{k≥m} f(k) = ∫_m^∞ f dx + f(m)/2 - f'(m)/12 + f'''(m)/720 - …
    integral = m ** (1 - s) * (log + 1 / (s - 1)) / (s - 1)
    first = m ** (-s - 1) * (1 - s * log)
    third = m ** (-s - 3) * (3 * s**2 + 6 * s + 2 - s * (s + 1) * (s + 2) * log)
    rest = integral + m**-s * log / 2 - first / 12 + third / 720
    return np.asarray((k**-s * np.log(k)).sum(-1) + rest)


def _quanta(N: ArrayLike, c: float) -> Values:
    """Number of quanta that N parameters hold, with c parameters a quantum."""
    if not (math.isfinite(c) and c > 0):
        raise BadInput(f"c = {c}: give a number of parameters a quantum above 0")
    return np.asarray(_scale("N", N, 0) / c)


def _scale(name: str, values: ArrayLike, least: float, itself: bool = True) -> Values:
    """Check that all ``values`` are at least ``least`` (above it unless ``itself``), as float64."""
    scale = unmasked(values, name, np.float64)
    # Comparisons with NaN are false, so that ``not all`` refuses NaN, too.
    if not np.all(scale >= least if itself else scale > least):
        bound = f"of at least {least:g}" if itself else f"above {least:g}"
        raise BadInput(f"{name}: give numbers {bound}")
    return scale


def _check_frequencies(p: ArrayLike) -> PerQuantum:
    p = unmasked(p, "p", np.float64)
    if p.ndim != 1 or not (np.all(p > 0) and math.isclose(p.sum(), 1, rel_tol=1e-6)):
        raise BadInput("p: give positive frequencies [S] that sum to 1, as powerlaw.zipf does")
    if np.any(np.diff(p) > 0):
        raise BadInput("p: quanta are ordered by use frequency; sort p from large to small")
    return p


def _check_model(p: ArrayLike, a: ArrayLike, b: ArrayLike) -> tuple[PerQuantum, ...]:
    p, a, b = (
        _check_frequencies(p),
        *(unmasked(v, name, np.float64) for name, v in (("a", a), ("b", b))),
    )
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
    if not np.all(unmasked(a, "a", np.float64) < unmasked(b, "b", np.float64)):
        raise BadInput("a, b: the loss after learning, a, must be below the loss before, b")


def _check_tau(tau: float) -> None:
    if not (math.isfinite(tau) and tau > 0):
        raise BadInput(f"tau = {tau}: give a finite threshold above 0")


def _check_C(C: float) -> None:
    if not (math.isfinite(C) and C > 1):
        raise BadInput(f"C = {C}: give a finite factor above 1")
