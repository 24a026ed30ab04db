"""The learning-time spectrum of tokens: when is each learned, and does that make the mean loss?

Above, how much is learned in each bin of ln t; the mean loss with what sigmoids make of it; and the
kinds of tokens, with their part in its fall. Below, tokens of each kind, drawn at random.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from jquanta.errors import BadInput
from jquanta.figures import spectrum, style
from jquanta.figures.drawing import Drawing, Note, Row
from jquanta.figures.lm import panels
from jquanta.figures.models import short_name, size_name
from jquanta.lm.taxonomy.laws import size_window, step_window
from jquanta.lm.taxonomy.learning import curves_along, spectrum_of
from jquanta.lm.taxonomy.repeats import Curve, counted
from jquanta.lm.taxonomy.tables import notes
from jquanta.lm.taxonomy.thresholds import MONOGENIC
from jquanta.run.progress import Part
from jquanta.spectrum import KINDS, LEARNED, Fits, Spectrum
from jquanta.sweep.curves import NATS_PER_BIT

COLOURS = (style.BLUE, style.GREEN, style.AMBER, style.PINK)
MOST = 4
"""At most so many networks are drawn; their sizes span the whole range."""

ALONG = {"step": ("alpha_S", "steps"), "size": ("alpha_N", "parameters $N$")}
"""The exponent along each scale, and the label of its axis."""

KINDS_SHOWN = ("early", "gradual", "flat", "rising", "returning")
"""Of which an example is shown, beside three that are learned early, in the middle and late."""


def draw(
    losses: xr.Dataset,
    folder: Path,
    *,
    along: str = "step",
    below: float | None = None,
    step: int | None = None,
) -> Drawing:
    """Draw the spectrum of learning times of each network, over steps, or over sizes.

    Args:
        losses: from ``open_table``, in nats: six checkpoints of a network after step 0, or six
            sizes. Seeds of a network are counted together.
        folder: where ``spectrum.png`` and ``spectrum.pdf`` are written.
        along: ``step`` or ``size``.
        below: nats; a token that does not change is known below, and else flat; by default the
            paper's 0.3.
        step: along sizes, the checkpoint; by default each model's last.

    Returns:
        The paths written; for each network the numbers of tokens of each kind, how much of the
        fall of the mean loss is theirs, and the exponents of the mean loss as measured and as
        rebuilt from the spectrum.

    Raises:
        BadInput: if there are fewer than six checkpoints, or sizes, or a loss is not a finite
            number of at least 0.
    """
    if step is not None and along == "step":
        raise BadInput(f"--step {step} is for --along size, which compares sizes at one checkpoint")
    below = MONOGENIC.below if below is None else below
    found = curves_along(losses, along, step)
    shown = _spread(len(found))
    spectra, examples = [], _Examples(found[-1].steps)
    with panels.watching(losses) as monitor:
        for place, one in enumerate(found):
            part = Part(monitor, place / len(found), 1 / len(found))
            last = place == len(found) - 1
            keep = examples.add if last else None
            spectra.append(spectrum_of(losses, one, below, keep=keep, monitor=part))
    names = [_name(one, along) for one in found]
    exponent, label = ALONG[along]
    figure, _ = style.new_figure(style.PAGE, 6.2, 1, 1)
    figure.clear()
    above, below_ = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    density, mean, kinds = above.subplots(1, 3, gridspec_kw={"width_ratios": (1, 1, 0.9)})
    for colour, place in zip(COLOURS, shown, strict=False):
        name = f"$N$ = {names[place]}" if along == "step" else names[place]
        spectrum.density_panel(density, spectra[place], colour, name)
        spectrum.mean_panel(mean, spectra[place], colour, NATS_PER_BIT)
    _finish(density, mean, label, along)
    spectrum.kinds_panel(
        kinds, [spectra[place] for place in shown], [names[place] for place in shown], "tokens"
    )
    examples.draw(below_, spectra[-1], label)
    for panel, letter in zip((density, mean, kinds), "abc", strict=True):
        style.panel_letter(panel, letter)
    rows: list[Row] = []
    for one, name, of in zip(found, names, spectra, strict=True):
        at = np.array(one.steps)
        window = step_window(one.name, at) if along == "step" else size_window(at)
        rows += spectrum.rows(of, name, exponent, window, "tokens")
        if len(one.seeds) > 1:
            rows.append(Note(f"{name}: tokens of {counted(one.seeds)}, counted together"))
    rows.append(spectrum.chance())
    rows += [Note(note) for note in notes(losses)]
    return Drawing(style.save(figure, folder, "spectrum"), rows)


def _name(one: Curve, along: str) -> str:
    return size_name(one.size) if along == "step" else short_name(one.name)


def _spread(count: int) -> list[int]:
    """At most ``MOST`` places, the first and the last among them."""
    few = np.linspace(0, count - 1, min(MOST, count)).round().astype(int)
    return np.unique(few).tolist()


def _finish(density: Any, mean: Any, label: str, along: str) -> None:
    """Scales, labels and legends of the first two panels."""
    for panel in (density, mean):
        panel.set_xscale("log")
        style.plain_log_ticks(panel.xaxis)
    mean.set_yscale("log")
    style.plain_log_ticks(mean.yaxis)
    unit = "$\\ln t$" if along == "step" else "$\\ln N$"
    density.set(xlabel=f"middle of the fall ({label})", ylabel=f"drop per unit of {unit} (nats)")
    mean.set(xlabel=label, ylabel="mean loss (bits)")
    density.plot([], [], color=style.GREY, lw=1.2, label="sigmoids")
    density.plot([], [], color=style.GREY, lw=0.7, alpha=0.45, label="every curve's")
    mean.plot([], [], "o", ms=2.5, color=style.GREY, label="measured")
    for words, _, look in spectrum.WAYS:
        mean.plot([], [], color=style.GREY, label=words, **look)
    for panel, columns in ((density, 2), (mean, 1)):
        panel.legend(loc="upper left", bbox_to_anchor=(0, -0.22), frameon=False, fontsize=6,
                     ncols=columns, columnspacing=1, handlelength=1.6)  # fmt: skip


class _Examples:
    """Tokens of a network drawn at random, one of each of eight sorts: three that are learned, in
    each third of the range of ln t, and one of each of ``KINDS_SHOWN``."""

    def __init__(self, at: Sequence[int]) -> None:
        self.first, self.last = np.log(at[0]), np.log(at[-1])
        self.chance = np.random.default_rng(0)
        self.best = np.full(3 + len(KINDS_SHOWN), -1.0)
        self.held: list[tuple[int, np.ndarray, Fits] | None] = [None] * len(self.best)

    def add(self, first: int, losses: np.ndarray, fits: Fits) -> None:
        """Look at a block: each token has a random number, and the highest of a sort is held."""
        draws = self.chance.random(len(losses))
        for sort, here in enumerate(self._sorts(fits)):
            if not here.any():
                continue
            row = int(np.where(here, draws, -1).argmax())
            if draws[row] > self.best[sort]:
                self.best[sort] = draws[row]
                own = Fits(*(column[row : row + 1] for column in fits))
                self.held[sort] = first + row, losses[row].copy(), own

    def _sorts(self, fits: Fits) -> Sequence[np.ndarray]:
        learned = fits.kind == LEARNED
        third = np.floor(3 * (fits.log_time - self.first) / (self.last - self.first)).clip(0, 2)
        return [
            *(learned & (third == i) for i in range(3)),
            *(fits.kind == KINDS.index(kind) for kind in KINDS_SHOWN),
        ]

    def draw(self, figure: Any, found: Spectrum, label: str) -> None:
        """Draw those that there are, four in a row."""
        held = [one for one in self.held if one is not None]
        if not held:
            return
        grid = figure.subplots(-(-len(held) // 4), 4, squeeze=False)
        for panel in grid.ravel()[len(held) :]:
            panel.remove()
        for place, (panel, (number, losses, fit)) in enumerate(
            zip(grid.ravel(), held, strict=False)
        ):
            title = f"{KINDS[int(fit.kind[0])]}: {number:,}"
            spectrum.example(panel, found.checkpoints.at, losses, fit, title)
            if place + 4 >= len(held):
                panel.set_xlabel(label, fontsize=7)
            if place % 4 == 0:
                panel.set_ylabel("loss (nats)", fontsize=7)
