"""Least squares of sums of powers, y = E + Σ_i A_i · x_i^-α_i, by variable projection.

For given exponents y is linear in E and the A_i, and these follow in closed form: they are the
nonnegative linear least squares. So the exponents are the only unknowns (Golub and Pereyra, SIAM J.
Numer. Anal. 10, 1973; derivatives as of Kaufman, BIT 15, 1975). Relative errors are fitted,
Σ w ((y - law) / y)². ``surface.fit`` is what callers need; this is how it solves.

All tries are solved at once: they differ in where they start, or in how often each point counts
(``weights``).

Letters of shapes: ``points``, ``variables`` the x_i, ``terms`` E and the A_i, ``parameters`` the
terms and exponents together, ``tries``.
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

STARTS = (0.1, 0.3, 0.7, 1.5)
"""Exponents from which the fit starts, each with each; the best few are followed."""

FOLLOWED = 6

ROUNDS, CONVERGED, RESAMPLED = 60, 1e-9, 1e-5
"""Most steps of the solver, and the step in an exponent at which it ends: of the law, and of a
resample, whose spread it is that counts."""

RIDGE = 1e-14
"""Added to products of unit columns: a resample may have a single value of a variable."""

BLOCK = 2**22
"""Numbers in an array of the solver: 32 MB."""


class Points(NamedTuple):
    """What a law is fitted to.

    Attributes:
        log_x: natural logarithms of the variables, less ``middle``.
        middle: means of the logarithms.
        y: values.
        floor: whether there is an E.
        bounds: smallest and largest exponent of each variable.
    """

    log_x: Float64[np.ndarray, "points variables"]
    middle: Float64[np.ndarray, " variables"]
    y: Float64[np.ndarray, " points"]
    floor: bool
    bounds: Float64[np.ndarray, "2 variables"]


def solve(points: Points) -> Float64[np.ndarray, " variables"]:
    """The exponents whose law leaves the least sum of squares, from all starts."""
    weights = np.ones((1, len(points.y)))
    tried = np.array(list(itertools.product(STARTS, repeat=points.log_x.shape[1])))
    parts = np.array_split(tried, min(len(tried), 1 + len(tried) // at_once(points)))
    left = np.concatenate([solve_terms(points, part, weights)[1] for part in parts])
    starts = tried[np.argsort(left)[:FOLLOWED]]
    found, loss = descend(points, starts, weights)
    return np.asarray(found[int(np.argmin(loss))])


def at_once(points: Points) -> int:
    """Tries that are solved at once, so that arrays stay small: each has some 8 numbers a point."""
    return max(1, BLOCK // (len(points.y) * 8))


def _columns(
    points: Points, alpha: Float64[np.ndarray, "tries variables"]
) -> Float64[np.ndarray, "tries points terms"]:
    """Derivatives of law / y by the terms: E, and each term's value at the middle of its ln x."""
    powers = np.exp(-points.log_x * alpha[:, None]) / points.y[:, None]
    if not points.floor:
        return powers
    floor = np.broadcast_to((1 / points.y)[:, None], (len(alpha), len(points.y), 1))
    return np.concatenate([floor, powers], axis=-1)


def solve_terms(
    points: Points,
    alpha: Float64[np.ndarray, "tries variables"],
    weights: Float64[np.ndarray, "#tries points"],
) -> tuple[Float64[np.ndarray, "tries terms"], Float64[np.ndarray, " tries"]]:
    """The best terms for given exponents, none negative, and the weighted sum of squares left."""
    columns = _columns(points, alpha)
    terms = nonnegative(columns, weights)
    rest = 1 - (columns @ terms[..., None])[..., 0]
    return terms, np.asarray((weights * rest**2).sum(-1))


def nonnegative(
    columns: Float64[np.ndarray, "tries points terms"],
    weights: Float64[np.ndarray, "#tries points"],
) -> Float64[np.ndarray, "tries terms"]:
    """argmin_c Σ w (1 - columns c)² with c ≥ 0, by trying every set of terms that are not 0.

    There are 15 sets of four terms at most. The problem is convex: of the sets whose solution has
    no negative term, that with the least sum is the solution; if it is the whole set, that is seen
    at once.
    """
    n_terms = columns.shape[-1]
    scale = np.sqrt((weights[..., None] * columns**2).sum(1))  # columns of unit length
    unit = columns / scale[:, None]
    weighted = unit * weights[..., None]
    gram = np.swapaxes(unit, 1, 2) @ weighted + RIDGE * np.eye(n_terms)
    onto = weighted.sum(1)
    best, gained = np.zeros((len(columns), n_terms)), np.zeros(len(columns))
    for kept in itertools.product((True, False), repeat=n_terms):
        on = np.flatnonzero(kept)
        if not on.size or (best > 0).all():
            break
        some = np.linalg.solve(gram[:, on[:, None], on], onto[:, on, None])[..., 0]
        gain = (some * onto[:, on]).sum(-1)  # by how much the sum of squares falls
        better = (some >= 0).all(-1) & (gain > gained)
        gained = np.where(better, gain, gained)
        whole = np.zeros_like(best)
        whole[:, on] = some
        best = np.where(better[:, None], whole, best)
    return np.asarray(best / scale)


