"""Figure 8: steps to convergence against a subtask's frequency, and the mean loss against steps."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Drawing, Measured
from jquanta.figures.sweep.panels import SCALE_LABELS, loss_panel
from jquanta.figures.sweep.select import first_of
from jquanta.sweep import emergence, scaling
from jquanta.sweep.curves import LEARNED_BELOW, NATS_PER_BIT


def draw(results: Sequence[xr.Dataset], folder: Path) -> Drawing:
    """Draw Figure 8 from the widest online runs; all seeds are fitted together.

    Args:
        results: from ``open_results``. The runs are taken from the first that holds online runs.
        folder: where ``fig8.png`` and ``fig8.pdf`` are written.

    Returns:
        The paths written; the exponents of the steps to convergence and of the mean loss.

    Raises:
        BadInput: if there are no online runs, they are of several tasks, or too few subtasks were
            learned for a fit.
    """
    runs = first_of(results, lambda source: scaling.widest(source, online=True))
    figure, axes = style.new_figure(style.PAGE, 2.7, 1, 2)
    measured = [_convergence_panel(axes[0, 0], runs), *_loss_panel(axes[0, 1], runs)]
    for panel, letter, corner in zip(axes[0], "ab", ("upper right", "lower left"), strict=True):
        style.plain_log_ticks(panel.xaxis)
        style.plain_log_ticks(panel.yaxis)
        style.panel_letter(panel, letter)
        panel.legend(loc=corner, frameon=False, handlelength=1.4, borderaxespad=0.2)
    return Drawing(style.save(figure, folder, "fig8"), measured)


def _convergence_panel(axes: Axes, runs: xr.Dataset) -> Measured:
    steps = emergence.convergence_step(runs[["subtask_loss", "frequency"]].load())
    try:
        fit = emergence.fit_convergence(steps)
    except BadInput as error:
        raise BadInput(f"steps to convergence cannot be fitted ({error})") from None
    seeds = np.unique(steps.seed).size
    label = "subtasks" if seeds == 1 else f"subtasks, {seeds} seeds"
    if fit.n_missing:
        label += f" ({fit.n_missing} not learned)"
    x, y = steps.frequency.to_numpy().ravel(), steps.to_numpy().ravel()
    axes.loglog(x, y, "o", color=style.BLUE, alpha=0.5, markeredgewidth=0, label=label)
    style.fit_line(axes, fit, r"p^{-c},\ c")
    style.theory_line(axes, fit, 1.0, "slope −1")
    interval = int(runs.log_every[0])
    axes.axhline(
        interval, linestyle=":", color=style.GREY, label=f"evaluated every {interval:,} steps"
    )
    axes.set_ylim(interval * 0.6, 4 * np.nanmax(y))  # room for the legend
    axes.set_xlabel("frequency $p$ of the subtask")
    axes.set_ylabel(f"steps to loss < {LEARNED_BELOW:g} bit")
    return Measured.from_fit("convergence", fit, theory=1.0)


def _loss_panel(axes: Axes, runs: xr.Dataset) -> list[Measured]:
    curve = scaling.step_curve(runs)
    if curve.sizes["seed"] > 1:
        for loss in curve.seed_loss.transpose("seed", "step").to_numpy():
            axes.loglog(curve.step, loss / NATS_PER_BIT, "-", color=style.SKY, linewidth=0.6)
    measured = loss_panel(axes, curve)
    for fitted in measured:
        first, last = fitted.window
        label = f"fitted: steps {first:,.0f} to {last:,.0f}"
        axes.axvspan(first, last, color=style.GREY, alpha=0.12, linewidth=0, label=label)
    axes.set_ylim(float(curve.loss.min()) / NATS_PER_BIT * 0.25, 1.3)  # room for the legend
    axes.set_xlabel(SCALE_LABELS["step"])
    axes.set_ylabel("mean test loss (bits)")
    return measured
