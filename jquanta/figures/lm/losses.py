"""What figures of language models' losses share: names, colours, distributions, progress."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from jquanta.figures import style
from jquanta.figures.drawing import Note, Row, Share

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from jquanta.lm.taxonomy.distribution import Distributions
    from jquanta.run.progress import Monitor

LONG = 5e7  # losses: reading more takes seconds, and shows a bar
IN_A_BIN = 1000  # predictions on average in a bin of a curve that is to look smooth
HIGHEST = 3  # times the late models' L p(L): the top of its axis
SHOWN = 0.9995  # of the predictions: the axis of losses ends there

PARAMETERS = "non-embedding parameters $N$"


@contextmanager
def watching(losses: "xr.Dataset") -> "Iterator[Monitor]":
    """A bar on standard error for a table that takes seconds to read."""
    from jquanta.run.progress import Bar, Silence

    if losses.loss.size < LONG:
        yield Silence()
        return
    with Bar() as line:
        yield line


def short(name: str) -> str:
    """A model's name without its owner."""
    return name.rsplit("/", 1)[-1]


def size_name(size: int) -> str:
    """A number of parameters in short: 25.3k, 1.21B."""
    for unit, word in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if size >= unit:
            return f"{size / unit:.3g}{word}"
    return str(size)


def size_colours(sizes: Sequence[int]) -> Any:
    """A shade for each size, dark for small ones: ``to_rgba`` tells it."""
    return style.shades(min(sizes), max(sizes), log=True)


def mixed_steps(models: "xr.Dataset") -> list[Row]:
    """A note where the models' checkpoints are of different steps."""
    revisions = models.revision.to_numpy().tolist()
    if len(set(revisions)) == 1:
        return []
    told = ", ".join(
        f"{short(name)} {at}" for name, at in zip(models.name.to_numpy(), revisions, strict=True)
    )
    return [Note(f"checkpoints of different steps: {told}; --step gives one of all")]


def smooth(found: "Distributions") -> "Distributions":
    """The distributions in bins wide enough to be drawn as a line."""
    from jquanta.lm.taxonomy.distribution import BINS

    for bins in (BINS, BINS // 2, BINS // 5, BINS // 10, BINS // 20):
        if found.predictions / bins >= IN_A_BIN:
            break
    return found.merged(bins)


def distribution_lines(
    panels: "Sequence[Axes]", found: "Distributions", colours: Iterable[Any]
) -> None:
    """p(L) and L p(L) of every model, on two panels, each in its colour, in bits."""
    density, integrand = panels
    lines = smooth(found)
    for p, area, colour in zip(lines.density, lines.integrand, colours, strict=True):
        seen = np.where(p > 0, p, np.nan)
        density.plot(lines.centres, seen, "-", color=colour, linewidth=0.8)
        integrand.plot(lines.centres, area, "-", color=colour, linewidth=0.8)


def distribution_limits(panels: "Sequence[Axes]", found: "Distributions", late: Any = ...) -> None:
    """Scales and limits of the two panels that show these distributions.

    L p(L) is shown as high as three times what the ``late`` models (their places) need: at the
    start of training all tokens have about the same loss, a peak that would dwarf all others.
    """
    density, integrand = panels
    lines, end = smooth(found), last_bit(found)
    inside = lines.density[:, lines.centres < end]
    density.set_yscale("log")
    density.set_ylim(inside[inside > 0].min() / 1.5, 2 * inside.max())
    area = lines.integrand
    integrand.set_ylim(0, 1.05 * min(area.max(), HIGHEST * area[late].max()))
    for panel in panels:
        panel.set_xlim(0, end)
    style.plain_log_ticks(density.yaxis)


def last_bit(found: "Distributions") -> float:
    """Where an axis of losses ends, in bits: the rest is rare for all models."""
    above = 1 - np.cumsum(found.counts, 1) / found.predictions
    rare = (above <= 1 - SHOWN).all(0)
    return float(found.edges[1:][rare.argmax()] if rare.any() else found.edges[-1])


def beyond(found: "Distributions", names: Sequence[str]) -> Row:
    """What the histograms do not hold, of the model with most of it."""
    worst, top = int(found.beyond.argmax()), found.edges[-1]
    if not found.beyond[worst]:
        return Note(f"no loss reaches {top:g} bits, the end of the histograms")
    name = f"loss of {top:g} bits or more, not in the histograms: at most"
    return Share.counted(name, names[worst], found.beyond[worst], found.predictions)
