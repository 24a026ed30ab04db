"""When each subtask is learned, and how many are: the discrete steps behind the smooth scaling
curves (paper, Fig. 7-9).

A subtask counts as learned where its test loss is below a threshold in bits. All functions take and
return labelled arrays, with NaN for a subtask that is never learned. Runs that diverged are left
out. Split results of several tasks as for ``jquanta.sweep.scaling``: ``results.groupby("alpha")``.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import xarray as xr
from scipy.optimize import least_squares
from scipy.special import expit

from jquanta import powerlaw, theory
from jquanta.errors import BadInput
from jquanta.spectrum import VARIABLES, Checkpoints, Fits, Spectrum, described
from jquanta.sweep import scaling
from jquanta.sweep.scaling import LEARNED_BELOW, NATS_PER_BIT, Readout


def convergence_step(results: xr.Dataset, below: float = LEARNED_BELOW) -> xr.DataArray:
    """The first evaluated step at which each subtask's test loss is below ``below`` bits.

    Args:
        results: from ``open_results``.
        below: the threshold, in bits.

    Returns:
        [run, subtask] updates, NaN for never, with the run coordinates and ``frequency``
        [run, subtask], which is NaN for subtasks that a run does not have. To fit steps against
        frequency see ``fit_convergence``.
    """
    runs = scaling.undiverged(results)
    first = _first(runs.subtask_loss < below * NATS_PER_BIT, runs.step)
    return (
        first.assign_coords(frequency=runs.frequency)
        .rename("convergence_step")
        .assign_attrs(units="updates", long_name=f"first evaluation below {below:g} bit")
    )


def learning_times(results: xr.Dataset, below: float = LEARNED_BELOW) -> xr.Dataset:
    """When each subtask is learned: the middle of a sigmoid in ln of steps fitted to its test loss.

    Unlike ``convergence_step`` it has no threshold and is finer than the evaluations; it tells its
    error, and whether the loss is a sigmoid at all (``jquanta.spectrum``). To fit it against
    frequency: ``fit_convergence(times.learning_time.where(times.kind == 0))``.

    Args:
        results: from ``open_results``: six evaluations or more after step 0.
        below: bits; a loss that does not change is ``known`` below, and else ``flat``.

    Returns:
        Variables (run, subtask): ``learning_time`` (updates), ``sigmoid_width`` (of its logarithm),
        ``high`` and ``low`` (nats), ``log_time_error`` and ``log_width_error``, ``r2``, and
        ``kind``, whose values mean ``flag_meanings``; NaN, and -1, for subtasks that a run does not
        have. With run coordinates and ``frequency``, as of ``convergence_step``.

    Raises:
        BadInput: if a run has fewer than six evaluations after step 0.
    """
    runs = scaling.undiverged(results)
    shape = runs.sizes["run"], runs.sizes["subtask"]
    values = {
        name: np.full(shape, -1 if name == "kind" else np.nan, one.dtype)
        for name, one in VARIABLES.items()
    }
    for run, subtasks, _, _, fits in _fitted(runs, below):
        for name, one in VARIABLES.items():
            values[name][run, subtasks] = one.of(fits)
    data = {name: (("run", "subtask"), values[name], described(name, "updates")) for name in values}
    return xr.Dataset(data, runs.coords).assign_coords(frequency=runs.frequency).drop_vars("step")


def spectrum(results: xr.Dataset, below: float = LEARNED_BELOW) -> Spectrum:
    """The learning-time spectrum of runs that differ in the seed only, subtasks weighted by their
    frequencies: their sums over seeds.

    Args:
        results: from ``open_results``, such as ``scaling.widest(results, online=True)``.
        below: as of ``learning_times``.

    Raises:
        BadInput: if the runs differ in more than the seed, were evaluated at different steps, or at
            fewer than six.
    """
    runs = scaling.undiverged(results)
    scaling.refuse_mixed(runs)
    found: Spectrum | None = None
    for run, subtasks, checkpoints, losses, fits in _fitted(runs, below):
        found = found or Spectrum(checkpoints)
        if found.checkpoints is not checkpoints:
            raise BadInput("runs evaluated at different steps have no common spectrum: choose some")
        found.add(losses, fits, runs.frequency.to_numpy()[run, subtasks])
    if found is None:
        raise BadInput("no run has a finite loss; lower the learning rate")
    return found


def solvable(results: xr.Dataset) -> xr.Dataset:
    """What the solvable model of emergence makes of the most frequent subtask's curve for all.

    The loss of a subtask of strength r is (1 - r)² ln 2 (``theory.strengths``). Its two numbers,
    ``tau`` (steps · p at which a subtask is half learned) and ``start``, are fitted to the first
    subtask's mean loss over seeds by least squares; the curves of all others follow from their
    frequencies alone.

    Args:
        results: from ``open_results``, runs that differ in the seed only.

    Returns:
        ``subtask_loss`` (step, subtask), nats, at the steps at which all runs were evaluated; with
        ``tau`` and ``start`` as attributes.

    Raises:
        BadInput: if the runs differ in more than the seed, or the first subtask's loss does not
            fall by half, so that no curve can be fitted.
    """
    runs = scaling.undiverged(results)
    scaling.refuse_mixed(runs)
    runs = runs[["subtask_loss", "frequency"]]
    runs = runs.isel(subtask=runs.frequency.notnull().all("run").to_numpy())
    runs = runs.dropna("step", how="any", subset=["subtask_loss"])
    t, p = runs.step.to_numpy().astype(float), runs.frequency.isel(run=0).to_numpy()
    loss = runs.subtask_loss.isel(subtask=0).mean("run").to_numpy().astype(float)
    half = np.flatnonzero(loss < NATS_PER_BIT / 2)
    if not half.size or len(t) < 3:
        raise BadInput("the first subtask's loss does not fall by half: train longer")

    def rest(of: np.ndarray) -> np.ndarray:
        """Of ln τ and the logit of 2 · start: the start is between 0 and 1/2."""
        own = theory.strengths(t, np.ones(1), float(np.exp(of[0])), float(expit(of[1]) / 2))
        return np.asarray(NATS_PER_BIT * np.square(1 - own[:, 0]) - loss)

    # For a single quantum of frequency 1 time is measured in samples of its own: τ / p.
    begin = np.array([np.log(max(t[half[0]], 1.0)), -3.0])
    found = least_squares(rest, begin, bounds=([-20, -20], [40, 5])).x
    tau, start = float(np.exp(found[0]) * p[0]), float(expit(found[1]) / 2)
    nats = NATS_PER_BIT * np.square(1 - theory.strengths(t, p, tau, start))
    attributes = {"units": "nats", "long_name": "loss expected of the first subtask's curve"}
    return xr.Dataset(
        {"subtask_loss": (("step", "subtask"), nats, attributes)},
        {"step": runs.step.to_numpy(), "subtask": runs.subtask.to_numpy()},
        {"tau": tau, "start": start},
    )


def _fitted(
    runs: xr.Dataset, below: float
) -> Iterator[tuple[int, np.ndarray, Checkpoints, np.ndarray, Fits]]:
    """The number of each run, its subtasks, the steps at which all were evaluated, their losses
    [subtasks, n] in nats, and the fits."""
    steps, known = runs.step.to_numpy(), dict[bytes, Checkpoints]()
    for run in range(runs.sizes["run"]):
        exist = runs.frequency.isel(run=run).notnull().to_numpy()
        losses = runs.subtask_loss.isel(run=run).to_numpy()[:, exist]
        some = np.isfinite(losses).all(1) & (steps > 0)
        at = steps[some]
        key = at.tobytes()
        if key not in known:
            known[key] = Checkpoints(at, "evaluations after step 0")
        checkpoints = known[key]
        losses = losses[some].T
        fits = checkpoints.fit(losses, below * NATS_PER_BIT)
        yield run, np.flatnonzero(exist), checkpoints, losses, fits


def stopping_step(results: xr.Dataset, readout: Readout = "best") -> xr.DataArray:
    """The step at which early stopping ends each run: that of its lowest mean test loss.

    For Figures 7 and 9.

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

    The result is one of the scales of the curve, without interpolation. At a larger scale the
    subtask may be above the threshold again.

    Args:
        curve: from ``sweep.scaling``, along parameters, steps or data. Its losses are means over
            seeds; for the transitions of a single seed, make the curve of that seed's runs.
        below: the threshold, in bits.
        scale: coordinate in which to express the transition, such as ``width`` on a curve along
            parameters; the curve's dimension if None.

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
    """Number of subtasks that each run has learned. Along a curve use ``scaling.learned``.

    Args:
        results: from ``open_results``.
        at: ``ever`` counts the subtasks whose loss is below the threshold at any evaluation, even
            after the step of early stopping (Fig. 9). A readout of ``scaling.data_curve`` counts
            at that evaluation.
        below: the threshold, in bits.

    Returns:
        [run], with the run coordinates, to be plotted against ``train_size`` or ``n_params``.

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
    """Fit the steps to convergence against the frequency of subtasks, all seeds pooled (Fig. 8).

    The quantization model predicts ``exponent`` 1, that is steps ∝ p^-1. The paper measured 0.81.

    Args:
        steps: [run, subtask] from ``convergence_step``, of runs that differ in the seed only, such
            as ``scaling.widest(results, online=True)``.
        window: bounds on the frequency; None takes all subtasks that were learned. The others are
            counted in ``n_missing``. They bias the fit: among the rarest subtasks only those that
            happened to be learned early are seen, which makes the slope flatter.

    Raises:
        BadInput: if the runs differ in more than the seed, or fewer than three subtasks were
            learned.
    """
    scaling.refuse_mixed(steps)
    # Subtasks that do not exist in these runs have no frequency; they are not missing points.
    exists = steps.frequency.notnull().all("run").to_numpy()
    steps = steps.isel(subtask=exists)
    return scaling.fit_seeds(steps.frequency, steps, window)


def fit_learned(
    counts: xr.DataArray, scale: str = "train_size", window: powerlaw.Window | None = None
) -> powerlaw.Fit:
    """Fit the number of subtasks learned against a scale, all seeds pooled (Fig. 9).

    The quantization model predicts ``slope`` 1 / (alpha + 1) against training samples.

    Args:
        counts: [run] from ``number_learned``, of runs that differ in scale and seed only.
        scale: the coordinate to fit against, ``train_size`` or ``n_params``.
        window: bounds on the scale. If None, the scales above all those with a run that has learned
            nothing, and below all those with a run that has learned every subtask.

    Raises:
        BadInput: if the runs differ in more than that, or fewer than three are in the window.
    """
    scaling.refuse_mixed(counts, scale, *(("width",) if scale == "n_params" else ()))
    if window is None:
        counts = _partly_learned(counts, scale)
    return scaling.fit_seeds(counts[scale], counts, window)


def learned_exponent(
    results: xr.Dataset,
    at: Readout | Literal["ever"] = "ever",
    below: float = LEARNED_BELOW,
) -> xr.Dataset:
    """The exponent of the number of subtasks learned against training samples, with the theory's.

    For runs of one task (Fig. 9). For several tasks,
    ``results.groupby("alpha").map(learned_exponent)`` is a table.

    Args:
        results: from ``open_results``; the widest runs on finite data are used.
        at, below: as for ``number_learned``.

    Returns:
        The variables of ``scaling.labelled``, with a positive exponent; NaN where the fit fails.

    Raises:
        BadInput: if there are no runs on finite data, or they differ in more than train size, seed
            and width.
    """
    runs = scaling.widest(results, online=False)
    counts = _partly_learned(number_learned(runs, at, below), "train_size")
    limit = scaling.limit_theory(scaling.task_of(runs))
    expected = None if limit is None else limit.learned
    try:
        fit = fit_learned(counts)
    except BadInput:
        return scaling.labelled(None, expected)
    # Needs no finite-size correction: this law is the same for finitely many subtasks.
    return scaling.labelled(fit, expected, rising=True)


def _partly_learned(counts: xr.DataArray, scale: str) -> xr.DataArray:
    """The runs at scales where every run has learned some subtasks and none has learned all."""
    # Where nothing is learned the logarithm does not exist; where all is, the count saturates.
    x = counts[scale].to_numpy().astype(float)
    none, every = x[(counts == 0).to_numpy()], x[(counts == counts.n_tasks).to_numpy()]
    low, high = none.max(initial=-np.inf), every.min(initial=np.inf)
    return counts.isel(run=(x > low) & (x < high))


def _first(holds: xr.DataArray, along: xr.DataArray) -> xr.DataArray:
    """The first value of the coordinate ``along`` at which ``holds`` is true; NaN if never."""
    # ``along`` without its coordinates, so that the index below brings none along.
    (dim,) = map(str, along.dims)
    values = xr.DataArray(along.to_numpy(), dims=dim)
    return values[holds.argmax(dim)].where(holds.any(dim))  # argmax: the first True
