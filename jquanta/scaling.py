"""Scaling curves of a finished sweep: loss against parameters, steps and data, and their fits.

Each curve is a small labelled Dataset: one scale as its dimension, ``loss`` (nats), and
``subtask_loss`` (nats) beside it. Runs of several seeds are averaged; runs that diverged are left
out.
"""

from typing import TYPE_CHECKING, Literal

import numpy as np

from jquanta import powerlaw, theory
from jquanta.errors import BadInput

if TYPE_CHECKING:
    import xarray as xr

NATS_PER_BIT = float(np.log(2))

LEARNED_BELOW = 0.1  # bits: a subtask counts as learned under this loss (paper, Fig. 8 and 9)
ONSET = 0.95  # bits: power laws are fitted from where the mean loss is first below this
LAST_FITTED_STEP = 15_000  # paper, Fig. 10: later steps feel the network's size

Readout = Literal["best", "validation", "last"]

# Fields that may differ between the runs of one curve besides its own scale.
_FREE = {"run", "seed", "width", "n_params", "train_size", "last_step", "diverged_at"}


class NoSuchRuns(BadInput):
    """The results were not made for a curve; they may hold others."""


def parameter_curve(results: "xr.Dataset") -> "xr.Dataset":
    """Final test loss of the online runs against the number of parameters N.

    Args:
        results: from ``open_results``, with online runs of several widths.

    Returns:
        Dimension ``n_params``; attributes ``alpha`` (NaN for uniform frequencies), ``offset``,
        ``n_tasks``, ``narrowest`` and ``width`` of the networks, and ``steps``.

    Raises:
        BadInput: if the results hold no such runs, or runs that differ in something else.
    """
    runs = _runs(results, online=True)
    if np.unique(runs.n_params).size < 2:
        raise NoSuchRuns("no width sweep in these results: train online runs of several widths")
    return _averaged(_at_step(runs, "last"), "n_params").assign_attrs(
        **_task(runs),
        narrowest=int(runs.width.min()),
        width=int(runs.width.max()),
        steps=int(runs.last_step.max()),
    )


def step_curve(results: "xr.Dataset") -> "xr.Dataset":
    """Test loss of the widest online runs against updates S.

    Returns:
        Dimension ``step``, without step 0; attributes ``alpha``, ``offset``, ``n_tasks`` and
        ``width``.

    Raises:
        BadInput: as ``parameter_curve``.
    """
    runs = _runs(results, online=True)
    width = int(runs.width.max())
    runs = runs.isel(run=(runs.width == width).to_numpy())
    # Up to where the first of several seeds stops: the mean of survivors would jump there.
    curve = runs[["loss", "subtask_loss"]].mean("run", skipna=False, keep_attrs=True)
    curve = curve.isel(step=(curve.step > 0).to_numpy() & np.isfinite(curve.loss).to_numpy())
    if curve.sizes["step"] < 2:
        raise NoSuchRuns("under two evaluations after step 0: lower eval.log_every")
    return curve.assign_attrs(_task(runs), width=width)


def data_curve(results: "xr.Dataset", readout: Readout = "best") -> "xr.Dataset":
    """Test loss of the widest runs on finite data against the number of samples D.

    Args:
        results: from ``open_results``, with finite runs of several sizes.
        readout: ``best`` is the evaluation with the lowest mean test loss (early stopping on the
            test loss, as in the paper), ``validation`` the one with the lowest validation loss,
            which never looks at the test points, ``last`` the last.

    Returns:
        Dimension ``train_size``; attributes as of ``step_curve``.

    Raises:
        BadInput: as ``parameter_curve``.
    """
    runs = _runs(results, online=False)
    width = int(runs.width.max())
    runs = runs.isel(run=(runs.width == width).to_numpy())
    if np.unique(runs.train_size).size < 2:
        raise NoSuchRuns("no data sweep in these results: train runs of several train sizes")
    curve = _averaged(_at_step(runs, readout), "train_size")
    return curve.assign_attrs(_task(runs), width=width)


def learned(curve: "xr.Dataset", below: float = LEARNED_BELOW) -> "xr.DataArray":
    """Number of subtasks whose loss is below ``below`` bits, along a curve."""
    return (curve.subtask_loss < below * NATS_PER_BIT).sum("subtask")


def scale_of(curve: "xr.Dataset") -> str:
    """The curve's dimension: ``n_params``, ``step`` or ``train_size``."""
    return str(curve.loss.dims[0])


