"""Figure 6 beside plain sums."""

from pathlib import Path

import numpy as np
import pytest

import jquanta as jq
from jquanta.figures.theory import fig6
from tests.figures.layout import assert_legible, drawn, labels, panels

TERMS = 2_000_000


def plain_loss(n: int, alpha: float, costs_more: bool) -> float:
    """L(n) in bits: terms one by one, and the integral of what follows, off by less than a term.

    Terms number two million and on are below 1e-6 of the sum of those before.
    """
    k = np.arange(1.0, TERMS + 1)
    beyond = TERMS**-alpha / alpha
    zeta = (k ** -(alpha + 1)).sum() + beyond
    p = k[n:] ** -(alpha + 1) / zeta
    if not costs_more:
        return float(p.sum() + beyond / zeta)
    # the integral of -p ln p, by parts, from TERMS
    logs = (alpha + 1) * (np.log(TERMS) + 1 / alpha) + np.log(zeta)
    return float((-(p * np.log(p)).sum() + logs * beyond / zeta) / np.log(2))


@pytest.mark.parametrize("alpha", [0.1, 0.4, 0.8])
def test_losses_are_exact_sums_in_bits(alpha: float, tmp_path: Path) -> None:
    figure, measured = drawn(fig6.draw, [], tmp_path)
    assert measured == []
    losses, slopes = panels(figure)
    lines = losses.get_lines()
    first = [line.get_label() for line in lines].index(rf"$\alpha$ = {alpha:g}")
    case_1, plain, *limits = lines[first : first + 4]
    for line, limit, costs_more in zip((case_1, plain), limits, (True, False), strict=True):
        n, bits = line.get_data()
        assert (n[0], n[-1]) == (1, 1e6)
        for place in (0, 40, 80):  # n = 1, 100, 10,000
            expected = plain_loss(round(n[place]), alpha, costs_more)
            assert bits[place] == pytest.approx(expected, rel=1e-5)
        # one term in a million is left of the difference between sum and integral
        assert limit.get_ydata()[-1] == pytest.approx(bits[-1], rel=1e-5)
    # Local exponents: b_k = 1 reaches alpha; case 1 stays below, by 1 / (ln n + …).
    place = [0.1, 0.2, 0.4, 0.8].index(alpha)
    case_1, plain = slopes.get_lines()[2 * place : 2 * place + 2]
    assert plain.get_ydata()[-1] == pytest.approx(alpha, rel=1e-4)
    fallen = plain_loss(1_000_000, alpha, True) / plain_loss(1_010_000, alpha, True)
    slope = np.log(fallen) / np.log(1.01)
    assert case_1.get_ydata()[-1] == pytest.approx(slope, rel=2e-3)  # over 1% of n
    assert slope < 0.95 * alpha


def test_it_can_be_read(tmp_path: Path) -> None:
    figure, _ = drawn(fig6.draw, [], tmp_path)
    assert_legible(figure)
    losses, slopes = panels(figure)
    assert losses.get_ylabel() == "loss $L(n)$ (bits)"
    assert (losses.get_xscale(), losses.get_yscale()) == ("log", "log")
    assert [axes.get_xlabel() for axes in (losses, slopes)] == ["quanta learned $n$"] * 2
    assert labels(figure)[-3:] == [r"$b_k = -\log_2 p_k$", "$b_k = 1$", "asymptotic forms"]


def test_it_needs_no_runs(tmp_path: Path) -> None:
    paths, measured = jq.draw("fig6", out=tmp_path)
    assert [path.name for path in paths] == ["fig6.png", "fig6.pdf"]
    assert {path.name for path in tmp_path.iterdir()} == {"fig6.png", "fig6.pdf"}
    assert measured == []
