"""Whether clusters are mechanisms: the effect of a step for one cluster on the others' loss."""

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D

from jquanta.figures import style
from jquanta.figures.drawing import Amount, Drawing, Note, Row, Share
from jquanta.qdg.questions.mechanism import STORE, summary
from jquanta.run.arrays import read

COLOURS = (style.ORANGE, style.BLUE)
"""Of a cluster's own samples, and of the others'."""

MILLI = 1e3
"""Changes of the loss are drawn in thousandths of a nat."""


def draw(source: Path, folder: Path) -> Drawing:
    """Draw how a gradient step for each cluster changes the held-out loss of every cluster.

    Args:
        source: a folder of ``jquanta qdg`` with ``mechanism.zarr``.
        folder: where ``mechanism.png`` and ``mechanism.pdf`` are written.

    Returns:
        The paths written; the share of clusters whose own samples improve more than the others' by
        their step, and the median separation.

    Raises:
        BadInput: if there is no ``mechanism.zarr``.
    """

    remedy = f"make them: jquanta mechanism {source}"
    found = read(source / STORE, "mechanisms", "change", remedy).load()
    short = summary(found)
    figure, ((left, right),) = style.new_figure(
        style.PAGE, 3.0, 1, 2, gridspec_kw={"width_ratios": [1.15, 1], "wspace": 0.06}
    )
    picture = _effects(left, found)
    # Its unit stands above: a label beside the bar would touch the label of the panel on the right.
    left.set_title("mean change of the loss (0.001 nats)", fontsize=7, loc="right")
    figure.colorbar(picture, ax=left, shrink=0.85, pad=0.02, extend="both")
    _separations(right, short)
    for axes, letter in ((left, "a"), (right, "b")):
        style.panel_letter(axes, letter)
    gains = int((short.own < short.others).sum())
    rows: list[Row] = [
        Note(
            f"{found.attrs['count']} clusters, the {found.sizes['cluster']} largest; steps of "
            f"{found.attrs['step']:g} of the parameters' length"
        ),
        Share.counted("clusters whose own samples gain more", "all", gains, len(short.own)),
        Amount("median separation", "clusters", float(short.separation.median()), ""),
    ]
    return Drawing(style.save(figure, folder, "mechanism"), rows)


def _effects(axes: Axes, found: xr.Dataset) -> AxesImage:
    """Draw mean changes: a row for whose step it is, a column for whose samples.

    The last column holds the samples of all clusters that have no row.
    """
    clusters, label = found.cluster.to_numpy(), found.label.to_numpy()
    columns = [label == c for c in clusters.tolist()] + [~np.isin(label, clusters)]
    there = [own for own in columns if own.any()]
    change = found.change.to_numpy()
    table = MILLI * np.stack([change[:, own].mean(1) for own in there], 1)
    # The colours are symmetric about 0. A percentile is robust to a few extreme values.
    limit = float(np.percentile(np.abs(table), 98)) or 1.0
    picture = axes.imshow(table, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    every = max(1, len(clusters) // 10)
    names = [str(c) for c in clusters.tolist()]
    axes.set_yticks(range(0, len(clusters), every), names[::every])
    ticks = list(range(0, len(clusters), every))
    axes.set_xticks(ticks, names[::every])
    if len(there) > len(clusters):
        axes.axvline(len(clusters) - 0.5, color="black", lw=0.6)
        axes.set_xticks([*ticks, len(clusters)], [*names[::every], "rest"])
    axes.set(xlabel="whose held-out samples (cluster)", ylabel="whose step (cluster)")
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    return picture


def _separations(axes: Axes, short: xr.Dataset) -> None:
    """Draw mean changes of own and others' held-out samples, with two standard errors."""
    rank = np.arange(short.sizes["cluster"])
    for who, colour, marker, label in (
        ("own", COLOURS[0], "o", "its own"),
        ("others", COLOURS[1], "s", "other clusters'"),
    ):
        axes.errorbar(
            rank,
            MILLI * short[who].to_numpy(),
            2 * MILLI * short[f"{who}_error"].to_numpy(),
            fmt=marker,
            color=colour,
            ms=3,
            lw=0.8,
            label=label,
        )
        first = MILLI * short[f"{who}_first_order"].to_numpy()
        axes.plot(rank, first, "_", color=colour, ms=6, alpha=0.5)
    axes.axhline(0, color="black", lw=0.6)
    names = short.cluster.to_numpy()
    every = max(1, len(names) // 10)
    axes.set_xticks(rank[::every], [str(c) for c in names[::every].tolist()])
    axes.set(xlabel="whose step (cluster)", ylabel="change of held-out loss (0.001 nats)")
    handles, labels = axes.get_legend_handles_labels()
    both = tuple(Line2D([], [], ls="", marker="_", ms=6, color=c, alpha=0.5) for c in COLOURS)
    axes.legend(
        [*handles, both],
        [*labels, "to first order"],
        handler_map={tuple: HandlerTuple(ndivide=None)},
        loc="best",
        frameon=False,
    )
