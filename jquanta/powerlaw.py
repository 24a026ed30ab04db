"""Power laws: Zipf frequencies, and log-log fits that state their window and their uncertainty.

``fit`` is the everyday door::

    fit(steps, losses, window=(400, 9000))
    fit(steps, losses, window=(400, 9000), groups=np.arange(3)[:, None])  # losses [3 seeds, steps]

Which interval to trust. Points of one training curve share their noise: a residual says much about
the next one, so an interval from points is too narrow, and repeats (seeds) given as ``groups`` are
what to judge by. A few seeds are enough for ``method="t"``, which pays for their small number with
a wide interval; a bootstrap of three seeds can only ever return something between their extremes,
which hold the truth three times in four, so ``method="bootstrap"`` refuses so few.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int
from numpy.typing import ArrayLike
from scipy.optimize import least_squares
from scipy.special import ndtr, stdtrit

from jquanta.errors import BadInput

Window = tuple[float, float]

RESAMPLES = 4000  # the 2.5% tail of a bootstrap then rests on 100 resamples


def zipf(n_tasks: int, alpha: float, offset: float = 0.0) -> Float64[np.ndarray, " S"]:
    """Frequencies p_i ∝ (i + offset)^-(alpha + 1), i = 1 … n_tasks (paper, sections 2 and 3).

    The alpha trap: ``alpha`` is the paper's alpha, as everywhere in jquanta; the Zipf exponent is
    alpha + 1. The reference's configurations call the Zipf exponent "alpha": their 1.4 is 0.4 here.

    Args:
        n_tasks: number of subtasks S.
        alpha: above -1; 0.4 in the paper's main experiments.
        offset: at least 0; flattens the head of the distribution.

    Returns:
        [S] probabilities, most frequent first. They are normalised over these S subtasks, not by
        ζ(alpha + 1), and sum to 1.

    Raises:
        BadInput: an argument outside its range.
    """
    if n_tasks < 1:
        raise BadInput(f"n_tasks = {n_tasks}: give at least 1 subtask")
    if not (math.isfinite(alpha) and alpha > -1):
        raise BadInput(f"alpha = {alpha}: give a finite number above -1 (the Zipf exponent less 1)")
    if not (math.isfinite(offset) and offset >= 0):
        raise BadInput(f"offset = {offset}: give a finite number of at least 0")
    ranks = np.arange(1, n_tasks + 1) + offset
    weights = (ranks / ranks[0]) ** -(alpha + 1)  # relative to the first: no early underflow
    return np.asarray(weights / weights.sum())


@dataclass(frozen=True)
class Fit:
    """A fitted law y = floor + prefactor · x^slope.

    ``print(fit)`` gives, for example, ``0.43 [0.39, 0.47] over 400…9000 (n = 12)``.

    Attributes:
        slope: d ln y / d ln x (of y - floor where there is a floor); negative when y falls.
        intercept: ln(prefactor), where the fitted line meets ln x = 0.
        interval: (low, high) confidence bounds of ``exponent``.
        level: coverage that the interval claims, 0.95 for 95%.
        window: smallest and largest x that were fitted.
        n_points: points fitted.
        n_missing: points of the window left out because y, or x itself, was NaN. Where NaN means
            "never", as for subtasks that did not converge, many missing points bias the fit.
        r2: share of the variance of ln y that the law explains; NaN when y does not vary.
        floor: the irreducible term, in the unit of y; 0 for a plain power law.
    """

    slope: float
    intercept: float
    interval: tuple[float, float]
    level: float
    window: Window
    n_points: int
    n_missing: int
    r2: float
    floor: float = 0.0

    @property
    def exponent(self) -> float:
        """The scaling exponent, -slope: positive when y falls."""
        return -self.slope

    @property
    def prefactor(self) -> float:
        """Value of the power at x = 1, in the unit of y; inf where it is too large for a float."""
        with np.errstate(over="ignore"):
            return float(np.exp(self.intercept))

    def predict(self, x: ArrayLike) -> Float64[np.ndarray, "*shape"]:
        """The law's y at positive x, in the shape of ``x``."""
        log_power = self.intercept + self.slope * np.log(np.asarray(x, np.float64))
        return np.asarray(self.floor + np.exp(log_power))

    def __str__(self) -> str:
        low, high = self.interval
        width = high - low
        # As many decimals as the interval's width deserves: 0.43 [0.39, 0.47], 0.083 [0.080, 0.086]
        decimals = 2
        if 0 < width < math.inf:
            decimals = min(max(-math.floor(math.log10(width)), 2), 6)
        exponent, lowest, highest = (f"{v:.{decimals}f}" for v in (self.exponent, low, high))
        floor = f" above {self.floor:.3g}" if self.floor else ""
        missing = f", {self.n_missing} missing" if self.n_missing else ""
        over = f"{self.window[0]:g}…{self.window[1]:g}"
        return f"{exponent} [{lowest}, {highest}] over {over}{floor} (n = {self.n_points}{missing})"


