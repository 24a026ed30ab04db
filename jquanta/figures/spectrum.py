"""What the figures of learning-time spectra share: the density of learning times, the mean loss
beside what sigmoids make of it, and which kinds of curves its fall is made of."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jquanta import powerlaw
from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.drawing import Amount, Measured, Note, Portion, Row
from jquanta.powerlaw import Window
from jquanta.spectrum import EARLY, KINDS, LATE, LEARNED, LEVEL, Fits, Spectrum, curves_of

EVERY = tuple(range(len(KINDS)))

SIGMOIDS = (LEARNED, EARLY, LATE)

COLOURS = (
    style.BLUE, style.SKY, "#9AD0EE", style.AMBER, "#BBBBBB", style.GREY, style.ORANGE, style.PINK
)  # fmt: skip
"""Of kinds, in their order."""

WAYS: Sequence[tuple[str, str, Any]] = (
    ("every sigmoid", "every", {"ls": "-", "lw": 1.0}),
    ("learning times alone", "times", {"ls": "--", "lw": 1.0}),
    ("learned ones alone", "learned", {"ls": ":", "lw": 1.1}),
)
"""From what the mean loss is rebuilt: in words, for ``rebuilt``, and the look of its line."""


def rebuilt(found: Spectrum, way: str) -> np.ndarray:
    """The mean loss [n], in nats: of every curve's sigmoid, of the density of all learning times
    with one width, or of the sigmoids of learned curves alone."""
    if way == "times":
        return found.from_times(EVERY)
    return found.rebuilt(EVERY if way == "every" else (LEARNED,))


def density_panel(axes: Axes, found: Spectrum, colour: Any, label: str = "") -> None:
    """Draw how much of the mean loss is learned in each bin of ln t, in nats for each unit of
    ln t: of curves that are sigmoids as a line, of every sigmoid as a faint one."""
    width = np.diff(found.edges)
    for kinds, look in (
        (SIGMOIDS, {"lw": 1.2, "label": label}),
        (EVERY, {"lw": 0.7, "alpha": 0.45}),
    ):
        drops = found.drops[list(kinds)].sum(0) / found.total / width
        axes.stairs(drops, np.exp(found.edges), color=colour, **look)


def mean_panel(axes: Axes, found: Spectrum, colour: Any, unit: float, label: str = "") -> None:
    """Draw the measured mean loss, and what it is rebuilt to."""
    at = found.checkpoints.at
    axes.plot(at, found.mean / unit, "o", ms=2.5, color=colour, label=label, zorder=3)
    for _, way, look in WAYS:
        axes.plot(at, rebuilt(found, way) / unit, color=colour, **look)


def kinds_panel(axes: Axes, found: Sequence[Spectrum], names: Sequence[str], weights: str) -> None:
    """Draw the shares of kinds: of curves (or of their weights), and of the fall of the mean.

    What rises, or falls by less than it rises, has no share of the fall.
    """
    rows, labels = [], []
    for one, name in zip(found, names, strict=True):
        falls = np.maximum(one.falls, 0)
        rows += [one.weight / one.total, falls / max(falls.sum(), 1e-30)]
        labels += [f"{name}: {weights}", "fall"]
    places = [row + 0.4 * (row // 2) for row in range(len(rows))]
    left = np.zeros(len(rows))
    for kind, colour in zip(KINDS, COLOURS, strict=True):
        share = np.array([row[KINDS.index(kind)] for row in rows])
        axes.barh(places, share, left=left, color=colour, height=0.85, label=kind, lw=0)
        left += share
    axes.set_yticks(places, labels, fontsize=6)
    axes.set(xlim=(0, 1), ylim=(max(places) + 0.6, -0.6), xlabel="share")
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.22), frameon=False, ncols=4, fontsize=5.5,
                columnspacing=0.8, handlelength=0.8, handletextpad=0.3)  # fmt: skip


def example(axes: Axes, at: np.ndarray, losses: np.ndarray, fit: Fits, title: str) -> None:
    """Draw one curve's losses, and its sigmoid: dashed where that is not what describes it."""
    axes.plot(at, losses, "o", ms=2.2, color=COLOURS[int(fit.kind[0])])
    fine = np.linspace(np.log(at[0]), np.log(at[-1]), 100)
    (curve,) = curves_of(fit, fine)
    is_it = int(fit.kind[0]) in SIGMOIDS
    axes.plot(np.exp(fine), curve, "-" if is_it else "--", lw=0.8, color="black", alpha=0.8)
    axes.set_xscale("log")
    axes.set_title(title, fontsize=6.5)
    top = max(float(losses.max()), float(curve.max()))
    axes.set_ylim(-0.05 * top, 1.12 * top)
    style.plain_log_ticks(axes.xaxis)
    axes.tick_params(labelsize=6)


def rows(
    found: Spectrum,
    of: str,
    exponent: str,
    window: Window | None,
    things: str,
    bends: bool = False,
) -> list[Row]:
    """The numbers of one spectrum: kinds, their part of the fall, and the exponents.

    Args:
        found: the sums.
        of: what it is of, in words.
        exponent: name of the exponent, such as ``alpha_S``.
        window: in which it is fitted.
        things: what the curves are of, in the plural, such as ``tokens``.
        bends: the mean loss is no power law, so that no interval is told.
    """
    at = found.checkpoints.at
    total, whole = int(found.number.sum()), float(found.falls.sum())
    told: list[Row] = [
        Portion(f"{kind} {things}", of, number / total, number, total, fall, whole, "nats")
        for kind, number, fall in zip(
            KINDS, found.number.tolist(), found.falls.tolist(), strict=True
        )
        if number
    ]
    sharp, drops = (x[list(SIGMOIDS)].sum() for x in (found.sharp, found.drops))
    if drops > 0:
        name = "of what sigmoids drop, by those that take less than half the range from 10% to 90%:"
        told.append(Amount(f"{name} share", of, float(sharp / drops), "(1)"))
    try:
        fit = powerlaw.fit(at, found.mean, window)
        told.append(Measured.from_fit(exponent, fit, of=of, bends=bends))
        for words, way, _ in WAYS:
            fit = powerlaw.fit(at, rebuilt(found, way), window)
            name = f"{exponent} rebuilt from {words}"
            told.append(Measured.from_fit(name, fit, of=of, bends=bends))
    except BadInput as error:
        told.append(Note(f"{of}: no exponent: {error}"))
    return told


def chance() -> Note:
    """What the kinds are by chance."""
    return Note(
        f"kinds are told at a level of {100 * LEVEL:g}%: so many constants with white noise are "
        "taken for something else, and so many lines"
    )
