"""Panels of several figures of QDG: the similarity matrix by cluster, and cluster sizes by rank."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from matplotlib.axes import Axes

from jquanta.figures import style
from jquanta.powerlaw import Fit

CELLS = 700
"""Most cells of the matrix's image on a side. A larger matrix is shown by means of blocks."""

SHOWN = (1, 99)
"""Percentiles of the cells between which the colours run. The ones on the diagonal are far above
the rest, and would otherwise take the whole scale."""


def matrix_panel(
    axes: Axes, cosine: Float[np.ndarray, "Q Q"], label: Int[np.ndarray, " Q"], title: str
) -> None:
    """Draw the cosines of gradients of Q samples, ordered by their label, with a colour bar."""
    order = np.argsort(label, kind="stable")
    # Block means of the reordered matrix, first over rows and then over columns.
    starts = np.linspace(0, len(order), min(CELLS, len(order)), endpoint=False).astype(int)
    strips = np.add.reduceat(cosine[order], starts, axis=0)[:, order]
    sums = np.add.reduceat(strips, starts, axis=1)
    widths = np.diff(np.append(starts, len(order)))
    cells = sums / np.outer(widths, widths)
    low, high = np.percentile(cells, SHOWN)
    image = axes.imshow(
        cells,
        cmap=style.LOSS_COLOURS,
        vmin=low,
        vmax=high,
        extent=(0, len(order), len(order), 0),
        interpolation="nearest",
        rasterized=True,
    )
    axes.set_title(title, fontsize=7, loc="right")
    axes.set(xlabel="sample", ylabel="sample")
    axes.figure.colorbar(image, ax=axes, label="cosine of gradients", pad=0.02)


def sizes_panel(
    axes: Axes, curves: xr.Dataset, slope: Fit, xlabel: str, true: Sequence[int] = ()
) -> None:
    """Draw clusters' sizes by rank for every count, their envelope and its power law.

    The envelope bends, and its steps share their samples: its slope is told without an interval.

    Args:
        axes: the panel.
        curves: from ``rank_frequency``.
        slope: from ``envelope_slope``.
        xlabel: what the ranks are of.
        true: sizes of the true clusters by rank, if they are known.
    """
    counts = curves["count"].to_numpy().tolist()
    shades = style.shades(counts[0], max(counts[-1], counts[0] + 1), log=True)
    for count, sizes in zip(counts, curves["size"].to_numpy(), strict=True):
        found = sizes[sizes > 0]
        rank = np.arange(1, len(found) + 1)
        axes.plot(rank, found, lw=0.7, color=shades.to_rgba(np.array(count)))
    axes.plot(curves["rank"], curves.envelope, color="black", lw=1.4, label="envelope")
    if len(true):
        rank = np.arange(1, len(true) + 1)
        axes.plot(rank, true, "--", color=style.GREY, label="true subtasks", lw=1.2)
    style.fit_line(axes, slope, r"\alpha + 1", bends=True)
    axes.set(xscale="log", yscale="log", xlabel=xlabel, ylabel="samples")
    for axis in (axes.xaxis, axes.yaxis):
        style.plain_log_ticks(axis)
    axes.legend(loc="upper right", frameon=False)  # all curves fall
    bar = axes.figure.colorbar(shades, ax=axes, label="number of clusters", pad=0.02)
    style.plain_log_ticks(bar.ax.yaxis)
