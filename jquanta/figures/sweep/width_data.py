"""Loss and number of subtasks learned over parameters and data, with lines of equal loss."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm, Normalize

from jquanta.figures import style
from jquanta.figures.drawing import Drawing
from jquanta.figures.sweep.panels import SCALE_LABELS
from jquanta.figures.sweep.select import first_of
from jquanta.sweep import scaling
from jquanta.sweep.scaling import LEARNED_BELOW, NATS_PER_BIT, NoSuchRuns

LINES = 6  # number of lines of equal loss
NUMBERED = 16  # up to so many train sizes, the cells are wide enough for a number


def draw(results: Sequence[xr.Dataset], folder: Path) -> Drawing:
    """Draw a sweep over width and train size as two heat maps, each run at its best test loss.

    Args:
        results: from ``open_results``. The first that holds such a sweep is drawn.
        folder: where ``width-data.png`` and ``width-data.pdf`` are written.

    Returns:
        The paths written; no exponents.

    Raises:
        BadInput: if there is no such sweep, or its runs differ in another setting.
    """
    grid = first_of(results, find_grid)
    figure, (axes,) = style.new_figure(style.PAGE, 2.6, 1, 2, sharex=True, sharey=True)
    for panel, letter, draw_map in zip(axes, "ab", (_loss_map, _learned_map), strict=True):
        # Scales come first: contour lines leave gaps for their labels, computed on the page.
        panel.set_xscale("log")
        panel.set_yscale("log")
        draw_map(panel, grid)
        style.plain_log_ticks(panel.xaxis)
        style.plain_log_ticks(panel.yaxis)
        panel.set_xlabel(SCALE_LABELS["train_size"])
        style.panel_letter(panel, letter)
    first, last = grid.attrs["widths"]
    axes[0].set_ylabel(f"{SCALE_LABELS['n_params']} (widths {first} to {last})")
    return Drawing(style.save(figure, folder, "width-data"), [])


def find_grid(results: xr.Dataset) -> xr.Dataset:
    """The grid of runs over parameters and data.

    Returns:
        ``loss`` (bits) and ``learned`` (number of subtasks), both [n_params, train_size], at the
        best mean test loss; means over seeds, NaN where there is no run. Attribute ``widths``: the
        narrowest and the widest.

    Raises:
        NoSuchRuns: if the runs on finite data are not of several widths and train sizes.
        BadInput: if they differ in another setting.
    """
    finite = results.isel(run=np.isfinite(results.train_size).to_numpy())
    runs = scaling.undiverged(finite)
    for name in ("width", "train_size"):
        if np.unique(runs[name]).size < 2:
            raise NoSuchRuns("no sweep over width and train size together in these results")
    scaling.refuse_mixed(runs, "width", "n_params", "train_size")
    best = scaling.at_readout(runs, "best")
    learned = (best.subtask_loss < LEARNED_BELOW * NATS_PER_BIT).sum("subtask")
    values = best[["loss"]].assign(loss=best.loss / NATS_PER_BIT, learned=learned)
    grid: xr.Dataset = values.groupby(["n_params", "train_size"]).mean()
    widths = int(runs.width.min()), int(runs.width.max())
    return grid.transpose("n_params", "train_size").assign_attrs(widths=widths)


def _loss_map(axes: Axes, grid: xr.Dataset) -> None:

    low, high = float(grid.loss.min()), float(grid.loss.max())
    scale = LogNorm(low, high)
    image = _cells(axes, grid.loss, style.LOSS_COLOURS, scale)
    levels = np.geomspace(low, high, LINES + 2)[1:-1].tolist()
    fine = _interpolated(grid.loss)
    readable = ["white" if scale(level) < 0.5 else "black" for level in levels]
    lines = axes.contour(*fine, levels, colors=readable, linewidths=0.8)
    axes.clabel(lines, fmt="%.2g", fontsize=6)
    axes.set_title("lowest mean test loss (bits)", fontsize=7, loc="right")
    bar = axes.figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_ticks(levels, labels=[f"{level:.2g}" for level in levels])
    bar.minorticks_off()


def _interpolated(loss: xr.DataArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """D, N and the loss on a fine grid, interpolated linearly in the logarithms of all three."""
    logs = loss.copy(data=np.log(loss)).assign_coords(
        {name: np.log(loss[name]) for name in loss.dims}
    )
    fine = logs.interp({name: _between(logs[name].to_numpy()) for name in logs.dims})
    return (
        np.exp(fine.train_size.to_numpy()),
        np.exp(fine.n_params.to_numpy()),
        np.exp(fine.to_numpy()),
    )


def _between(values: np.ndarray) -> np.ndarray:
    return np.linspace(values[0], values[-1], 200)


def _learned_map(axes: Axes, grid: xr.Dataset) -> None:

    scale = Normalize(0, max(1.0, float(grid.learned.max())))
    image = _cells(axes, grid.learned, f"{style.LOSS_COLOURS}_r", scale)
    axes.set_title(f"subtasks below {LEARNED_BELOW:g} bit at that step", fontsize=7, loc="right")
    axes.figure.colorbar(image, ax=axes, pad=0.02)
    if grid.sizes["train_size"] > NUMBERED:
        return
    for point in grid.learned.stack(point=grid.learned.dims).dropna("point"):
        dark = scale(point.item()) > 0.5
        axes.text(
            point.train_size.item(),
            point.n_params.item(),
            f"{point.item():.0f}",
            color="white" if dark else "black",
            ha="center",
            va="center",
            fontsize=5.5,
        )


def _cells(axes: Axes, values: xr.DataArray, colours: str, scale: Normalize) -> QuadMesh:
    """Draw a heat map with a cell for each run."""
    edges = [style.log_edges(values[name].to_numpy().astype(float)) for name in values.dims]
    return axes.pcolormesh(edges[1], edges[0], values, cmap=colours, norm=scale, rasterized=True)
