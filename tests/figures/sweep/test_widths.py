"""Width sweeps by kind of subtask, with a planted law of each kind."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.sweep import widths
from jquanta.parity.config import RunConfig
from tests.figures.layout import assert_legible, drawn, panels
from tests.figures.sweep.results import results_of
from tests.sweep.examples import Config, tree

S = 12
STEPS = 2_000
SIZES = [110, 218, 434, 866, 1730]  # parameters of the widths: 27 a unit, and 2
STORED = 1e-5  # losses are stored as float32; an exponent is a ratio of their logarithms

CONFIG: Config = {
    "name": "widths",
    "task.n_tasks": S,
    "task.n_bits": 12,
    "task.k": [2, 3, 5],
    "task.alpha": 0.2,
    "train.steps": STEPS,
    "train.seed": [0, 1],
    "eval.log_every": 100,
    "sweep": [
        {"network.width": [4, 8, 16, 32, 64]},
        {"network.width": 16, "train.train_size": 500},  # no part of the figure
    ],
}


def exponent(k: int, alpha: float) -> float:
    return alpha + 0.1 * k


def losses(run: RunConfig, steps: np.ndarray) -> np.ndarray:
    """The mean loss is 1 bit, and at the last step on a power law of the parameters; the first
    width / 8 subtasks are learned there, and one more at seed 1. At step 500, and on finite data,
    all are learned."""
    rank = np.arange(1, run.task.n_tasks + 1)
    frequency = rank ** -(run.task.alpha + 1.0) if run.task.frequencies == "zipf" else rank**0.0
    frequency /= frequency.sum()
    learned = rank <= run.network.width // 8 + run.train.seed
    mean = 0.8 * (run.n_params / SIZES[0]) ** -exponent(run.task.k, run.task.alpha)
    left = (mean - 0.01 * learned @ frequency) / (~learned @ frequency)
    bits = np.where(steps == STEPS, np.where(learned, 0.01, left), 1.0)
    return np.where((steps == 500) | (not run.online), 0.05, bits)


@pytest.fixture(scope="module")
def by_k() -> xr.Dataset:
    return results_of(CONFIG, losses)


@pytest.fixture(scope="module")
def uniform() -> xr.Dataset:
    return results_of(CONFIG | {"task.k": 3, "task.frequencies": "uniform"}, losses)


def test_an_exponent_for_each_k(by_k: xr.Dataset, tmp_path: Path) -> None:
    figure, measured = drawn(widths.draw, [by_k], tmp_path)
    assert [(row.name, row.of) for row in measured] == [("alpha_N", f"k {k}") for k in (2, 3, 5)]
    expected = [exponent(k, 0.2) for k in (2, 3, 5)]
    assert [row.exponent for row in measured] == pytest.approx(expected, abs=STORED)
    assert {row.theory for row in measured} == {0.2}
    assert {row.window for row in measured} == {(SIZES[0], SIZES[-1])}
    (legend,) = figure.legends
    shown = [text.get_text() for text in legend.get_texts()]
    for k, row, text in zip((2, 3, 5), measured, shown, strict=True):
        assert text.startswith(rf"$k$ = {k}: $\alpha_N$ = {exponent(k, 0.2):.2f} [")
        assert f"theory 0.20 (finite: {row.finite:.2f})" in text
    assert_legible(figure)


def test_what_is_drawn(by_k: xr.Dataset, tmp_path: Path) -> None:
    figure, _ = drawn(widths.draw, [by_k], tmp_path)
    sizes, learns, steps = panels(figure)
    assert sizes.get_ylabel() == steps.get_ylabel() == "mean test loss (bits)"
    assert learns.get_ylabel() == "subtasks below 0.1 bit"
    assert sizes.get_title(loc="right") == learns.get_title(loc="right") == "after 2,000 steps"
    assert steps.get_title(loc="right") == "width 64"
    for k, points, law in zip((2, 3, 5), sizes.lines[::2], sizes.lines[1::2], strict=True):
        expected = 0.8 * (np.array(SIZES) / SIZES[0]) ** -exponent(k, 0.2)
        assert points.get_xdata().tolist() == SIZES
        np.testing.assert_allclose(points.get_ydata(), expected, rtol=STORED)
        np.testing.assert_allclose(law.get_ydata()[[0, -1]], expected[[0, -1]], rtol=1e-4)
    for line in learns.lines:  # the mean of seeds
        np.testing.assert_allclose(line.get_ydata(), [0.5, 1.5, 2.5, 4.5, 8.5])
    for line in steps.lines:
        assert line.get_xdata().tolist() == list(range(100, STEPS + 1, 100))
        before = np.where(line.get_xdata()[:-1] == 500, 0.05, 1)
        np.testing.assert_allclose(line.get_ydata()[:-1], before, rtol=STORED)


def test_uniform_frequencies_have_no_power_law(uniform: xr.Dataset, tmp_path: Path) -> None:
    figure, measured = drawn(widths.draw, [uniform], tmp_path)
    assert measured == []
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["uniform frequencies: no power law"]
    (line,) = panels(figure)[0].lines
    assert line.get_color() == style.ORANGE
    assert_legible(figure)


def test_uniform_beside_zipf_from_another_folder(
    uniform: xr.Dataset, by_k: xr.Dataset, tmp_path: Path
) -> None:
    zipf = by_k.isel(run=(by_k.k == 3).to_numpy())
    figure, measured = drawn(widths.draw, [uniform, zipf], tmp_path)
    (row,) = measured
    assert row.of == "alpha 0.2"
    (legend,) = figure.legends
    shown = [text.get_text().split(":")[0] for text in legend.get_texts()]
    assert shown == [r"$\alpha$ = 0.2", "uniform frequencies"]
    colours = [line.get_color() for line in panels(figure)[2].lines]
    assert colours[1] == style.ORANGE != colours[0]
    assert_legible(figure)


def finite(results: xr.Dataset) -> xr.Dataset:
    size = results.train_size.copy(data=np.full(results.sizes["run"], 1000.0))
    return results.assign_coords(train_size=size)


def of_one_width(results: xr.Dataset) -> xr.Dataset:
    return results.isel(run=(results.width == 8).to_numpy())


def with_two_rates(results: xr.Dataset) -> xr.Dataset:
    return results.assign_coords(lr=results.lr.copy(data=np.arange(results.sizes["run"]) % 2 + 1.0))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (finite, "no width sweep"),
        (of_one_width, "no width sweep"),
        (with_two_rates, r"differ in lr \(1\.0, 2\.0\)"),
    ],
)
def test_bad_input(
    change: Callable[[xr.Dataset], xr.Dataset], says: str, by_k: xr.Dataset, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=says):
        widths.draw([change(by_k)], tmp_path)
    assert tree(tmp_path) == {}


def test_too_many_kinds(tmp_path: Path) -> None:
    many = results_of(CONFIG | {"task.alpha": [0.1, 0.2, 0.3, 0.4], "train.seed": 0}, losses)
    with pytest.raises(BadInput, match="12 lines are too many"):
        widths.draw([many], tmp_path)
