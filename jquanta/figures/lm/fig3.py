"""Figure 3: mean loss of language models against parameters, and how losses are distributed."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Amount, Drawing, Measured, Note, Row
from jquanta.figures.lm import losses as parts
from jquanta.sweep.scaling import NATS_PER_BIT

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from jquanta.powerlaw import Window


def draw(
    losses: "xr.Dataset",
    folder: Path,
    *,
    fit: "Window | None" = None,
    step: int | None = None,
) -> Drawing:
    """Draw Figure 3: the mean loss with its fit, p(L) and L p(L) of every model, in bits.

    Args:
        losses: of ``open_table``, nats. Of each model one checkpoint is drawn.
        folder: where ``fig3.png`` and ``fig3.pdf`` go.
        fit: smallest and largest number of parameters to fit; by default all but the largest.
        step: the checkpoint; by default each model's last.

    Returns:
        The paths written; the fitted exponent, the means, and what lies beyond the histograms.

    Raises:
        BadInput: for fewer than three sizes, a window with too few, or losses that are none.
    """
    from jquanta.lm.taxonomy.distribution import distributions
    from jquanta.lm.taxonomy.tables import at_step

    models = at_step(losses, step)
    with parts.watching(models) as monitor:
        found = distributions(models, monitor=monitor)
    sizes, names = models["size"].to_numpy(), models.model.to_numpy().tolist()
    shades = parts.size_colours(sizes.tolist())
    figure, axes = style.new_figure(style.PAGE, 2.5, 1, 3)
    measured = _mean_panel(axes[0, 0], sizes, found.mean, shades.to_rgba(sizes), fit)
    parts.distribution_lines(axes[0, 1:], found, shades.to_rgba(sizes))
    parts.distribution_limits(axes[0, 1:], found)
    axes[0, 1].set_ylabel("$p(L)$ (1/bit)")
    axes[0, 2].set_ylabel(r"$L\,p(L)$")
    for panel in axes[0, 1:]:
        panel.set_xlabel("loss $L$ (bits)")
    for panel, letter in zip(axes[0], "abc", strict=True):
        style.panel_letter(panel, letter)
    bar = figure.colorbar(shades, ax=axes[0, 1:], label="$N$", aspect=25, pad=0.01)
    style.plain_log_ticks(bar.ax.yaxis)
    rows: list[Row] = [
        *parts.mixed_steps(models),
        *measured,
        *(
            Amount("mean loss", f"{parts.short(name)}, N = {size:,}", mean / NATS_PER_BIT, "bits")
            for name, size, mean in zip(names, sizes.tolist(), found.mean, strict=True)
        ),
        parts.beyond(found, [parts.short(name) for name in names]),
    ]
    return Drawing(style.save(figure, folder, "fig3"), rows)


def _mean_panel(
    axes: "Axes",
    sizes: np.ndarray,
    mean: np.ndarray,
    colours: np.ndarray,
    window: "Window | None",
) -> list[Row]:
    from jquanta.lm.taxonomy.laws import fit_sizes

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
    axes.set_xlabel(parts.PARAMETERS)
    axes.set_ylabel("mean loss (bits)")
    for axis in (axes.xaxis, axes.yaxis):
        style.plain_log_ticks(axis)
    return rows
