"""Figure 10: exponents of parameters, steps and data against alpha, below the fitted curves.

Sweeps that vary k as well give a column for each k.
"""

from collections.abc import Sequence
from contextlib import suppress
from operator import attrgetter
from pathlib import Path

import xarray as xr

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Drawing, Measured
from jquanta.figures.sweep import alphas
from jquanta.figures.sweep.alphas import Column, Line
from jquanta.figures.sweep.panels import SCALE_LABELS
from jquanta.figures.sweep.select import first_of, refuse_several_tasks
from jquanta.sweep.scaling import (
    FIG10_STEPS,
    NATS_PER_BIT,
    ONSET,
    NoSuchRuns,
    data_curve,
    fig10_window,
    fit_curve,
    parameter_curve,
    predicted,
    predicted_finite,
    scale_of,
    step_curve,
)

_COLUMNS = {  # name of the exponent, and a title
    "n_params": ("alpha_N", "widths {narrowest} to {width}, {steps:,} steps"),
    "step": ("alpha_S", "width {width}, online"),
    "train_size": ("alpha_D", "width {width}, best test loss"),
}


def draw(results: Sequence[xr.Dataset], folder: Path) -> Drawing:
    """Draw Figure 10 from sweeps over alpha and width, over alpha and data, or both.

    Args:
        results: from ``open_results``. Each curve is taken from the first Dataset that holds it.
        folder: where ``fig10.png`` and ``fig10.pdf`` are written.

    Returns:
        The paths written, and the fitted exponents.

    Raises:
        BadInput: if there are no such curves, or of a single alpha, or none can be fitted.
    """
    columns = find_columns(results)
    if not columns:
        raise BadInput("these results hold no width sweep and no data sweep of Zipf frequencies")
    figure, measured = alphas.draw_columns(columns)
    return Drawing(style.save(figure, folder, "fig10"), measured)


def find_columns(results: Sequence[xr.Dataset]) -> list[Column]:
    """A column for every scale and k that ``results`` hold, in the figure's order."""
    tasks = alphas.by_task(results)
    columns = []
    for curve_of in (parameter_curve, step_curve, data_curve):
        for k, of_alpha in tasks.items():
            curves = []
            for sources in of_alpha.values():
                with suppress(NoSuchRuns):
                    curves.append(first_of(sources, curve_of))
            if curves:
                columns.append(_column(curves, f"$k$ = {k}" if len(tasks) > 1 else ""))
    return columns


def _column(curves: list[xr.Dataset], kind: str) -> Column:
    refuse_several_tasks([curve.attrs | {"alpha": 0} for curve in curves])
    scale = scale_of(curves[0])
    name, note = _COLUMNS[scale]
    return Column(
        exponent=rf"$\{name}$",
        x=SCALE_LABELS[scale],
        y="mean test loss (bits)",
        note=note.format(**curves[0].attrs),
        window=_window(curves),
        lines=[_line(curve, kind) for curve in curves],
        expected=attrgetter(name),
        joined=scale == "step",
        kind=kind,
    )


def _line(curve: xr.Dataset, kind: str) -> Line:
    scale, alpha = scale_of(curve), curve.attrs["alpha"]
    x, y = curve[scale].to_numpy().astype(float), curve.loss.to_numpy() / NATS_PER_BIT
    try:
        fit = fit_curve(curve, fig10_window(curve))
    except BadInput:
        return Line(alpha, x, y)
    expected = predicted(curve), predicted_finite(curve, fit)
    of = alphas.named(kind, alpha)
    measured = Measured.from_fit(_COLUMNS[scale][0], fit, *expected, of)
    return Line(alpha, x, y, measured, lambda at: fit.predict(at) / NATS_PER_BIT)


def _window(curves: list[xr.Dataset]) -> str:
    """Words for the part of the curves that is fitted."""
    if scale_of(curves[0]) == "n_params":
        return "fit: all widths"
    if all(fig10_window(curve) for curve in curves):
        first, last = FIG10_STEPS
        return f"fit: steps {first:,} to {last:,}"
    return f"fit: loss below {ONSET} bit"
