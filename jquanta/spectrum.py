"""When is each of many losses learned? A sigmoid in the logarithm of time for each, and the density
of their learning times: the learning-time spectrum.

The loss of a token (or of a subtask) at step t of training is described by::

    loss(t) = high + (low - high) · σ((ln t - ln τ) / w),    σ(z) = 1 / (1 + exp(-z))

high and low are its levels before and after, in nats; τ is its learning time, at which half of the
fall is done; w is the width: from 10% to 90% of the fall t grows by the factor exp(4.39 w). In ln t
a law of the mean loss is a sum of many such falls, and a width means the same factor early and
late; t may as well be a size, or samples. The idea, token losses fitted with sigmoids whose
learning times make up the shape of the scaling law, is that of Wang et al., "Smooth Scaling Laws
Hide Stepwise Token Learning" (arXiv 2606.29858); parameters, fit and tests here are our own.

A least-squares fit has four numbers, two of which are linear. For any ln τ and w the best levels
are a regression, and the squared error that is left follows from one scalar product of the centred
losses with the centred, normed sigmoid. So one matrix product of losses with a few hundred sigmoids
finds the best of them for every curve (variable projection: Golub and Pereyra, SIAM Journal on
Numerical Analysis 10, 1973), and some damped Gauss-Newton steps in ln τ and ln w refine it.

Not everything is a sigmoid. Each curve is compared with what else it may be: a constant, a line in
ln t, a sigmoid that rises, and a level that is left and returned to. The curve is a constant unless
something explains more of its variance than it would explain of white noise in 95% of cases, and a
line unless something leaves less of what the line leaves over than it would of a line with white
noise: both thresholds are simulated for the very checkpoints (``Checkpoints``).

Letters of shapes: ``curves`` of losses, ``n`` checkpoints, ``kinds``, ``bins`` of learning times.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Float64, Int8
from numpy.typing import ArrayLike
from scipy.special import expit

from jquanta.errors import BadInput
from jquanta.masks import unmasked

KINDS = ("learned", "early", "late", "gradual", "known", "flat", "rising", "returning")
"""What a curve may be.

- ``learned``: it falls as a sigmoid, whose middle is seen between the checkpoints (``EDGE``).
- ``early``, ``late``: it falls as a sigmoid, whose middle is not seen: it was half learned before
  the first checkpoint, or is not half learned at the last.
- ``gradual``: it falls as a line in ln t, as far as one can tell: it has no learning time.
- ``known``, ``flat``: nothing stands out of its noise. Below a threshold it was learned before the
  first checkpoint; above it is not learned, or not by more than its noise (many such curves
  together may well fall).
