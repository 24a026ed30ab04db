"""Figure 5: similarity by cluster, beside the clusters' sizes by rank and their envelope."""

from pathlib import Path

import numpy as np
import xarray as xr

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Drawing, Measured, Note, Row
from jquanta.figures.qdg.panels import matrix_panel, sizes_panel
from jquanta.qdg.clusters.cluster import imported, open_clusters
from jquanta.qdg.clusters.likeness import Cosines, Vectors, likeness_of
from jquanta.qdg.clusters.ranks import envelope_slope, rank_frequency, window_table
from jquanta.qdg.cosines.features import FEATURES
from jquanta.qdg.cosines.similarity import SIMILARITY
from jquanta.qdg.results import chosen_count, open_likeness
from jquanta.run import npy

DRAWN = 12_000
"""Samples in the picture of the matrix, at most."""

LABELS = "give integers [counts, samples] (.npy)"
"""What a file of clusters must hold."""


def draw(source: Path, folder: Path) -> Drawing:
    """Draw Figure 5.

    Args:
        source: a folder with ``clusters.zarr`` and, for the matrix, ``similarity.zarr`` or
            ``features.zarr``; or a ``.npy`` file of labels made elsewhere, integers
            [counts, samples].
        folder: where ``fig5.png`` and ``fig5.pdf`` are written.

    Returns:
        The paths written; the exponent of the envelope over the paper's window and over others.

    Raises:
        BadInput: if there are no labels, too few clusters for a fit, or similarities of other
            samples than the labels.
    """
    clusters = _clusters(source)
    likeness = _likeness(source, clusters.sizes["sample"])
    curves = rank_frequency(clusters)
    slope = envelope_slope(curves)
    others = [fit for fit in window_table(curves) if fit.window != slope.window]
    fits = [("the paper's window", slope), *(("another window", fit) for fit in others)]
    name = "alpha + 1 by the envelope"
    rows: list[Row] = [Measured.from_fit(name, fit, of=label, bends=True) for label, fit in fits]
    if likeness is None:
        figure, ((panel,),) = style.new_figure(style.COLUMN * 1.2, 2.9, 1, 1)
        rows.append(Note(f"no matrix is drawn: {source} holds labels alone"))
    else:
        figure, ((left, panel),) = style.new_figure(style.PAGE, 2.65, 1, 2, width_ratios=[1, 1.1])
        count = chosen_count(clusters, None)
        label = clusters.label.sel(count=count).to_numpy()
        # Of more samples than this, every so many-th.
        at = np.arange(0, len(label), -(-len(label) // DRAWN))
        if len(at) < len(label):
            rows.append(Note(f"the matrix is of {len(at):,} of {len(label):,} samples"))
        matrix_panel(left, likeness.between(at), label[at], f"{count} clusters, the largest first")
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


def _likeness(source: Path, samples: int) -> Cosines | Vectors | None:
    """How alike the folder's samples are, if it tells."""
    if not any((source / name).is_dir() for name in (SIMILARITY, FEATURES)):
        return None
    found = likeness_of(open_likeness(source))
    if len(found) != samples:
        raise BadInput(
            f"{source}: labels of {samples} samples beside the similarity of {len(found)}; cluster "
            "again"
        )
    return found
