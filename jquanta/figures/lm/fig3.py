"""Figure 3: mean loss of language models against parameters, and distributions of losses."""

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Amount, Drawing, Measured, Note, Row
from jquanta.figures.lm import panels
from jquanta.figures.models import PARAMETERS, short_name, size_colours
from jquanta.lm.taxonomy.distribution import distributions
from jquanta.lm.taxonomy.laws import fit_sizes
from jquanta.lm.taxonomy.tables import at_step
from jquanta.powerlaw import Window
from jquanta.sweep.curves import NATS_PER_BIT


def draw(
    losses: xr.Dataset,
    folder: Path,
    *,
    fit: Window | None = None,
    step: int | None = None,
) -> Drawing:
    """Draw Figure 3: the mean loss with a power-law fit, p(L) and L p(L) of every model, in bits.

    Args:
        losses: from ``open_table``, in nats. One checkpoint of each model is drawn.
        folder: where ``fig3.png`` and ``fig3.pdf`` are written.
        fit: smallest and largest number of parameters to fit; by default all but the largest.
        step: the checkpoint; by default each model's last.

    Returns:
        The paths written; the fitted exponent, the mean losses in bits, and the share of losses
        above the last bin of the histograms.

    Raises:
        BadInput: for fewer than three sizes, a window with too few of them, or a loss that is not
            a finite number of at least 0.
    """

    models = at_step(losses, step)
    with panels.watching(models) as monitor:
        found = distributions(models, monitor=monitor)
    sizes, names = models["size"].to_numpy(), models.model.to_numpy().tolist()
    shades = size_colours(sizes.tolist())
    figure, axes = style.new_figure(style.PAGE, 2.5, 1, 3)
    measured = _mean_panel(axes[0, 0], sizes, found.mean, shades.to_rgba(sizes), fit)
    panels.distribution_lines(axes[0, 1:], found, shades.to_rgba(sizes))
    panels.distribution_limits(axes[0, 1:], found)
    axes[0, 1].set_ylabel("$p(L)$ (1/bit)")
    axes[0, 2].set_ylabel(r"$L\,p(L)$")
    for panel in axes[0, 1:]:
        panel.set_xlabel("loss $L$ (bits)")
    for panel, letter in zip(axes[0], "abc", strict=True):
        style.panel_letter(panel, letter)
    bar = figure.colorbar(shades, ax=axes[0, 1:], label=PARAMETERS, aspect=25, pad=0.01)
    style.plain_log_ticks(bar.ax.yaxis)
    rows: list[Row] = [
        *panels.mixed_steps(models),
        *measured,
        *(
            Amount("mean loss", f"{short_name(name)}, N = {size:,}", mean / NATS_PER_BIT, "bits")
            for name, size, mean in zip(names, sizes.tolist(), found.mean, strict=True)
        ),
        panels.beyond(found, [short_name(name) for name in names]),
    ]
    return Drawing(style.save(figure, folder, "fig3"), rows)


def _mean_panel(
    axes: Axes,
    sizes: np.ndarray,
    mean: np.ndarray,
    colours: np.ndarray,
    window: Window | None,
) -> list[Row]:

    rows: list[Row] = []
    try:
        law = fit_sizes(sizes, mean, window)
    except BadInput as error:
        if window is not None:
            raise BadInput(f"--fit: {error}") from None
        rows.append(Note(f"no fit: {error}"))
    else:
        style.fit_line(axes, law, r"\alpha_N", NATS_PER_BIT)
        beyond = np.geomspace(law.window[0], sizes[-1], 50)
        axes.plot(beyond, law.predict(beyond) / NATS_PER_BIT, ":", color=style.ORANGE)
        rows.append(Measured.from_fit("alpha_N", law))
        axes.legend(loc="upper right", frameon=False, handlelength=1.2, borderaxespad=0.1)
    axes.scatter(sizes, mean / NATS_PER_BIT, c=colours, s=14, zorder=3)
    axes.set(xscale="log", yscale="log")
    axes.margins(x=0.08, y=0.12)
    axes.set_xlabel(PARAMETERS)
    axes.set_ylabel("mean loss (bits)")
    for axis in (axes.xaxis, axes.yaxis):
        style.plain_log_ticks(axis)
    return rows