- ``rising``: it rises, as a line or a sigmoid.
- ``returning``: it falls and rises again, or the other way round: not monotonic.
"""

LEARNED, EARLY, LATE, GRADUAL, KNOWN, FLAT, RISING, RETURNING = range(len(KINDS))

LEAST = 6
"""Checkpoints: a sigmoid has four numbers, and its error is told by what is left."""

LEVEL = 0.05
"""Share of constants (and lines) with white noise that are taken for something else."""

TENTH_TO_NINE_TENTHS = 2 * math.log(9)
"""From 10% to 90% of a fall, in widths."""

EDGE = 0.4
"""Share of the first and last gap between checkpoints in which no middle is seen. A step between
two checkpoints has the middle of its gap, and is seen."""

TIMES, WIDTHS = 32, 9
"""Of the grid that every curve is compared with."""

NARROWEST = 8
"""Widths in the smallest gap: a narrower fall is a step."""

REFINEMENTS = 10
"""Gauss-Newton steps: then the solution lies within a thirtieth of its standard error."""

MOST_EDGES = 24
"""Between checkpoints, at which a level may be left and returned to."""

ROWS = 2**13
"""Curves that are fitted at once: their products with the grid, 10 MB, stay near the cores."""

BIN = math.log(2) / 4
"""Width of a bin of ln τ: four in every factor of two."""


class Fits(NamedTuple):
    """The best falling sigmoid of every curve, whether or not that describes it: see ``kind``.

    Attributes:
        log_time: ln τ, from the first to the last checkpoint; NaN where no sigmoid that falls is
            better than a constant.
        log_width: ln w; NaN as ``log_time``.
        high, low: nats, before and after, not negative; both the mean where there is no sigmoid.
            They are the ends of the sigmoid, which may lie beyond what was seen, where a fall
            begins before the first checkpoint or ends after the last.
        log_time_error, log_width_error: standard errors of ``log_time`` and ``log_width``, for
            white noise, from the fit linearised at the solution. Where a fall lies between two
            checkpoints its time is known to the gap, whose 1/√12 is told.
        r2: share of the curve's variance that its kind explains; 0 for a constant.
        kind: index in ``KINDS``.
    """

    log_time: Float32[np.ndarray, " curves"]
    log_width: Float32[np.ndarray, " curves"]
    high: Float32[np.ndarray, " curves"]
    low: Float32[np.ndarray, " curves"]
    log_time_error: Float32[np.ndarray, " curves"]
    log_width_error: Float32[np.ndarray, " curves"]
    r2: Float32[np.ndarray, " curves"]
    kind: Int8[np.ndarray, " curves"]


class Grid(NamedTuple):
    """What every curve is compared with: columns that are centred and normed."""

    x: Float32[Array, " n"]
    times: Float32[Array, " cells"]
    log_widths: Float32[Array, " cells"]
    sigmoids: Float32[Array, "n cells"]
    line: Float32[Array, " n"]
    boxes: Float32[Array, "n boxes"]


class Checkpoints:
    """The times at which losses are known, and what follows from them alone.

    Args:
        at: [n] steps, sizes or samples: positive and ascending.
        what: what they are, for messages.

    Attributes:
        at: as given, float64.
        x: ln t.
        grid: the sigmoids, boxes and the line.
        noise: what the best of all explains of white noise, of its variance, in 95% of cases.
        rest: what the best sigmoid or box leaves of what a line leaves, of a line with white noise:
            less in 5% of cases.

    Raises:
        BadInput: for fewer than six, or if they are not positive and ascending.
    """

    def __init__(self, at: ArrayLike, what: str = "checkpoints") -> None:
        self.at = unmasked(at, what, np.float64).ravel()
        if len(self.at) < LEAST:
            raise BadInput(
                f"{len(self.at)} {what}: a sigmoid has four numbers, and needs losses at {LEAST} "
                "or more; give more"
            )
        if not (np.isfinite(self.at).all() and self.at[0] > 0 and (np.diff(self.at) > 0).all()):
            raise BadInput(f"{what}: give finite numbers, positive and ascending")
        self.x = np.log(self.at)
        self.grid = _grid(self.x)
        self.noise, self.rest = self._calibrated()

    def _calibrated(self) -> tuple[float, float]:
        chance = np.random.default_rng(0)
        noise = chance.standard_normal((ROWS, len(self.x))).astype(np.float32)
        found = _compared(jnp.asarray(noise), self.grid)
        best = np.minimum.reduce([found.falling, found.rising, found.box, found.line])
        # A line of any height and slope leaves the same noise; what the best sigmoid leaves depends
        # on the slope only where noise could hide it. Two standard deviations of noise is the
        # standard deviation of this line over the checkpoints.
        span = self.x - self.x.mean()
        line = noise - np.float32(2 / span.std()) * span.astype(np.float32)
        lines = _compared(jnp.asarray(line), self.grid)
        other = np.minimum.reduce([lines.falling, lines.rising, lines.box]) / lines.line
        return 1 - float(np.quantile(best / found.total, LEVEL)), float(np.quantile(other, LEVEL))

    def fit(self, losses: Float[np.ndarray, "curves n"], below: float) -> Fits:
        """Fit every curve.

        Args:
            losses: nats, all finite.
            below: nats; a constant below is ``known``, others are ``flat``.

        Raises:
            BadInput: for another number of checkpoints, or losses that are not finite.
        """
        if losses.ndim != 2 or losses.shape[1] != len(self.x):
            raise BadInput(
                f"losses of shape {losses.shape}: give [curves, {len(self.x)}], a column for each "
                "of these checkpoints"
            )
        if not np.isfinite(losses).all():
            row = int(np.flatnonzero(~np.isfinite(losses).all(1))[0])
            raise BadInput(f"curve {row}: a loss is not finite; leave out what was not measured")
        thresholds = jnp.array([self.noise, self.rest, below], jnp.float32)
        pieces = []
        for first in range(0, max(len(losses), 1), ROWS):
            part = np.asarray(losses[first : first + ROWS], np.float32)
            full = np.zeros((ROWS, len(self.x)), np.float32)  # one shape, and so one program
            full[: len(part)] = part
            pieces.append(_fit(jnp.asarray(full), self.grid, thresholds))
        columns = zip(*pieces, strict=True)
        whole = [np.concatenate([np.asarray(x) for x in of])[: len(losses)] for of in columns]
        return Fits(*whole)


class Variable(NamedTuple):
    """A variable of the Dataset: its unit, what it is, and how it follows from fits."""

    dtype: str
    units: str
    long_name: str
    of: Callable[[Fits], np.ndarray]


VARIABLES = {
    "learning_time": Variable(
        "float32", "", "where half of the fall is done", lambda fits: np.exp(fits.log_time)
    ),
    "sigmoid_width": Variable(
        "float32",
        "1",
        "of the sigmoid in the logarithm: 10% to 90% is the factor exp(4.39 sigmoid_width)",
        lambda fits: np.exp(fits.log_width),
    ),
    "high": Variable("float32", "nats", "level of the loss before", lambda fits: fits.high),
    "low": Variable("float32", "nats", "level of the loss after", lambda fits: fits.low),
    "log_time_error": Variable(
        "float32", "1", "standard error of ln(learning_time)", lambda fits: fits.log_time_error
    ),
    "log_width_error": Variable(
        "float32", "1", "standard error of ln(sigmoid_width)", lambda fits: fits.log_width_error
    ),
    "r2": Variable(
        "float32", "1", "share of the variance that the kind explains", lambda fits: fits.r2
    ),
    "kind": Variable("int8", "1", "what the curve is", lambda fits: fits.kind),
}


def described(name: str, unit: str) -> dict[str, Any]:
    """The attributes of a variable: units, long name, and what the values of ``kind`` mean.

    Args:
        name: in ``VARIABLES``.
        unit: of times.
    """
    one = VARIABLES[name]
    told: dict[str, Any] = {"units": one.units or unit, "long_name": one.long_name}
    if name == "kind":
        told |= {"flag_values": list(range(len(KINDS))), "flag_meanings": " ".join(KINDS)}
    return told


def curves_of(
    fits: Fits, x: Float64[np.ndarray, " points"]
) -> Float32[np.ndarray, "curves points"]:
    """The fitted sigmoids at ln t = x, in nats; the mean where there is none."""
    z = (x.astype(np.float32) - fits.log_time[:, None]) * np.exp(-fits.log_width)[:, None]
    drop = (fits.high - fits.low)[:, None]
    return np.asarray(fits.high[:, None] - drop * np.where(drop > 0, expit(z), 0))


@dataclass(eq=False)
class Spectrum:
    """The density of learning times, and the mean loss, by kinds: sums over curves, each with its
    weight (1 for tokens; the frequencies of subtasks).

    Attributes:
        checkpoints: at which losses are known.
        number: [kinds] of curves.
        weight: [kinds] sum of weights.
        measured: [kinds, n] weighted sums of losses.
        sigmoids: [kinds, n] weighted sums of the fitted sigmoids.
        edges: [bins + 1] of ln τ.
        times: [kinds, bins] curves, by ln τ.
        drops: [kinds, bins] weighted sums of their drops, high - low, in nats.
        widths: [kinds] weighted sums of drop · w.
        lows: [kinds] weighted sums of ``low``.
        sharp: [kinds] weighted sums of the drops of curves that go from 10% to 90% in less than
            half of the range of ln t.
    """

    checkpoints: Checkpoints
    number: np.ndarray = field(init=False)
    weight: np.ndarray = field(init=False)
    measured: np.ndarray = field(init=False)
    sigmoids: np.ndarray = field(init=False)
    edges: np.ndarray = field(init=False)
    times: np.ndarray = field(init=False)
    drops: np.ndarray = field(init=False)
    widths: np.ndarray = field(init=False)
    lows: np.ndarray = field(init=False)
    sharp: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        x, kinds = self.checkpoints.x, len(KINDS)
        bins = math.ceil(float(np.ptp(x)) / BIN)
        self.edges = np.linspace(x[0], x[-1], bins + 1)
        self.number = np.zeros(kinds, np.int64)
        self.weight, self.widths, self.lows, self.sharp = (np.zeros(kinds) for _ in range(4))
        self.measured, self.sigmoids = (np.zeros((kinds, len(x))) for _ in range(2))
        self.times, self.drops = (np.zeros((kinds, bins)) for _ in range(2))

    def add(
        self,
        losses: Float[np.ndarray, "curves n"],
        fits: Fits,
        weights: Float[np.ndarray, " curves"] | None = None,
    ) -> None:
        """Add curves with their fits."""
        weights = np.ones(len(losses)) if weights is None else weights.astype(np.float64)
        fitted = curves_of(fits, self.checkpoints.x)
        half, bins = np.ptp(self.checkpoints.x) / 2, self.times.shape[1]
        for kind in range(len(KINDS)):
            here = fits.kind == kind
            own, of = Fits(*(column[here] for column in fits)), weights[here]
            self.number[kind] += len(of)
            self.weight[kind] += of.sum()
            self.measured[kind] += of @ losses[here].astype(np.float64)
            self.sigmoids[kind] += of @ fitted[here].astype(np.float64)
            self.lows[kind] += of @ own.low.astype(np.float64)
            some = own.high > own.low
            drop = of[some] * (own.high - own.low)[some]
            width = np.exp(own.log_width[some])
            place = np.searchsorted(self.edges, own.log_time[some], "right") - 1
            place = place.clip(0, bins - 1)
            self.times[kind] += np.bincount(place, minlength=bins)
            self.drops[kind] += np.bincount(place, drop, minlength=bins)
            self.widths[kind] += drop @ width
            self.sharp[kind] += drop[TENTH_TO_NINE_TENTHS * width < half].sum()

    @property
    def total(self) -> float:
        """Sum of all weights."""
        return float(self.weight.sum())

    @property
    def mean(self) -> Float64[np.ndarray, " n"]:
        """The measured mean loss, in nats."""
        return np.asarray(self.measured.sum(0) / self.total)

    @property
    def falls(self) -> Float64[np.ndarray, " kinds"]:
        """By how much each kind makes the mean loss fall from the first to the last checkpoint, in
        nats: together they are the whole fall."""
        return np.asarray((self.measured[:, 0] - self.measured[:, -1]) / self.total)

    def rebuilt(self, kinds: Sequence[int] = (LEARNED,)) -> Float64[np.ndarray, " n"]:
        """The mean loss where curves of these kinds are their sigmoids, and all others stay at
        their means, in nats."""
        return np.asarray((self.sigmoids[list(kinds)].sum(0) + self._others(kinds)) / self.total)

    def from_times(self, kinds: Sequence[int] = (LEARNED,)) -> Float64[np.ndarray, " n"]:
        """The same from the density of learning times alone, in nats: every curve of these kinds
        has their mean width, and the time of its bin."""
        own, middles = list(kinds), (self.edges[1:] + self.edges[:-1]) / 2
        left = expit((middles - self.checkpoints.x[:, None]) / self.mean_width(kinds))
        sums = self.lows[own].sum() + left @ self.drops[own].sum(0) + self._others(kinds)
        return np.asarray(sums / self.total)

    def mean_width(self, kinds: Sequence[int] = (LEARNED,)) -> float:
        """The mean w of these kinds, weighted by their drops; NaN if nothing drops."""
        drop = self.drops[list(kinds)].sum()
        return float(self.widths[list(kinds)].sum() / drop) if drop > 0 else math.nan

    def _others(self, kinds: Sequence[int]) -> float:
        rest = [kind for kind in range(len(KINDS)) if kind not in kinds]
        return float(self.measured[rest].mean(1).sum())


class _Compared(NamedTuple):
    """Squared errors that each description leaves of each curve, and the best sigmoid's cell."""

    total: Array
    line: Array
    slope: Array
    falling: Array
    rising: Array
    box: Array
    cell: Array


