"""What figures share: ticks, legends, labels, and runs taken apart."""

import numpy as np
import pytest

from jquanta.figures import style
from jquanta.figures.sweep.select import apart
from tests.sweep.synthetic import planted


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (8, 150_000, ["10", "100", "1000", "$10^{4}$", "$10^{5}$"]),
        (1500, 60_000, ["3000", "$10^{4}$", "$3\\times10^{4}$"]),  # decades alone would be one
        (90, 600, ["100", "200", "500"]),
        (0.3, 0.6, ["0.3", "0.4", "0.5", "0.6"]),
    ],
)
@pytest.mark.parametrize("inverted", [False, True])
def test_log_ticks(low: float, high: float, expected: list[str], inverted: bool) -> None:
    figure, ((axes,),) = style.new_figure(2, 2, 1, 1)
    axes.set_xscale("log")
    axes.set_xlim((high, low) if inverted else (low, high))
    style.plain_log_ticks(axes.xaxis)
    figure.canvas.draw()
    inside = [
        tick.label1.get_text()
        for tick in axes.xaxis.get_major_ticks()
        if low * (1 - 1e-9) <= tick.get_loc() <= high * (1 + 1e-9)
    ]
    assert inside == expected


def test_a_shared_legend_has_each_label_once() -> None:
    figure, (axes,) = style.new_figure(4, 2, 1, 2)
    axes[0].plot([1, 2], label="both")
    axes[1].plot([1, 2], label="both")
    axes[1].plot([2, 1], label="right alone")
    style.shared_legend(figure, axes)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["both", "right alone"]


def test_a_label_without_its_maths() -> None:
    assert style.plain(r"$k$ = 3, $\alpha$ = 0.4") == "k 3, alpha 0.4"


def test_runs_are_taken_apart_in_ascending_order() -> None:
    results = planted({"task.alpha": [0.4, 0.2], "task.k": [3, 2], "sweep": [{}]})
    parts = apart(results, "k", "alpha")
    assert list(parts) == [(2, 0.2), (2, 0.4), (3, 0.2), (3, 0.4)]
    for (k, alpha), runs in parts.items():
        assert set(zip(runs.k.to_numpy(), runs.alpha.to_numpy(), strict=True)) == {(k, alpha)}
    numbers = np.concatenate([runs.run for runs in parts.values()])
    assert sorted(numbers) == results.run.to_numpy().tolist()
    assert apart(results.isel(run=[]), "k", "alpha") == {}
