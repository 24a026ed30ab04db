"""Which clusters are more than chance offers, and how many clusters are found again."""

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Drawing, Note, Row, Share
from jquanta.qdg.questions.stability import (
    Recommended,
    known_of_clusters,
    no_quanta,
    open_stability,
    recommended,
    trusted,
)
from jquanta.qdg.results import chosen_count

NAMED = 5
"""The largest clusters that are no quantum bear their numbers."""


def draw(source: Path, folder: Path) -> Drawing:
    """Draw what ``jquanta stability`` has found.

    Left, for the count nearest to the paper's 400, each cluster's contrast (mean cosine of two of
    its samples less that of one of them and one of the rest) against its size, over what the null
    model offers at that size. Right, for each count, how many clusters chance does not offer, and
    how many of these are found again.

    Args:
        source: a folder of ``jquanta qdg`` with ``stability.zarr``.
        folder: where ``stability.png`` and ``stability.pdf`` are written.

    Returns:
        The paths written; the share of clusters that are no quantum, and the recommended count.

    Raises:
        BadInput: if there is no ``stability.zarr``, or an older one.
    """
    found = open_stability(source)
    if not known_of_clusters(found):
        raise BadInput(
            f"{source}: its stability tells nothing of single clusters; make it anew: jquanta "
            f"stability {source}"
        )
    count = chosen_count(found, None)
    best = recommended(found)
    figure, ((left, right),) = style.new_figure(style.PAGE, 2.65, 1, 2)
    _clusters(left, found, count)
    _counts(right, found, best)
    for axes, letter in ((left, "a"), (right, "b")):
        style.panel_letter(axes, letter)
    style.shared_legend(figure, (left, right), columns=4)
    here = found.sel(count=count)
    told = int(here.p.notnull().sum())
    rows: list[Row] = [
        Share.counted(
            "no tighter than chance", f"{count} clusters", len(no_quanta(found, count)), told
        ),
        Note(
            f"recommended: {best.clusters} clusters; by 95% of resampled clusterings {best.low} to "
            f"{best.high}"
        ),
    ]
    return Drawing(style.save(figure, folder, "stability"), rows)


def _clusters(axes: Axes, found: xr.Dataset, count: int) -> None:
    """Draw contrast against size."""
    here = found.sel(count=count)
    here = here.isel(cluster=here.p.notnull().to_numpy())
    size = here.cluster_size.to_numpy()
    contrast = (here.cluster_within - here.cluster_outside).to_numpy()
    sizes, first = np.unique(size, return_index=True)
    middle, high = (
        here[name].to_numpy()[first] for name in ("null_contrast", "null_contrast_high")
    )
    axes.fill_between(sizes, middle, high, color=style.GREY, alpha=0.3, lw=0)
    axes.plot(sizes, middle, color=style.GREY, lw=1, label="null model: median to 95%")
    beyond = trusted(here).to_numpy()
    for chosen, colour, marker, label in (
        (beyond, style.BLUE, "o", "more than chance"),
        (~beyond, style.ORANGE, "s", "no quantum"),
    ):
        axes.plot(
            size[chosen], contrast[chosen], marker, color=colour, ms=2.5, alpha=0.7, label=label
        )
    numbers = here.get("cluster", xr.DataArray(np.arange(len(size)), dims="cluster")).to_numpy()
    for at in np.flatnonzero(~beyond)[:NAMED]:
        axes.annotate(
            str(numbers[at]),
            (size[at], contrast[at]),
            (3, 2),
            textcoords="offset points",
            fontsize=6,
        )
    axes.set(
        xscale="log",
        xlabel=f"samples of a cluster ({count} clusters)",
        ylabel="contrast of cosines",
    )
    style.plain_log_ticks(axes.xaxis)


def _counts(axes: Axes, found: xr.Dataset, best: Recommended) -> None:
    """Draw how many clusters are trusted, and found again, of each count."""
    counts = found["count"].to_numpy()
    axes.plot(counts, counts, ":", color="black", lw=0.8, label="all")
    beyond = trusted(found).sum("cluster")
    axes.plot(counts, beyond, "s-", color=style.BLUE, ms=3, lw=1, label="more than chance")
    axes.plot(counts, best.found, "o-", color=style.ORANGE, ms=3, lw=1, label="and found again")
    axes.axvspan(best.low, best.high, color=style.GREY, alpha=0.3, lw=0)
    axes.axvline(best.clusters, color=style.GREY, lw=1, label="recommended, 95%")
    axes.set(xscale="log", yscale="log", xlabel="number of clusters", ylabel="clusters")
    for axis in (axes.xaxis, axes.yaxis):
        style.plain_log_ticks(axis)
