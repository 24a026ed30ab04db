"""Which part of a network finds known groups of samples: layers, roles, attention heads."""

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from jquanta.figures import style
from jquanta.figures.drawing import Amount, Drawing, Note, Row
from jquanta.qdg.clusters.parts import open_parts, ranking

MOST = 24
"""Parts that have a row, heads apart: the best."""

HEAD, WHOLE = "head", "whole"


def draw(source: Path, folder: Path) -> Drawing:
    """Draw how well clusters of each part's cosines agree with known groups.

    Args:
        source: a folder with ``parts.zarr``, of ``jquanta parts`` or ``jquanta known parity``.
        folder: where ``parts.png`` and ``parts.pdf`` are written.

    Returns:
        The paths written; the mean adjusted Rand index of the whole network and of the best parts,
        by the last of the known groupings.

    Raises:
        BadInput: if there is no ``parts.zarr``.
    """
    found = open_parts(source)
    truth = str(found.truth.to_numpy()[-1])
    ranked = ranking(found, truth)
    heads = ranked.isel(part=np.flatnonzero(ranked.kind.to_numpy() == HEAD))
    others = ranked.isel(part=np.flatnonzero(ranked.kind.to_numpy() != HEAD)[:MOST])
    height = 1.1 + 0.14 * others.sizes["part"]
    columns = 2 if heads.sizes["part"] else 1
    width = style.PAGE if columns == 2 else style.COLUMN * 1.3
    figure, panels = style.new_figure(width, height, 1, columns)
    _rows(panels[0, 0], others, f"ARI of clusters with {truth}")
    if columns == 2:
        _heads(panels[0, 1], heads)
        for axes, letter in zip(panels[0], "ab", strict=True):
            style.panel_letter(axes, letter)
    whole = ranked.isel(part=np.flatnonzero(ranked.kind.to_numpy() == WHOLE))
    parts = ranked.isel(part=np.flatnonzero(ranked.kind.to_numpy() != WHOLE)[:5])
    counts = ", ".join(map(str, found["count"].to_numpy().tolist()))
    rows: list[Row] = [
        Note(
            f"{found.attrs['number']:,} samples, {int(ranked.groups):,} groups by {truth}; mean "
            f"ARI over {counts} clusters and {found.sizes['seed']} seeds; of shuffled groups at "
            f"most {float(ranked.chance.max()):.3f}"
        ),
        *(
            Amount("mean ARI", str(one.part.to_numpy()), float(one["mean"]), "")
            for some in (whole, parts)
            for one in (some.isel(part=i) for i in range(some.sizes["part"]))
        ),
    ]
    return Drawing(style.save(figure, folder, "parts"), rows)


def _rows(axes: Axes, parts: xr.Dataset, label: str) -> None:
    """Draw the best part on top: a point for each seed, the mean over counts; networks as a whole
    in another colour, with a line down at their mean."""
    place = np.arange(parts.sizes["part"])
    by_seed = parts.ari.mean("count").to_numpy()
    is_whole = parts.kind.to_numpy() == WHOLE
    for i in place.tolist():
        colour = style.ORANGE if is_whole[i] else style.BLUE
        axes.plot(by_seed[i], np.full(by_seed.shape[1], i), "o", color=colour, alpha=0.7)
        if is_whole[i]:
            axes.axvline(by_seed[i].mean(), color=colour, lw=0.6, ls=":", zorder=0)
    axes.set_yticks(place, parts.part.to_numpy().tolist())
    axes.set(ylim=(len(place) - 0.5, -0.5), xlabel=label)
    axes.set_xlim(left=min(0.0, float(by_seed.min()) - 0.02))
    axes.axvline(0, color="black", lw=0.6)


def _heads(axes: Axes, heads: xr.Dataset) -> None:
    """Draw a cell for each head: a row for each layer."""
    places = [str(name).split()[1::2] for name in heads.part.to_numpy()]
    layer, head = np.array(places, int).T
    table = np.full((layer.max() + 1, head.max() + 1), np.nan)
    table[layer, head] = heads["mean"].to_numpy()
    picture = axes.imshow(table, cmap=style.LOSS_COLOURS, interpolation="nearest", aspect="auto")
    for ticks, n in ((axes.set_yticks, len(table)), (axes.set_xticks, table.shape[1])):
        ticks(range(0, n, max(1, n // 8)))
    axes.set(xlabel="attention head", ylabel="layer")
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    assert axes.figure is not None  # for the type checker: axes are of a figure
    axes.figure.colorbar(picture, ax=axes, label="mean ARI")
