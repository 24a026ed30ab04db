"""Figure 18: published exponents of parameter and data scaling, and the model's relation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from jquanta import theory
from jquanta.figures import style
from jquanta.figures.drawing import Drawing, Note

STUDIES: dict[str, list[tuple[float, float]]] = {
    "Rosenfeld et al.": [
        (0.81, 0.34),
        (1.01, 0.22),
        (0.74, 0.56),
        (0.75, 0.61),
        (0.66, 0.53),
        (0.70, 0.51),
        (0.40, 1.16),
        (1.10, 0.83),
        (0.93, 0.54),
    ],
    "Kaplan et al.": [(0.076, 0.095)],
    "Hoffmann et al.": [(0.34, 0.28)],
    "Ardalani et al.": [(4.0, 0.1)],
    "Gordon et al.": [(0.11, 0.38), (0.13, 0.35), (0.12, 0.43)],
    "Droppo & Elibol": [(0.016, 0.019)],
}
"""(alpha_N, alpha_D) by study, as tabulated by Epoch's literature review. The notebook of the paper
has those of Ardalani et al. the other way round; the table is followed here."""

SWAPPED = (
    "Ardalani et al. as in the source table, alpha_N 4 and alpha_D 0.1; the paper's figure swaps "
    "the two"
)

_MARKS = {  # a shape and a colour for each study
    "Rosenfeld et al.": ("o", style.BLUE),
    "Kaplan et al.": ("s", style.ORANGE),
    "Hoffmann et al.": ("^", style.GREEN),
    "Ardalani et al.": ("D", style.PINK),
    "Gordon et al.": ("v", style.SKY),
    "Droppo & Elibol": ("*", style.AMBER),
}


_MARKER: Any = {"markersize": 6, "markeredgecolor": "white", "markeredgewidth": 0.4}


def draw(results: Sequence[xr.Dataset], folder: Path) -> Drawing:
    """Draw Figure 18: published pairs of exponents, and the relation that the model predicts.

    Args:
        results: none are needed.
        folder: where ``fig18.png`` and ``fig18.pdf`` are written.

    Returns:
        The paths written, and what differs from the paper's figure.
    """
    figure, ((panel,),) = style.new_figure(style.COLUMN, 3.1, 1, 1)
    alpha_N = np.geomspace(0.01, 6, 100)
    related = [theory.exponents(alpha).alpha_D for alpha in alpha_N]
    label = r"$\alpha_D = \alpha_N / (\alpha_N + 1)$"
    panel.plot(alpha_N, related, "-", color="black", label=label)
    panel.plot(alpha_N, alpha_N, "--", color=style.GREY, label=r"$\alpha_D = \alpha_N$")
    for study, pairs in STUDIES.items():
        mark, colour = _MARKS[study]
        panel.plot(*np.transpose(pairs), mark, color=colour, label=study, **_MARKER)
    panel.set(xscale="log", yscale="log", xlim=(0.01, 6), ylim=(0.01, 6))
    panel.set(xlabel=r"parameter exponent $\alpha_N$", ylabel=r"data exponent $\alpha_D$")
    for axis in (panel.xaxis, panel.yaxis):
        style.plain_log_ticks(axis)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, columnspacing=1)
    return Drawing(style.save(figure, folder, "fig18"), [Note(SWAPPED)])
