"""Power laws: Zipf frequencies, and log-log fits that state their window and their uncertainty.

Most callers need only ``fit``::

    fit(steps, losses, window=(400, 9000))
    fit(steps, losses, window=(400, 9000), groups=np.arange(3)[:, None])  # losses [3 seeds, steps]

Which interval to trust: the residuals of one training curve are correlated, since points of a curve
share their noise, so that an interval computed from single points is too narrow. Judge by
independent repeats (seeds), given as ``groups``. For ``method="t"`` a few seeds are enough; the
interval is then wide, as it should be. A bootstrap of three seeds only ever returns values between
their extremes, which enclose the truth with probability 3/4, so ``method="bootstrap"`` refuses so
few groups.

Letters of shapes: S subtasks, R runs, E evaluations; ``points`` are the points of a fit,
``parameters`` those of its model, ``groups`` the resampled groups (or points) of a bootstrap.
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
from jquanta.masks import unmasked

Window = tuple[float, float]

MOST_TASKS = 10**8
"""Their frequencies take 0.8 GB."""

RESAMPLES = 4000  # of a bootstrap; 100 of them then lie in the tail of 2.5%


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
    if n_tasks > MOST_TASKS:
        raise BadInput(f"n_tasks: more than {MOST_TASKS:,}, whose frequencies fill the memory")
    if not n_tasks >= 1:
        raise BadInput(f"n_tasks = {n_tasks}: give at least 1 subtask")
    if not (math.isfinite(alpha) and alpha > -1):
        raise BadInput(f"alpha = {alpha}: give a finite number above -1 (the Zipf exponent less 1)")
    if not (math.isfinite(offset) and offset >= 0):
        raise BadInput(f"offset = {offset}: give a finite number of at least 0")
    ranks = np.arange(1, n_tasks + 1) + offset
    weights = (ranks / ranks[0]) ** -(alpha + 1)  # relative to the first, against underflow
    return np.asarray(weights / weights.sum())


@dataclass(frozen=True)
class Fit:
    """A fitted law y = floor + prefactor · x^slope.

    ``print(fit)`` prints, for example, ``0.43 [0.39, 0.47] over 400…9000 (n = 12)``.

    Attributes:
        slope: d ln y / d ln x (of y - floor where there is a floor); negative when y falls.
        intercept: ln(prefactor), where the fitted line meets ln x = 0.
        interval: (low, high) confidence bounds of ``exponent``.
        level: nominal coverage of the interval, such as 0.95.
        window: smallest and largest x that were fitted.
        n_points: number of points fitted.
        n_missing: number of points in the window left out because y, or x itself, was NaN. Where
            NaN means "never", as for subtasks that did not converge, many missing points bias the
            fit.
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
        """Value of the power term at x = 1, in the unit of y; inf if too large for a float."""
        with np.errstate(over="ignore"):
            return float(np.exp(self.intercept))

    def predict(self, x: ArrayLike) -> Float64[np.ndarray, "*shape"]:
        """Value of the law, in the unit of y, at positive ``x``; an array of the shape of ``x``."""
        log_power = self.intercept + self.slope * np.log(unmasked(x, "x", np.float64))
        return np.asarray(self.floor + np.exp(log_power))

    def __str__(self) -> str:
        low, high = self.interval
        width = high - low
        # More decimals for a narrower interval: 0.43 [0.39, 0.47], 0.083 [0.080, 0.086].
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

    ``x``, ``y`` and ``groups`` are broadcast against each other. For example, curves y [R, E] of R
    runs with E evaluations share their x [E] and take ``groups=np.arange(R)[:, None]``.

    NaN in x or y means "not measured", and so does a mask: such points are left out and counted.

    Args:
        x: scale, positive inside the window.
        y: loss (in any unit), steps, counts …, positive inside the window.
        window: (low, high) bounds on x, both included; may be infinite. All points if None.
        groups: label of the independent repeat (the seed) that each point belongs to. The interval
            then reflects how the exponent varies between groups, however points of a group are
            correlated.
        method: ``"t"``: closed form. Without groups, Student's t interval from the residuals. With
            groups, a cluster-robust interval (sandwich estimator) with groups - 1 degrees of
            freedom; if all groups have equal x, this is exactly the t interval of the exponents
            fitted to each group.
            ``"bootstrap"``: resamples groups, or points if there are no groups.
        level: coverage of the interval.
        seed: of the bootstrap's resampling.

    Returns:
        The fit. Equal arguments give equal numbers.

    Raises:
        BadInput: for zero, negative or infinite values inside the window; fewer than 3 points, or
            all at one x; fewer than 2 groups; too few groups or points for a bootstrap; shapes that
            do not broadcast; or an invalid window, level or method.
    """
    points = _select(x, y, window, groups, at_least=3)
    check_level(level)
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
    """Repeat a fit over each of ``windows``, to see how the exponent depends on the window.

    ``print(*window_sensitivity(...), sep="\\n")`` prints a table. Arguments and errors are those of
    ``fit``; a window with too few points is an error.
    """
    return [
        fit(x, y, window, groups=groups, method=method, level=level, seed=seed)
        for window in windows
    ]


def mean_interval(
    values: ArrayLike, level: float = 0.95
) -> tuple[Float64[np.ndarray, "*shape"], Float64[np.ndarray, "*shape"]]:
    """Student's t interval of the mean of independent repeats, along the first axis.

    It is what ``fit`` with groups tells of an exponent, told of a mean: ± t · s / √n for n repeats
    of standard deviation s, with n - 1 degrees of freedom.

    Args:
        values: [repeats, ...], all measured.
        level: coverage of the interval.

    Returns:
        The lower and the upper bounds [...], in the unit of ``values``.

    Raises:
        BadInput: for fewer than two repeats, or an invalid level.
    """
    values = unmasked(values, "values", np.float64)
    check_level(level)
    if values.ndim < 1 or len(values) < 2:
        raise BadInput(f"values of shape {values.shape}: an interval needs at least 2 repeats")
    freedom = len(values) - 1
    half = stdtrit(freedom, (1 + level) / 2) * values.std(0, ddof=1) / math.sqrt(len(values))
    return np.asarray(values.mean(0) - half), np.asarray(values.mean(0) + half)


def fit_irreducible(
    x: ArrayLike,
    y: ArrayLike,
    window: Window | None = None,
    *,
    groups: ArrayLike | None = None,
    level: float = 0.95,
) -> Fit:
    """Fit y = E + A · x^slope with an irreducible term E ≥ 0, by least squares of ln y.

    The logarithm is fitted because the noise of a loss is proportional to it. Unless y comes close
    to E inside the window, many combinations of E, A and slope fit about equally well, and the
    interval is wide. It is the t interval of ``fit`` (cluster-robust with groups) with the model
    linearised at the solution: an approximation, the poorer the wider the interval. E counts as an
    estimated parameter even where it comes out as 0.

    Args:
        x, y, window, groups, level: as in ``fit``.

    Returns:
        A ``Fit`` whose ``floor`` is E, in the unit of y.

    Raises:
        BadInput: as ``fit``; also for fewer than 4 points, fewer than 3 different x, or a y that
            does not vary.
    """
    points = _select(x, y, window, groups, at_least=4)
    check_level(level)
    if len(np.unique(points.log_x)) < 3:
        raise BadInput("x: an irreducible term needs 3 different values; use fit instead")
    if np.ptp(points.log_y) == 0:
        raise BadInput("y does not vary: no law above a floor can be told from it")
    # theta = (height of the power law's line at the mean ln x, slope, E / smallest y): centred and
    # scaled like this, all three are of order 1.
    middle = points.log_x.mean()
    span = points.log_x - middle
    smallest = float(np.exp(points.log_y.min()))

    def log_power(theta: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, " points"]:
        return np.asarray(theta[0] + theta[1] * span)

    # ln(E + A x^slope) by logaddexp, which cannot overflow; E = 0 is ln E = -inf.
    def residuals(theta: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, " points"]:
        with np.errstate(divide="ignore"):
            log_floor = np.log(theta[2] * smallest)
        return np.asarray(points.log_y - np.logaddexp(log_floor, log_power(theta)))

    # ``share`` is the power's share of the model's y: the derivative of ln y by ln(A x^slope).
    def jacobian(theta: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "points 3"]:
        log_model = points.log_y - residuals(theta)
        share = np.exp(log_power(theta) - log_model)
        return np.stack([-share, -share * span, -smallest * np.exp(-log_model)], axis=1)

    # The problem is not convex. For a given floor, ln(y - floor) on ln x is a line and has a closed
    # form; the best of a few floors is near enough to the global minimum to start from.
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
    """The points that are fitted: those of the window that were measured.

    Attributes:
        log_x, log_y: natural logarithms.
        window: smallest and largest x.
        group: index of each point's group; None without groups.
        n_missing: number of points left out because they are NaN.
    """

    log_x: Float64[np.ndarray, " points"]
    log_y: Float64[np.ndarray, " points"]
    window: Window
    group: Int[np.ndarray, " points"] | None
    n_missing: int


class _Line(NamedTuple):
    """ln y = intercept + slope · ln x, and the residuals of ln y."""

    slope: float
    intercept: float
    residuals: Float64[np.ndarray, " points"]


def _select(
    x: ArrayLike, y: ArrayLike, window: Window | None, groups: ArrayLike | None, at_least: int
) -> _Points:
    """Check the arguments of a fit and take the logarithms of the points to be fitted.

    Raises:
        BadInput: as listed under ``fit``; ``at_least`` is the fewest points allowed.
    """
    x, y = unmasked(x, "x", np.float64), unmasked(y, "y", np.float64)
    labels = np.asarray(0) if groups is None else unmasked(groups, "groups")
    shapes = [x.shape, y.shape, labels.shape]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise BadInput(
            f"x, y and groups have shapes {', '.join(map(str, shapes))}: give shapes that broadcast"
        ) from None
    xs, ys = (np.broadcast_to(v, shape).ravel() for v in (x, y))
    low, high = (-math.inf, math.inf) if window is None else window
    if not low < high:
        raise BadInput(f"window = ({low:g}, {high:g}): give (low, high) with low below high")
    where = "" if window is None else f" in the window {low:g}…{high:g}"

    # Nobody knows which window a NaN x belongs to: it is counted as missing from this one.
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
        names, units = np.unique(
            np.broadcast_to(labels, shape).ravel()[measured], return_inverse=True
        )
        if len(names) < 2:
            raise BadInput(
                f"groups: only one, {names[0]!s}{where}; give at least 2, or leave groups out"
            )
    extent = (float(used_x.min()), float(used_x.max()))
    missing = int(np.count_nonzero(inside & ~measured))
    return _Points(np.log(used_x), np.log(used_y), extent, units, missing)


def check_level(level: float) -> None:
    """Raise ``BadInput`` for a coverage that is no share."""
    if not 0 < level < 1:
        raise BadInput(f"level = {level}: give a coverage between 0 and 1, such as 0.95")


def require_units(n_units: int, level: float, grouped: bool) -> None:
    """Raise ``BadInput`` if a bootstrap of so few groups (or points) cannot have this coverage.

    With probability 2^(1-m) all m units lie on the same side of the truth, and then no resample
    reaches it: a bootstrap's coverage cannot be more than 1 - 2^(1-m).
    """
    ceiling = 1 - 2.0 ** (1 - n_units)
    if ceiling < level:
        needed = math.ceil(1 - math.log2(1 - level))
        raise BadInput(
            f"method = 'bootstrap': {n_units} {'groups' if grouped else 'points'} can carry "
            f"{ceiling:.1%} at most, not {level:.1%}; give at least {needed}, or method = 't'"
        )


def _line(points: _Points) -> _Line:
    """The least-squares line of ln y on ln x."""
    mean_x, mean_y = points.log_x.mean(), points.log_y.mean()
    dx, dy = points.log_x - mean_x, points.log_y - mean_y
    slope = float(dx @ dy / (dx @ dx))
    return _Line(slope, float(mean_y - slope * mean_x), dy - slope * dx)


def _design(points: _Points) -> Float64[np.ndarray, "points 2"]:
    """The design matrix of the line: derivatives of ln y by its value at the mean ln x, and by its
    slope."""
    return np.stack([np.ones_like(points.log_x), points.log_x - points.log_x.mean()], axis=1)


def _t_interval(
    points: _Points,
    derivatives: Float64[np.ndarray, "points parameters"],
    residuals: Float64[np.ndarray, " points"],
    column: int,
    slope: float,
    level: float,
) -> tuple[float, float]:
    """Student's t interval of the exponent, -slope, from a (linearised) least-squares fit.

    Args:
        points: what was fitted.
        derivatives: of the model's ln y by the parameters.
        residuals: of ln y.
        column: index of the slope among the parameters.
        slope: fitted value.
        level: coverage.
    """
    n_points, n_parameters = derivatives.shape
    try:
        inverse = np.linalg.inv(derivatives.T @ derivatives)
    except np.linalg.LinAlgError:
        return (-math.inf, math.inf)  # the points do not determine the slope
    if not inverse[column, column] > 0:
        return (-math.inf, math.inf)  # singular as well, up to rounding errors
    if points.group is None:
        # The textbook variance of a least-squares coefficient.
        freedom = n_points - n_parameters
        variance = inverse[column, column] * (residuals @ residuals) / freedom
    else:
        # The sandwich estimator: the sum over groups of the square of each group's influence on
        # the slope, with the correction G / (G - 1) for G groups.
        influences = np.bincount(points.group, (derivatives @ inverse[:, column]) * residuals)
        freedom = len(influences) - 1
        variance = (influences @ influences) * len(influences) / freedom
    half = float(stdtrit(freedom, (1 + level) / 2)) * math.sqrt(variance)
    return (-slope - half, -slope + half)


def _bootstrap_interval(points: _Points, level: float, seed: int) -> tuple[float, float]:
    """Expanded percentile interval of the exponent over resampled groups, or points without groups.

    For m resampled units and f fitted means, a bootstrap's spread is too small by the factor
    √((m - f) / m), and its percentiles are those of a normal distribution where Student's t is
    due. Percentiles further out correct for both (Hesterberg, "What teachers should know about the
    bootstrap", The American Statistician 69, 2015: "expanded percentile").

    Raises:
        BadInput: if there are too few units for the level.
    """
    grouped = points.group is not None
    units = points.group if points.group is not None else np.arange(len(points.log_x))
    n_units = int(units.max()) + 1
    require_units(n_units, level, grouped)
    x = points.log_x - points.log_x.mean()
    y = points.log_y - points.log_y.mean()
    # The slope of a resample follows from sums of 1, x, y, x², xy, and those from each unit's own.
    sums = np.stack(
        [np.bincount(units, moment) for moment in (np.ones_like(x), x, y, x * x, x * y)], axis=1
    )
    n, sx, sy, sxx, sxy = _resampled(sums, seed).T
    spread = n * sxx - sx * sx
    usable = spread > 1e-12 * n * n * (x @ x) / len(x)  # all at one x: the slope is not defined
    exponents = -(n * sxy - sx * sy)[usable] / spread[usable]
    lost = 1 if grouped else 2  # degrees of freedom: points lose height and slope, groups one mean
    quantile = math.sqrt(n_units / (n_units - lost)) * stdtrit(n_units - lost, (1 + level) / 2)
    tail = float(ndtr(-quantile))
    low, high = np.quantile(exponents, [tail, 1 - tail])
    return (float(low), float(high))


def _resampled(
    sums: Float64[np.ndarray, "groups moments"], seed: int
) -> Float64[np.ndarray, "resamples moments"]:
    """Totals of each of ``RESAMPLES`` resamples of the rows of ``sums``, with replacement."""
    random = np.random.default_rng(seed)
    n_units = len(sums)
    block = max(1, 2**20 // n_units)  # resamples at once: 8 MB of random numbers
    totals = []
    for start in range(0, RESAMPLES, block):
        rows = min(block, RESAMPLES - start)
        # Offsets keep the resamples apart, so that one bincount counts the draws of all of them;
        # totals are then a matrix product of counts and sums.
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
    residuals: Float[np.ndarray, " points"],
    floor: float = 0.0,
) -> Fit:
    """Put together the result of a fit."""
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