def fit(
    x: ArrayLike,
    y: ArrayLike,
    window: Window | None = None,
    *,
    groups: ArrayLike | None = None,
    method: str = "t",
    level: float = 0.95,
    seed: int = 0,
) -> Fit:
    """Fit y = A · x^slope by least squares of ln y on ln x.

    ``x``, ``y`` and ``groups`` are broadcast against each other, so curves [R, E] share their x [E]
    and take ``groups=np.arange(R)[:, None]``.

    NaN in x or y means "not measured": such points are left out and counted.

    Args:
        x: scale, positive inside the window.
        y: loss, steps, counts …, positive inside the window.
        window: (low, high) bounds on x, both included; may be infinite. All points if None.
        groups: label of each point's independent repeat (a seed). The interval then tells how the
            exponent varies from group to group, whatever the noise is like inside a group.
        method: ``"t"``, closed form: Student's t of the residuals, or with groups, of the groups'
            own pulls on the slope (a cluster-robust interval with groups - 1 degrees of freedom;
            with equal x in all groups, exactly the t interval of their separate exponents).
            ``"bootstrap"``: resamples groups, or points where there are none.
        level: coverage of the interval.
        seed: of the bootstrap's resampling.

    Returns:
        The fit; equal arguments give equal numbers.

    Raises:
        BadInput: zero, negative or infinite values inside the window; fewer than 3 points, or all
            at one x; fewer than 2 groups; too few groups or points for a bootstrap; shapes that do
            not match; a window, level or method that makes no sense.
    """
    points = _select(x, y, window, groups, at_least=3)
    _check_level(level)
    line = _line(points)
    if method == "t":
        interval = _t_interval(points, _design(points), line.residuals, 1, line.slope, level)
    elif method == "bootstrap":
        interval = _bootstrap_interval(points, level, seed)
    else:
        raise BadInput(f"method = {method!r}: give 't' or 'bootstrap'")
    return _report(points, line.slope, line.intercept, interval, level, line.residuals)


def window_sensitivity(
    x: ArrayLike,
    y: ArrayLike,
    windows: Iterable[Window],
    *,
    groups: ArrayLike | None = None,
    method: str = "t",
    level: float = 0.95,
    seed: int = 0,
) -> list[Fit]:
    """The same fit over each of ``windows``: how far the exponent hangs on the choice of window.

    ``print(*window_sensitivity(...), sep="\\n")`` is the table. Arguments and errors are those of
    ``fit``; a window with too few points is an error, not a gap.
    """
    return [
        fit(x, y, window, groups=groups, method=method, level=level, seed=seed)
        for window in windows
    ]


def fit_irreducible(
    x: ArrayLike,
    y: ArrayLike,
    window: Window | None = None,
    *,
    groups: ArrayLike | None = None,
    level: float = 0.95,
) -> Fit:
    """Fit y = E + A · x^slope with E ≥ 0 by least squares of ln y, as noise in a loss is relative.

    E, A and the slope trade off against each other: unless y comes close to its floor inside the
    window, many triples fit alike. The interval says so by being wide. It is the t interval of
    ``fit`` from the model's derivatives at the solution (with groups: cluster-robust), so it is
    approximate, more so the wider it is; E counts as estimated even where it came out as 0.

    Arguments as in ``fit``. Returns a ``Fit`` whose ``floor`` is E.

    Raises:
        BadInput: as ``fit``; also fewer than 4 points, or points that cannot tell the three
            parameters apart (fewer than 3 different x, or a y that does not vary).
    """
    points = _select(x, y, window, groups, at_least=4)
    _check_level(level)
    if len(np.unique(points.log_x)) < 3:
        raise BadInput("x: an irreducible term needs 3 different values; use fit instead")
    if np.ptp(points.log_y) == 0:
        raise BadInput("y does not vary: no law above a floor can be told from it")
    middle = points.log_x.mean()  # centred and scaled, the three parameters are of order 1
    span = points.log_x - middle
    smallest = float(np.exp(points.log_y.min()))

    def log_power(theta: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, " E"]:
        return np.asarray(theta[0] + theta[1] * span)

    def residuals(theta: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, " E"]:
        with np.errstate(divide="ignore"):
            log_floor = np.log(theta[2] * smallest)
        return np.asarray(points.log_y - np.logaddexp(log_floor, log_power(theta)))

    def jacobian(theta: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "E 3"]:
        log_model = points.log_y - residuals(theta)
        share = np.exp(log_power(theta) - log_model)
        return np.stack([-share, -share * span, -smallest * np.exp(-log_model)], axis=1)

    # For a given floor the rest is a line through ln(y - floor): the best of some floors starts the
    # search in the right valley.
    starts = []
    for floor in (0.0, 0.3, 0.6, 0.8, 0.9, 0.97, 0.99):
        log_rest = np.log(np.exp(points.log_y) - floor * smallest)
        line = _line(points._replace(log_y=log_rest))
        starts.append(np.array([line.intercept + line.slope * middle, line.slope, floor]))
    start = min(starts, key=lambda theta: float(np.sum(residuals(theta) ** 2)))
    upper = 1 + np.exp(np.ptp(points.log_y))  # noise may put single points below the floor
    solved = least_squares(
        residuals,
        start,
        jacobian,
        bounds=([-np.inf, -np.inf, 0.0], [np.inf, np.inf, upper]),
        xtol=1e-12,
        ftol=1e-12,
        gtol=1e-12,
    )
    slope, floor = float(solved.x[1]), float(solved.x[2]) * smallest
    interval = _t_interval(points, -jacobian(solved.x), solved.fun, 1, slope, level)
    intercept = float(solved.x[0]) - slope * middle
    return _report(points, slope, intercept, interval, level, solved.fun, floor)


