"""Figure 2: loss against parameters, steps and data, over heat maps of every subtask's loss."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Drawing
from jquanta.figures.sweep.panels import SCALE_LABELS, loss_panel
from jquanta.figures.sweep.select import first_of, refuse_several_tasks
from jquanta.sweep.scaling import (
    NATS_PER_BIT,
    NoSuchRuns,
    data_curve,
    parameter_curve,
    scale_of,
    step_curve,
)

SHOWN = 41  # subtasks in the heat maps, as in the paper


def draw(results: Sequence[xr.Dataset], folder: Path) -> Drawing:
    """Draw Figure 2 from a sweep over width online, one over data, or both.

    Args:
        results: from ``open_results``. Each curve is taken from the first Dataset that holds it.
        folder: where ``fig2.png`` and ``fig2.pdf`` are written.

    Returns:
        The paths written, and the fitted exponents.

    Raises:
        BadInput: if none of the curves can be drawn, or they are of different tasks.
    """
    curves = find_curves(results)
    if not curves:
        raise BadInput("these results hold no width sweep and no data sweep")
    refuse_several_tasks([curve.attrs for curve in curves])
    figure, axes = style.new_figure(
        style.PAGE * len(curves) / 3 + (0.4 if len(curves) < 3 else 0),
        3.9,
        2,
        len(curves),
        height_ratios=(1.1, 1),
        sharex="col",
        sharey="row",
    )
    image, measured = None, []
    for column, curve in enumerate(curves):
        measured += loss_panel(axes[0, column], curve)
        image = _map_panel(axes[1, column], curve)
        style.panel_letter(axes[0, column], "abc"[column])
        style.panel_letter(axes[1, column], "abcdef"[len(curves) + column])
    losses = np.concatenate([curve.loss.to_numpy() for curve in curves]) / NATS_PER_BIT
    axes[0, 0].set_ylim(losses.min() * 0.2, 1.3)  # room for the legends
    style.plain_log_ticks(axes[0, 0].yaxis)
    axes[0, 0].set_ylabel("mean test loss (bits)")
    axes[1, 0].set_ylabel("subtask, by frequency")
    figure.colorbar(image, ax=axes[1, :], label="loss (bits)", aspect=12, pad=0.01)
    return Drawing(style.save(figure, folder, "fig2"), measured)


def find_curves(results: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """The curves that ``results`` hold, in the figure's order."""
    curves = []
    for curve_of in (parameter_curve, step_curve, data_curve):
        with suppress(NoSuchRuns):
            curves.append(first_of(results, curve_of))
    return curves


def _map_panel(axes: Axes, curve: xr.Dataset) -> object:
    scale = scale_of(curve)
    # With an offset the first subtasks are about equally frequent, so that their order shows only
    # over all of them.
    every = curve.attrs["offset"] > 0
    subtasks = curve.subtask.to_numpy()[: None if every else SHOWN].astype(float)
    bits = curve.subtask_loss.to_numpy()[:, : len(subtasks)].T / NATS_PER_BIT
    edges = np.append(subtasks - 0.5, subtasks[-1] + 0.5)
    image = axes.pcolormesh(
        style.log_edges(curve[scale].to_numpy().astype(float)),
        edges,
        bits,
        cmap=style.LOSS_COLOURS,
        vmin=0,
        vmax=1,
        rasterized=True,
        edgecolors="none",
    )
    axes.set_xscale("log")
    axes.set_yscale("log" if every else "linear")
    axes.set_ylim(edges[-1], edges[0])
    if every:
        style.plain_log_ticks(axes.yaxis)
    else:
        axes.set_yticks([1, *range(10, len(subtasks) + 1, 10)])
    axes.set_xlabel(SCALE_LABELS[scale])
    style.plain_log_ticks(axes.xaxis)
    return image
