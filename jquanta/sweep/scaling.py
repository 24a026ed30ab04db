"""Scaling curves of a finished sweep: loss against parameters, steps and data, and their fits.

Each curve is a small labelled Dataset: one scale as its dimension, ``loss`` (nats) and
``subtask_loss`` (nats) averaged over seeds, and ``seed_loss`` (nats) with the seeds apart, which
is what is fitted. Runs that diverged are left out.

A curve is of one task. For results that hold several, xarray does the rest::

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

LEARNED_BELOW = 0.1  # bits: a subtask counts as learned under this loss (paper, Fig. 8 and 9)
ONSET = 0.95  # bits: power laws are fitted from where the mean loss is first below this
FIG10_STEPS = (500, 15_000)  # paper, Fig. 10: later steps feel the network's size

SCALES = ("n_params", "step", "train_size")

Readout = Literal["best", "validation", "last"]

# Coordinates that may differ between runs of one kind.
_OWN = {"run", "seed", "last_step", "diverged_at", "step_chosen"}


class NoSuchRuns(BadInput):
    """The results were not made for a curve; they may hold others."""


def parameter_curve(results: xr.Dataset) -> xr.Dataset:
    """Final test loss of the online runs against the number of parameters N.

    Args:
        results: from ``open_results``, with online runs of several widths.

    Returns:
        Dimension ``n_params`` with its ``width`` as a second coordinate; ``loss`` [n_params],
        ``subtask_loss`` [n_params, subtask] and ``seed_loss`` [seed, n_params] (NaN where a seed
        has no such run), all in nats; ``frequency`` [subtask]. Attributes ``alpha`` (NaN where it
        has no effect), ``offset``, ``n_tasks``, ``narrowest`` and ``width`` of the networks, and
        ``steps``.

    Raises:
        BadInput: if the results hold no such runs, or runs that differ in something else.
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

    Returns:
        As of ``parameter_curve`` with the dimension ``step``, without step 0, up to where the
        first of several seeds stops; attributes ``alpha``, ``offset``, ``n_tasks`` and ``width``.

    Raises:
        BadInput: as ``parameter_curve``.
    """
    runs = widest(results, online=True)
    # The mean of the seeds that go on would jump where one stops.
    everywhere = np.isfinite(runs.loss).all("run") & (runs.step > 0)
    runs = runs.isel(step=everywhere.to_numpy())
    if runs.sizes["step"] < 2:
        raise NoSuchRuns("under two evaluations after step 0: lower eval.log_every")
    return _averaged(runs, "step").assign_attrs(task_of(runs), width=int(runs.width[0]))


def data_curve(results: xr.Dataset, readout: Readout = "best") -> xr.Dataset:
    """Test loss of the widest runs on finite data against the number of samples D.

    Args:
        results: from ``open_results``, with finite runs of several sizes.
        readout: ``best`` is the evaluation with the lowest mean test loss (early stopping on the
            test loss, as in the paper), ``validation`` the one with the lowest validation loss,
            which never looks at the test points, ``last`` the last.

    Returns:
        As of ``parameter_curve`` with the dimension ``train_size``; attributes as of
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
    """The widest of the online runs, or of those on finite data, that did not diverge.

    Raises:
        BadInput: if there are none, or if the online (or finite) runs differ in anything but
            width, train size and seed.
    """
    runs = _runs(results, online)
    return runs.isel(run=(runs.width == runs.width.max()).to_numpy())


def step_of(runs: xr.Dataset, readout: Readout) -> xr.DataArray:
    """The step of one evaluation of each run [run]; ``readout`` as in ``data_curve``.

    Raises:
        BadInput: if it is none of these, or ``validation`` and there are online runs, which have
            no such loss.
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
    """Each run's losses at the evaluation that ``step_of`` names.

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
    """Number of subtasks whose loss is below ``below`` bits, along a curve."""
    return (curve.subtask_loss < below * NATS_PER_BIT).sum("subtask")


def scale_of(curve: xr.Dataset) -> str:
    """The curve's dimension: ``n_params``, ``step`` or ``train_size``."""
    return str(curve.loss.dims[0])


