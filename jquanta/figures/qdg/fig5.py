"""Figure 5: similarity by cluster, beside rank-frequency curves and their envelope."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Drawing, Measured, Note, Row

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

CELLS = 700
"""Most cells of the picture on a side: each is the mean of a block of the matrix."""

SHOWN = (1, 99)
"""Percentiles of the cells between which colours run: the diagonal would take all of them."""


def draw(source: Path, folder: Path) -> Drawing:
    """Draw Figure 5.

    Args:
        source: a folder with ``clusters.zarr`` and, for the matrix, ``similarity.zarr``; or a
            ``.npy`` file of labels made elsewhere, integers [counts, samples].
        folder: where ``fig5.png`` and ``fig5.pdf`` go.

    Returns:
        The paths written; the envelope's slope over the paper's window and over others.

    Raises:
        BadInput: if there are no labels, too few clusters for a slope, or similarities of other
            samples.
    """
    from jquanta.qdg.clusters.ranks import envelope_slope, rank_frequency, window_table
    from jquanta.qdg.results import chosen_count

    clusters = _clusters(source)
    cosine = _cosine(source, clusters.sizes["sample"])
    curves = rank_frequency(clusters)
    slope = envelope_slope(curves)
    name = "alpha + 1 by the envelope"
    rows: list[Row] = [
        Measured.from_fit(name, fit, of=label)
        for label, fit in (
            ("the paper's window", slope),
            *(
                ("another window", fit)
                for fit in window_table(curves)
                if fit.window != slope.window
            ),
        )
    ]
    if cosine is None:
        figure, ((panel,),) = style.new_figure(style.COLUMN * 1.2, 2.9, 1, 1)
        rows.append(Note(f"no matrix is drawn: {source} holds labels alone"))
    else:
        figure, ((left, panel),) = style.new_figure(
            style.PAGE, 3.1, 1, 2, gridspec_kw={"width_ratios": [1, 1.1]}
        )
        count = chosen_count(clusters, None)
        picture = matrix_panel(
            left,
            cosine,
            clusters.label.sel(count=count).to_numpy(),
            f"{count} clusters, the largest first",
        )
        figure.colorbar(picture, ax=left, label="cosine of gradients", shrink=0.8, pad=0.02)
        for axes, letter in ((left, "a"), (panel, "b")):
            style.panel_letter(axes, letter)
    counts = clusters["count"].to_numpy()
    shades = style.shades(counts[0], max(counts[-1], counts[0] + 1), log=True)
    for count, sizes in zip(counts, curves["size"].to_numpy(), strict=True):
        there = sizes[sizes > 0]
        rank = np.arange(1, len(there) + 1)
        panel.plot(rank, there, lw=0.7, color=shades.to_rgba(np.array(count)))
    panel.plot(curves["rank"], curves.envelope, color="black", lw=1.4, label="envelope")
    style.fit_line(panel, slope, r"\alpha + 1")
    panel.set(xscale="log", yscale="log", xlabel="rank of the cluster", ylabel="samples")
    for axis in (panel.xaxis, panel.yaxis):
        style.plain_log_ticks(axis)
    panel.legend(loc="lower left", frameon=False)
    bar = figure.colorbar(shades, ax=panel, label="number of clusters", pad=0.02)
    style.plain_log_ticks(bar.ax.yaxis)
    return Drawing(style.save(figure, folder, "fig5"), rows)


def _clusters(source: Path) -> "xr.Dataset":
    from jquanta.qdg.clusters.cluster import imported, open_clusters

    if source.suffix != ".npy":
        return open_clusters(source)
    try:
        labels = np.load(source, allow_pickle=False)
    except (OSError, ValueError):
        raise BadInput(
            f"--qdg {source}: no such file, or no array; give integers [counts, samples] (.npy)"
        ) from None
    return imported(labels)


def _cosine(source: Path, samples: int) -> "Float[np.ndarray, 'Q Q'] | None":
    if not (source / "similarity.zarr").is_dir():
        return None
    from jquanta.run.arrays import read

    stored = read(source / "similarity.zarr", "similarity", "cosine", "make it with jquanta qdg")
    if stored.cosine.shape != (samples, samples):
        raise BadInput(
            f"{source}: labels of {samples} samples beside the similarity of "
            f"{stored.cosine.shape[0]}; cluster again"
        )
    return stored.cosine.to_numpy()


def matrix_panel(
    axes: "Axes", cosine: Float[np.ndarray, "Q Q"], label: Int[np.ndarray, " Q"], title: str
) -> "AxesImage":
    """The matrix in the order of labels, in block means."""
    order = np.argsort(label, kind="stable")
    starts = np.linspace(0, len(order), min(CELLS, len(order)), endpoint=False).astype(int)
    strips = np.add.reduceat(cosine[order], starts, axis=0)[:, order]
    sums = np.add.reduceat(strips, starts, axis=1)
    widths = np.diff(np.append(starts, len(order)))
    cells = sums / np.outer(widths, widths)
    low, high = np.percentile(cells, SHOWN)
    picture = axes.imshow(
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
    return picture