def fit_curve(curve: "xr.Dataset") -> powerlaw.Fit:
    """The power law of a curve's mean loss, over the paper's window for its scale.

    All points for parameters; for steps and data from the first with a mean loss below 0.95 bit,
    and for steps up to 15,000. The interval is of the points of one curve, which share noise.

    Raises:
        BadInput: if fewer than three points fall in the window.
    """
    scale = scale_of(curve)
    x, loss = curve[scale].to_numpy().astype(float), curve.loss.to_numpy()
    window: powerlaw.Window | None = None
    if scale != "n_params":
        begun = np.flatnonzero(loss < ONSET * NATS_PER_BIT)
        if not begun.size:
            raise BadInput(f"the mean loss stays above {ONSET} bit: train longer, or on more data")
        window = (x[begun[0]], LAST_FITTED_STEP if scale == "step" else np.inf)
    return powerlaw.fit(x, loss, window)


def predicted(curve: "xr.Dataset") -> float | None:
    """The model's exponent for a curve's scale (paper, section 2).

    None where the model has none: uniform frequencies, alpha ≤ 0, or a single subtask.
    """
    alpha = float(curve.attrs["alpha"])
    if not alpha > 0 or curve.attrs["n_tasks"] < 2:
        return None
    return _of_scale(theory.exponents(alpha), scale_of(curve))


def predicted_finite(curve: "xr.Dataset", fit: powerlaw.Fit) -> float | None:
    """What a fit would find if the model held, with the curve's finitely many subtasks.

    Taken over as many subtasks as were learned at the ends of the fit's window. None where
    ``predicted`` is, or where under two were learned between them.
    """
    limit, scale = predicted(curve), scale_of(curve)
    counts = learned(curve).sel({scale: slice(*fit.window)}).to_numpy()
    window = max(1, int(counts[0])), min(curve.attrs["n_tasks"] - 1, int(counts.max()))
    if limit is None or window[0] >= window[1]:
        return None
    alpha, n_tasks, offset = (curve.attrs[name] for name in ("alpha", "n_tasks", "offset"))
    return _of_scale(theory.finite_exponents(alpha, n_tasks, window, offset=offset), scale)


def _of_scale(exponents: theory.Exponents, scale: str) -> float:
    return {
        "n_params": exponents.alpha_N,
        "step": exponents.alpha_S,
        "train_size": exponents.alpha_D,
    }[scale]


def _task(runs: "xr.Dataset") -> dict[str, float | int]:
    """What theory needs to know of runs, all of one task. Alpha is NaN where it has no effect."""
    zipf = str(runs.frequencies[0].values) == "zipf"
    return {
        "alpha": float(runs.alpha[0]) if zipf else float("nan"),
        "offset": float(runs.offset[0]),
        "n_tasks": int(runs.n_tasks[0]),
    }


def _runs(results: "xr.Dataset", online: bool) -> "xr.Dataset":
    """The online or the finite runs, which may differ in scale and seed only."""
    wanted = np.isinf(results.train_size) if online else np.isfinite(results.train_size)
    runs = results.isel(run=(wanted & (results.diverged_at < 0)).to_numpy())
    if not runs.sizes["run"]:
        kind = "online runs (train_size = inf)" if online else "runs on finite data"
        raise NoSuchRuns(f"no {kind} in these results")
    for name, field in runs.coords.items():
        if field.dims == ("run",) and name not in _FREE and np.unique(field).size > 1:
            shown = ", ".join(map(str, np.unique(field).tolist()))
            raise BadInput(f"these runs differ in {name} ({shown}): select one value of it first")
    return runs


def _at_step(runs: "xr.Dataset", readout: Readout) -> "xr.Dataset":
    """Each run's losses at one of its evaluations."""
    import xarray as xr

    if readout == "last":
        step = xr.DataArray(np.searchsorted(runs.step, runs.last_step), dims="run")
    else:
        chosen_by = runs.loss if readout == "best" else runs.validation_loss
        step = chosen_by.load().argmin("step")  # skips NaN
    chosen = runs[["loss", "subtask_loss"]].load().isel(step=step)
    return chosen.drop_vars("step").assign_coords(step_chosen=("run", runs.step.to_numpy()[step]))


def _averaged(runs: "xr.Dataset", scale: str) -> "xr.Dataset":
    """Mean over the runs of each value of ``scale``."""
    return runs[["loss", "subtask_loss"]].groupby(scale).mean("run", keep_attrs=True)
