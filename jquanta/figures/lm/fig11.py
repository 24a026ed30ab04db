"""Figure 11: mean loss of language models against training steps, and distributions of losses."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from jquanta import powerlaw
from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Amount, Drawing, Measured, Note, Row
from jquanta.figures.lm import panels
from jquanta.figures.models import short_name, size_colours, size_name
from jquanta.lm.taxonomy.distribution import Distributions, distributions
from jquanta.lm.taxonomy.laws import is_halved, label_tokens, step_curves, step_window, steps_of
from jquanta.lm.taxonomy.tables import notes
from jquanta.powerlaw import Window
from jquanta.sweep.curves import NATS_PER_BIT

COLOURS = (style.BLUE, style.SKY, style.GREEN, style.AMBER, style.PINK, style.GREY)
FITTED: Any = {"ls": "--", "lw": 1.0, "color": "black", "zorder": 4}  # on top of the curves
SHARED: Any = {"ls": "none", "marker": "x", "ms": 6, "mew": 1.5, "color": "black", "zorder": 5}
MOST = 4
"""At most so many models have their distributions drawn; their sizes span the whole range."""


def draw(
    losses: xr.Dataset,
    folder: Path,
    *,
    fit: Window | None = None,
    step_tokens: int | None = None,
) -> Drawing:
    """Draw Figure 11: the mean loss against steps with power-law fits, and the distributions.

    Below the mean loss, p(L) and L p(L) are drawn with one line for each checkpoint.

    Args:
        losses: from ``open_table``, in nats: revisions ``stepN`` of one or more models.
        folder: where ``fig11.png`` and ``fig11.pdf`` are written.
        fit: first and last step to fit. By default steps 11,000 to 100,000 for Pythia, as in the
            paper, and the last part of the curve for other models (``laws.step_window``).
        step_tokens: tokens in a training step, for a second axis; known by default for Pythia.

    Returns:
        The paths written; the fitted exponents, each model's last mean loss in bits, and the share
        of losses above the last bin of the histograms.

    Raises:
        BadInput: if no model has two checkpoints after step 0, or a loss is not a finite number
            of at least 0.
    """

    if step_tokens is not None and step_tokens < 1:
        raise BadInput(f"--step_tokens {step_tokens}: give a positive number")
    places = step_curves(losses)
    used = losses.isel(model=np.concatenate(list(places.values())))
    with panels.watching(used) as monitor:
        found = distributions(used, monitor=monitor)
    ends = np.cumsum([len(of) for of in places.values()])
    columns = dict(zip(places, np.split(np.arange(ends[-1]), ends[:-1]), strict=True))
    steps = {name: steps_of(used, of.tolist()) for name, of in columns.items()}
    sizes = {name: int(used["size"][of[0]]) for name, of in columns.items()}
    drawn = _spread(list(places), sizes)
    figure, above, below = _figure(len(drawn))
    upper = above.subplots()
    curves = {name: (steps[name], found.mean[of]) for name, of in columns.items()}
    rows = _mean_panel(upper, curves, sizes, fit)
    _mark(upper, {name: used.isel(model=of) for name, of in columns.items()}, curves)
    _tokens_axis(upper, step_tokens or label_tokens(places))
    lower = _distributions(below, found, {n: columns[n] for n in drawn}, steps, sizes)
    for panel, letter in zip((upper, *lower), "abcdefghi", strict=False):
        style.panel_letter(panel, letter)
    for name, (at, mean) in curves.items():
        of = f"{short_name(name)}, step {at[-1]:,}"
        rows.append(Amount("mean loss", of, mean[-1] / NATS_PER_BIT, "bits"))
    rows += [Note(note) for note in notes(used)]
    rows.append(panels.beyond(found, [short_name(label) for label in used.model.to_numpy()]))
    return Drawing(style.save(figure, folder, "fig11"), rows)


def _figure(columns: int) -> Any:
    """The figure and its upper and lower subfigure, whose margins are independent."""
    figure, ((panel,),) = style.new_figure(style.PAGE if columns > 2 else 5.0, 5.2, 1, 1)
    panel.remove()
    return figure, *figure.subfigures(2, 1, height_ratios=(1, 1.45))


def _spread(names: Sequence[str], sizes: dict[str, int]) -> list[str]:
    """At most ``MOST`` models of different sizes, among them the smallest and the largest."""
    first = list({sizes[name]: name for name in reversed(names)}.values())[::-1]
    few = np.unique(np.linspace(0, len(first) - 1, min(MOST, len(first))).round().astype(int))
    return [first[place] for place in few]


def _mean_panel(
    axes: Axes,
    curves: dict[str, tuple[np.ndarray, np.ndarray]],
    sizes: dict[str, int],
    window: Window | None,
) -> list[Row]:

    colours = _colours(sorted(set(sizes.values())))
    rows: list[Row] = []
    fitted: dict[int, list[float]] = {size: [] for size in colours}
    axes.set(xscale="log", yscale="log")
    for name, (steps, mean) in curves.items():
        look: Any = {"ms": 3, "lw": 0.8, "color": colours[sizes[name]], "zorder": 3}
        axes.plot(steps, mean / NATS_PER_BIT, "o-", **look)
        try:
            law = powerlaw.fit(steps, mean, window or step_window(name, steps))
        except BadInput as error:
            rows.append(Note(f"{short_name(name)}: no fit: {error}"))
            continue
        rows.append(Measured.from_fit("alpha_S", law, of=short_name(name)))
        fitted[sizes[name]].append(law.exponent)
        inside = np.geomspace(*law.window, 50)
        axes.plot(inside, law.predict(inside) / NATS_PER_BIT, **FITTED)
    for size, exponents in fitted.items():
        axes.plot([], [], "o-", ms=3, lw=0.8, color=colours[size], label=_label(size, exponents))
    axes.plot([], [], **FITTED, label="fitted")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axes.set_xlabel("steps")
    axes.set_ylabel("mean loss (bits)")
    for axis in (axes.xaxis, axes.yaxis):
        style.plain_log_ticks(axis)
    if halved := [short_name(name) for name in curves if is_halved(name)]:
        rows.append(
            Note(f"{', '.join(halved)}: a step of the names is half an update of twice the tokens")
        )
    return rows


def _mark(
    axes: Axes, models: dict[str, xr.Dataset], curves: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    """Cross out the checkpoints that have arrays of another step: see ``open_losses``."""
    marked = [
        (steps[place], mean[place] / NATS_PER_BIT)
        for name, (steps, mean) in curves.items()
        if "shared" in models[name].coords
        for place in np.flatnonzero(models[name].shared.to_numpy() != "")
    ]
    if marked:
        axes.plot(*zip(*marked, strict=True), **SHARED, label="arrays of another step")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def _label(size: int, exponents: list[float]) -> str:
    """The legend of a size: the mean of its models' exponents."""
    label = f"$N$ = {size_name(size)}"
    if not exponents:
        return label
    several = f" (mean of {len(exponents)})" if len(exponents) > 1 else ""
    return rf"{label}: $\alpha_S$ = {np.mean(exponents):.3f}{several}"


