"""Figure 17: the slope that QDG measures in the toy model against the exponent put in."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import numpy as np

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Amount, Drawing, Measured, Row
from jquanta.powerlaw import Fit
from jquanta.qdg.known.toy import LIKE_MODELS, open_cells, window_of


def draw(source: Path, folder: Path) -> Drawing:
    """Draw Figure 17 from the toy model's cells with d = 1000 and noise 2.

    Args:
        source: a folder of ``jquanta known toy``.
        folder: where ``fig17.png`` and ``fig17.pdf`` go.

    Returns:
        The paths written; each exponent's slope, and the mean and root mean square of their errors.
        Intervals are of seeds where there are several, else of the points of one envelope, which
        share their noise.

    Raises:
        BadInput: if there are no cells of two exponents.
    """
    from jquanta.qdg.clusters.ranks import envelope_slope

    cells = [
        cell
        for cell in open_cells(source)
        if (cell.attrs["dimension"], cell.attrs["noise"]) == LIKE_MODELS
    ]
    slopes = {
        float(a): envelope_slope(*(same := list(of_a)), window=window_of(same[0]))
        for a, of_a in groupby(cells, key=lambda cell: cell.attrs["exponent"])
    }
    if len(slopes) < 2:
        raise BadInput(f"{source}: cells of {len(slopes)} exponents; run the toy model to its end")
    true = np.array(list(slopes))
    fitted = np.array([fit.exponent for fit in slopes.values()])
    reach = np.abs(np.array([fit.interval for fit in slopes.values()]) - fitted[:, None]).T
    figure, ((panel,),) = style.new_figure(style.COLUMN, 3.0, 1, 1)
    ends = [true.min() - 0.05, true.max() + 0.05]
    panel.plot(ends, ends, "--", color=style.GREY, label="unbiased")
    shown = {"fmt": "o", "color": style.BLUE, "elinewidth": 0.8}
    panel.errorbar(true, fitted, reach, label="envelope, 95% interval", **shown)
    panel.set(xlabel="exponent of the sizes $a$", ylabel="fitted exponent of the envelope")
    panel.set_title(_windows(slopes.values()), fontsize=7, loc="right")
    style.shared_legend(figure, [panel], columns=2)  # points may lie anywhere in the panel
    error = fitted - true
    rows: list[Row] = [
        Measured.from_fit("exponent of the envelope", fit, theory=a, of=f"a {a:g}")
        for a, fit in slopes.items()
    ]
    rows.append(Amount("mean error", f"{len(true)} exponents", float(error.mean()), ""))
    root = float(np.sqrt((error**2).mean()))
    rows.append(Amount("root mean square error", f"{len(true)} exponents", root, ""))
    return Drawing(style.save(figure, folder, "fig17"), rows)


def _windows(fits: Iterable[Fit]) -> str:
    """The shortest and the longest: envelopes of few vectors end before the paper's window."""
    windows = sorted({fit.window for fit in fits}, key=lambda window: window[1] / window[0])
    told = [f"{low:g}…{high:g}" for low, high in windows]
    return f"ranks {told[0]}" if len(told) == 1 else f"ranks {told[0]} to {told[-1]}"
