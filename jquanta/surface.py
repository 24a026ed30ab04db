"""Laws in more than one variable: y = E + Σ_i A_i · x_i^-α_i, such as L(N, D), L(N, S), L(N, D, S).

``fit`` is what most callers need::

    law = surface.fit({"N": sizes[:, None], "S": steps}, losses)  # losses [sizes, steps]
    print(law)
    # 0.12 [0.05, 0.19] + 3.1 N^-0.45 [0.41, 0.49] + 9.8 S^-0.62 [0.58, 0.66] (n = 96, …)

Fitted as it is written, with five or seven free numbers, such a law is ill-conditioned: A_i and α_i
of a term follow each other, and their units differ by powers of ten. But for given exponents y is
linear in E and the A_i, and these follow in closed form, so that the exponents are the only
unknowns (``projection``).

Relative errors are fitted, Σ ((y - law) / y)², since the noise of a loss is proportional to it:
otherwise the few large losses would decide. ``powerlaw.fit`` fits ln y for the same reason, but
ln y is not linear in E and the A_i. For noise of relative size s the fitted law is lower by the
factor 1 - 3s²/2, the same everywhere; exponents are not affected.

Letters of shapes are those of ``projection``.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int
from numpy.typing import ArrayLike
from scipy.special import ndtr, stdtrit

from jquanta.errors import BadInput
from jquanta.masks import unmasked
from jquanta.powerlaw import Window, check_level, require_units
from jquanta.projection import (
    RESAMPLED,
    Linear,
    Points,
    at_once,
    descend,
    linearised,
    solve,
    solve_terms,
)

STEEPEST, FLATTEST = 6.0, 0.02
"""Largest exponent, and smallest fall (in ln) of a term over the grid: below it is a constant."""

RESAMPLES = 1000  # of a bootstrap; 25 of them then lie in the tail of 2.5%

ON_A_CURVE = 0.99
"""Share of the variance of ln x_j that a cubic in ln x_i may explain."""

LEAST_VALUES = 3
"""Fewest values of a variable: two determine no exponent beside E."""

Windows = Mapping[str, Window]


@dataclass(frozen=True)
class Surface:
    """A fitted law y = E + Σ_i A_i · x_i^-α_i.

    Attributes:
        names: of the variables, such as ``("N", "S")``.
        exponents: α_i, positive when y falls; NaN of a term that is not there (A_i = 0).
        intervals: (low, high) confidence bounds of each exponent.
        prefactors: A_i, in the unit of y: the term at x_i = 1.
        floor: E, in the unit of y; at least 0.
        floor_interval: its confidence bounds, cut at 0 and at the smallest y; (0, 0) where E was
            fixed at 0.
        level: nominal coverage of the intervals, such as 0.95.
        windows: smallest and largest value of each variable that were fitted.
        smallest: the smallest y fitted.
        n_points: number of points fitted.
        n_missing: number of points in the window left out because y or a variable was NaN.
        error: root mean square of (y - law) / y.
        condition: condition number of the derivatives by the exponents, which is what is solved.
        condition_full: the same of E, A_i and α_i together, as the law is written.
        covariance: of the exponents, [variables, variables]; infinite where not determined.
        quantile: of Student's t, by which intervals of functions of the exponents are made.
    """

    names: tuple[str, ...]
    exponents: tuple[float, ...]
    intervals: tuple[Window, ...]
    prefactors: tuple[float, ...]
    floor: float
    floor_interval: Window
    level: float
    windows: tuple[Window, ...]
    smallest: float
    n_points: int
    n_missing: int
    error: float
    condition: float
    condition_full: float
    covariance: tuple[tuple[float, ...], ...]
    quantile: float

    @property
    def floor_told(self) -> bool:
        """Whether the points tell E from 0: its interval is above 0."""
        return self.floor_interval[0] > 0

    @property
    def floor_known(self) -> bool:
        """Whether the points tell anything of E: not all from 0 to the smallest y is possible."""
        low, high = self.floor_interval
        return low > 0 or high < self.smallest

    def predict(self, x: Mapping[str, ArrayLike]) -> Float64[np.ndarray, "*shape"]:
        """Value of the law, in the unit of y, at positive values of all variables, broadcast.

        Raises:
            BadInput: if the variables are not those of the law.
        """
        if set(x) != set(self.names):
            raise BadInput(f"x: give {', '.join(self.names)}, the variables of this law")
        terms = [
            a * unmasked(x[name], name, np.float64) ** -alpha if a else 0.0
            for name, a, alpha in zip(self.names, self.prefactors, self.exponents, strict=True)
        ]
        return np.asarray(self.floor + sum(terms), np.float64)

    def allocation(self) -> "Allocation":
        """What is best where the product of the two variables is given, C ∝ x_1 · x_2.

        E + A_1 x_1^-α_1 + A_2 x_2^-α_2 is least where α_1 A_1 x_1^-α_1 = α_2 A_2 x_2^-α_2, and so
        x_1 ∝ C^a with a = α_2 / (α_1 + α_2), x_2 ∝ C^(1 - a), and the loss above E falls as C^-c
        with c = α_1 α_2 / (α_1 + α_2) (Hoffmann et al., arXiv 2203.15556, section 3.3).

        Raises:
            BadInput: for a law in other than two variables, or without one of its terms.
        """
        if len(self.names) != 2:
            raise BadInput(f"allocation: the law is in {len(self.names)} variables, and not in two")
        if not all(a > 0 for a in self.prefactors):
            raise BadInput("allocation: a term of the law is 0, so that no best use is told")
        one, two = self.exponents
        total = one + two
        a, c = two / total, one * two / total
        return Allocation(
            (a, 1 - a, c),
            tuple(
                self._interval(value, by)
                for value, by in (
                    (a, (-two / total**2, one / total**2)),
                    (1 - a, (two / total**2, -one / total**2)),
                    (c, (two**2 / total**2, one**2 / total**2)),
                )
            ),
        )

    def _interval(self, value: float, by: tuple[float, float]) -> Window:
        """Of a function of the exponents with these derivatives, linearised."""
        slope, spread = np.array(by), np.array(self.covariance)
        if not np.isfinite(spread).all():
            return (-math.inf, math.inf)
        half = self.quantile * math.sqrt(max(float(slope @ spread @ slope), 0))
        return (value - half, value + half)

    def __str__(self) -> str:
        low, high = self.floor_interval
        if self.floor_told:
            parts = [f"{self.floor:.3g} [{low:.3g}, {high:.3g}]"]
        elif high == 0:
            parts = []
        elif self.floor_known:
            parts = [f"E (below {high:.3g}; {self.floor:.3g} fits best)"]
        else:
            parts = ["E (not identified)"]
        for name, alpha, (lowest, highest), a in zip(
            self.names, self.exponents, self.intervals, self.prefactors, strict=True
        ):
            if a > 0:
                parts.append(f"{a:.3g} {name}^-{alpha:.3f} [{lowest:.3f}, {highest:.3f}]")
            else:
                parts.append(f"no term in {name}")
        missing = f", {self.n_missing} missing" if self.n_missing else ""
        return f"{' + '.join(parts)} (n = {self.n_points}{missing}; error {self.error:.2%})"


class Allocation(NamedTuple):
    """Exponents of the best use of compute, with their intervals.

    Attributes:
        exponents: of the first variable, of the second, and of the loss above E (which falls).
        intervals: of each.
    """

    exponents: tuple[float, float, float]
    intervals: tuple[Window, ...]


def fit(
    x: Mapping[str, ArrayLike],
    y: ArrayLike,
    windows: Windows | None = None,
    *,
    floor: bool = True,
    groups: ArrayLike | None = None,
    method: str = "t",
    level: float = 0.95,
    seed: int = 0,
) -> Surface:
    """Fit y = E + Σ_i A_i · x_i^-α_i with E, A_i ≥ 0 by least squares of relative errors.

    Args:
        x: two or three variables by name, positive; x and y broadcast with each other. For example
            N [n, 1] and S [m] with y [n, m].
        y: values, positive. NaN, of y or of a variable, is missing.
        windows: bounds of some of the variables, both included.
        floor: whether there is an irreducible term E; otherwise it is 0.
        groups: labels that broadcast with y, such as seeds or runs: points that share noise. The
            interval then reflects how the law varies between groups.
        method: ``t``: Student's t interval with the law linearised at the solution, between groups
            the cluster-robust one, as of ``powerlaw.fit``. ``bootstrap``: the law is fitted to
            1,000 resamples of the groups, or of the points (expanded percentiles); a second or two
            for 1,000 points, 15 for 10,000.
        level: coverage of the intervals.
        seed: of the bootstrap.

    Returns:
        The law. Where the points do not tell E from 0, or an exponent, its interval says so, and so
        does ``print``.

    Raises:
        BadInput: if an argument is invalid; a variable has fewer than three values; two variables
            lie on a curve, such as D = 20 N; there are no more different points than parameters;
            or y does not vary.
    """
    check_level(level)
    if method not in ("t", "bootstrap"):
        raise BadInput(f"method = {method!r}: give 't' or 'bootstrap'")
    grid = _select(x, y, windows or {}, groups, floor)
    units = grid.group if grid.group is not None else np.arange(len(grid.points.y))
    if method == "bootstrap":
        require_units(int(units.max()) + 1, level, grid.group is not None)
    best = solve(grid.points)[None]
    (terms,), _ = solve_terms(grid.points, best, np.ones((1, len(grid.points.y))))
    linear = linearised(grid.points, best[0], terms)
    if method == "bootstrap":
        spread = _bootstrap(grid, best, units, level, seed)
    else:
        spread = _t_spread(grid, linear, best[0], terms, level)
    return _report(grid, best[0], terms, linear, spread, level)


def window_sensitivity(
    x: Mapping[str, ArrayLike],
    y: ArrayLike,
    windows: Windows | None = None,
    *,
    floor: bool = True,
    groups: ArrayLike | None = None,
    level: float = 0.95,
) -> dict[str, Surface]:
    """The law without the smallest and the largest value of each variable, one at a time.

    Where exponents move by more than their intervals, the law is not one over the whole grid.
    Arguments and errors are those of ``fit``.

    Returns:
        ``"all"``, ``"N without its smallest"``, ``"N without its largest"`` and so on; what is
        left may not identify a law, and is then left out.
    """
    found = {"all": fit(x, y, windows, floor=floor, groups=groups, level=level)}
    for name, (low, high) in zip(found["all"].names, found["all"].windows, strict=True):
        values = unmasked(x[name], name, np.float64)
        values = np.unique(values[(values >= low) & (values <= high)])
        for which, window in (
            ("smallest", (float(values[1]), high)),
            ("largest", (low, float(values[-2]))),
        ):
            narrower = {**(windows or {}), name: window}
            try:
                law = fit(x, y, narrower, floor=floor, groups=groups, level=level)
            except BadInput:
                continue
            found[f"{name} without its {which}"] = law
    return found


class _Grid(NamedTuple):
    """The points that are fitted.

    Attributes:
        names: of the variables.
        points: their logarithms, and y.
        windows: smallest and largest value of each variable.
        group: index of each point's group; None without groups.
        n_missing: number of points left out because they are NaN.
    """

    names: tuple[str, ...]
    points: Points
    windows: tuple[Window, ...]
    group: Int[np.ndarray, " points"] | None
    n_missing: int


def _select(
    x: Mapping[str, ArrayLike],
    y: ArrayLike,
    windows: Windows,
    groups: ArrayLike | None,
    floor: bool,
) -> _Grid:
    """Check the arguments of a fit, and take the points that are fitted.

    Raises:
        BadInput: as listed under ``fit``.
    """
    if len(x) not in (2, 3):
        raise BadInput(
            'x: give two or three variables by name, such as {"N": sizes, "S": steps}; for one, '
            "powerlaw.fit or powerlaw.fit_irreducible"
        )
    names = tuple(x)
    for name, (low, high) in windows.items():
        if name not in names:
            raise BadInput(f"windows: {name!r} is not one of {', '.join(names)}")
        if not low < high:
            raise BadInput(f"windows[{name!r}] = ({low:g}, {high:g}): give low below high")
    given = [unmasked(x[name], name, np.float64) for name in names]
    values = unmasked(y, "y", np.float64)
    labels = np.asarray(0) if groups is None else unmasked(groups, "groups")
    every = [*given, values, labels]
    try:
        shape = np.broadcast_shapes(*(one.shape for one in every))
    except ValueError:
        shapes = ", ".join(str(one.shape) for one in every)
        raise BadInput(
            f"{', '.join(names)}, y and groups have shapes {shapes}: give shapes that broadcast"
        ) from None
    columns = np.stack([np.broadcast_to(one, shape).ravel() for one in given], axis=1)
    values = np.broadcast_to(values, shape).ravel()
    low, high = np.array([windows.get(name, (-math.inf, math.inf)) for name in names]).T
    inside = (np.isnan(columns) | ((columns >= low) & (columns <= high))).all(1)
    measured = inside & ~np.isnan(columns).any(1) & ~np.isnan(values)
    used, used_y = columns[measured], values[measured]
    for name, column in [*zip(names, used.T, strict=True), ("y", used_y)]:
        bad = np.count_nonzero(~((column > 0) & np.isfinite(column)))
        if bad:
            raise BadInput(
                f"{name} has {bad} of {len(column)} values that are zero, negative or infinite: a "
                "power law needs positive ones; narrow the window or set them to NaN"
            )
    _require_identified(names, used, used_y, floor)
    group = None
    if groups is not None:
        distinct, group = np.unique(
            np.broadcast_to(labels, shape).ravel()[measured], return_inverse=True
        )
        if len(distinct) < 2:
            raise BadInput(f"groups: only one, {distinct[0]!s}; give at least 2, or leave them out")
    logs = np.log(used)
    flattest = FLATTEST / np.ptp(logs, axis=0)
    return _Grid(
        names,
        Points(
            logs - logs.mean(0),
            logs.mean(0),
            used_y,
            floor,
            np.stack([flattest, np.full(len(names), STEEPEST)]),
        ),
        tuple((float(v.min()), float(v.max())) for v in used.T),
        group,
        int(np.count_nonzero(inside & ~measured)),
    )


def _require_identified(
    names: tuple[str, ...],
    used: Float64[np.ndarray, "points variables"],
    y: Float64[np.ndarray, " points"],
    floor: bool,
) -> None:
    """Refuse points that cannot identify the law, whatever their noise."""
    for name, column in zip(names, used.T, strict=True):
        distinct = len(np.unique(column))
        if distinct < LEAST_VALUES:
            raise BadInput(
                f"{name} has {distinct} different values, and its exponent needs at least "
                f"{LEAST_VALUES}; widen the window, or fit the law without {name}"
            )
    logs = np.log(np.unique(used, axis=0))
    parameters = 2 * len(names) + floor
    if len(logs) <= parameters:
        raise BadInput(
            f"{len(logs)} different points for a law with {parameters} parameters: give more, or "
            "fit it in fewer variables"
        )
    if np.ptp(y) == 0:
        raise BadInput("y does not vary: no law can be told from it")
    for i, j in itertools.permutations(range(len(names)), 2):
        if _explained(logs[:, i], logs[:, j]) > ON_A_CURVE:
            raise BadInput(
                f"{names[j]} is a function of {names[i]} at these points, so that their terms "
                f"cannot be told apart: give several {names[j]} for each {names[i]}, or fit a law "
                f"in {names[i]} alone (powerlaw.fit_irreducible)"
            )


def _explained(x: Float64[np.ndarray, " points"], y: Float64[np.ndarray, " points"]) -> float:
    """Share of the variance of y that a cubic in x explains (a line, of three values of x)."""
    degree = min(3, len(np.unique(x)) - 2)
    z = (x - x.mean()) / x.std()
    powers = np.vander(z, degree + 1)
    rest = y - powers @ np.linalg.lstsq(powers, y, rcond=None)[0]
    return 1 - float(rest @ rest) / float(np.sum((y - y.mean()) ** 2))


class _Spread(NamedTuple):
    """What is known of the exponents and of E.

    Attributes:
        intervals: of each exponent.
        floor: interval of E.
        covariance: of the exponents.
        quantile: of Student's t.
    """

    intervals: tuple[Window, ...]
    floor: Window
    covariance: Float64[np.ndarray, "variables variables"]
    quantile: float


def _t_spread(
    grid: _Grid,
    linear: Linear,
    alpha: Float64[np.ndarray, " variables"],
    terms: Float64[np.ndarray, " terms"],
    level: float,
) -> _Spread:
    """Student's t intervals with the law linearised at the solution.

    E counts as a free number even where it comes out as 0; exponents of terms that are 0 are not
    determined.
    """
    n_terms, k = len(terms), len(alpha)
    there = np.concatenate([np.full(n_terms, True), terms[int(grid.points.floor) :] > 0])
    by = linear.by[:, there]
    scale = np.sqrt((by**2).sum(0))
    unit = by / scale
    n_points, n_free = by.shape
    covariance = np.full((n_terms + k, n_terms + k), math.inf)
    freedom = n_points - n_free
    if np.linalg.cond(unit) < 1e10 and freedom > 0:
        inverse = np.linalg.inv(unit.T @ unit)
        if grid.group is None:
            some = inverse * float(linear.rest @ linear.rest) / freedom
        else:
            # The sandwich estimator, as of ``powerlaw.fit``: each group's influence, squared.
            single = (unit @ inverse) * linear.rest[:, None]
            count = int(grid.group.max()) + 1
            influence = np.zeros((count, n_free))
            np.add.at(influence, grid.group, single)
            freedom = count - 1
            some = influence.T @ influence * count / freedom
        covariance[np.ix_(there, there)] = some / np.outer(scale, scale)
    quantile = float(stdtrit(max(freedom, 1), (1 + level) / 2))

    def interval(value: float, place: int) -> Window:
        half = quantile * math.sqrt(covariance[place, place])
        return (value - half, value + half)

    floor = interval(float(terms[0]), 0) if grid.points.floor else (0.0, 0.0)
    return _Spread(
        tuple(interval(float(alpha[i]), n_terms + i) for i in range(k)),
        floor,
        covariance[n_terms:, n_terms:],
        quantile,
    )


def _bootstrap(
    grid: _Grid,
    best: Float64[np.ndarray, "1 variables"],
    units: Int[np.ndarray, " points"],
    level: float,
    seed: int,
) -> _Spread:
    """Expanded percentiles over resampled groups, or points without groups.

    The factor and the tail are those of ``powerlaw.fit``, which says why.
    """
    random = np.random.default_rng(seed)
    count, k = int(units.max()) + 1, best.shape[1]
    draws = random.multinomial(count, np.full(count, 1 / count), RESAMPLES)
    exponents, floors = [], []
    rows = at_once(grid.points)
    for start in range(0, RESAMPLES, rows):
        weights = draws[start : start + rows, units].astype(np.float64)
        alpha, _ = descend(grid.points, np.repeat(best, len(weights), 0), weights, RESAMPLED)
        exponents.append(alpha)
        floors.append(solve_terms(grid.points, alpha, weights)[0][:, 0])
    every, floor = np.concatenate(exponents), np.concatenate(floors)
    lost = 1 if grid.group is not None else 2 * k + grid.points.floor
    quantile = float(stdtrit(count - lost, (1 + level) / 2))
    wider = math.sqrt(count / (count - lost))
    tail = float(ndtr(-wider * quantile))
    low, high = np.quantile(every, [tail, 1 - tail], axis=0)
    ends = np.quantile(floor, [tail, 1 - tail]) if grid.points.floor else np.zeros(2)
    return _Spread(
        tuple(zip(low.tolist(), high.tolist(), strict=True)),
        (float(ends[0]), float(ends[1])),
        np.atleast_2d(np.cov(every.T)) * wider**2,
        quantile,
    )


def _report(
    grid: _Grid,
    alpha: Float64[np.ndarray, " variables"],
    terms: Float64[np.ndarray, " terms"],
    linear: Linear,
    spread: _Spread,
    level: float,
) -> Surface:
    """Put together the result of a fit."""
    first = int(grid.points.floor)
    there: Bool[np.ndarray, " variables"] = terms[first:] > 0
    smallest = float(grid.points.y.min())
    with np.errstate(over="ignore"):
        at_one = terms[first:] * np.exp(grid.points.middle * alpha)
    low, high = spread.floor
    used = linear.reduced[:, there]
    return Surface(
        names=grid.names,
        exponents=tuple(np.where(there, alpha, math.nan).tolist()),
        intervals=tuple(
            one if on else (-math.inf, math.inf)
            for one, on in zip(spread.intervals, there.tolist(), strict=True)
        ),
        prefactors=tuple(at_one.tolist()),
        floor=float(terms[0]) if grid.points.floor else 0.0,
        floor_interval=(max(low, 0.0), min(high, smallest)),
        level=level,
        windows=grid.windows,
        smallest=smallest,
        n_points=len(grid.points.y),
        n_missing=grid.n_missing,
        error=float(np.sqrt(np.mean(linear.rest**2))),
        condition=float(np.linalg.cond(used)) if used.size else math.inf,
        condition_full=linear.full,
        covariance=tuple(map(tuple, spread.covariance.tolist())),
        quantile=spread.quantile,
    )
