"""When each subtask is learned, and how many: the discrete side of the smooth curves (Fig. 7–9).

A subtask counts as learned while its loss is below a threshold, in bits. All operations take and
give labelled arrays; what never happened is NaN. Runs that diverged are left out. Results of
several tasks are taken apart as in ``jquanta.sweep.scaling``: ``results.groupby("alpha")``.
"""

from typing import Literal

import numpy as np
import xarray as xr

from jquanta import powerlaw
from jquanta.errors import BadInput
from jquanta.sweep import scaling
from jquanta.sweep.scaling import LEARNED_BELOW, NATS_PER_BIT, Readout


def convergence_step(results: xr.Dataset, below: float = LEARNED_BELOW) -> xr.DataArray:
    """The first evaluated step at which each subtask's test loss is below ``below`` bits.

    Args:
        results: from ``open_results``.
        below: the threshold, in bits.

    Returns:
        [run, subtask] updates, NaN for never; run coordinates, and ``frequency`` [run, subtask],
        NaN for subtasks that do not exist. Steps fall as a power of the frequency:
        ``fit_convergence``.
    """
    runs = scaling.undiverged(results)
    first = _first(runs.subtask_loss < below * NATS_PER_BIT, runs.step)
    return (
        first.assign_coords(frequency=runs.frequency)
        .rename("convergence_step")
        .assign_attrs(units="updates", long_name=f"first evaluation below {below:g} bit")
    )


def stopping_step(results: xr.Dataset, readout: Readout = "best") -> xr.DataArray:
    """Where early stopping ends each run: the step of its lowest mean test loss (Fig. 7, 9).

    Args:
        results: from ``open_results``.
        readout: as in ``scaling.data_curve``: ``best``, ``validation`` or ``last``.

    Returns:
        [run] updates, with run coordinates.

    Raises:
        BadInput: if ``readout`` is ``validation`` and there are online runs.
    """
    step = scaling.step_of(scaling.undiverged(results), readout)
    return step.rename("stopping_step").assign_attrs(units="updates", long_name="early stopping")


def transition(
    curve: xr.Dataset, below: float = LEARNED_BELOW, scale: str | None = None
) -> xr.DataArray:
    """The smallest scale on a curve at which each subtask's loss is below ``below`` bits.

    One of the curve's own values, not interpolated; the subtask may be above the threshold again
    at a larger one.

    Args:
        curve: of ``sweep.scaling``: along parameters, steps or data. Its losses are means over
            seeds; a curve of one seed's runs has that seed's own transitions.
        below: the threshold, in bits.
        scale: coordinate to tell the transition in, such as ``width`` on a curve of parameters;
            the curve's dimension if None.

    Returns:
        [subtask] in the unit of the scale, NaN for never, with ``frequency`` as a coordinate.
    """
    name = scale or scaling.scale_of(curve)
    first = _first(curve.subtask_loss < below * NATS_PER_BIT, curve[name])
    return first.rename(f"transition_{name}").assign_attrs(
        curve[name].attrs, long_name=f"smallest {name} below {below:g} bit"
    )


def number_learned(
    results: xr.Dataset,
    at: Readout | Literal["ever"] = "ever",
    below: float = LEARNED_BELOW,
) -> xr.DataArray:
    """How many subtasks each run has learned; ``scaling.learned`` counts along a curve.

    Args:
        results: from ``open_results``.
        at: ``ever`` counts subtasks that fall below the threshold at any evaluation, after early
            stopping too (Fig. 9); a readout of ``scaling.data_curve`` counts at that evaluation.
        below: the threshold, in bits.

    Returns:
        [run], with run coordinates: plot it against ``train_size`` or ``n_params``.

    Raises:
        BadInput: if ``at`` is ``validation`` and there are online runs.
    """
    if at == "ever":
        is_learned = convergence_step(results, below).notnull()
    else:
        chosen = scaling.at_readout(scaling.undiverged(results), at)
        is_learned = chosen.subtask_loss < below * NATS_PER_BIT
    return (
        is_learned.sum("subtask")
        .rename("number_learned")
        .assign_attrs(units="1", long_name=f"subtasks below {below:g} bit")
    )


def fit_convergence(steps: xr.DataArray, window: powerlaw.Window | None = None) -> powerlaw.Fit:
    """Steps to convergence against frequency, all seeds pooled (Fig. 8).

    The model expects ``exponent`` 1: steps ∝ p^-1. The paper found 0.81.

    Args:
        steps: [run, subtask] from ``convergence_step``, of runs that differ in the seed only, such
            as ``scaling.widest(results, online=True)``.
        window: bounds on the frequency. Subtasks that were never learned are left out and counted
            in ``n_missing``: the rarest that were are the lucky ones, and make the slope flatter.

    Raises:
        BadInput: if the runs differ otherwise, or under three subtasks were learned.
    """
    scaling.refuse_mixed(steps)
    exists = steps.frequency.notnull().all("run").to_numpy()
    steps = steps.isel(subtask=exists)
    return scaling.fit_seeds(steps.frequency, steps, window)


def fit_learned(
    counts: xr.DataArray, scale: str = "train_size", window: powerlaw.Window | None = None
) -> powerlaw.Fit:
    """The number of subtasks learned against a scale, all seeds pooled (Fig. 9).

    The model expects ``slope`` 1 / (alpha + 1) against training samples.

    Args:
        counts: [run] from ``number_learned``, of runs that differ in the scale and seed only.
        scale: their coordinate, ``train_size`` or ``n_params``.
        window: bounds on the scale; if None, from where every run has learned a subtask to where
            the first has learned all.

    Raises:
        BadInput: if the runs differ otherwise, or fewer than three fall in the window.
    """
    scaling.refuse_mixed(counts, scale, *(("width",) if scale == "n_params" else ()))
    if window is None:
        counts = _between(counts, scale)
    return scaling.fit_seeds(counts[scale], counts, window)


def learned_exponent(
    results: xr.Dataset,
    at: Readout | Literal["ever"] = "ever",
    below: float = LEARNED_BELOW,
) -> xr.Dataset:
    """The exponent of the number learned against training samples, and the model's (Fig. 9).

    For runs of one task, of which the widest on finite data are taken;
    ``results.groupby("alpha").map(learned_exponent)`` is the table for several.

    Returns:
        The variables of ``scaling.labelled``, with the exponent positive; NaN where the fit fails.

    Raises:
        BadInput: if there are no runs on finite data, or they are of several tasks or kinds.
    """
    runs = scaling.widest(results, online=False)
    counts = _between(number_learned(runs, at, below), "train_size")
    limit = scaling.limit_theory(scaling.task_of(runs))
    expected = None if limit is None else limit.learned
    try:
        fit = fit_learned(counts)
    except BadInput:
        return scaling.labelled(None, expected)
    return scaling.labelled(fit, expected, rising=True)  # finitely many do not bend this law


def _between(counts: xr.DataArray, scale: str) -> xr.DataArray:
    """The runs of those scales where each has learned some subtasks, and none has learned all."""
    x = counts[scale].to_numpy().astype(float)
    none, every = x[(counts == 0).to_numpy()], x[(counts == counts.n_tasks).to_numpy()]
    low, high = none.max(initial=-np.inf), every.min(initial=np.inf)
    return counts.isel(run=(x > low) & (x < high))


def _first(holds: xr.DataArray, along: xr.DataArray) -> xr.DataArray:
    """The first value of the coordinate ``along`` at which ``holds`` is true, else NaN."""
    (dim,) = map(str, along.dims)
    values = xr.DataArray(along.to_numpy(), dims=dim)
    return values[holds.argmax(dim)].where(holds.any(dim))
