"""Scaling laws of a finished sweep: power laws fitted to its curves, beside the theory.

Everything that ``jq.scaling`` offers is named here; curves are made in ``sweep.curves``, what the
theory expects of them in ``sweep.expected``, and the loss against compute in ``sweep.compute``. A
curve is of a single task. Split results of several tasks with xarray::

    for alpha, runs in results.groupby("alpha"):
        curve = scaling.step_curve(runs)
    table = results.groupby("alpha").map(scaling.exponents)  # dimensions alpha, scale
"""

import numpy as np
import xarray as xr

from jquanta import powerlaw
from jquanta.errors import BadInput
from jquanta.sweep.compute import (
    expected_exponents,
    expected_finite,
    fit_frontier,
    frontier,
    loss_surface,
    surface_points,
)
from jquanta.sweep.curves import (
    LEARNED_BELOW,
    NATS_PER_BIT,
    ONSET,
    SCALES,
    NoSuchRuns,
    Readout,
    at_readout,
    data_curve,
    learned,
    parameter_curve,
    refuse_mixed,
    require_results,
    scale_of,
    step_curve,
    step_of,
    task_of,
    undiverged,
    widest,
)
from jquanta.sweep.expected import (
    bends,
    finite_curve,
    finite_theory,
    limit_theory,
    predicted,
    predicted_finite,
)

__all__ = [
    "FIG10_STEPS",
    "LEARNED_BELOW",
    "NATS_PER_BIT",
    "ONSET",
    "SCALES",
    "NoSuchRuns",
    "Readout",
    "at_readout",
    "bends",
    "data_curve",
    "expected_exponents",
    "expected_finite",
    "exponents",
    "fig10_window",
    "finite_curve",
    "finite_theory",
    "fit_curve",
    "fit_frontier",
    "fit_seeds",
    "frontier",
    "labelled",
    "learned",
    "limit_theory",
    "loss_surface",
    "parameter_curve",
    "predicted",
    "predicted_finite",
    "refuse_mixed",
    "require_results",
    "scale_of",
    "step_curve",
    "step_of",
    "surface_points",
    "task_of",
    "undiverged",
    "widest",
]

FIG10_STEPS = (500, 15_000)  # paper, Fig. 10: later the network's size limits the loss


def fit_curve(curve: xr.Dataset, window: powerlaw.Window | None = None) -> powerlaw.Fit:
    """Fit a power law to the mean loss of a curve, all seeds pooled.

    The interval reflects how the exponent varies between seeds. With a single seed it is computed
    from the points of its curve, whose noise is correlated, and is too narrow.

    Args:
        curve: along any scale.
        window: bounds on the scale, both included. If None, those of the paper: for parameters all
            points; for steps and data from the first point with a mean loss below 0.95 bit, for
            steps up to 15,000.

    Raises:
        BadInput: if the mean loss stays above 0.95 bit, or fewer than three values of the scale
            are in the window.
    """
    scale = scale_of(curve)
    x = curve[scale].to_numpy().astype(float)
    if window is None and scale != "n_params":
        # Before any subtask is learned the loss is flat at 1 bit, and not yet a power law.
        begun = np.flatnonzero(curve.loss < ONSET * NATS_PER_BIT)
        if not begun.size:
            raise BadInput(f"the mean loss stays above {ONSET} bit: train longer, or on more data")
        window = (x[begun[0]], FIG10_STEPS[1] if scale == "step" else np.inf)
    # Seeds without any point in the window are dropped before points are counted.
    low, high = window or (-np.inf, np.inf)
    inside = curve.seed_loss.isel({scale: (x >= low) & (x <= high)}).dropna("seed", how="all")
    if inside.sizes[scale] < 3:
        raise BadInput(f"{inside.sizes[scale]} values of {scale} to fit: at least 3 are needed")
    return fit_seeds(inside[scale], inside, window)


def fig10_window(curve: xr.Dataset) -> powerlaw.Window | None:
    """The window of Figure 10, for ``fit_curve``: steps 500 to 15,000 if the curve is so long.

    None for other scales and shorter curves, which is the default of ``fit_curve``.
    """
    long = scale_of(curve) == "step" and int(curve.step[-1]) >= FIG10_STEPS[1]
    return FIG10_STEPS if long else None


def fit_seeds(
    x: xr.DataArray, y: xr.DataArray, window: powerlaw.Window | None = None
) -> powerlaw.Fit:
    """``powerlaw.fit`` for labelled arrays.

    Args:
        x: scale.
        y: to be fitted, with a coordinate ``seed``.
        window: bounds on x, both included.

    Returns:
        The fit. Its interval is between seeds if there are at least two, else from points.

    Raises:
        BadInput: as ``powerlaw.fit``.
    """
    x, y, seed = xr.broadcast(x, y, y.seed)
    groups = seed if np.unique(seed).size > 1 else None
    return powerlaw.fit(x, y, window, groups=groups)


def exponents(results: xr.Dataset) -> xr.Dataset:
    """Table of the fitted exponents of all scales with the theory's, for one task (Fig. 10).

    Fits are over the windows of ``fig10_window``.

    Args:
        results: from ``open_results``, of runs of one task.

    Returns:
        A Dataset with the dimension ``scale`` (``n_params``, ``step``, ``train_size``) and the
        variables of ``labelled``; NaN where the runs have no such curve, or its fit fails.

    Raises:
        BadInput: if the runs differ in more than width, train size and seed.
    """
    rows = []
    for curve_of in (parameter_curve, step_curve, data_curve):
        try:
            rows.append(_row(curve_of(results)))
        except NoSuchRuns:
            rows.append(labelled(None))
    return xr.concat(rows, xr.DataArray(list(SCALES), dims="scale", name="scale"))


def labelled(
    fit: powerlaw.Fit | None,
    limit: float | None = None,
    finite: float | None = None,
    rising: bool = False,
) -> xr.Dataset:
    """A fit and the theory as one row of a table, with NaN for what is None.

    Args:
        fit: of any power law.
        limit, finite: exponents that the quantization model predicts, in the limit of many
            subtasks and with the given number of subtasks.
        rising: whether the fitted quantity grows with the scale. The exponent is then the slope,
            otherwise minus the slope.

    Returns:
        Scalars: ``exponent``, the bounds ``low`` and ``high`` of its interval, the smallest and
        the largest x fitted as ``first`` and ``last``, ``n_points``, ``n_missing``, ``r2``,
        ``theory`` and ``theory_finite``.
    """
    names = ("exponent", "low", "high", "first", "last", "n_points", "n_missing", "r2")
    values: dict[str, float | None] = dict.fromkeys(names)
    if fit:
        sign = -1 if rising else 1
        low, high = sorted(sign * bound for bound in fit.interval)
        first, last = fit.window
        found = sign * fit.exponent, low, high, first, last, fit.n_points, fit.n_missing, fit.r2
        values = dict(zip(names, found, strict=True))
    values |= {"theory": limit, "theory_finite": finite}
    return xr.Dataset({k: float("nan") if v is None else float(v) for k, v in values.items()})


def _row(curve: xr.Dataset) -> xr.Dataset:
    """One row of the table of ``exponents``: a curve's fit, and the theory."""
    try:
        fit = fit_curve(curve, fig10_window(curve))
    except BadInput:
        return labelled(None, predicted(curve))
    return labelled(fit, predicted(curve), predicted_finite(curve, fit))
