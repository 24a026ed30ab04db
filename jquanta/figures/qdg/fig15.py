"""Figure 15: QDG on sparse parity (D.1): similarity by true subtask, and sizes of clusters."""

from pathlib import Path

import numpy as np

from jquanta.figures import style
from jquanta.figures.drawing import Amount, Drawing, Measured, Row
from jquanta.figures.qdg.fig5 import matrix_panel


def draw(source: Path, folder: Path) -> Drawing:
    """Draw Figure 15.

    Args:
        source: a folder of ``jquanta known parity``.
        folder: where ``fig15.png`` and ``fig15.pdf`` go.

    Returns:
        The paths written; the envelope's slope, and the adjusted Rand index of each count.

    Raises:
        BadInput: if the folder holds something else.
    """
    from jquanta.qdg.clusters.cluster import open_clusters
    from jquanta.qdg.clusters.ranks import envelope_slope, rank_frequency, rank_sizes
    from jquanta.qdg.cosines.similarity import open_similarity
    from jquanta.qdg.known.parity import TRUTH
    from jquanta.run.arrays import read

    made = "make them with jquanta known parity"
    truth = read(source / TRUTH, "true subtasks", "subtask", made)
    clusters, cosine = open_clusters(source), open_similarity(source).cosine.to_numpy()
    subtask, counts = truth.subtask.to_numpy(), clusters["count"].to_numpy()
    curves = rank_frequency(clusters)
    slope = envelope_slope(curves)

    figure, ((left, right),) = style.new_figure(
        style.PAGE, 3.1, 1, 2, gridspec_kw={"width_ratios": [1, 1.1]}
    )
    picture = matrix_panel(left, cosine, subtask, "true subtasks, the most frequent first")
    figure.colorbar(picture, ax=left, label="cosine of gradients", shrink=0.8, pad=0.02)
    shades = style.shades(counts[0], max(counts[-1], counts[0] + 1), log=True)
    for count, sizes in zip(counts, curves["size"].to_numpy(), strict=True):
        there = sizes[sizes > 0]
        colour = shades.to_rgba(np.array(count))
        right.plot(np.arange(1, len(there) + 1), there, lw=0.7, color=colour)
    right.plot(curves["rank"], curves.envelope, color="black", lw=1.4, label="envelope")
    own = rank_sizes(subtask)
    right.plot(
        np.arange(1, len(own) + 1), own, "--", color=style.GREY, label="true subtasks", lw=1.2
    )
    style.fit_line(right, slope, r"\alpha + 1")
    right.set(xscale="log", yscale="log", xlabel="rank", ylabel="samples")
    for axis in (right.xaxis, right.yaxis):
        style.plain_log_ticks(axis)
    right.legend(loc="lower left", frameon=False)
    bar = figure.colorbar(shades, ax=right, label="number of clusters", pad=0.02)
    style.plain_log_ticks(bar.ax.yaxis)
    for axes, letter in ((left, "a"), (right, "b")):
        style.panel_letter(axes, letter)
    rows: list[Row] = [Measured.from_fit("alpha + 1 by the envelope", slope)]
    rows += [
        Amount(name, f"{count} clusters", float(value), "")
        for name, values in (
            ("adjusted Rand index", truth.ari.to_numpy()),
            ("adjusted Rand index, odd and even samples apart,", truth.halves.to_numpy()),
        )
        for count, value in zip(counts, values, strict=True)
    ]
    return Drawing(style.save(figure, folder, "fig15"), rows)
