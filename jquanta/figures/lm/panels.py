"""What several figures of language models' losses show: their distributions, in bits."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from jquanta.figures import style
from jquanta.figures.drawing import Note, Row, Share
from jquanta.figures.models import short_name
from jquanta.lm.taxonomy.distribution import BINS, Distributions
from jquanta.lm.taxonomy.tables import notes
from jquanta.run.progress import Bar, Monitor, Silence

FAINT: Any = {"alpha": 0.35, "linewidth": 0.5}
"""Lines of single seeds, behind that of their mean."""

LONG = 5e7
"""Losses in a table from which reading takes seconds, so that a progress bar is shown."""

IN_A_BIN = 1000
"""Predictions in a bin, on average, from which a histogram looks like a smooth curve."""

HIGHEST = 8
"""The axis of L p(L) is linear if no checkpoint is this many times as high as the late ones; else
linear up to the highest value of the late ones, and logarithmic above."""

SHOWN = 0.9995
"""The axis of losses ends where every model has this share of its predictions below."""


@contextmanager
def watching(losses: xr.Dataset) -> Iterator[Monitor]:
    """A progress bar on standard error if the table is large enough to take seconds to read."""
    if losses.loss.size < LONG:
        yield Silence()
        return
    with Bar() as line:
        yield line


def mixed_steps(models: xr.Dataset) -> list[Row]:
    """Notes if the checkpoints shown were taken at different steps, or are not to be trusted."""
    revisions = models.revision.to_numpy().tolist()
    others: list[Row] = [Note(note) for note in notes(models, steps=False)]
    if len(set(revisions)) == 1:
        return others
    names = map(short_name, models.name.to_numpy())
    steps = ", ".join(f"{name} {at}" for name, at in zip(names, revisions, strict=True))
    mixed = Note(f"checkpoints of different steps: {steps}; --step gives one of all")
    return [mixed, *others]


def smooth(found: Distributions) -> Distributions:
    """The same distributions in wider bins, so that their lines look smooth."""

    for bins in (BINS, BINS // 2, BINS // 5, BINS // 10, BINS // 20):
        if found.predictions / bins >= IN_A_BIN:
            break
    return found.merged(bins)


def distribution_lines(
    panels: Iterable[Axes], found: Distributions, colours: Iterable[Any], **options: Any
) -> None:
    """Draw p(L), in 1/bit, and L p(L) of every model on two panels, over the loss L in bits.

    ``options`` are those of the lines, such as ``FAINT``.
    """
    density, integrand = panels
    lines = smooth(found)
    for p, area, colour in zip(lines.density, lines.integrand, colours, strict=True):
        seen = np.where(p > 0, p, np.nan)
        look = {"color": colour, "linewidth": 0.8} | options
        density.plot(lines.centres, seen, "-", **look)
        integrand.plot(lines.centres, area, "-", **look)


def distribution_limits(panels: Iterable[Axes], found: Distributions, late: Any = ...) -> None:
    """Set the scales and limits of two panels drawn by ``distribution_lines``.

    At the start of training all tokens have about the same loss, so that L p(L) may have a peak
    that would dwarf all later checkpoints. It is not cut off: above the late ones the
    axis is then logarithmic.

    Args:
        panels: of p(L) and of L p(L).
        found: all distributions that the panels show.
        late: indices of the checkpoints whose L p(L) are shown on a linear axis; by default all.
    """
    density, integrand = panels
    lines, end = smooth(found), last_bit(found)
    inside = lines.density[:, lines.centres < end]
    density.set_yscale("log")
    density.set_ylim(inside[inside > 0].min() / 1.5, 2 * inside.max())
    area = lines.integrand
    top = float(area[late].max())
    if area.max() > HIGHEST * top:
        integrand.set_yscale("symlog", linthresh=top, linscale=2)
        integrand.yaxis.set_major_formatter(FuncFormatter(lambda value, _: style.number(value)))
    integrand.set_ylim(0, 1.05 * area.max())
    for panel in panels:
        panel.set_xlim(0, end)
    style.plain_log_ticks(density.yaxis)


def last_bit(found: Distributions) -> float:
    """The end of the axis of losses in bits: for every model, higher losses are rare."""
    above = 1 - np.cumsum(found.counts, 1) / found.predictions
    rare = (above <= 1 - SHOWN).all(0)
    return float(found.edges[1:][rare.argmax()] if rare.any() else found.edges[-1])


def beyond(found: Distributions, names: Sequence[str]) -> Row:
    """How many losses lie above the last bin, for the model that has most of them."""
    worst, top = int(found.beyond.argmax()), found.edges[-1]
    if not found.beyond[worst]:
        return Note(f"no loss reaches {top:g} bits, the end of the histograms")
    name = f"loss of {top:g} bits or more, not in the histograms: at most"
    return Share.counted(name, names[worst], found.beyond[worst], found.predictions)
