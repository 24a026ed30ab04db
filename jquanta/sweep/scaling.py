"""Scaling curves of a finished sweep: loss against parameters, steps and data, and their fits.

A curve is a small labelled Dataset with one scale as its dimension. It holds ``loss`` and
``subtask_loss`` averaged over seeds, and ``seed_loss`` for each seed, to which power laws are
fitted; all are in nats. Runs that diverged are left out.

A curve is of a single task. Split results of several tasks with xarray::

    for alpha, runs in results.groupby("alpha"):
        curve = scaling.step_curve(runs)
    table = results.groupby("alpha").map(scaling.exponents)  # dimensions alpha, scale
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr

from jquanta import powerlaw, theory
from jquanta.errors import BadInput

NATS_PER_BIT = float(np.log(2))

LEARNED_BELOW = 0.1  # bits: a subtask counts as learned below this loss (paper, Fig. 8 and 9)
ONSET = 0.95  # bits: power laws are fitted from where the mean loss first falls below this
FIG10_STEPS = (500, 15_000)  # paper, Fig. 10: later the network's size limits the loss

SCALES = ("n_params", "step", "train_size")

Readout = Literal["best", "validation", "last"]

# Coordinates in which the runs of a curve may always differ.
_MAY_DIFFER = {"run", "seed", "last_step", "diverged_at", "step_chosen"}


FINE = 2000
"""Points of a curve of theory."""

BENT = 0.1
"""See ``bends``."""


class NoSuchRuns(BadInput):
    """The results do not contain the runs that a curve needs; other curves may be possible."""


def parameter_curve(results: xr.Dataset) -> xr.Dataset:
    """Final test loss of the online runs against the number of parameters N.

    Args:
        results: from ``open_results``, with online runs of several widths.

    Returns:
        A curve with the dimension ``n_params`` and ``width`` as a second coordinate of it:
        ``loss`` [n_params], ``subtask_loss`` [n_params, subtask] and ``seed_loss``
        [seed, n_params] (NaN where a seed has no such run), all in nats, and ``frequency``
        [subtask]. Attributes: ``alpha`` (NaN where it has no effect), ``offset``, ``n_tasks``,
        ``narrowest`` and ``width`` (the smallest and the largest width), and ``steps``.

    Raises:
        BadInput: if the results hold no such runs, or the runs differ in another field.
    """
    runs = _runs(results, online=True)
    if np.unique(runs.n_params).size < 2:
        raise NoSuchRuns("no width sweep in these results: train online runs of several widths")
    curve = _averaged(at_readout(runs, "last"), "n_params")
    widths = runs.width.groupby("n_params").first()
    return curve.assign_coords(width=widths).assign_attrs(
        task_of(runs),
        narrowest=int(runs.width.min()),
        width=int(runs.width.max()),
        steps=int(runs.last_step.max()),
    )


def step_curve(results: xr.Dataset) -> xr.Dataset:
    """Test loss of the widest online runs against updates S.

    Args:
        results: from ``open_results``, with online runs.

    Returns:
        A curve as of ``parameter_curve`` with the dimension ``step``, from the first evaluation
        after step 0 to the last that all seeds have. Attributes: ``alpha``, ``offset``,
        ``n_tasks`` and ``width``.

    Raises:
        BadInput: as ``parameter_curve``.
    """
    runs = widest(results, online=True)
    # Where one seed stops early, the mean of the others would jump.
    everywhere = np.isfinite(runs.loss).all("run") & (runs.step > 0)
    runs = runs.isel(step=everywhere.to_numpy())
    if runs.sizes["step"] < 2:
        raise NoSuchRuns("under two evaluations after step 0: lower eval.log_every")
    return _averaged(runs, "step").assign_attrs(task_of(runs), width=int(runs.width[0]))


def data_curve(results: xr.Dataset, readout: Readout = "best") -> xr.Dataset:
    """Test loss of the widest runs on finite data against the number of samples D.

    Args:
        results: from ``open_results``, with finite runs of several sizes.
        readout: which evaluation of a run gives its loss. ``best``: the one with the lowest mean
            test loss (early stopping on the test loss, as in the paper). ``validation``: the one
            with the lowest validation loss, a choice that does not use the test points. ``last``:
            the last one.

    Returns:
        A curve as of ``parameter_curve`` with the dimension ``train_size``, and the attributes of
        ``step_curve``.

    Raises:
        BadInput: as ``parameter_curve``.
    """
    runs = widest(results, online=False)
    if np.unique(runs.train_size).size < 2:
        raise NoSuchRuns("no data sweep in these results: train runs of several train sizes")
    curve = _averaged(at_readout(runs, readout), "train_size")
    return curve.assign_attrs(task_of(runs), width=int(runs.width[0]))


def widest(results: xr.Dataset, online: bool) -> xr.Dataset:
    """Select the widest of the runs that did not diverge.

    Args:
        results: from ``open_results``.
        online: select among online runs; otherwise among those on finite data.

    Raises:
        BadInput: if there are no such runs, or they differ in anything but width, train size and
            seed.
    """
    runs = _runs(results, online)
    return runs.isel(run=(runs.width == runs.width.max()).to_numpy())


def step_of(runs: xr.Dataset, readout: Readout) -> xr.DataArray:
    """The step of the evaluation that a readout chooses for each run.

    Args:
        runs: of a results Dataset.
        readout: as in ``data_curve``.

    Returns:
        [run] updates.

    Raises:
        BadInput: if ``readout`` is none of these, or if it is ``validation`` and there are online
            runs, which have no validation loss.
    """
    if readout not in get_args(Readout):
        raise BadInput(f"readout = {readout!r}: give one of {', '.join(get_args(Readout))}")
    if readout == "last":
        return runs.last_step.copy()
    chosen_by = (runs.loss if readout == "best" else runs.validation_loss).load()
    if chosen_by.isnull().all("step").any():
        raise BadInput("readout validation: leave out runs without it (train_size = inf)")
    return runs.last_step.copy(data=runs.step.to_numpy()[chosen_by.argmin("step")])


def at_readout(runs: xr.Dataset, readout: Readout) -> xr.Dataset:
    """The losses of each run at the evaluation that ``step_of`` chooses.

    Returns:
        ``loss`` [run] and ``subtask_loss`` [run, subtask] in nats; run coordinates,
        ``step_chosen`` [run] and ``frequency`` [run, subtask].

    Raises:
        BadInput: as ``step_of``.
    """
    step = step_of(runs, readout)
    chosen = runs[["loss", "subtask_loss"]].load().sel(step=step)
    return chosen.drop_vars("step").assign_coords(
        step_chosen=("run", step.to_numpy()), frequency=runs.frequency
    )


def learned(curve: xr.Dataset, below: float = LEARNED_BELOW) -> xr.DataArray:
    """Number of subtasks whose loss is below ``below`` bits, at each scale of a curve."""
    return (curve.subtask_loss < below * NATS_PER_BIT).sum("subtask")


def scale_of(curve: xr.Dataset) -> str:
    """Name of the curve's dimension: ``n_params``, ``step`` or ``train_size``.

    Raises:
        BadInput: for what is no curve, such as the results that curves are made of.
    """
    scale = str(curve.loss.dims[0]) if "loss" in curve and curve.loss.dims else ""
    if scale not in SCALES:
        raise BadInput(
            "no curve of losses along a scale; make one: parameter_curve(results), "
            "step_curve(results) or data_curve(results)"
        )
    return scale


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


def predicted(curve: xr.Dataset) -> float | None:
    """The exponent that the quantization model predicts for a curve's scale (paper, section 2).

    None where it predicts none: for uniform frequencies, codes, alpha ≤ 0, or a single subtask.
    """
    scale, limit = scale_of(curve), limit_theory(curve.attrs)
    return None if limit is None else _of_scale(limit, scale)


def predicted_finite(curve: xr.Dataset, fit: powerlaw.Fit) -> float | None:
    """The exponent that a fit would find if the model held, given finitely many subtasks.

    It is computed for the numbers of subtasks learned at the two ends of the fit's window. None
    where ``predicted`` is None, or where these numbers do not differ.
    """
    scale = scale_of(curve)
    counts = learned(curve).sel({scale: slice(*fit.window)})
    finite = finite_theory(curve.attrs, int(counts[0]), int(counts.max()))
    return None if finite is None else _of_scale(finite, scale)


def finite_curve(curve: xr.Dataset, fit: powerlaw.Fit) -> xr.DataArray | None:
    """The loss (nats) that the model predicts for finitely many subtasks, along a curve's scale.

    Subtasks are learned one after another, by descending frequency: that, and no power law, is what
    a curve should follow. The one number that the model leaves open, parameters (or samples) for a
    subtask, is chosen so that it meets the fit in the (geometric) middle of its window.

    Returns:
        The losses, with the curve's scale as coordinate; None where ``predicted_finite`` is None.
    """
    if predicted_finite(curve, fit) is None:
        return None
    scale, task = scale_of(curve), curve.attrs
    p = powerlaw.zipf(task["n_tasks"], task["alpha"], task["offset"])
    if scale == "n_params":
        units = np.geomspace(0.01, len(p), FINE)  # subtasks learned
        nats = theory.loss(units, p, b=NATS_PER_BIT)
    else:
        units = np.geomspace(0.5 / p.max(), 2 / p.min(), FINE)  # samples over those for a subtask
        nats = theory.loss_D(units, p, b=NATS_PER_BIT)
    middle = np.sqrt(fit.window[0] * fit.window[1])
    there = min(int(np.searchsorted(-nats, -float(fit.predict(middle)))), FINE - 1)
    x = units * middle / units[there]
    shown = (x >= float(curve[scale].min())) & (x <= float(curve[scale].max())) & (nats > 0)
    return xr.DataArray(nats[shown], {scale: x[shown]}, [scale])


def bends(curve: xr.Dataset, fit: powerlaw.Fit) -> bool:
    """Whether a curve of one seed should bend, so that the spread of its points about a power law
    is no confidence interval of an exponent: the model's exponent with finitely many subtasks
    differs from that of the limit by more than a tenth."""
    limit, finite = predicted(curve), predicted_finite(curve, fit)
    if limit is None or finite is None or curve.sizes["seed"] > 1:
        return False
    return abs(finite / limit - 1) > BENT


def limit_theory(task: Mapping[str, Any]) -> theory.Exponents | None:
    """The model's exponents in the limit of many subtasks, for a task; None if it has none.

    Args:
        task: from ``task_of``, or the attributes of a curve.
    """
    if not task["alpha"] > 0 or task["n_tasks"] < 2:
        return None
    return theory.exponents(task["alpha"])


def finite_theory(task: Mapping[str, Any], first: int, last: int) -> theory.Exponents | None:
    """The exponents that fits would find with the task's finite number of subtasks.

    Args:
        task: from ``task_of``, or the attributes of a curve.
        first, last: numbers of subtasks learned at the two ends of the fit.

    Returns:
        The exponents; None in the cases of ``predicted_finite``.
    """
    window = max(1, first), min(task["n_tasks"] - 1, last)
    if limit_theory(task) is None or window[0] >= window[1]:
        return None
    return theory.finite_exponents(task["alpha"], task["n_tasks"], window, offset=task["offset"])


def task_of(runs: "xr.Dataset | xr.DataArray") -> dict[str, float | int]:
    """The parameters of the runs' task that theory needs. ``alpha`` is NaN if it has no effect.

    Args:
        runs: with run coordinates, all of one task.
    """
    codes = str(runs.codes[0].values).split()  # with codes, these are the subtasks
    zipf = str(runs.frequencies[0].values) == "zipf" and not codes
    return {
        "alpha": float(runs.alpha[0]) if zipf else float("nan"),
        "offset": float(runs.offset[0]),
        "n_tasks": len(codes) or int(runs.n_tasks[0]),
        "n_bits": int(runs.n_bits[0]),
        "k": int(runs.k[0]),
    }


def require_results(results: xr.Dataset) -> None:
    """Raise ``BadInput`` for what does not hold the runs of a sweep."""
    if not {"run", "step"} <= set(results.dims) or "diverged_at" not in results.coords:
        raise BadInput("no results of a sweep; give what jq.open_results(FOLDER) gives")


def undiverged(results: xr.Dataset) -> xr.Dataset:
    """The runs whose losses stayed finite.

    Raises:
        BadInput: for what holds no runs.
    """
    require_results(results)
    return results.isel(run=(results.diverged_at < 0).to_numpy())


def refuse_mixed(runs: "xr.Dataset | xr.DataArray", *free: str) -> None:
    """Check that runs differ only in the seed and the fields named in ``free``.

    Raises:
        BadInput: naming the first field in which they differ.
    """
    for name, field in runs.coords.items():
        allowed = name in _MAY_DIFFER or name in free
        if field.dims == ("run",) and not allowed and np.unique(field).size > 1:
            values = list(map(str, np.unique(field).tolist()))
            shown = ", ".join(values if len(values) <= 6 else [*values[:2], "…", values[-1]])
            raise BadInput(f"these runs differ in {name} ({shown}): select one value of it first")


def _runs(results: xr.Dataset, online: bool) -> xr.Dataset:
    """The online runs, or those on finite data, checked to differ in scale and seed only."""
    require_results(results)
    wanted = np.isinf(results.train_size) if online else np.isfinite(results.train_size)
    runs = undiverged(results.isel(run=wanted.to_numpy()))
    if not runs.sizes["run"]:
        kind = "online runs (train_size = inf)" if online else "runs on finite data"
        raise NoSuchRuns(f"no {kind} in these results")
    refuse_mixed(runs, "width", "n_params", "train_size")
    return runs


def _averaged(runs: xr.Dataset, scale: str) -> xr.Dataset:
    """The curve along ``scale``, which is a run coordinate or ``step``: losses averaged over seeds
    and of each seed."""
    losses = runs[["loss", "subtask_loss"]].load()
    if scale == "step":
        curve = losses.mean("run", keep_attrs=True)
        by_seed = losses.loss.groupby("seed").mean(keep_attrs=True)
    else:
        curve = losses.groupby(scale).mean("run", keep_attrs=True)
        by_seed = losses.loss.groupby(["seed", scale]).mean(keep_attrs=True)
    # All runs of a curve are of one task, so that the first run's frequencies are everyone's.
    frequency = runs.frequency[0].reset_coords(drop=True).drop_vars("run", errors="ignore")
    return curve.assign(seed_loss=by_seed).assign_coords(frequency=frequency)


def _row(curve: xr.Dataset) -> xr.Dataset:
    """One row of the table of ``exponents``: a curve's fit, and the theory."""
    try:
        fit = fit_curve(curve, fig10_window(curve))
    except BadInput:
        return labelled(None, predicted(curve))
    return labelled(fit, predicted(curve), predicted_finite(curve, fit))


def _of_scale(exponents: theory.Exponents, scale: str) -> float:
    """The exponent of the loss against ``scale``."""
    return {
        "n_params": exponents.alpha_N,
        "step": exponents.alpha_S,
        "train_size": exponents.alpha_D,
    }[scale]
