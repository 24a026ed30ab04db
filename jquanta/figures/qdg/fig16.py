"""Figure 16: sizes of clusters in the toy model, where the true sizes are known."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Amount, Drawing, Row
from jquanta.qdg.known.toy import DIMENSIONS, FEW_COUNTS, NOISES, SUBTASKS, open_cells

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

COLOURS = (style.BLUE, style.ORANGE, style.GREEN)


def draw(source: Path, folder: Path) -> Drawing:
    """Draw Figure 16 from the toy model's cells with exponent 1, of the smallest seed.

    Args:
        source: a folder of ``jquanta known toy``.
        folder: where ``fig16.png`` and ``fig16.pdf`` go.

    Returns:
        The paths written, and each clustering's ARI with the true subtasks.

    Raises:
        BadInput: if cells are missing.
    """
    found = {
        (cell.attrs["dimension"], cell.attrs["noise"]): cell
        for cell in reversed(open_cells(source))
        if cell.attrs["exponent"] == 1
    }
    missing = [(d, noise) for d in DIMENSIONS for noise in NOISES if (d, noise) not in found]
    if missing:
        raise BadInput(
            f"{source}: {len(missing)} of 9 cells are missing; the same jquanta known toy "
            "makes them"
        )
    figure, axes = style.new_figure(style.PAGE, 5.8, 3, 3, sharex=True, sharey=True)
    rows: list[Row] = []
    for d, line in zip(DIMENSIONS, axes, strict=True):
        for noise, panel in zip(NOISES, line, strict=True):
            rows += _panel(panel, found[d, noise])
            panel.set_title(rf"$d$ = {d}, $\sigma$ = {noise:g}", fontsize=7, loc="right")
    for panel in axes[-1]:
        panel.set_xlabel("rank of the cluster")
    for panel in axes[:, 0]:
        panel.set_ylabel("vectors")
    for axis in (axes[0, 0].xaxis, axes[0, 0].yaxis):
        style.plain_log_ticks(axis)
    style.shared_legend(figure, axes.flat, columns=4)
    return Drawing(style.save(figure, folder, "fig16"), rows)


def _panel(axes: "Axes", cell: "xr.Dataset") -> list[Row]:
    true = cell.true_size.to_numpy()
    axes.plot(np.arange(1, len(true) + 1), true, color="black", lw=1, label="true subtasks")
    rows: list[Row] = []
    of = f"d {cell.attrs['dimension']}, noise {cell.attrs['noise']:g}"
    for few, colour in zip(FEW_COUNTS, COLOURS, strict=True):
        count = few * cell.attrs["subtasks"] // SUBTASKS
        one = cell.sel(count=count)
        sizes = one["size"].to_numpy()
        sizes = sizes[sizes > 0]
        axes.plot(np.arange(1, len(sizes) + 1), sizes, color=colour, label=f"{count} clusters")
        rows.append(
            Amount("ARI with the subtasks", f"{of}, {count} clusters", float(one.ari), "of 1")
        )
    axes.set(xscale="log", yscale="log")
    return rows
