"""Figure 2: loss against parameters, steps and data, over heat maps of every subtask's loss."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jquanta import powerlaw
from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Drawing, Measured
from jquanta.scaling import (
    NATS_PER_BIT,
    NoSuchRuns,
    data_curve,
    fit_curve,
    parameter_curve,
    predicted,
    predicted_finite,
    scale_of,
    step_curve,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

SHOWN = 41  # subtasks on the vertical axis, as in the paper

_PANELS = {  # axis, exponent, note
    "n_params": (
        "parameters $N$",
        "alpha_N",
        "widths {narrowest} to {width}, after {steps:,} steps",
    ),
    "step": ("steps $S$", "alpha_S", "width {width}, online"),
    "train_size": ("training samples $D$", "alpha_D", "width {width}, at the best test loss"),
}


def draw(results: "Sequence[xr.Dataset]", folder: Path) -> Drawing:
    """Draw Figure 2 from the sweeps that hold its curves: online widths, finite data, or both.

    Args:
        results: from ``open_results``. Each curve comes from the first that holds it.
        folder: where ``fig2.png`` and ``fig2.pdf`` go.

    Returns:
        The paths written, and the fitted exponents.

    Raises:
        BadInput: if none of the curves can be drawn, or runs of several tasks are mixed.
    """
    curves = find_curves(results)
    if not curves:
        raise BadInput("these results hold no width sweep and no data sweep")
    tasks = {
        str([curve.attrs[name] for name in ("alpha", "offset", "n_tasks")]) for curve in curves
    }
    if len(tasks) > 1:
        raise BadInput("the folders hold different tasks; draw each by itself")
    figure, axes = style.new_figure(
        style.PAGE * len(curves) / 3 + (0.4 if len(curves) < 3 else 0),
        3.9,
        2,
        len(curves),
        height_ratios=(1.1, 1),
        sharex="col",
        sharey="row",
    )
    image, measured = None, []
    for column, curve in enumerate(curves):
        measured += _loss_panel(axes[0, column], curve)
        image = _map_panel(axes[1, column], curve)
        style.panel_letter(axes[0, column], "abc"[column])
        style.panel_letter(axes[1, column], "abcdef"[len(curves) + column])
    losses = np.concatenate([curve.loss.to_numpy() for curve in curves]) / NATS_PER_BIT
    axes[0, 0].set_ylim(losses.min() * 0.3, 1.3)  # room for the legends
    style.plain_log_ticks(axes[0, 0].yaxis)
    axes[0, 0].set_ylabel("mean test loss (bits)")
    axes[1, 0].set_ylabel("subtask, by frequency")
    figure.colorbar(image, ax=axes[1, :], label="loss (bits)", aspect=12, pad=0.01)
    return Drawing(style.save(figure, folder, "fig2"), measured)


def find_curves(results: "Sequence[xr.Dataset]") -> "list[xr.Dataset]":
    """The curves that ``results`` hold, in the figure's order."""
    curves = []
    for curve_of in (parameter_curve, step_curve, data_curve):
        for source in results:
            try:
                curves.append(curve_of(source))
            except NoSuchRuns:
                continue
            break
    return curves


def _loss_panel(axes: "Axes", curve: "xr.Dataset") -> list[Measured]:
    """Draw a curve with its fit and theory; the fit, if there is one."""
    scale = scale_of(curve)
    _, name, note = _PANELS[scale]
    x, bits = curve[scale].to_numpy(), curve.loss.to_numpy() / NATS_PER_BIT
    points = "-" if scale == "step" else "o"
    axes.loglog(x, bits, points, color=style.BLUE, label="trained")
    theory, measured = predicted(curve), []
    try:
        fit: powerlaw.Fit | None = fit_curve(curve)
    except BadInput:
        fit = None
    if fit:
        low, high = fit.window
        inside = np.geomspace(low, high, 50)
        finite = predicted_finite(curve, fit)
        measured.append(Measured.from_fit(name, fit, theory, finite))
        shown = rf"$\{name}$ = {fit.exponent:.2f} [{fit.interval[0]:.2f}, {fit.interval[1]:.2f}]"
        line = fit.predict(inside) / NATS_PER_BIT
        axes.loglog(inside, line, "-", color=style.ORANGE, label=shown)
        if theory is not None:
            middle = np.sqrt(low * high)
            anchor = float(fit.predict(middle)) / NATS_PER_BIT * 0.7  # below, so that both are seen
            line = anchor * (inside / middle) ** -theory
            bent = "" if finite is None else f" ({finite:.2f} for {curve.attrs['n_tasks']} tasks)"
            axes.loglog(inside, line, "--", color=style.GREY, label=f"theory: {theory:.2f}{bent}")
    axes.legend(loc="lower left", frameon=False, handlelength=1.2, borderaxespad=0.1)
    axes.set_title(note.format(**curve.attrs), fontsize=7, loc="right")
    return measured


def _map_panel(axes: "Axes", curve: "xr.Dataset") -> object:
    scale = scale_of(curve)
    subtasks = curve.subtask.to_numpy()[:SHOWN]
    bits = curve.subtask_loss.to_numpy()[:, : len(subtasks)].T / NATS_PER_BIT
    edges = np.append(subtasks - 0.5, subtasks[-1] + 0.5)
    image = axes.pcolormesh(
        style.log_edges(curve[scale].to_numpy().astype(float)),
        edges,
        bits,
        cmap=style.LOSS_COLOURS,
        vmin=0,
        vmax=1,
        rasterized=True,
        edgecolors="none",
    )
    axes.set_xscale("log")
    axes.set_ylim(edges[-1], edges[0])
    axes.set_yticks([1, *range(10, len(subtasks) + 1, 10)])
    axes.set_xlabel(_PANELS[scale][0])
    style.plain_log_ticks(axes.xaxis)
    return image