class _Points(NamedTuple):
    """What is fitted: the points of the window that were measured."""

    log_x: Float64[np.ndarray, " E"]
    log_y: Float64[np.ndarray, " E"]
    window: Window
    units: Int[np.ndarray, " E"] | None  # number of each point's group
    n_missing: int


class _Line(NamedTuple):
    slope: float
    intercept: float
    residuals: Float64[np.ndarray, " E"]


def _select(
    x: ArrayLike, y: ArrayLike, window: Window | None, groups: ArrayLike | None, at_least: int
) -> _Points:
    """The logarithms of what is to be fitted, or ``BadInput`` with what is wrong."""
    shapes = [np.shape(v) for v in (x, y, 0 if groups is None else groups)]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise BadInput(
            f"x, y and groups have shapes {', '.join(map(str, shapes))}: give shapes that broadcast"
        ) from None
    xs, ys = (np.broadcast_to(np.asarray(v, np.float64), shape).ravel() for v in (x, y))
    low, high = (-math.inf, math.inf) if window is None else window
    if not low < high:
        raise BadInput(f"window = ({low:g}, {high:g}): give (low, high) with low below high")
    where = "" if window is None else f" in the window {low:g}…{high:g}"

    # A NaN x may belong to any window: it counts as missing from this one.
    inside = np.isnan(xs) | ((xs >= low) & (xs <= high))
    measured = inside & ~np.isnan(xs) & ~np.isnan(ys)
    used_x, used_y = xs[measured], ys[measured]
    for name, values in (("x", used_x), ("y", used_y)):
        bad = np.count_nonzero(~((values > 0) & np.isfinite(values)))
        if bad:
            raise BadInput(
                f"{name} has {bad} of {len(values)} values that are zero, negative or infinite"
                f"{where}: a power law needs positive ones; narrow the window or set them to NaN"
            )
    if len(used_x) < at_least:
        raise BadInput(
            f"x, y: {len(used_x)} measured points{where}, and a fit needs at least {at_least}; "
            "widen the window"
        )
    if np.all(used_x == used_x[0]):
        raise BadInput(f"x is {used_x[0]:g} at every point{where}: a slope needs different values")

    units = None
    if groups is not None:
        labels = np.broadcast_to(np.asarray(groups), shape).ravel()[measured]
        names, units = np.unique(labels, return_inverse=True)
        if len(names) < 2:
            raise BadInput(
                f"groups: only one, {names[0]!s}{where}; give at least 2, or leave groups out"
            )
    extent = (float(used_x.min()), float(used_x.max()))
    missing = int(np.count_nonzero(inside & ~measured))
    return _Points(np.log(used_x), np.log(used_y), extent, units, missing)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise BadInput(f"level = {level}: give a coverage between 0 and 1, such as 0.95")


def _line(points: _Points) -> _Line:
    """Least squares of ln y on ln x."""
    mean_x, mean_y = points.log_x.mean(), points.log_y.mean()
    dx, dy = points.log_x - mean_x, points.log_y - mean_y
    slope = float(dx @ dy / (dx @ dx))
    return _Line(slope, float(mean_y - slope * mean_x), dy - slope * dx)


def _design(points: _Points) -> Float64[np.ndarray, "E 2"]:
    """Derivatives of the line's ln y by its height at the mean ln x and by its slope."""
    return np.stack([np.ones_like(points.log_x), points.log_x - points.log_x.mean()], axis=1)


