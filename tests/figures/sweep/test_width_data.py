"""The map over width and data from a grid of planted losses."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from jquanta.errors import BadInput
from jquanta.figures.sweep import width_data
from jquanta.parity.config import RunConfig
from tests.figures.layout import assert_legible, drawn, panels
from tests.figures.sweep.results import results_of
from tests.sweep.examples import Config, tree

S = 12
BEST_STEP = 300
STORED = 1e-6  # losses are stored as float32

CONFIG: Config = {
    "name": "grid",
    "task.n_tasks": S,
    "task.n_bits": 12,
    "task.k": 2,
    "task.alpha": 0.2,
    "network.width": [4, 8, 16],
    "train.train_size": [100, 200, 400, 800],
    "train.steps": 600,
    "train.seed": [0, 1],
    "eval.log_every": 100,
}


def best(width: float, size: float) -> float:
    """Bits, a product of powers: lines of equal loss are straight on logarithmic axes."""
    return float(0.9 * (width / 4) ** -0.5 * (size / 100) ** -0.25)


def learned(width: float, size: float) -> int:
    return min(int(width // 4 + size // 400), 9)


def losses(run: RunConfig, steps: np.ndarray) -> np.ndarray:
    """At the best step the first subtasks are learned; more of them later, at a higher mean."""
    width, size = run.network.width, run.train.train_size
    rank = np.arange(1, S + 1)
    frequency = rank**-1.2 / (rank**-1.2).sum()
    done = rank <= learned(width, size)
    mean = best(width, size) * (1.1 if run.train.seed else 0.9)
    left = (mean - 0.01 * done @ frequency) / (~done @ frequency)
    at_best = np.where(done, 0.01, left)
    after = np.where(rank <= 9, 0.01, 50.0)
    return np.where(steps == BEST_STEP, at_best, np.where(steps > BEST_STEP, after, 5.0))


@pytest.fixture(scope="module")
def results() -> xr.Dataset:
    return results_of(CONFIG, losses)


@pytest.fixture(scope="module")
def figure(results: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Figure:
    figure, measured = drawn(width_data.draw, [results], tmp_path_factory.mktemp("width-data"))
    assert measured == []
    return figure


GRID = [(width, size) for width in (4, 8, 16) for size in (100, 200, 400, 800)]


def test_each_cell_is_the_lowest_loss_in_bits(figure: Figure) -> None:
    loss, counts = panels(figure)
    expected = [best(*cell) for cell in GRID]
    shown = loss.collections[0].get_array().ravel()  # seeds are a tenth above and below
    np.testing.assert_allclose(shown, expected, rtol=STORED)
    assert loss.get_ylabel() == "parameters $N$ (widths 4 to 16)"
    assert loss.get_title(loc="right") == "lowest mean test loss (bits)"
    for panel in (loss, counts):
        assert panel.get_xlabel() == "training samples $D$"
        assert (panel.get_xscale(), panel.get_yscale()) == ("log", "log")


def test_the_number_learned_at_that_step_is_marked(figure: Figure) -> None:
    _, counts = panels(figure)
    expected = [learned(*cell) for cell in GRID]
    assert counts.collections[0].get_array().ravel().tolist() == expected
    marked = {tuple(text.get_position()[::-1]): text.get_text() for text in counts.texts}
    cells = [(27 * width + 2, size) for width, size in GRID]  # by parameters
    assert marked == {cell: str(n) for cell, n in zip(cells, expected, strict=True)}
    assert_legible(figure)


def test_lines_of_equal_loss(figure: Figure) -> None:
    (lines,) = (c for c in panels(figure)[0].collections if hasattr(c, "levels"))
    assert len(lines.levels) == width_data.LINES
    low, high = best(16, 800), best(4, 100)
    assert low < min(lines.levels) < max(lines.levels) < high
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):
        size, n_params = path.vertices.T
        assert len(size) > 10
        found = best(1, 1) * ((n_params - 2) / 27) ** -0.5 * size**-0.25
        # straight between runs in log N, not in the log of the width: 2 of 110 parameters apart
        np.testing.assert_allclose(found, level, rtol=2e-3)


def test_missing_cells_stay_empty(results: xr.Dataset, tmp_path: Path) -> None:
    hole = (results.width == 8) & (results.train_size == 400)
    figure, _ = drawn(width_data.draw, [results.isel(run=(~hole).to_numpy())], tmp_path)
    loss, counts = panels(figure)
    shown = np.ma.filled(loss.collections[0].get_array(), np.nan).ravel()
    assert [cell for cell, value in zip(GRID, shown, strict=True) if np.isnan(value)] == [(8, 400)]
    assert len(counts.texts) == len(GRID) - 1
    assert_legible(figure)


def test_the_size_of_the_papers_grid(tmp_path: Path) -> None:
    config = {"network.width": "log(10, 60, 6)", "train.train_size": "log(1e4, 5e6, 13)"}
    full = results_of(CONFIG | config | {"train.seed": 0}, losses)
    figure, _ = drawn(width_data.draw, [full], tmp_path)
    assert len(panels(figure)[1].texts) == 6 * 13
    assert_legible(figure)


def of_one_width(results: xr.Dataset) -> xr.Dataset:
    return results.isel(run=(results.width == 8).to_numpy())


def online(results: xr.Dataset) -> xr.Dataset:
    size = results.train_size.copy(data=np.full(results.sizes["run"], np.inf))
    return results.assign_coords(train_size=size)


def with_two_rates(results: xr.Dataset) -> xr.Dataset:
    return results.assign_coords(lr=results.lr.copy(data=np.arange(results.sizes["run"]) % 2 + 1.0))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (of_one_width, "no sweep over width and train size together"),
        (online, "no sweep over width and train size together"),
        (with_two_rates, r"differ in lr \(1\.0, 2\.0\)"),
    ],
)
def test_bad_input(
    change: Callable[[xr.Dataset], xr.Dataset], says: str, results: xr.Dataset, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=says):
        width_data.draw([change(results)], tmp_path)
    assert tree(tmp_path) == {}
