"""One subtask: how much data it takes to learn the parity of k among n task bits."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Drawing
from jquanta.figures.sweep.select import first_of, sweep_over
from jquanta.sweep import emergence, scaling
from jquanta.sweep.curves import LEARNED_BELOW, NATS_PER_BIT


def draw(results: Sequence[xr.Dataset], folder: Path) -> Drawing:
    """Draw the best test loss (bits) against training samples D for every n, and the D needed.

    Losses are means over seeds. The D needed is the smallest one of the sweep with a loss below 0.1
    bit. A bar reaches down to the next smaller D, which did not suffice.

    Args:
        results: from ``open_results``. The runs come from the first that holds a sweep over n.
        folder: where ``data-bits.png`` and ``data-bits.pdf`` are written.

    Raises:
        BadInput: if there is no such sweep, the runs differ in another setting, or have several
            subtasks.
    """
    runs = first_of(results, _one_task)
    curves = {int(n): scaling.data_curve(of_n) for n, of_n in runs.groupby("n_bits")}
    figure, ((losses, needed),) = style.new_figure(style.PAGE, 2.6, 1, 2, width_ratios=(1.3, 1))
    colours = style.shades(min(curves), max(curves), log=True)
    for n, curve in curves.items():
        bits = curve.loss / NATS_PER_BIT
        losses.plot(curve.train_size, bits, "o-", color=colours.to_rgba(np.array(n)), label=f"{n}")
    losses.axhline(LEARNED_BELOW, linestyle=":", color=style.GREY)
    losses.set(xlabel="training samples $D$", ylabel="best test loss (bits)", ylim=(0, None))
    losses.legend(title="task bits $n$", frameon=False, title_fontsize=7)
    _needed_panel(needed, curves)
    width, k = int(runs.width[0]), int(runs.k[0])
    needed.set_title(f"$k$ = {k}, width {width}", fontsize=7, loc="right")
    for panel, letter in ((losses, "a"), (needed, "b")):
        style.panel_letter(panel, letter)
    return Drawing(style.save(figure, folder, "data-bits"), [])


def _one_task(results: xr.Dataset) -> xr.Dataset:
    runs = sweep_over(results, "n_bits", "train_size", "n_params")
    if (runs.n_tasks > 1).any():
        raise BadInput("these runs have several subtasks; train with task.n_tasks = 1")
    return runs


def _needed_panel(axes: Axes, curves: dict[int, xr.Dataset]) -> None:
    """Draw the smallest D at which the subtask is learned against n."""
    n = np.array(list(curves))
    first = np.array([float(emergence.transition(curve)[0]) for curve in curves.values()])
    never = np.isnan(first)
    tried = [curve.train_size.to_numpy() for curve in curves.values()]
    smaller = [sizes[sizes < size].max(initial=0) for sizes, size in zip(tried, first, strict=True)]
    bars = np.stack([first - smaller, np.zeros(len(n))])
    label = f"first $D$ with loss < {LEARNED_BELOW:g} bit"
    axes.errorbar(n, first, bars, fmt="o-", color=style.BLUE, label=label)
    if never.any():
        most = np.array([sizes.max() for sizes in tried])[never]
        axes.plot(n[never], most, "^", color=style.ORANGE, markersize=5, label="above this $D$")
    axes.set(xscale="log", yscale="log", xlabel="task bits $n$", ylabel="training samples needed")
    style.plain_log_ticks(axes.xaxis)
    style.plain_log_ticks(axes.yaxis)
    axes.legend(frameon=False, loc="upper left")
