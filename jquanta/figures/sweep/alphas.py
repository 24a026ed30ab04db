"""Columns of two panels: curves, one for each alpha, and their fitted exponents against alpha."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from jquanta import theory
from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Measured
from jquanta.figures.sweep.select import apart

MOST = 4  # columns on a page


@dataclass(frozen=True)
class Line:
    """The curve of one alpha, and its fit.

    Attributes:
        alpha: as in the paper: the Zipf exponent of the frequencies is alpha + 1.
        x, y: [E] points in the units of the axes. Points with y = 0 are not drawn.
        measured: the fitted exponent; None if the curve cannot be fitted.
        law: the fitted power law: y at given x.
    """

    alpha: float
    x: np.ndarray
    y: np.ndarray
    measured: Measured | None = None
    law: Callable[[np.ndarray], np.ndarray] | None = None


@dataclass(frozen=True)
class Column:
    """A panel of curves and the panel of their exponents.

    Attributes:
        exponent: label of the exponents' axis.
        x, y: labels of the curves' axes.
        note: title of the curves' panel: which runs they are.
        window: title of the exponents' panel: which part of the curves is fitted.
        lines: the curves by ascending alpha.
        expected: picks the theoretical exponent from ``theory.exponents``.
        joined: whether the points of a curve are joined.
        kind: the kind of subtask if the figure has several; it then replaces the note.
    """

    exponent: str
    x: str
    y: str
    note: str
    window: str
    lines: list[Line]
    expected: Callable[[theory.Exponents], float]
    joined: bool = False
    kind: str = ""


def by_task(results: Sequence[xr.Dataset]) -> dict[int, dict[float, list[xr.Dataset]]]:
    """Runs grouped by k, then by alpha, both ascending.

    Runs with uniform frequencies or of codes, on which alpha has no effect, are left out.

    Returns:
        For each k and alpha, the selected runs of every Dataset in ``results`` that has any.
    """
    found: dict[int, dict[float, list[xr.Dataset]]] = {}
    for source in results:
        zipf = (source.frequencies == "zipf") & (source.codes == "")
        for (k, alpha), runs in apart(source.isel(run=zipf.to_numpy()), "k", "alpha").items():
            found.setdefault(int(k), {}).setdefault(float(alpha), []).append(runs)
    return {k: dict(sorted(of_alpha.items())) for k, of_alpha in sorted(found.items())}


def named(kind: str, alpha: float) -> str:
    """Words for the runs that an exponent is fitted to, such as ``k 3, alpha 0.4``."""
    return ", ".join(filter(None, [style.plain(kind), f"alpha {alpha:g}"]))


def draw_columns(columns: Sequence[Column]) -> tuple[Figure, list[Measured]]:
    """Draw the columns side by side; a single one as a row: curves left, exponents right.

    Returns:
        The figure, and every exponent that it shows.

    Raises:
        BadInput: if a column has curves of a single alpha or no curve that could be fitted, or
            there are more than ``MOST`` columns.
    """
    for column in columns:
        _refuse_little(column)
    if len(columns) > MOST:
        raise BadInput(f"{len(columns)} columns are too many for a page; give fewer folders")
    beside = len(columns) == 1
    figure, axes = style.new_figure(
        style.PAGE * (0.75 if len(columns) < 3 else 1),
        2.3 if beside else 4.2,
        *((1, 2) if beside else (2, len(columns))),
        sharex="row" if len({column.x for column in columns}) == 1 and not beside else False,
        sharey=False if beside else "row",
    )
    upper, lower = (axes[:, 0], axes[:, 1]) if beside else axes
    alphas = [line.alpha for column in columns for line in column.lines]
    shades = style.shades(min(alphas), max(alphas))
    for panel, column in zip(upper, columns, strict=True):
        _lines_panel(panel, column, shades)
    for panel, column in zip(lower, columns, strict=True):
        _exponents_panel(panel, column)
    if any(column.kind for column in columns):
        figure.suptitle("; ".join(dict.fromkeys(c.note for c in columns)), fontsize=7)
    upper[0].set_ylabel(columns[0].y)
    for number, (panel, column) in enumerate(zip(lower, columns, strict=True)):
        if number == 0 or column.exponent != columns[number - 1].exponent:
            panel.set_ylabel(column.exponent)
    for panel, letter in zip((*upper, *lower), "abcdefgh", strict=False):
        style.panel_letter(panel, letter)
    several = np.unique(alphas)
    ticks = several if len(several) <= 8 else None
    bar = figure.colorbar(shades, ax=list(upper), aspect=15, pad=0.02, ticks=ticks)
    bar.set_label(r"$\alpha$", rotation=0, labelpad=7)
    bar.minorticks_off()
    style.shared_legend(figure, lower)
    return figure, [line.measured for c in columns for line in c.lines if line.measured]


def _refuse_little(column: Column) -> None:
    alphas = sorted({line.alpha for line in column.lines})
    if len(alphas) < 2:
        raise BadInput(f"a single alpha ({alphas[0]:g}): exponents against alpha need two or more")
    if not any(line.measured for line in column.lines):
        raise BadInput(f"no alpha has a curve over {column.x} to fit: train longer, or more runs")


def _lines_panel(axes: Axes, column: Column, shades: ScalarMappable) -> None:
    joined: Any = {"ls": "-", "lw": 2.4, "alpha": 0.35}  # a pale band, so that the fit stands out
    points = joined if column.joined else {"ls": "", "marker": "o"}
    for line in column.lines:
        colour, shown = shades.to_rgba(np.array(line.alpha)), line.y > 0
        axes.plot(line.x[shown], line.y[shown], color=colour, ms=2, **points)
        if line.measured and line.law:
            inside = np.geomspace(*line.measured.window, 50)
            axes.plot(inside, line.law(inside), color=colour, lw=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        style.plain_log_ticks(axis)
    axes.set_xlabel(column.x)
    axes.set_title(column.kind or column.note, fontsize=7, loc="right")


def _exponents_panel(axes: Axes, column: Column) -> None:
    rows = [(line.alpha, line.measured) for line in column.lines if line.measured]
    exponent = np.array([row.exponent for _, row in rows])
    reach = np.abs(np.array([row.interval for _, row in rows]).T - exponent)
    axes.errorbar(
        [alpha for alpha, _ in rows],
        exponent,
        np.where(np.isfinite(reach), reach, 0),
        fmt="o",
        color=style.BLUE,
        elinewidth=0.8,
        zorder=3,
        label="fitted, 95% interval",
    )
    alphas = np.linspace(column.lines[0].alpha, column.lines[-1].alpha, 50)
    alphas = alphas[alphas > 0]  # the theory needs a finite sum of frequencies
    limit = [column.expected(theory.exponents(float(alpha))) for alpha in alphas]
    axes.plot(alphas, limit, "--", color=style.GREY, label="theory, infinitely many subtasks")
    finite = [(alpha, row.finite) for alpha, row in rows if row.finite is not None]
    if finite:
        label = "theory, this number of subtasks"
        axes.plot(*zip(*finite, strict=True), "d-", color=style.AMBER, lw=0.8, label=label)
    axes.set_xlabel(r"$\alpha$")
    axes.set_title(column.window, fontsize=7, loc="right")