def _colours(sizes: list[int]) -> dict[int, Any]:
    """A colour for each size, distinct from those of steps unless there are too many sizes."""
    if len(sizes) <= len(COLOURS):
        return dict(zip(sizes, COLOURS, strict=False))
    shades = size_colours(sizes)
    return {size: shades.to_rgba(np.array(size)) for size in sizes}


def _tokens_axis(axes: Axes, tokens: int | None) -> None:
    """Add an axis of tokens at the top if the number of tokens in a step is known."""
    if tokens is None:
        return
    second = axes.twiny()
    low, high = axes.get_xlim()
    second.set(xscale="log", xlim=(low * tokens, high * tokens), xlabel="tokens")
    style.plain_log_ticks(second.xaxis)
    second.spines["top"].set_visible(True)


def _distributions(
    figure: Any,
    found: Distributions,
    columns: dict[str, np.ndarray],
    steps: dict[str, np.ndarray],
    sizes: dict[str, int],
) -> list[Axes]:
    """Draw p(L) above L p(L): a column for each model, a line for each checkpoint.

    Returns the panels, row by row.
    """
    every = np.concatenate([steps[name] for name in columns])
    shades = style.shades(int(every.min()), int(every.max()), log=True)
    grid = figure.subplots(2, len(columns), sharex=True, sharey="row", squeeze=False)
    for place, (name, of) in enumerate(columns.items()):
        panels.distribution_lines(grid[:, place], found.of(of), shades.to_rgba(steps[name]))
        grid[0, place].set_title(f"$N$ = {size_name(sizes[name])}", fontsize=7, loc="right")
        grid[1, place].set_xlabel("loss $L$ (bits)")
    # All columns share their axes, whose limits must fit the distributions of all models.
    late = np.cumsum([len(of) for of in columns.values()]) - 1  # the last checkpoint of each model
    panels.distribution_limits(grid[:, 0], found.of(np.concatenate(list(columns.values()))), late)
    grid[0, 0].set_ylabel("$p(L)$ (1/bit)")
    grid[1, 0].set_ylabel(r"$L\,p(L)$")
    bar = figure.colorbar(shades, ax=grid, label="step", aspect=30, pad=0.01)
    style.plain_log_ticks(bar.ax.yaxis)
    return list(grid.ravel())