def descend(
    points: Points,
    alpha: Float64[np.ndarray, "tries variables"],
    weights: Float64[np.ndarray, "#tries points"],
    converged: float = CONVERGED,
) -> tuple[Float64[np.ndarray, "tries variables"], Float64[np.ndarray, " tries"]]:
    """Levenberg-Marquardt steps in the exponents, until none moves by more than ``converged``."""
    damping = np.full(len(alpha), 1e-3)
    terms, loss = solve_terms(points, alpha, weights)
    for _ in range(ROUNDS):
        reduced, rest = _reduced(points, alpha, terms, weights)
        normal = np.swapaxes(reduced, 1, 2) @ reduced
        size = np.einsum("tii->ti", normal)
        # A term that is 0 has no derivative: the exponent stays.
        ridge = damping[:, None] * size + np.where(size > 0, 0.0, 1.0)
        slope = np.swapaxes(reduced, 1, 2) @ rest[..., None]
        step = np.linalg.solve(normal + ridge[..., None] * np.eye(alpha.shape[1]), slope)[..., 0]
        after = np.clip(alpha + np.clip(step, -1, 1), *points.bounds)
        new_terms, new_loss = solve_terms(points, after, weights)
        better = new_loss <= loss
        moved = np.where(better[:, None], np.abs(after - alpha), 0).max()
        stuck = ~better & (damping > 1e6)
        alpha = np.where(better[:, None], after, alpha)
        terms = np.where(better[:, None], new_terms, terms)
        loss = np.where(better, new_loss, loss)
        damping = np.where(better, damping / 9, damping * 4)
        if moved < converged and (better | stuck | (np.abs(step).max(-1) < converged)).all():
            break
    return alpha, loss


def _reduced(
    points: Points,
    alpha: Float64[np.ndarray, "tries variables"],
    terms: Float64[np.ndarray, "tries terms"],
    weights: Float64[np.ndarray, "#tries points"],
) -> tuple[Float64[np.ndarray, "tries points variables"], Float64[np.ndarray, "tries points"]]:
    """Derivatives of law / y by the exponents when the terms follow them, and 1 - law / y; both
    times the roots of weights.

    What terms can make up is projected out of the derivatives at fixed terms (Kaufman's form).
    """
    root = np.sqrt(weights)
    columns = _columns(points, alpha) * root[..., None]
    rest = root - (columns @ terms[..., None])[..., 0]
    at_fixed = _by_exponents(points, columns, terms)
    # Columns of terms that are 0 are not in the way; a zero column projects nothing.
    free = columns * (terms > 0)[:, None]
    length = np.sqrt((free**2).sum(1, keepdims=True))
    free = free / np.where(length > 0, length, 1)
    across = np.swapaxes(free, 1, 2)
    gram = across @ free + np.eye(terms.shape[1]) * np.where(terms > 0, RIDGE, 1.0)[:, None]
    return at_fixed - free @ np.linalg.solve(gram, across @ at_fixed), rest


def _by_exponents(
    points: Points,
    columns: Float64[np.ndarray, "tries points terms"],
    terms: Float64[np.ndarray, "tries terms"],
) -> Float64[np.ndarray, "tries points variables"]:
    """Derivatives of law / y by the exponents at fixed terms."""
    first = int(points.floor)
    return np.asarray(-points.log_x * columns[..., first:] * terms[:, None, first:])


class Linear(NamedTuple):
    """The law at the solution.

    Attributes:
        by: derivatives of law / y by the terms, then by the exponents.
        reduced: by the exponents, when the terms follow.
        rest: 1 - law / y.
        full: condition number of the derivatives by E, A_i and α_i as the law is written.
    """

    by: Float64[np.ndarray, "points parameters"]
    reduced: Float64[np.ndarray, "points variables"]
    rest: Float64[np.ndarray, " points"]
    full: float


def linearised(
    points: Points, alpha: Float64[np.ndarray, " variables"], terms: Float64[np.ndarray, " terms"]
) -> Linear:
    ones = np.ones((1, len(points.y)))
    columns = _columns(points, alpha[None])
    by = np.concatenate([columns, _by_exponents(points, columns, terms[None])], axis=-1)[0]
    (reduced,), (rest,) = _reduced(points, alpha[None], terms[None], ones)
    # As the law is written, terms are told at x = 1, and not in the middle of the points.
    written = by.copy()
    first, n_terms = int(points.floor), len(terms)
    to_one = np.exp(points.middle * alpha)
    written[:, first:n_terms] /= to_one
    written[:, n_terms:] -= points.middle * columns[0][:, first:] * terms[first:]
    return Linear(by, reduced, rest, float(np.linalg.cond(written)))