def _t_interval(
    points: _Points,
    derivatives: Float64[np.ndarray, "E P"],
    residuals: Float64[np.ndarray, " E"],
    column: int,
    slope: float,
    level: float,
) -> tuple[float, float]:
    """Interval of the exponent, -slope; ``column`` is the slope's among the parameters P."""
    n_points, n_parameters = derivatives.shape
    try:
        inverse = np.linalg.inv(derivatives.T @ derivatives)
    except np.linalg.LinAlgError:
        return (-math.inf, math.inf)  # the points do not determine the slope
    if not inverse[column, column] > 0:
        return (-math.inf, math.inf)  # nor here: only rounding kept the inverse from failing
    if points.units is None:
        freedom = n_points - n_parameters
        variance = inverse[column, column] * (residuals @ residuals) / freedom
    else:
        # How far each group pulls the slope: what the sandwich estimator sums the squares of.
        pulls = np.bincount(points.units, (derivatives @ inverse[:, column]) * residuals)
        freedom = len(pulls) - 1
        variance = (pulls @ pulls) * len(pulls) / freedom
    half = float(stdtrit(freedom, (1 + level) / 2)) * math.sqrt(variance)
    return (-slope - half, -slope + half)


def _bootstrap_interval(points: _Points, level: float, seed: int) -> tuple[float, float]:
    """Percentiles of the exponent over resampled groups, or points, set wide enough for few units.

    Percentiles of a plain bootstrap ignore that its spread is √((m-f)/m) of the true one for m
    units with f fitted means, and that few units want Student's t. Both are paid for by taking
    percentiles further out (Hesterberg 2015, The American Statistician 69, "expanded percentile").
    """
    grouped = points.units is not None
    units = points.units if points.units is not None else np.arange(len(points.log_x))
    n_units = int(units.max()) + 1
    # All of m units lie on one side of the truth with probability 2^(1-m), and then no mixture of
    # them reaches it.
    ceiling = 1 - 2.0 ** (1 - n_units)
    if ceiling < level:
        needed = math.ceil(1 - math.log2(1 - level))
        raise BadInput(
            f"method = 'bootstrap': {n_units} {'groups' if grouped else 'points'} can carry "
            f"{ceiling:.1%} at most, not {level:.1%}; give at least {needed}, or method = 't'"
        )
    x = points.log_x - points.log_x.mean()
    y = points.log_y - points.log_y.mean()
    sums = np.stack(
        [np.bincount(units, moment) for moment in (np.ones_like(x), x, y, x * x, x * y)], axis=1
    )
    n, sx, sy, sxx, sxy = _resampled(sums, seed).T
    spread = n * sxx - sx * sx
    usable = spread > 1e-12 * n * n * (x @ x) / len(x)  # a resample of one x alone has no slope
    exponents = -(n * sxy - sx * sy)[usable] / spread[usable]
    lost = 1 if grouped else 2  # points share a fitted height and slope, groups only the slope
    quantile = math.sqrt(n_units / (n_units - lost)) * stdtrit(n_units - lost, (1 + level) / 2)
    tail = float(ndtr(-quantile))
    low, high = np.quantile(exponents, [tail, 1 - tail])
    return (float(low), float(high))


def _resampled(sums: Float64[np.ndarray, "units K"], seed: int) -> Float64[np.ndarray, "draws K"]:
    """Totals of ``sums`` over as many units, drawn with replacement, ``RESAMPLES`` times."""
    random = np.random.default_rng(seed)
    n_units = len(sums)
    block = max(1, 2**20 // n_units)  # resamples at once: 8 MB of draws
    totals = []
    for start in range(0, RESAMPLES, block):
        rows = min(block, RESAMPLES - start)
        picks = random.integers(n_units, size=(rows, n_units)) + n_units * np.arange(rows)[:, None]
        counts = np.bincount(picks.ravel(), minlength=rows * n_units).reshape(rows, n_units)
        totals.append(counts @ sums)
    return np.concatenate(totals)


def _report(
    points: _Points,
    slope: float,
    intercept: float,
    interval: tuple[float, float],
    level: float,
    residuals: Float[np.ndarray, " E"],
    floor: float = 0.0,
) -> Fit:
    total = float(np.sum((points.log_y - points.log_y.mean()) ** 2))
    return Fit(
        slope=slope,
        intercept=intercept,
        interval=interval,
        level=level,
        window=points.window,
        n_points=len(points.log_x),
        n_missing=points.n_missing,
        r2=1 - float(residuals @ residuals) / total if total > 0 else math.nan,
        floor=floor,
    )
