"""Curves of a finished sweep: the loss against parameters, steps and data.

A curve is a small labelled Dataset with one scale as its dimension. It holds ``loss`` and
``subtask_loss`` averaged over seeds, and ``seed_loss`` for each seed, to which power laws are
fitted; all are in nats. Runs that diverged are left out.
"""

from typing import Literal, get_args

import numpy as np
import xarray as xr

from jquanta.errors import BadInput

NATS_PER_BIT = float(np.log(2))
ONSET = 0.95  # bits: power laws are fitted from where the mean loss first falls below this
LEARNED_BELOW = 0.1  # bits: a subtask counts as learned below this loss (paper, Fig. 8 and 9)
SCALES = ("n_params", "step", "train_size")
Readout = Literal["best", "validation", "last"]
# Coordinates in which the runs of a curve may always differ.
_MAY_DIFFER = {"run", "seed", "last_step", "diverged_at", "step_chosen"}


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
    runs = runs_of(results, online=True)
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
    runs = runs_of(results, online)
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


def runs_of(results: xr.Dataset, online: bool) -> xr.Dataset:
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