def fit_curve(curve: xr.Dataset, window: powerlaw.Window | None = None) -> powerlaw.Fit:
    """The power law of a curve's mean loss, all seeds pooled.

    The interval tells how the exponent varies between seeds. With one seed it is of the points of
    its curve, which share their noise: too narrow.

    Args:
        curve: of any scale.
        window: bounds on the scale, both included. If None, the paper's: all points for
            parameters; for steps and data from the first with a mean loss below 0.95 bit, and for
            steps up to 15,000.

    Raises:
        BadInput: if fewer than three values of the scale fall in the window.
    """
    scale = scale_of(curve)
    x = curve[scale].to_numpy().astype(float)
    if window is None and scale != "n_params":
        begun = np.flatnonzero(curve.loss < ONSET * NATS_PER_BIT)
        if not begun.size:
            raise BadInput(f"the mean loss stays above {ONSET} bit: train longer, or on more data")
        window = (x[begun[0]], FIG10_STEPS[1] if scale == "step" else np.inf)
    low, high = window or (-np.inf, np.inf)
    inside = curve.seed_loss.isel({scale: (x >= low) & (x <= high)}).dropna("seed", how="all")
    if inside.sizes[scale] < 3:
        raise BadInput(f"{inside.sizes[scale]} values of {scale} to fit: at least 3 are needed")
    return fit_seeds(inside[scale], inside, window)


def fig10_window(curve: xr.Dataset) -> powerlaw.Window | None:
    """The window of Figure 10 for ``fit_curve``: 500…15,000 for steps, if there are so many."""
    long = scale_of(curve) == "step" and int(curve.step[-1]) >= FIG10_STEPS[1]
    return FIG10_STEPS if long else None


def fit_seeds(
    x: xr.DataArray, y: xr.DataArray, window: powerlaw.Window | None = None
) -> powerlaw.Fit:
    """``powerlaw.fit`` of labelled arrays, ``y`` with a coordinate ``seed``.

    The interval is of seeds where there are at least two, else of points. Raises ``BadInput``.
    """
    x, y, seed = xr.broadcast(x, y, y.seed)
    groups = seed if np.unique(seed).size > 1 else None
    return powerlaw.fit(x, y, window, groups=groups)


def exponents(results: xr.Dataset) -> xr.Dataset:
    """Fitted exponents of every scale and the model's beside them, for runs of one task (Fig. 10).

    Over the windows of ``fig10_window``.

    Returns:
        Dimension ``scale`` (``n_params``, ``step``, ``train_size``) and the variables of
        ``labelled``. NaN where the runs hold no such curve, or its fit fails.

    Raises:
        BadInput: if the runs are of several tasks or kinds.
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
    """A fit and the theory as a table's row, NaN for what there is not.

    Args:
        fit: any.
        limit, finite: what the model predicts with infinitely and with the given subtasks.
        rising: whether the exponent is of something that grows: the slope, not its opposite.

    Returns:
        Scalars: ``exponent``, bounds ``low`` and ``high`` of its interval, smallest and largest
        value fitted ``first`` and ``last``, ``n_points``, ``n_missing``, ``r2``, ``theory`` and
        ``theory_finite``.
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
    """The model's exponent for a curve's scale (paper, section 2).

    None where the model has none: uniform frequencies, codes, alpha ≤ 0, or a single subtask.
    """
    limit = limit_theory(curve.attrs)
    return None if limit is None else _of_scale(limit, scale_of(curve))


def predicted_finite(curve: xr.Dataset, fit: powerlaw.Fit) -> float | None:
    """What a fit would find if the model held, with the curve's finitely many subtasks.

    Taken over as many subtasks as were learned at the ends of the fit's window. None where
    ``predicted`` is, or where under two were learned between them.
    """
    scale = scale_of(curve)
    counts = learned(curve).sel({scale: slice(*fit.window)})
    finite = finite_theory(curve.attrs, int(counts[0]), int(counts.max()))
    return None if finite is None else _of_scale(finite, scale)