class _Model(NamedTuple):
    """A sigmoid of each curve with its best levels, and what it leaves of the losses.

    ``basis`` is the centred sigmoid; where the lower level would be negative it is 0, and the basis
    is what stays of the higher level, which is not centred (``floor``).
    """

    width: Array
    z: Array
    values: Array
    basis: Array
    norm: Array
    floor: Array
    high: Array
    drop: Array
    rest: Array


def _grid(x: Float64[np.ndarray, " n"]) -> Grid:
    gaps, middles = np.diff(x), (x[1:] + x[:-1]) / 2
    every = np.linspace(x[0], x[-1], TIMES)
    gap = gaps[np.clip(np.searchsorted(x, every, "right") - 1, 0, len(gaps) - 1)]
    seen = (every >= x[0] + EDGE * gaps[0]) & (every <= x[-1] - EDGE * gaps[-1])
    cells = []
    for width in np.geomspace(gaps.min() / NARROWEST, np.ptp(x) / 4, WIDTHS):
        # A fall that is much narrower than the gap it lies in is the same wherever it lies there:
        # then its time is the middle. So are, at the ends, a step and the half of a higher one.
        some = np.where(seen, width > gap / 5, width > gap / 2)
        times = np.concatenate([every[some], middles[width <= gaps / 5]])
        cells += [(time, math.log(width)) for time in times]
    times, log_widths = np.array(cells).T
    sigmoids = expit((x[:, None] - times) * np.exp(-log_widths))
    # Boxes: a level that is left between two checkpoints, and returned to between two later ones.
    few = np.unique(np.linspace(1, len(x) - 1, min(len(x) - 1, MOST_EDGES)).round().astype(int))
    order = np.arange(len(x))[:, None]
    first, second = (few[pair] for pair in np.triu_indices(len(few), 1))
    boxes = (order >= first) & (order < second)
    arrays = x, times, log_widths, _normed(sigmoids), _normed(x[:, None])[:, 0], _normed(boxes)
    return Grid(*(jnp.asarray(one, jnp.float32) for one in arrays))


