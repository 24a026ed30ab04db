"""The learning-rate figure from planted final losses, one of them of a diverged run."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from jquanta.errors import BadInput
from jquanta.figures.sweep import learning_rate
from jquanta.parity.config import RunConfig
from tests.figures.layout import assert_legible, drawn, labels, panels
from tests.figures.sweep.results import results_of
from tests.sweep.examples import Config

RATES = [2.0**power for power in range(-12, 4)]
DIVERGED = RATES[-2:]
CONFIG: Config = {
    "name": "rates",
    "task.n_tasks": 1,
    "task.n_bits": 12,
    "train.lr": RATES,
    "train.seed": [0, 1],
    "train.steps": 1_000,
    "eval.log_every": 50,
}


def final(lr: float, seed: int) -> float:
    """Bits at the end, lowest at 2^-7."""
    return (0.001 + 0.1 * seed) * (1 + np.log2(lr * 2**7) ** 2)


def losses(run: RunConfig, steps: np.ndarray) -> np.ndarray:
    """From one bit to the final loss; of the two largest rates one diverges at one seed only."""
    lr, seed = run.train.lr, run.train.seed
    bits = final(lr, seed) ** (steps / 1_000)
    bad = lr == DIVERGED[0] or (lr == DIVERGED[1] and seed == 1)
    return np.where(bad & (steps > 500), np.nan, bits)


@pytest.fixture(scope="module")
def results() -> xr.Dataset:
    return results_of(CONFIG, losses)


def test_curves_and_final_values(results: xr.Dataset, tmp_path: Path) -> None:
    figure, measured = drawn(learning_rate.draw, [results], tmp_path)
    assert measured == []
    steps, loss, accuracy = panels(figure)
    whole = [rate for rate in RATES if rate not in DIVERGED]
    expected = np.array([np.mean([final(rate, seed) for seed in (0, 1)]) for rate in whole])
    for panel, y in ((loss, expected), (accuracy, 1 - expected / 2)):
        line = panel.get_lines()[0]
        np.testing.assert_array_equal(line.get_xdata(), whole)
        np.testing.assert_allclose(line.get_ydata(), y, rtol=1e-6)
    for line, last in zip(steps.get_lines(), expected, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(50, 1_001, 50))
        assert line.get_ydata()[-1] == pytest.approx(last, rel=1e-6)
    greens = [line.get_color()[1] for line in steps.get_lines()]
    assert (np.diff(greens) > 0).all()  # dark for small, along viridis


def test_diverged_runs_are_marked(results: xr.Dataset, tmp_path: Path) -> None:
    figure, _ = drawn(learning_rate.draw, [results], tmp_path)
    _, *finals = panels(figure)
    for panel in finals:
        marks = {line.get_label(): line for line in panel.get_lines()}
        np.testing.assert_array_equal(marks["diverged"].get_xdata(), DIVERGED)
        assert marks["diverged"].get_marker() == "x"
        top = panel.bbox.y1  # inside the panel, whatever the losses
        y = marks["diverged"].get_window_extent().y0
        assert top - 20 < y < top
    assert labels(figure) == ["chance", "diverged"]
    some = results.isel(run=(results.lr < DIVERGED[0]).to_numpy())
    figure, _ = drawn(learning_rate.draw, [some], tmp_path)
    assert labels(figure) == ["chance"]
    assert_legible(figure)


def test_it_can_be_read(results: xr.Dataset, tmp_path: Path) -> None:
    figure, _ = drawn(learning_rate.draw, [results], tmp_path)
    assert_legible(figure)
    steps, loss, accuracy = panels(figure)
    assert steps.get_ylabel() == "mean test loss (bits)"
    assert loss.get_ylabel() == "final test loss (bits)"
    assert accuracy.get_ylabel() == "final test accuracy"
    for panel in (loss, accuracy):
        shown = [tick.get_text() for tick in panel.get_xticklabels()]
        assert len(shown) >= 3
        assert all(text.startswith("$2^{") for text in shown)


def test_refusals(results: xr.Dataset, tmp_path: Path) -> None:
    one = results.isel(run=(results.lr == RATES[0]).to_numpy())
    with pytest.raises(BadInput, match="all runs have the same lr"):
        learning_rate.draw([one], tmp_path)
    bad = results.isel(run=results.lr.isin(DIVERGED).to_numpy())
    with pytest.raises(BadInput, match="all runs diverged"):
        learning_rate.draw([bad], tmp_path)
    other = results.assign_coords(width=results.width.where(results.seed == 0, 7))
    with pytest.raises(BadInput, match="differ in width"):
        learning_rate.draw([other], tmp_path)
    with pytest.raises(BadInput, match="under two evaluations after step 0"):
        learning_rate.draw([results.isel(step=[0, 1])], tmp_path)
    assert list(tmp_path.iterdir()) == []