def limit_theory(task: Mapping[str, Any]) -> theory.Exponents | None:
    """The model's exponents for a task (``task_of``, or a curve's attributes), if it has any."""
    if not task["alpha"] > 0 or task["n_tasks"] < 2:
        return None
    return theory.exponents(task["alpha"])


def finite_theory(task: Mapping[str, Any], first: int, last: int) -> theory.Exponents | None:
    """What fits would find with the task's subtasks, from ``first`` to ``last`` of them learned.

    None as in ``predicted_finite``.
    """
    window = max(1, first), min(task["n_tasks"] - 1, last)
    if limit_theory(task) is None or window[0] >= window[1]:
        return None
    return theory.finite_exponents(task["alpha"], task["n_tasks"], window, offset=task["offset"])


def task_of(runs: "xr.Dataset | xr.DataArray") -> dict[str, float | int]:
    """What theory needs to know of runs, all of one task. Alpha is NaN where it has no effect."""
    codes = str(runs.codes[0].values).split()  # with codes, these are the subtasks
    zipf = str(runs.frequencies[0].values) == "zipf" and not codes
    return {
        "alpha": float(runs.alpha[0]) if zipf else float("nan"),
        "offset": float(runs.offset[0]),
        "n_tasks": len(codes) or int(runs.n_tasks[0]),
        "n_bits": int(runs.n_bits[0]),
        "k": int(runs.k[0]),
    }


def undiverged(results: xr.Dataset) -> xr.Dataset:
    """The runs whose losses stayed finite."""
    return results.isel(run=(results.diverged_at < 0).to_numpy())


def refuse_mixed(runs: "xr.Dataset | xr.DataArray", *free: str) -> None:
    """Raise ``BadInput`` if runs differ in a field, other than the seed and those in ``free``."""
    for name, field in runs.coords.items():
        own = name in _OWN or name in free
        if field.dims == ("run",) and not own and np.unique(field).size > 1:
            values = list(map(str, np.unique(field).tolist()))
            shown = ", ".join(values if len(values) <= 6 else [*values[:2], "…", values[-1]])
            raise BadInput(f"these runs differ in {name} ({shown}): select one value of it first")


def _runs(results: xr.Dataset, online: bool) -> xr.Dataset:
    """The online or the finite runs, which may differ in scale and seed only."""
    wanted = np.isinf(results.train_size) if online else np.isfinite(results.train_size)
    runs = undiverged(results.isel(run=wanted.to_numpy()))
    if not runs.sizes["run"]:
        kind = "online runs (train_size = inf)" if online else "runs on finite data"
        raise NoSuchRuns(f"no {kind} in these results")
    refuse_mixed(runs, "width", "n_params", "train_size")
    return runs


def _averaged(runs: xr.Dataset, scale: str) -> xr.Dataset:
    """The curve along ``scale``, a run coordinate or ``step``: means, and seeds apart."""
    losses = runs[["loss", "subtask_loss"]].load()
    if scale == "step":
        curve = losses.mean("run", keep_attrs=True)
        by_seed = losses.loss.groupby("seed").mean(keep_attrs=True)
    else:
        curve = losses.groupby(scale).mean("run", keep_attrs=True)
        by_seed = losses.loss.groupby(["seed", scale]).mean(keep_attrs=True)
    frequency = runs.frequency[0].reset_coords(drop=True).drop_vars("run", errors="ignore")
    return curve.assign(seed_loss=by_seed).assign_coords(frequency=frequency)


def _row(curve: xr.Dataset) -> xr.Dataset:
    """A curve's fit over the windows of Figure 10, and the theory."""
    try:
        fit = fit_curve(curve, fig10_window(curve))
    except BadInput:
        return labelled(None, predicted(curve))
    return labelled(fit, predicted(curve), predicted_finite(curve, fit))


def _of_scale(exponents: theory.Exponents, scale: str) -> float:
    return {
        "n_params": exponents.alpha_N,
        "step": exponents.alpha_S,
        "train_size": exponents.alpha_D,
    }[scale]
