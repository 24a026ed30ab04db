"""Compositional sparse parity: the loss of every code, and of a composite one trained alone."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Drawing
from jquanta.figures.sweep.select import after_start, first_of, sweep_over
from jquanta.parity.codes import Code, parse_codes
from jquanta.sweep import scaling
from jquanta.sweep.curves import NATS_PER_BIT

MOST_SETS = 4  # panels on a page

_BY_SET = "batch_size", "steps", "log_every"  # settings that may differ between sets of codes
_COMPOSITES = style.ORANGE, style.PINK, style.AMBER, style.SKY

Colours = dict[tuple[int, ...], Any]  # key: the subtasks that a code combines


def draw(results: Sequence[xr.Dataset], folder: Path) -> Drawing:
    """Draw the test loss (bits) of every code against steps, a panel for each set of codes.

    Every seed has its own line. Runs that diverged are left out.

    Args:
        results: from ``open_results``. The runs come from the first that holds several sets.
        folder: where ``compositional.png`` and ``compositional.pdf`` are written.

    Raises:
        BadInput: if there are no runs with several sets of codes, or the runs of a set differ in
            more than the seed, or sets differ in more than batch size, steps and evaluations.
    """
    runs = first_of(
        results, lambda source: sweep_over(scaling.undiverged(source), "codes", *_BY_SET)
    )
    sets = sorted((of_set for _, of_set in runs.groupby("codes")), key=lambda s: -len(_codes(s)))
    if len(sets) > MOST_SETS:
        raise BadInput(f"{len(sets)} sets of codes: select at most {MOST_SETS} of them first")
    colours = _colours(
        int(runs.n_tasks.max()), [code for of_set in sets for code in _codes(of_set)]
    )
    figure, axes = style.new_figure(style.PAGE, 2.5, 1, len(sets), sharey=True)
    for panel, of_set, letter in zip(axes[0], sets, "abcd", strict=False):
        scaling.refuse_mixed(of_set)
        _panel(panel, of_set.load(), colours)
        style.panel_letter(panel, letter)
    axes[0, 0].set_ylabel("test loss (bits)")
    axes[0, 0].set_ylim(bottom=0)
    style.shared_legend(figure, axes[0], columns=5)
    return Drawing(style.save(figure, folder, "compositional"), [])


def _codes(runs: xr.Dataset) -> tuple[Code, ...]:
    return parse_codes(str(runs.codes[0].values))


def _colours(n_tasks: int, codes: Sequence[Code]) -> Colours:
    """Colours of single subtasks from dark to light, and distinct ones for composite codes."""
    singles = style.shades(0, max(1, n_tasks - 1))
    composites = sorted({code.members for code in codes if len(code.members) > 1}, reverse=True)
    colours: Colours = dict(zip(composites, cycle(_COMPOSITES), strict=False))
    return {(i,): singles.to_rgba(np.array(i)) for i in range(n_tasks)} | colours


def _panel(axes: Axes, runs: xr.Dataset, colours: Colours) -> None:
    """Draw a line for each code and seed, composite codes on top."""
    codes = _codes(runs)
    bits = after_start(runs).subtask_loss / NATS_PER_BIT
    for number, code in enumerate(codes):
        composite = len(code.members) > 1
        losses = bits.isel(subtask=number).dropna("step").transpose("step", "run")
        lines = axes.semilogx(
            losses.step,
            losses,
            color=colours[code.members],
            linewidth=1.6 if composite else 1.0,
            zorder=3 if composite else 2,
        )
        lines[0].set_label(f"code {{{', '.join(map(str, code.members))}}}")
    trained = "one code" if len(codes) == 1 else f"{len(codes)} codes together"
    seeds = "" if runs.sizes["run"] == 1 else f", {runs.sizes['run']} seeds"
    axes.set_title(f"{trained}, batch {int(runs.batch_size[0]):,}{seeds}", fontsize=7, loc="right")
    axes.set_xlabel("steps")
    style.plain_log_ticks(axes.xaxis)
