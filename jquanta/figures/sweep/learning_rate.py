"""A sweep over learning rates: loss curves, and the final loss and accuracy."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Drawing
from jquanta.figures.sweep.select import after_start, first_of, sweep_over
from jquanta.sweep.curves import NATS_PER_BIT


def draw(results: Sequence[xr.Dataset], folder: Path) -> Drawing:
    """Draw the mean test loss (bits) against steps by learning rate, and final loss and accuracy.

    All are means over seeds. A learning rate at which any seed diverged is marked with a cross and
    has no curve.

    Args:
        results: from ``open_results``. The runs come from the first that holds a sweep over lr.
        folder: where ``learning-rate.png`` and ``learning-rate.pdf`` are written.

    Raises:
        BadInput: if there is no such sweep, the runs differ in another setting, all diverged, or
            were evaluated too seldom for a curve.
    """
    runs = first_of(results, lambda source: sweep_over(source, "lr"))
    lr = runs.lr.to_numpy()
    diverged = np.unique(lr[(runs.diverged_at >= 0).to_numpy()])
    runs = runs[["loss", "accuracy"]].isel(run=~np.isin(lr, diverged)).load()
    if not runs.sizes["run"]:
        raise BadInput("all runs diverged; lower train.lr")
    curves = after_start(runs).groupby("lr").mean("run")
    final = runs.sel(step=runs.last_step).groupby("lr").mean("run")
    figure, axes = style.new_figure(style.PAGE, 2.5, 1, 3, width_ratios=(1.3, 1, 1))
    steps, losses, accuracies = axes[0]
    colours = style.shades(lr.min(), lr.max(), log=True)
    for rate, loss in zip(curves.lr.to_numpy(), curves.loss.transpose("lr", "step"), strict=True):
        bits = loss / NATS_PER_BIT
        steps.loglog(curves.step, bits, color=colours.to_rgba(rate), linewidth=0.9)
    bar = figure.colorbar(colours, ax=steps, label="learning rate", aspect=25, pad=0.02)
    losses.loglog(final.lr, final.loss / NATS_PER_BIT, "o-", color=style.BLUE)
    accuracies.plot(final.lr, final.accuracy, "o-", color=style.BLUE)
    accuracies.set_xscale("log")
    for panel, chance in ((losses, 1.0), (accuracies, 0.5)):
        panel.axhline(chance, linestyle=":", color=style.GREY, zorder=0, label="chance")
        if diverged.size:
            top = panel.get_xaxis_transform()
            high = np.full(diverged.size, 0.96)
            mark = {"color": style.ORANGE, "markersize": 5, "transform": top, "label": "diverged"}
            panel.plot(diverged, high, "x", **mark)
        panel.set_xlabel("learning rate")
        style.power_of_two_ticks(panel.xaxis)
    style.power_of_two_ticks(bar.ax.yaxis)
    steps.set(xlabel="steps", ylabel="mean test loss (bits)")
    losses.set(ylabel="final test loss (bits)")
    accuracies.set(ylabel="final test accuracy", ylim=(0.4, 1.04))
    style.plain_log_ticks(steps.xaxis)
    for panel, letter in zip(axes[0], "abc", strict=True):
        style.panel_letter(panel, letter)
    style.shared_legend(figure, [accuracies])
    return Drawing(style.save(figure, folder, "learning-rate"), [])
