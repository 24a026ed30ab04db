"""Figure 9 from sweeps in which the number learned is an exact power of D."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from jquanta.errors import BadInput
from jquanta.figures.sweep import fig9
from jquanta.parity.config import RunConfig
from tests.figures.layout import assert_legible, drawn, panels
from tests.figures.sweep.results import results_of
from tests.sweep.examples import Config, tree

S = 300
SIZES = [10, 100, 6_400, 409_600]  # nothing is learned of the first
SLOPES = {0.5: 2 / 3, 1.0: 1 / 2, 2.0: 1 / 3}  # by alpha: 1, 16, 256; 1, 8, 64; 1, 4, 16 learned
THEORY = {0.5: 1 / 1.5, 1.0: 1 / 2, 2.0: 1 / 3}
BEST_STEP, LEARNED_STEP = 400, 1_500

CONFIG: Config = {
    "name": "learned",
    "task.n_tasks": S,
    "task.n_bits": 30,
    "task.k": 2,
    "task.alpha": list(SLOPES),
    "network.width": [4, 8],
    "train.train_size": SIZES,
    "train.steps": 2_000,
    "train.seed": [0, 1],
    "eval.log_every": 100,
}


def count(alpha: float, size: float) -> float:
    return float((size / 100) ** SLOPES[alpha]) if size >= 100 else 0


def losses(run: RunConfig, steps: np.ndarray) -> np.ndarray:
    """The subtasks are learned long after the best step, and forgotten at once.

    Narrow networks learn all.
    """
    rank = np.arange(1, S + 1)
    learned = rank < count(run.task.alpha, run.train.train_size) + 0.5
    learned |= run.network.width == 4
    bits = np.where(steps == BEST_STEP, 0.3, np.where(steps == 0, 1.0, 2.0))
    return np.where(learned & (steps == LEARNED_STEP), 0.09, bits)


@pytest.fixture(scope="module")
def results() -> xr.Dataset:
    return results_of(CONFIG, losses)


def test_exponents_are_those_planted(results: xr.Dataset, tmp_path: Path) -> None:
    _, measured = drawn(fig9.draw, [results], tmp_path)
    assert [row.of for row in measured] == [f"alpha {alpha:g}" for alpha in SLOPES]
    for row, (alpha, slope) in zip(measured, SLOPES.items(), strict=True):
        assert row.exponent == pytest.approx(slope)
        assert row.interval == pytest.approx((slope, slope))
        assert (row.window, row.n_points) == ((100, 409_600), 2 * 3)
        assert row.theory == pytest.approx(THEORY[alpha])
        assert row.finite is None  # the number learned follows its law up to the last subtask


def test_counts_and_theory_are_drawn(results: xr.Dataset, tmp_path: Path) -> None:
    figure, _ = drawn(fig9.draw, [results], tmp_path)
    counts, exponents = panels(figure)
    assert counts.get_xlabel() == "training samples $D$"
    assert counts.get_ylabel() == "subtasks below 0.1 bit"
    assert counts.get_title(loc="right") == "width 8, at any evaluation"
    lines = counts.get_lines()
    for alpha, points, law in zip(SLOPES, lines[::2], lines[1::2], strict=True):
        assert points.get_xdata().tolist() == SIZES[1:]  # no point at zero
        expected = [count(alpha, size) for size in SIZES[1:]]
        np.testing.assert_allclose(points.get_ydata(), expected)
        np.testing.assert_allclose(law.get_ydata()[[0, -1]], [expected[0], expected[-1]])
    _, limit = exponents.get_lines()
    np.testing.assert_allclose(limit.get_ydata(), 1 / (1 + limit.get_xdata()))
    assert_legible(figure)


def test_a_panel_for_each_k(tmp_path: Path) -> None:
    every = results_of(CONFIG | {"task.k": [2, 3, 4, 5], "network.width": 8}, losses)
    figure, measured = drawn(fig9.draw, [every], tmp_path)
    expected = [f"k {k}, alpha {alpha:g}" for k in (2, 3, 4, 5) for alpha in SLOPES]
    assert [row.of for row in measured] == expected
    assert_legible(figure)


def first_alpha(results: xr.Dataset) -> xr.Dataset:
    return results.isel(run=(results.alpha == 0.5).to_numpy())


def online(results: xr.Dataset) -> xr.Dataset:
    return results.assign_coords(train_size=results.train_size.copy(data=[np.inf] * 48))


def nothing_learned(results: xr.Dataset) -> xr.Dataset:
    return results.assign(subtask_loss=results.subtask_loss.copy() + 1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (first_alpha, r"a single alpha \(0\.5\)"),
        (online, "no data sweep of Zipf frequencies"),
        (nothing_learned, "no alpha has a curve over training samples"),
    ],
)
def test_bad_input(
    change: Callable[[xr.Dataset], xr.Dataset], says: str, results: xr.Dataset, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=says):
        fig9.draw([change(results)], tmp_path)
    assert tree(tmp_path) == {}
