"""Figure 3: mean loss of language models against parameters, and distributions of losses."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Amount, Drawing, Measured, Note, Row, Spread
from jquanta.figures.lm import panels
from jquanta.figures.models import PARAMETERS, short_name, size_colours
from jquanta.lm.taxonomy.distribution import distributions
from jquanta.lm.taxonomy.laws import fit_networks, fit_sizes
from jquanta.lm.taxonomy.repeats import Network, counted, networks
from jquanta.lm.taxonomy.tables import at_step
from jquanta.powerlaw import Fit, Window, mean_interval
from jquanta.sweep.curves import NATS_PER_BIT


def draw(
    losses: xr.Dataset,
    folder: Path,
    *,
    fit: Window | None = None,
    step: int | None = None,
) -> Drawing:
    """Draw Figure 3: the mean loss with a power-law fit, p(L) and L p(L) of every model, in bits.

    Of a network with several seeds the means over seeds are drawn, with intervals over seeds, and
    single seeds faintly; the exponent's interval is over seeds where all sizes that are fitted have
    the same ones.

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
        single = distributions(models, monitor=monitor)
    found = networks(models)
    mean = single.averaged([one.columns for one in found])
    shades = size_colours([one.size for one in found])
    colours = shades.to_rgba(np.array([one.size for one in found]))
    figure, axes = style.new_figure(style.PAGE, 2.5, 1, 3)
    measured = _mean_panel(axes[0, 0], found, single.mean, colours, fit)
    for one, colour in zip(found, colours, strict=True):
        if len(one.seeds) > 1:
            same = [colour] * len(one.seeds)
            each = single.of(np.array(one.columns))
            panels.distribution_lines(axes[0, 1:], each, same, **panels.FAINT)
    panels.distribution_lines(axes[0, 1:], mean, colours)
    panels.distribution_limits(axes[0, 1:], mean)
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
        *(_loss(one, single.mean) for one in found),
        panels.beyond(single, [short_name(name) for name in models.model.to_numpy().tolist()]),
    ]
    return Drawing(style.save(figure, folder, "fig3"), rows)


def _loss(one: Network, mean: np.ndarray) -> Row:
    """The mean loss of a network in bits; over its seeds, if it has several."""
    of, bits = f"{short_name(one.name)}, N = {one.size:,}", mean[list(one.columns)] / NATS_PER_BIT
    if len(bits) > 1:
        return Spread.over("mean loss", of, bits.tolist(), "bits", one.seeds)
    return Amount("mean loss", of, bits[0], "bits")


def _mean_panel(
    axes: Axes,
    found: Sequence[Network],
    mean: np.ndarray,
    colours: np.ndarray,
    window: Window | None,
) -> list[Row]:

    rows: list[Row] = []
    several = [one for one in found if len(one.seeds) > 1]
    try:
        law, over_seeds = fit_networks(found, mean, window)
    except BadInput as error:
        if window is not None:
            raise BadInput(f"--fit: {error}") from None
        rows.append(Note(f"no fit: {error}"))
    else:
        style.fit_line(axes, law, r"\alpha_N", NATS_PER_BIT)
        beyond = np.geomspace(law.window[0], max(one.size for one in found), 50)
        axes.plot(beyond, law.predict(beyond) / NATS_PER_BIT, ":", color=style.ORANGE)
        rows.append(Measured.from_fit("alpha_N", law))
        rows += _of_interval(found, mean, law, over_seeds) if several else []
        axes.legend(loc="upper right", frameon=False, handlelength=1.2, borderaxespad=0.1)
    for one, colour in zip(found, colours, strict=True):
        if len(one.seeds) > 1:
            bits = mean[list(one.columns)] / NATS_PER_BIT
            low, high = mean_interval(bits)
            axes.plot([one.size] * len(bits), bits, "_", color=colour, ms=9, mew=0.7, alpha=0.6)
            axes.plot([one.size] * 2, [low, high], "-", color=colour, lw=1.0)
    points = [mean[list(one.columns)].mean() / NATS_PER_BIT for one in found]
    axes.scatter([one.size for one in found], points, c=colours, s=14, zorder=3)
    if several:
        axes.set_title("means over seeds", fontsize=7, loc="right")
    axes.set(xscale="log", yscale="log")
    axes.margins(x=0.08, y=0.12)
    axes.set_xlabel(PARAMETERS)
    axes.set_ylabel("mean loss (bits)")
    for axis in (axes.xaxis, axes.yaxis):
        style.plain_log_ticks(axis)
    return rows


def _of_interval(
    found: Sequence[Network], mean: np.ndarray, law: Fit, over_seeds: bool
) -> list[Row]:
    """What the interval of the exponent is over, and the other one where there is another."""
    low, high = law.window
    inside = [one for one in found if low <= one.size <= high]
    if not over_seeds:
        listed = "; ".join(f"{short_name(one.name)} {counted(one.seeds)}" for one in inside)
        return [
            Note(
                "alpha_N is of the means over seeds, and its interval from the spread of these "
                f"points about the line, since not all sizes have the same seeds: {listed}"
            )
        ]
    seeds = counted(inside[0].seeds)
    means = [mean[list(one.columns)].mean() for one in inside]
    spread = fit_sizes([one.size for one in inside], means, law.window)
    return [
        Note(f"the interval of alpha_N is over {seeds}, and of its mean over all seeds"),
        Measured.from_fit("alpha_N", spread, of="the means over seeds, by their spread"),
    ]
