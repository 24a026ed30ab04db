"""Figure 15: QDG on sparse parity (appendix D.1), where the true subtasks are known."""

from pathlib import Path

from jquanta.figures import style
from jquanta.figures.drawing import Amount, Drawing, Measured, Row
from jquanta.figures.qdg.panels import matrix_panel, sizes_panel
from jquanta.qdg.clusters.cluster import open_clusters
from jquanta.qdg.clusters.ranks import envelope_slope, rank_frequency, rank_sizes
from jquanta.qdg.cosines.similarity import open_similarity
from jquanta.qdg.known.parity import TRUTH
from jquanta.run.arrays import read


def draw(source: Path, folder: Path) -> Drawing:
    """Draw Figure 15: similarity by true subtask, and clusters' sizes beside the true ones.

    Args:
        source: a folder of ``jquanta known parity``.
        folder: where ``fig15.png`` and ``fig15.pdf`` are written.

    Returns:
        The paths written; the exponent of the envelope, and for each number of clusters the
        adjusted Rand index with the true subtasks.

    Raises:
        BadInput: if the folder holds something else.
    """
    made = "make them with jquanta known parity"
    truth = read(source / TRUTH, "true subtasks", "subtask", made)
    clusters, cosine = open_clusters(source), open_similarity(source).cosine.to_numpy()
    subtask, counts = truth.subtask.to_numpy(), clusters["count"].to_numpy()
    curves = rank_frequency(clusters)
    slope = envelope_slope(curves)

    figure, ((left, right),) = style.new_figure(style.PAGE, 2.65, 1, 2, width_ratios=[1, 1.1])
    matrix_panel(left, cosine, subtask, "true subtasks, the most frequent first")
    sizes_panel(right, curves, slope, "rank", rank_sizes(subtask).tolist())
    for axes, letter in ((left, "a"), (right, "b")):
        style.panel_letter(axes, letter)
    rows: list[Row] = [Measured.from_fit("alpha + 1 by the envelope", slope, bends=True)]
    rows += [
        Amount(name, f"{count} clusters", float(value), "")
        for name, values in (
            ("adjusted Rand index", truth.ari.to_numpy()),
            ("adjusted Rand index, odd and even samples apart,", truth.halves.to_numpy()),
        )
        for count, value in zip(counts, values, strict=True)
    ]
    return Drawing(style.save(figure, folder, "fig15"), rows)
