"""Figure 7: the loss of every subtask and their mean against steps, online and on finite data."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Drawing
from jquanta.figures.sweep.select import after_start, first_of, refuse_several_tasks
from jquanta.sweep import emergence
from jquanta.sweep.scaling import NATS_PER_BIT, NoSuchRuns, task_of, widest

TOP = 1.6
"""Upper end of the loss axis in bits. After early stopping, rare subtasks go far above 1 bit."""

PIXELS = 600
"""Of more evaluations than this, a subtask's line shows one for each pixel of a panel."""


def draw(results: Sequence[xr.Dataset], folder: Path) -> Drawing:
    """Draw Figure 7 from an online run, one on finite data, or both.

    Each is the widest network of the first seed; on finite data, with the largest D.

    Args:
        results: from ``open_results``. Each run is taken from the first Dataset that holds one.
        folder: where ``fig7.png`` and ``fig7.pdf`` are written.

    Raises:
        BadInput: if there are no such runs, or they are of different tasks.
    """
    runs = []
    for online in (True, False):
        with suppress(NoSuchRuns):
            runs.append(first_of(results, partial(chosen_run, online=online)))
    if not runs:
        raise BadInput("these results hold no curve of a run that did not diverge")
    refuse_several_tasks([task_of(run) for run in runs])
    figure, axes = style.new_figure(
        style.PAGE if len(runs) > 1 else style.PAGE * 0.6, 2.8, 1, len(runs), sharey=True
    )
    colours = style.shades(1, max(2, int(runs[0].n_tasks[0])), log=True)
    for panel, run, letter in zip(axes[0], runs, "ab", strict=False):
        _panel(panel, run, colours)
        style.panel_letter(panel, letter)
    axes[0, 0].set_ylabel("test loss (bits)")
    axes[0, 0].set_ylim(0, min(TOP, 1.08 * max(map(_highest, runs))))
    bar = figure.colorbar(
        colours, ax=axes[0, :], label="subtask, by frequency", aspect=25, pad=0.01
    )
    style.plain_log_ticks(bar.ax.yaxis)
    style.shared_legend(figure, axes[0], columns=2)
    return Drawing(style.save(figure, folder, "fig7"), [])


def chosen_run(results: xr.Dataset, online: bool) -> xr.Dataset:
    """The widest run, online or on finite data, with the largest D and first seed, [run = 1].

    Raises:
        NoSuchRuns: if there is none, or it has no curve.
        BadInput: if the runs are of several tasks.
    """
    runs = widest(results, online)
    first = np.lexsort((runs.seed, -runs.train_size))[0]
    return after_start(runs[["loss", "subtask_loss", "frequency"]].isel(run=[first]).load())


def _panel(axes: Axes, run: xr.Dataset, colours: ScalarMappable) -> None:
    curves = run.isel(run=0)
    curves = curves.isel(subtask=(curves.frequency > 0).to_numpy())
    curves = curves.sortby("frequency")  # so that frequent subtasks are drawn on top
    rank = np.arange(curves.sizes["subtask"], 0, -1)
    steps = curves.step.to_numpy()
    seen = np.unique(np.searchsorted(steps, np.geomspace(steps[0], steps[-1], PIXELS)))
    bits = curves.subtask_loss.transpose("subtask", "step").to_numpy()[:, seen] / NATS_PER_BIT
    axes.set_xscale("log")
    style.dense_lines(axes, steps[seen], bits, colours.to_rgba(rank), linewidths=0.6, alpha=0.8)
    axes.plot(steps, curves.loss / NATS_PER_BIT, color="black", linewidth=1.8, label="mean")
    size = float(curves.train_size)
    if np.isfinite(size):
        stop = float(emergence.stopping_step(run)[0])
        label = f"early stopping, step {stop:,.0f}"
        axes.axvline(stop, linestyle="--", color=style.ORANGE, label=label)
    kind = f"$D$ = {style.number(size)}" if np.isfinite(size) else "online"
    axes.set_title(f"{kind}, width {int(curves.width)}", fontsize=7, loc="right")
    axes.set_xlabel("steps")
    axes.set_xlim(steps[0], steps[-1])
    style.plain_log_ticks(axes.xaxis)


def _highest(run: xr.Dataset) -> float:
    """The highest loss of the curves in bits."""
    return float(run.subtask_loss.max()) / NATS_PER_BIT