def _normed(columns: np.ndarray) -> np.ndarray:
    centred = columns - columns.mean(0)
    return np.asarray(centred / np.linalg.norm(centred, axis=0))


@jax.jit
def _compared(losses: Float32[Array, "curves n"], grid: Grid) -> _Compared:
    centred = losses - losses.mean(1, keepdims=True)
    total = jnp.square(centred).sum(1)
    product = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    line, along, boxes = (product(centred, x) for x in (grid.line, grid.sigmoids, grid.boxes))

    def left(best: Array) -> Array:
        # What is left of a curve without noise is rounding, which may be negative.
        return jnp.maximum(total - jnp.square(best), 1e-7 * total)

    return _Compared(
        total=total,
        line=left(line),
        slope=line,
        falling=left(jnp.minimum(along.min(1), 0)),
        rising=left(jnp.maximum(along.max(1), 0)),
        box=left(jnp.abs(boxes).max(1)),
        cell=along.argmin(1),
    )


@jax.jit
def _fit(
    losses: Float32[Array, "curves n"], grid: Grid, thresholds: Float32[Array, "3"]
) -> tuple[Array, ...]:
    """The columns of ``Fits``.

    Args:
        losses: nats.
        grid: of ``Checkpoints``.
        thresholds: ``noise``, ``rest`` and ``below``.
    """
    noise, rest, below = thresholds
    found = _compared(losses, grid)
    n, mean = losses.shape[1], losses.mean(1)
    centred = losses - mean[:, None]
    x = grid.x
    gaps = jnp.diff(x)
    least, most = jnp.log(gaps.min() / NARROWEST), jnp.log((x[-1] - x[0]) / 4)

    def model(time: Array, log_width: Array) -> _Model:
        width = jnp.exp(log_width)
        z = (x - time[:, None]) / width[:, None]
        values = jax.nn.sigmoid(z)
        share = values.mean(1)
        own, stay = values - share[:, None], jax.nn.sigmoid(-z)
        norm = jnp.square(own).sum(1) + 1e-20
        drop = -(centred * own).sum(1) / norm
        high = mean + drop * share
        floor = high < drop
        alone = jnp.square(stay).sum(1) + 1e-20
        whole = (losses * stay).sum(1) / alone
        rest = jnp.where(
            floor[:, None], losses - whole[:, None] * stay, centred + drop[:, None] * own
        )
        return _Model(
            width,
            z,
            values,
            jnp.where(floor[:, None], stay, own),
            jnp.where(floor, alone, norm),
            floor,
            jnp.where(floor, whole, high),
            jnp.where(floor, whole, drop),
            rest,
        )

    def derivatives(of: _Model) -> tuple[Array, Array]:
        """By ln τ and ln w, less what the levels can make of them."""
        slope = of.drop[:, None] * of.values * (1 - of.values)

        def projected(column: Array) -> Array:
            # Centred columns have no part along the constant; those of a floor may have.
            column = column - jnp.where(of.floor, 0, column.mean(1))[:, None]
            return column - ((column * of.basis).sum(1) / of.norm)[:, None] * of.basis

        return projected(slope / of.width[:, None]), projected(slope * of.z)

    def normal(of: _Model) -> tuple[Array, ...]:
        by_time, by_width = derivatives(of)
        sums = (by_time, by_time), (by_time, by_width), (by_width, by_width)
        moments = [(one * other).sum(1) for one, other in sums]
        return (*moments, (by_time * of.rest).sum(1), (by_width * of.rest).sum(1))

    def refined(_: Any, state: tuple[Array, ...]) -> tuple[Array, ...]:
        time, log_width, damping = state
        here = model(time, log_width)
        tt, tw, ww, t, w = normal(here)
        tt, ww = tt * (1 + damping) + 1e-20, ww * (1 + damping) + 1e-20
        determinant = tt * ww - tw * tw + 1e-30
        move = jnp.clip((ww * t - tw * w) / determinant, -1, 1)
        widen = jnp.clip((tt * w - tw * t) / determinant, -1, 1)
        there = (
            jnp.clip(time + move, x[0], x[-1]),
            jnp.clip(log_width + widen, least, most),
        )
        next_ = model(*there)
        better = jnp.square(next_.rest).sum(1) < jnp.square(here.rest).sum(1)
        better &= next_.drop > 0
        return (
            jnp.where(better, there[0], time),
            jnp.where(better, there[1], log_width),
            jnp.where(better, damping / 5, damping * 5),
        )

    start = grid.times[found.cell], grid.log_widths[found.cell], jnp.full(len(losses), 1e-2)
    time, log_width, _ = jax.lax.fori_loop(0, REFINEMENTS, refined, start)
    solved = model(time, log_width)
    falls = (solved.drop > 0) & (jnp.square(solved.rest).sum(1) < found.total)
    falling = jnp.where(falls, jnp.square(solved.rest).sum(1), found.total)
    # Which description it is.
    best = jnp.minimum(jnp.minimum(falling, found.rising), found.box)
    straight = best > rest * found.line
    left = jnp.where(straight, found.line, best)
    whole = jnp.where(found.total > 0, found.total, jnp.inf)
    constant = ~(1 - jnp.minimum(best, found.line) / whole > noise) | (found.total <= 0)
    before, after = time < x[0] + EDGE * gaps[0], time > x[-1] - EDGE * gaps[-1]
    seen = jnp.where(before, EARLY, jnp.where(after, LATE, LEARNED))
    bent = jnp.where(falling <= best, seen, jnp.where(found.rising <= best, RISING, RETURNING))
    kind = jnp.where(straight, jnp.where(found.slope < 0, GRADUAL, RISING), bent)
    kind = jnp.where(constant, jnp.where(mean < below, KNOWN, FLAT), kind).astype(jnp.int8)
    r2 = jnp.where(constant, 0, 1 - left / whole)
    # Errors: the inverse of the normal matrix, from which the levels are projected out.
    tt, tw, ww, _, _ = normal(solved)
    variance = falling / (n - 4 + solved.floor)
    determinant = jnp.maximum(tt * ww - tw * tw, 1e-30)
    time_error = jnp.sqrt(variance * ww / determinant)
    width_error = jnp.sqrt(variance * tt / determinant)
    gap = gaps[jnp.clip(jnp.searchsorted(x, time, side="right") - 1, 0, n - 2)]
    time_error = jnp.where(solved.width < gap / 4, gap / math.sqrt(12), time_error)
    high, low = solved.high, solved.high - solved.drop
    columns = (jnp.where(falls, one, jnp.nan) for one in (time, log_width))
    levels = (jnp.where(falls, one, mean) for one in (high, low))
    errors = (jnp.where(falls, one, jnp.nan) for one in (time_error, width_error))
    return (*columns, *levels, *errors, r2, kind)
