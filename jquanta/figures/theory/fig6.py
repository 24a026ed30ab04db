"""Figure 6: L(n) where quanta cost b_k = -log p_k before they are learned (appendix A)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from jquanta import theory
from jquanta.figures import style
from jquanta.figures.drawing import Drawing
from jquanta.sweep.curves import NATS_PER_BIT

ALPHAS = {0.1: style.BLUE, 0.2: style.GREEN, 0.4: style.AMBER, 0.8: style.ORANGE}
LEARNED = np.geomspace(1, 1e6, 121)
"""Numbers n of quanta learned. The exact sums are defined between whole numbers, too."""


def draw(results: Sequence[xr.Dataset], folder: Path) -> Drawing:
    """Draw Figure 6 from theory alone: L(n) in bits for several alpha, and its local exponent.

    Both are exact sums over infinitely many quanta, for b_k = -log2 p_k (case 1 of appendix A) and
    for b_k = 1 bit. Dotted lines are the paper's asymptotic forms.

    Args:
        results: none are needed.
        folder: where ``fig6.png`` and ``fig6.pdf`` are written.
    """
    figure, axes = style.new_figure(style.PAGE, 2.8, 1, 2)
    losses, slopes = axes[0]
    for alpha, colour in ALPHAS.items():
        exact = theory.case1_infinite(LEARNED, alpha) / NATS_PER_BIT
        plain = theory.loss_infinite(LEARNED, alpha)
        losses.plot(LEARNED, exact, "-", color=colour, label=rf"$\alpha$ = {alpha:g}")
        losses.plot(LEARNED, plain, "--", color=colour)
        for limit in (
            theory.case1_asymptotic(LEARNED, alpha) / NATS_PER_BIT,
            theory.loss_asymptotic(LEARNED, alpha),
        ):
            losses.plot(LEARNED, limit, ":", color="black", linewidth=0.9)
        slopes.plot(LEARNED, local_exponent(exact), "-", color=colour)
        slopes.plot(LEARNED, local_exponent(plain), "--", color=colour)
    for lines, label in (
        ("-", r"$b_k = -\log_2 p_k$"),
        ("--", "$b_k = 1$"),
        (":", "asymptotic forms"),
    ):
        losses.plot([], [], lines, color="black", label=label)
    losses.set(xscale="log", yscale="log", ylabel="loss $L(n)$ (bits)")
    slopes.set(xscale="log", ylabel=r"local exponent $-d\,\ln L\,/\,d\,\ln n$")
    for panel, letter in zip(axes[0], "ab", strict=True):
        panel.set_xlabel("quanta learned $n$")
        style.plain_log_ticks(panel.xaxis)
        style.panel_letter(panel, letter)
    style.shared_legend(figure, [losses], columns=7)
    return Drawing(style.save(figure, folder, "fig6"), [])


def local_exponent(loss: np.ndarray) -> np.ndarray:
    """-d ln L / d ln n along ``LEARNED``, by central differences of second order."""
    return -np.gradient(np.log(loss), np.log(LEARNED), edge_order=2)
