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
from jquanta.figures.drawing import Amount, Drawing, Measured, Note, Row, Spread
from jquanta.figures.lm import panels
from jquanta.figures.models import short_name, size_colours, size_name
from jquanta.lm.models.pythia import is_halved
from jquanta.lm.taxonomy.distribution import Distributions, distributions
from jquanta.lm.taxonomy.laws import label_tokens, step_curves, step_window
from jquanta.lm.taxonomy.repeats import Curve, counted, curves
from jquanta.lm.taxonomy.tables import notes
from jquanta.powerlaw import Fit, Window
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

    Below the mean loss, p(L) and L p(L) are drawn with one line for each checkpoint. Of a network
    with several seeds the means over seeds are drawn, above with bands of intervals over seeds and
    single seeds faintly, and its exponent has an interval over seeds.

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
    found = curves(losses, places)
    used = losses.isel(model=[column for one in found for seed in one.columns for column in seed])
    with panels.watching(used) as monitor:
        single = distributions(used, monitor=monitor)
    # For each network the places of its columns in ``used``, [seeds, steps].
    ends = np.cumsum([len(one.seeds) * len(one.steps) for one in found])
    columns = [
        of.reshape(len(one.seeds), -1)
        for one, of in zip(found, np.split(np.arange(ends[-1]), ends[:-1]), strict=True)
    ]
    drawn = _spread([one.size for one in found])
    figure, above, below = _figure(len(drawn))
    upper = above.subplots()
    means = [single.mean[of] for of in columns]
    is_of = [str(used.name.to_numpy()[of[0, 0]]) for of in columns]  # by which Pythia is known
    rows = _mean_panel(upper, found, means, is_of, fit)
    _mark(upper, used, found, columns, single.mean)
    _tokens_axis(upper, step_tokens or label_tokens(is_of))
    lower = _distributions(below, single, [(found[i], columns[i]) for i in drawn])
    for panel, letter in zip((upper, *lower), "abcdefghi", strict=False):
        style.panel_letter(panel, letter)
    for one, mean in zip(found, means, strict=True):
        rows.append(_last(one, mean[:, -1] / NATS_PER_BIT))
    rows += [Note(note) for note in notes(used)]
    rows.append(panels.beyond(single, [short_name(label) for label in used.model.to_numpy()]))
    return Drawing(style.save(figure, folder, "fig11"), rows)


def _last(one: Curve, bits: np.ndarray) -> Row:
    """The mean loss at a network's last step; over its seeds, if it has several."""
    of = f"{short_name(one.name)}, step {one.steps[-1]:,}"
    if len(bits) > 1:
        return Spread.over("mean loss", of, bits.tolist(), "bits", one.seeds)
    return Amount("mean loss", of, bits[0], "bits")


def _figure(columns: int) -> Any:
    """The figure and its upper and lower subfigure, whose margins are independent."""
    figure, ((panel,),) = style.new_figure(style.PAGE if columns > 2 else 5.0, 5.2, 1, 1)
    panel.remove()
    return figure, *figure.subfigures(2, 1, height_ratios=(1, 1.45))


def _spread(sizes: Sequence[int]) -> list[int]:
    """The first of at most ``MOST`` different sizes, among them the smallest and the largest."""
    first = list({sizes[place]: place for place in reversed(range(len(sizes)))}.values())[::-1]
    few = np.unique(np.linspace(0, len(first) - 1, min(MOST, len(first))).round().astype(int))
    return [first[place] for place in few]


def _mean_panel(
    axes: Axes,
    found: Sequence[Curve],
    means: Sequence[np.ndarray],
    names: Sequence[str],
    window: Window | None,
) -> list[Row]:

    colours = _colours(sorted({one.size for one in found}))
    rows: list[Row] = []
    fitted: dict[int, list[Fit]] = {size: [] for size in colours}
    axes.set(xscale="log", yscale="log")
    for one, mean, name in zip(found, means, names, strict=True):
        _curve(axes, one, mean / NATS_PER_BIT, colours[one.size])
        steps, several = np.array(one.steps), len(one.seeds) > 1
        if one.left_out:
            rows.append(
                Note(
                    f"{short_name(one.name)}: {one.left_out} losses left out, of steps that not "
                    f"all of {counted(one.seeds)} have"
                )
            )
        groups = np.arange(len(mean))[:, None] if several else None
        try:
            law = powerlaw.fit(steps, mean, window or step_window(name, steps), groups=groups)
        except BadInput as error:
            rows.append(Note(f"{short_name(one.name)}: no fit: {error}"))
            continue
        rows.append(Measured.from_fit("alpha_S", law, of=short_name(one.name)))
        fitted[one.size].append(law)
        inside = np.geomspace(*law.window, 50)
        axes.plot(inside, law.predict(inside) / NATS_PER_BIT, **FITTED)
    several = any(len(one.seeds) > 1 for one in found)
    for size, laws in fitted.items():
        label = _label(size, laws, several)
        axes.plot([], [], "o-", ms=3, lw=0.8, color=colours[size], label=label)
    axes.plot([], [], **FITTED, label="fitted")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    if several:
        axes.set_title("means over seeds, and their 95% intervals", fontsize=7, loc="right")
    axes.set_xlabel("steps")
    axes.set_ylabel("mean loss (bits)")
    for axis in (axes.xaxis, axes.yaxis):
        style.plain_log_ticks(axis)
    for seeds in dict.fromkeys(one.seeds for one in found if len(one.seeds) > 1):
        of = ", ".join(short_name(one.name) for one in found if one.seeds == seeds)
        rows.append(Note(f"{of}: intervals are over {counted(seeds)}"))
    if halved := [short_name(name) for name in names if is_halved(name)]:
        rows.append(
            Note(f"{', '.join(halved)}: a step of the names is half an update of twice the tokens")
        )
    return rows


