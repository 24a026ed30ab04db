"""Is a token learned at the same size, and at the same step, in every seed?

Left, where tokens of each place in one seed have theirs in another: sizes, and steps of the largest
network. Right, the share of tokens that jump at the same place in every seed, beside chance.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Agreed, Drawing, Note, Row
from jquanta.figures.lm import panels
from jquanta.figures.models import short_name, size_name
from jquanta.lm.losses.seeds import by_seed
from jquanta.lm.taxonomy.jumps import LEAST_PLACES, Agreement, agreement
from jquanta.lm.taxonomy.laws import step_curves
from jquanta.lm.taxonomy.repeats import Curve, Network, counted, curves, networks
from jquanta.lm.taxonomy.tables import at_step, notes
from jquanta.lm.taxonomy.thresholds import MONOGENIC

WRITTEN = 10
"""At most so many places have their shares written into the cells."""

TICKS = 7
"""At most so many places have labels."""


class Found(NamedTuple):
    """How far seeds agree along one scale.

    Attributes:
        scale: ``size`` or ``step``.
        of: which network, in words; of sizes the number of them.
        agreement: the numbers.
    """

    scale: str
    of: str
    agreement: Agreement


def draw(
    losses: xr.Dataset, folder: Path, *, below: float | None = None, step: int | None = None
) -> Drawing:
    """Draw at which sizes and steps tokens are learned in several seeds.

    Args:
        losses: from ``open_table``, in nats: networks of several seeds, all with the same; three
            sizes of them, or three checkpoints after step 0, or both. Networks of one seed are left
            out.
        folder: where ``jumps.png`` and ``jumps.pdf`` are written.
        below: nats; a token is learned where its loss is below for good; by default the
            paper's 0.3.
        step: the checkpoint at which sizes are compared; by default each model's last.

    Returns:
        The paths written; for sizes, and for the steps of each network, the shares of tokens that
        jump at the same place in every seed, and the intraclass correlation, with intervals and
        beside chance (``jquanta.lm.taxonomy.jumps``).

    Raises:
        BadInput: if there are no networks of several seeds, one lacks a seed that others have,
            there are neither three sizes nor three checkpoints, or a loss is not a finite number of
            at least 0.
    """
    if below is None:
        below = MONOGENIC.below
    found, rows = _found(losses, below, step)
    if not found:
        raise BadInput(
            "no three sizes and no three checkpoints of networks with several seeds: train some "
            '(jquanta pretrain --train.seeds "0, 1, 2"), or give more of their losses'
        )
    shown = [found[0], *found[-1:]] if len({one.scale for one in found}) > 1 else found[-1:]
    ratio = [1.0] * len(shown) + [0.9]
    figure, axes = style.new_figure(
        style.PAGE, 2.9, 1, len(ratio), gridspec_kw={"width_ratios": ratio}
    )
    for panel, one in zip(axes[0], shown, strict=False):
        _pairs(panel, one)
    _shares(axes[0, -1], found)
    for panel, letter in zip(axes[0], "abc", strict=False):
        style.panel_letter(panel, letter)
    for one in found:
        rows += _rows(one)
    rows += [Note(note) for note in notes(losses)]
    return Drawing(style.save(figure, folder, "jumps"), rows)


def _found(losses: xr.Dataset, below: float, step: int | None) -> tuple[list[Found], list[Row]]:
    """The agreement of sizes and of the steps of each network, and what is to be said beside it."""
    found: list[Found] = []
    rows: list[Row] = []
    with panels.watching(losses) as monitor:
        if len(np.unique(losses["size"])) >= LEAST_PLACES:
            models = at_step(losses, step)
            several, left_out = _several(networks(models))
            if left_out:
                rows.append(Note(f"left out: {', '.join(map(short_name, left_out))}"))
            if len(several) >= LEAST_PLACES:
                own = by_seed(models.isel(model=[c for one in several for c in one.columns]))
                sizes = own["size"].to_numpy()
                one = agreement(own, sizes, below, monitor=monitor)
                found.append(Found("size", f"{len(sizes)} sizes", one))
        for curve in _curves(losses):
            columns = [column for of in curve.columns for column in of]
            own = by_seed(losses.isel(model=columns))
            one = agreement(own, np.array(curve.steps), below, monitor=monitor)
            found.append(Found("step", f"N = {size_name(curve.size)}", one))
    return found, rows


def _several(found: Sequence[Network]) -> tuple[list[Network], list[str]]:
    """For each size the network with most seeds, if it has several; and the names of the others."""
    best: dict[int, Network] = {}
    for one in found:
        if len(one.seeds) > len(best.get(one.size, one._replace(seeds=())).seeds):
            best[one.size] = one
    kept = [one for one in found if best[one.size] is one and len(one.seeds) > 1]
    return kept, [one.name for one in found if one not in kept]


def _curves(losses: xr.Dataset) -> list[Curve]:
    """The networks of several seeds that have enough checkpoints."""
    try:
        places = step_curves(losses)
    except BadInput:  # no model has losses at two steps
        return []
    return [
        one
        for one in curves(losses, places)
        if len(one.seeds) > 1 and len(one.steps) >= LEAST_PLACES
    ]


def _rows(one: Found) -> list[Row]:
    """The numbers of one scale."""
    it, scale = one.agreement, one.scale
    every = f"{counted(it.seeds)}, below {it.below:g} nats"
    of, all_of = f"{one.of}, of tokens that jump in any", f"{one.of}, of tokens that jump in all"
    any_of = f"{of} of {every}"
    all_of = f"{all_of} of {every}"
    correlation = f"intraclass correlation of ln {scale}"
    rows: list[Row] = [
        _agreed(f"same {scale}", any_of, it.same, it.any, it.any_interval, it.chance_any),
        _agreed(f"same {scale}", all_of, it.same, it.all, it.all_interval, it.chance_all),
        _agreed(f"same or next {scale}", all_of, it.near, it.all, it.near_interval, it.chance_near),
        Agreed(correlation, all_of, it.icc, it.icc_interval, it.chance_icc, it.all, it.predictions),
    ]
    return rows if _has_neighbours(it) else [*rows[:2], rows[3]]


def _agreed(
    name: str, of: str, number: int, total: int, interval: tuple[float, float], chance: float
) -> Agreed:
    return Agreed(name, of, _share(number, total), interval, chance, number, total)


def _has_neighbours(it: Agreement) -> bool:
    """Whether there are places for a jump that are no neighbours, so that neighbours say
    something."""
    return len(it.at) > LEAST_PLACES


def _pairs(axes: Axes, one: Found) -> None:
    """Draw for each place in one seed the shares of the places that its tokens have in another."""
    pairs, n = one.agreement.pairs, len(one.agreement.at)
    with np.errstate(invalid="ignore"):
        shares = pairs / pairs.sum(1, keepdims=True)  # NaN, and blank, where no token is
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if n < WRITTEN:
        for row, column in np.argwhere(np.isfinite(shares)).tolist():
            share = shares[row, column]
            axes.text(
                column,
                row,
                f"{100 * share:.0f}",
                ha="center",
                va="center",
                fontsize=6,
                color="white" if share > 0.6 else "black",
            )
    ticks = np.unique(np.linspace(0, n, min(n + 1, TICKS if n >= WRITTEN else n + 1)).astype(int))
    name = size_name if one.scale == "size" else "{:,}".format
    words = [name(int(at)) for at in one.agreement.at] + ["never"]
    words[0] = f"≤ {words[0]}"
    labels = [words[tick] for tick in ticks]
    axes.set_xticks(ticks, labels, rotation=90, fontsize=6)
    axes.set_yticks(ticks, labels, fontsize=6)
    axes.tick_params(length=2)
    axes.set_ylabel(f"{one.scale} in one seed")
    axes.set_xlabel(f"{one.scale} in another")
    what = one.of if one.scale == "size" else f"$N$ = {one.of.removeprefix('N = ')}"
    axes.set_title(f"{what}, % of each row", fontsize=7, loc="right")
    for spine in axes.spines.values():
        spine.set_visible(False)


def _shares(axes: Axes, found: Sequence[Found]) -> None:
    """Draw the shares of tokens that jump at the same place in all seeds, beside chance."""
    chance: Any = {"marker": "|", "ls": "none", "ms": 9, "mew": 1.2, "zorder": 2}
    for row, one in enumerate(found):
        it = one.agreement
        for shift, share, interval, by_chance, colour in (
            (-0.15, it.same, it.all_interval, it.chance_all, style.BLUE),
            (0.15, it.near, it.near_interval, it.chance_near, style.AMBER),
        )[: 1 + _has_neighbours(it)]:
            axes.plot(interval, [row + shift] * 2, "-", color=colour, lw=1.2)
            axes.plot(_share(share, it.all), row + shift, "o", color=colour, ms=4)
            axes.plot(by_chance, row + shift, color=colour, **chance)
    for label, colour in (("the same", style.BLUE), ("or a neighbour", style.AMBER)):
        axes.plot([], [], "o-", color=colour, ms=4, lw=1.2, label=label)
    axes.plot([], [], color=style.GREY, label="by chance", **chance)
    words = [f"{one.scale}\n{one.of.replace('N = ', '')}" for one in found]
    axes.set_yticks(range(len(found)), words, fontsize=6)
    axes.set(xlim=(0, 1.03), ylim=(len(found) - 0.5, -0.5))
    axes.set_xlabel("share of tokens that jump in all seeds")
    seeds = max(len(one.agreement.seeds) for one in found)
    axes.set_title(f"{seeds} seeds", fontsize=7, loc="right")
    axes.legend(loc="upper center", bbox_to_anchor=(0.42, -0.2), frameon=False, ncols=3,
                columnspacing=1, handletextpad=0.4)  # fmt: skip


def _share(number: int, total: int) -> float:
    return number / total if total else float("nan")
