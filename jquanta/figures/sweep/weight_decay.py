"""A sweep over weight decay: test loss and number of subtasks learned."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.ticker import MaxNLocator

from jquanta.figures import style
from jquanta.figures.drawing import Drawing
from jquanta.figures.sweep.select import first_of, sweep_over
from jquanta.sweep import emergence, scaling
from jquanta.sweep.scaling import LEARNED_BELOW, NATS_PER_BIT, Readout

_READOUTS: dict[Readout, tuple[dict[str, Any], str]] = {
    "best": ({"color": style.BLUE, "marker": "o"}, "best (early stopping)"),
    "last": ({"color": style.ORANGE, "marker": "s", "linestyle": "--"}, "after the last step"),
}
_BEHIND: Any = {"color": style.GREEN, "markersize": 6, "markerfacecolor": "none"}


def draw(results: Sequence[xr.Dataset], folder: Path) -> Drawing:
    """Draw the best and last mean test loss (bits) and the number of subtasks learned.

    All are means over seeds. Runs that diverged are left out. Runs without decay are drawn at 0, to
    the left of the logarithmic part of the axis.

    Args:
        results: from ``open_results``. The runs come from the first that holds such a sweep.
        folder: where ``weight-decay.png`` and ``weight-decay.pdf`` are written.

    Raises:
        BadInput: if there is no such sweep, or the runs differ in another setting.
    """

    runs = first_of(results, lambda source: sweep_over(scaling.undiverged(source), "weight_decay"))
    figure, ((losses,), (counts,)) = style.new_figure(style.COLUMN, 4.0, 2, 1, sharex=True)
    ever = emergence.number_learned(runs, "ever").groupby("weight_decay").mean()
    counts.plot(ever.weight_decay, ever, "^:", label="at any evaluation", **_BEHIND)
    for at, (marks, label) in _READOUTS.items():
        loss = scaling.at_readout(runs, at).loss.groupby("weight_decay").mean()
        losses.plot(loss.weight_decay, loss / NATS_PER_BIT, label=label, **marks)
        learned = emergence.number_learned(runs, at).groupby("weight_decay").mean()
        counts.plot(learned.weight_decay, learned, label=label, **marks)
    if (runs.weight_decay == 0).any():
        least = float(runs.weight_decay.where(runs.weight_decay > 0).min())
        counts.set_xscale("symlog", linthresh=least, linscale=0.3)
    else:
        counts.set_xscale("log")
    losses.set(ylabel="mean test loss (bits)")
    counts.set(ylabel=f"subtasks < {LEARNED_BELOW:g} bit", xlabel="weight decay", ylim=(0, None))
    counts.yaxis.set_major_locator(MaxNLocator(integer=True))
    for panel, letter in ((losses, "a"), (counts, "b")):
        style.panel_letter(panel, letter)
    width, size = int(runs.width[0]), style.number(float(runs.train_size[0]))
    kind = "online" if np.isinf(runs.train_size[0]) else f"$D$ = {size}"
    losses.set_title(f"{kind}, width {width}", fontsize=7, loc="right")
    style.shared_legend(figure, [counts], columns=2)
    return Drawing(style.save(figure, folder, "weight-decay"), [])
