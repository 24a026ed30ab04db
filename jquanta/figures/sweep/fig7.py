"""Figure 7: every subtask's loss curve under the mean, online and on finite data."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Drawing
from jquanta.figures.sweep.select import after_start, first_of, refuse_several_tasks
from jquanta.sweep import emergence
from jquanta.sweep.scaling import NATS_PER_BIT, NoSuchRuns, task_of, widest

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

TOP = 1.6  # bits: a rare subtask's loss after early stopping goes far above 1
PIXELS = 600  # across a panel: of the evaluations on one, a subtask's line shows one


def draw(results: "Sequence[xr.Dataset]", folder: Path) -> Drawing:
    """Draw Figure 7 from an online run, one on finite data, or both.

    Each is the widest of its kind, of the first seed; on finite data, of the largest D.

    Args:
        results: from ``open_results``. Each run comes from the first that holds one of its kind.
        folder: where ``fig7.png`` and ``fig7.pdf`` go.

    Raises:
        BadInput: if there is neither, or they are of different tasks.
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


def chosen_run(results: "xr.Dataset", online: bool) -> "xr.Dataset":
    """The widest run of its kind, of the largest D and the first seed, loaded [run = 1].

    Raises:
        NoSuchRuns: if there is none, or it has no curve.
        BadInput: if the runs are of several tasks.
    """
    runs = widest(results, online)
    first = np.lexsort((runs.seed, -runs.train_size))[0]
    return after_start(runs[["loss", "subtask_loss", "frequency"]].isel(run=[first]).load())


def _panel(axes: "Axes", run: "xr.Dataset", colours: "ScalarMappable") -> None:
    curves = run.isel(run=0)
    curves = curves.isel(subtask=(curves.frequency > 0).to_numpy())
    curves = curves.sortby("frequency")  # the frequent on top
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


def _highest(run: "xr.Dataset") -> float:
    """Of the curves drawn, in bits."""
    return float(run.subtask_loss.max()) / NATS_PER_BIT
