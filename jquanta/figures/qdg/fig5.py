"""Figure 5: similarity by cluster, beside the clusters' sizes by rank and their envelope."""

from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Float

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Drawing, Measured, Note, Row
from jquanta.figures.qdg.panels import matrix_panel, sizes_panel
from jquanta.qdg.clusters.cluster import imported, open_clusters
from jquanta.qdg.clusters.ranks import envelope_slope, rank_frequency, window_table
from jquanta.qdg.results import chosen_count
from jquanta.run import npy
from jquanta.run.arrays import read

LABELS = "give integers [counts, samples] (.npy)"
"""What a file of clusters must hold."""


def draw(source: Path, folder: Path) -> Drawing:
    """Draw Figure 5.

    Args:
        source: a folder with ``clusters.zarr`` and, for the matrix, ``similarity.zarr``; or a
            ``.npy`` file of labels made elsewhere, integers [counts, samples].
        folder: where ``fig5.png`` and ``fig5.pdf`` are written.

    Returns:
        The paths written; the exponent of the envelope over the paper's window and over others.

    Raises:
        BadInput: if there are no labels, too few clusters for a fit, or similarities of other
            samples than the labels.
    """
    clusters = _clusters(source)
    cosine = _cosine(source, clusters.sizes["sample"])
    curves = rank_frequency(clusters)
    slope = envelope_slope(curves)
    others = [fit for fit in window_table(curves) if fit.window != slope.window]
    fits = [("the paper's window", slope), *(("another window", fit) for fit in others)]
    name = "alpha + 1 by the envelope"
    rows: list[Row] = [Measured.from_fit(name, fit, of=label, bends=True) for label, fit in fits]
    if cosine is None:
        figure, ((panel,),) = style.new_figure(style.COLUMN * 1.2, 2.9, 1, 1)
        rows.append(Note(f"no matrix is drawn: {source} holds labels alone"))
    else:
        figure, ((left, panel),) = style.new_figure(style.PAGE, 2.65, 1, 2, width_ratios=[1, 1.1])
        count = chosen_count(clusters, None)
        label = clusters.label.sel(count=count).to_numpy()
        matrix_panel(left, cosine, label, f"{count} clusters, the largest first")
        for axes, letter in ((left, "a"), (panel, "b")):
            style.panel_letter(axes, letter)
    sizes_panel(panel, curves, slope, "rank of the cluster")
    return Drawing(style.save(figure, folder, "fig5"), rows)


def _clusters(source: Path) -> xr.Dataset:
    """Labels of every sample for every number of clusters, from a folder or a ``.npy`` file."""
    if source.suffix != ".npy":
        return open_clusters(source)
    try:
        return imported(npy.read(source, LABELS))
    except FileNotFoundError:
        raise BadInput(f"--qdg {source}: no such file; {LABELS}") from None


def _cosine(source: Path, samples: int) -> Float[np.ndarray, "Q Q"] | None:
    """The similarity matrix of the folder, if it has one."""
    if not (source / "similarity.zarr").is_dir():
        return None
    stored = read(source / "similarity.zarr", "similarity", "cosine", "make it with jquanta qdg")
    if stored.cosine.shape != (samples, samples):
        raise BadInput(
            f"{source}: labels of {samples} samples beside the similarity of "
            f"{stored.cosine.shape[0]}; cluster again"
        )
    return stored.cosine.to_numpy()