def _curve(axes: Axes, one: Curve, bits: np.ndarray, colour: Any) -> None:
    """Draw mean losses [seeds, steps]: their mean over seeds, its interval and the seeds."""
    axes.plot(one.steps, bits.mean(0), "o-", ms=3, lw=0.8, color=colour, zorder=3)
    if len(bits) > 1:
        low, high = powerlaw.mean_interval(bits)
        axes.fill_between(one.steps, low, high, color=colour, alpha=0.2, lw=0)
        axes.plot(one.steps, bits.T, "-", color=colour, zorder=2, **panels.FAINT)


def _mark(
    axes: Axes,
    used: xr.Dataset,
    found: Sequence[Curve],
    columns: Sequence[np.ndarray],
    mean: np.ndarray,
) -> None:
    """Cross out the checkpoints that have arrays of another step: see ``open_losses``."""
    if "shared" not in used.coords:
        return
    shared = used.shared.to_numpy()
    marked = [
        (step, mean[column] / NATS_PER_BIT)
        for one, of in zip(found, columns, strict=True)
        for seed in of
        for step, column in zip(one.steps, seed, strict=True)
        if shared[column] != ""
    ]
    if marked:
        axes.plot(*zip(*marked, strict=True), **SHARED, label="arrays of another step")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def _label(size: int, laws: Sequence[Fit], several: bool) -> str:
    """The legend of a size: the exponent of its network, or the mean of those of its networks."""
    label = f"$N$ = {size_name(size)}"
    if not laws:
        return label
    exponent = np.mean([law.exponent for law in laws])
    label = rf"{label}: $\alpha_S$ = {exponent:.3f}"
    if len(laws) > 1:
        return f"{label} (mean of {len(laws)})"
    low, high = laws[0].interval
    return f"{label} [{low:.3f}, {high:.3f}]" if several else label


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
    figure: Any, found: Distributions, drawn: Sequence[tuple[Curve, np.ndarray]]
) -> list[Axes]:
    """Draw p(L) above L p(L): a column for each network, a line for each checkpoint, the mean over
    seeds.

    Args:
        figure: where.
        found: distributions of all columns.
        drawn: networks, and the places of their columns in ``found`` [seeds, steps].

    Returns the panels, row by row.
    """
    every = [step for one, _ in drawn for step in one.steps]
    shades = style.shades(min(every), max(every), log=True)
    grid = figure.subplots(2, len(drawn), sharex=True, sharey="row", squeeze=False)
    for place, (one, of) in enumerate(drawn):
        colours = shades.to_rgba(np.array(one.steps))
        panels.distribution_lines(grid[:, place], found.averaged(of.T.tolist()), colours)
        grid[0, place].set_title(f"$N$ = {size_name(one.size)}", fontsize=7, loc="right")
        grid[1, place].set_xlabel("loss $L$ (bits)")
    # All columns share their axes, whose limits must fit the distributions of all networks.
    late = np.cumsum([len(one.steps) for one, _ in drawn]) - 1  # the last checkpoint of each
    shown = found.averaged([seeds for _, of in drawn for seeds in of.T.tolist()])
    panels.distribution_limits(grid[:, 0], shown, late)
    grid[0, 0].set_ylabel("$p(L)$ (1/bit)")
    grid[1, 0].set_ylabel(r"$L\,p(L)$")
    bar = figure.colorbar(shades, ax=grid, label="step", aspect=30, pad=0.01)
    style.plain_log_ticks(bar.ax.yaxis)
    return list(grid.ravel())
