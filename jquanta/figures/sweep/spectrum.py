"""The learning-time spectrum of subtasks, where the truth is known: each has its frequency p, and
the theory lets its learning time be ∝ 1 / p.

Learning times against frequency; how much of the mean loss is learned in each bin of ln t; the mean
loss with what sigmoids make of it; and some subtasks with their sigmoids, and (dashed) what the
solvable model of emergence, fitted to the first subtask alone, expects of each.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from jquanta.errors import BadInput
from jquanta.figures import spectrum, style
from jquanta.figures.drawing import Amount, Drawing, Measured, Row
from jquanta.figures.sweep.panels import SCALE_LABELS
from jquanta.figures.sweep.select import first_of
from jquanta.powerlaw import Fit
from jquanta.spectrum import KINDS, LEARNED, Fits
from jquanta.sweep import emergence, scaling
from jquanta.sweep.curves import NATS_PER_BIT

NAME = "subtask-spectrum"


def draw(results: Sequence[xr.Dataset], folder: Path) -> Drawing:
    """Draw the spectrum of the widest online runs; all seeds are counted together.

    Args:
        results: from ``open_results``. The runs are taken from the first that holds online runs.
        folder: where ``subtask-spectrum.png`` and ``subtask-spectrum.pdf`` are written.

    Returns:
        The paths written; the exponent of learning times against frequency; for each kind of
        subtasks their number and part of the fall of the mean loss; and the exponents of the mean
        loss as measured and as rebuilt from the spectrum, with the theory's.

    Raises:
        BadInput: if there are no online runs, they are of several tasks or were evaluated at fewer
            than six steps, or under three subtasks were learned.
    """
    runs = first_of(results, lambda source: scaling.widest(source, online=True))
    runs = runs[["subtask_loss", "frequency", "loss"]].load()
    found, times = emergence.spectrum(runs), emergence.learning_times(runs)
    learned = times.learning_time.where(times.kind == LEARNED)
    # Of rare subtasks only those that happened to be learned early have a time: the law is fitted
    # where all have one.
    without = times.frequency.where(times.kind != LEARNED).max()
    among = (np.nextafter(float(without), 1) if without.notnull() else 0.0, 1.0)
    try:
        fit = emergence.fit_convergence(learned, among)
    except BadInput as error:
        raise BadInput(f"learning times cannot be fitted ({error})") from None
    law = _law(runs)
    figure, _ = style.new_figure(style.PAGE, 4.6, 1, 1)
    figure.clear()
    above, below = figure.subfigures(2, 1, height_ratios=(1.75, 1))
    first, second, third = above.subplots(1, 3)
    _times_panel(first, times, fit)
    spectrum.density_panel(second, found, style.BLUE)
    spectrum.mean_panel(third, found, style.BLUE, NATS_PER_BIT)
    _finish(second, third)
    for panel, letter in zip((first, second, third), "abc", strict=True):
        style.panel_letter(panel, letter)
    expected = _expected(runs)
    _examples(below, runs, times, expected)
    seeds = np.unique(runs.seed).size
    of = f"width {int(runs.width[0])}" + f", {seeds} seeds" * (seeds > 1)
    rows: list[Row] = [Measured.from_fit("learning time against frequency", fit, theory=1.0, of=of)]
    rows += spectrum.rows(found, of, "alpha_S", law.window, "subtasks", law.bends)
    rows = [
        row._replace(theory=law.theory, finite=law.finite)
        if isinstance(row, Measured) and row.name == "alpha_S"
        else row
        for row in rows
    ]
    if expected is not None:
        rows += _solvable(expected, runs, times, of)
    rows.append(spectrum.chance())
    return Drawing(style.save(figure, folder, NAME), rows)


class _Law(NamedTuple):
    """What the mean loss is expected to be: the window in which exponents are fitted, from where it
    first falls below 0.95 bit; the theory's exponents of infinitely many subtasks and of these; and
    whether it should bend."""

    window: tuple[float, float] | None = None
    theory: float | None = None
    finite: float | None = None
    bends: bool = False


def _law(runs: xr.Dataset) -> _Law:
    curve = scaling.step_curve(runs)
    try:
        fit = scaling.fit_curve(curve)
    except BadInput:
        return _Law()
    finite = scaling.predicted_finite(curve, fit)
    return _Law(fit.window, scaling.predicted(curve), finite, scaling.bends(curve, fit))


def _times_panel(axes: Axes, times: xr.Dataset, fit: Fit) -> None:
    learned = (times.kind == LEARNED).to_numpy()
    p, time, error = (
        times[name].to_numpy()[learned] for name in ("frequency", "learning_time", "log_time_error")
    )
    spread = time * (1 - np.exp(-error)), time * (np.exp(error) - 1)
    axes.errorbar(p, time, spread, fmt="o", ms=3, lw=0.8, color=style.BLUE, label="subtasks")
    style.fit_line(axes, fit, r"p^{-c},\ c")
    style.theory_line(axes, fit, 1.0, "slope −1")
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel("frequency $p$ of the subtask")
    axes.set_ylabel("learning time (steps)")
    for axis in (axes.xaxis, axes.yaxis):
        style.plain_log_ticks(axis)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.24), frameon=False, handlelength=1.4)


def _finish(density: Axes, mean: Axes) -> None:
    for panel in (density, mean):
        panel.set_xscale("log")
        style.plain_log_ticks(panel.xaxis)
    mean.set_yscale("log")
    style.plain_log_ticks(mean.yaxis)
    density.set(xlabel="learning time (steps)", ylabel="drop per unit of $\\ln t$ (nats)")
    mean.set(xlabel=SCALE_LABELS["step"], ylabel="mean loss (bits)")
    density.plot([], [], color=style.BLUE, lw=1.2, label="sigmoids")
    density.plot([], [], color=style.BLUE, lw=0.7, alpha=0.45, label="every curve's")
    mean.plot([], [], "o", ms=2.5, color=style.BLUE, label="measured")
    for words, _, look in spectrum.WAYS:
        mean.plot([], [], color=style.BLUE, label=words, **look)
    for panel in (density, mean):
        panel.legend(loc="upper left", bbox_to_anchor=(0, -0.24), frameon=False, fontsize=6)


def _expected(runs: xr.Dataset) -> xr.Dataset | None:
    """The solvable model, fitted to the first subtask; None where that is not learned."""
    try:
        return emergence.solvable(runs)
    except BadInput:
        return None


def _solvable(expected: xr.Dataset, runs: xr.Dataset, times: xr.Dataset, of: str) -> list[Row]:
    """How far the model that is fitted to the first subtask is off for others that are learned."""
    seen = runs.subtask_loss.mean("run").sel(step=expected.step)
    off = np.sqrt(np.square(seen - expected.subtask_loss).mean("step")).to_numpy()
    learned = np.flatnonzero((times.kind == LEARNED).all("run").to_numpy())
    return [
        Amount(
            f"solvable model fitted to subtask 1: error (root mean square) at subtask {k + 1}",
            of,
            float(off[k]),
            "nats",
        )
        for k in dict.fromkeys([0, 1, 3, 7, 15])
        if k in learned
    ]


def _examples(
    figure: Any, runs: xr.Dataset, times: xr.Dataset, expected: xr.Dataset | None
) -> None:
    """Four subtasks of the first run, evenly spaced in ln of rank, with the solvable model."""
    one, fits = runs.isel(run=0), times.isel(run=0)
    exist = np.flatnonzero(one.frequency.notnull().to_numpy())
    ranks = np.unique(np.geomspace(1, len(exist), 4).round().astype(int))
    grid = figure.subplots(1, 4)
    for panel, rank in zip(grid, ranks, strict=False):
        subtask = exist[rank - 1]
        losses = one.subtask_loss.isel(subtask=subtask).to_numpy()
        some = np.isfinite(losses) & (one.step.to_numpy() > 0)
        own = fits.isel(subtask=[subtask])
        columns = {
            "log_time": np.log(own.learning_time.to_numpy()),
            "log_width": np.log(own.sigmoid_width.to_numpy()),
        } | {
            name: own[name].to_numpy()
            for name in ("high", "low", "log_time_error", "log_width_error", "r2", "kind")
        }
        kind = KINDS[int(own.kind[0])]
        title = f"subtask {int(own.subtask[0])}: {kind}"
        spectrum.example(
            panel, one.step.to_numpy()[some].astype(float), losses[some], Fits(**columns), title
        )
        if expected is not None:
            after = expected.isel(step=expected.step.to_numpy() > 0, subtask=subtask)
            label = "solvable model"
            panel.plot(
                after.step,
                after.subtask_loss,
                "--",
                lw=0.9,
                color=style.ORANGE,
                zorder=3,
                label=label,
            )
        panel.set_xlabel("steps", fontsize=7)
    for panel in grid[len(ranks) :]:
        panel.remove()
    grid[0].set_ylabel("loss (nats)", fontsize=7)
    if expected is not None:
        grid[0].legend(fontsize=6, loc="upper right")
