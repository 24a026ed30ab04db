"""Figure 7 from runs in which every subtask's drop and the best step are planted."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from jquanta.errors import BadInput
from jquanta.figures.sweep import fig7
from jquanta.parity.config import RunConfig
from tests.figures.layout import assert_legible, drawn, labels, panels
from tests.figures.sweep.results import results_of
from tests.sweep.examples import Config
from tests.sweep.synthetic import LN2

S = 9
BEST = {1_000.0: 300, 50_000.0: 700}  # by D

CONFIG: Config = {
    "name": "fig7",
    "task.n_tasks": S,
    "task.n_bits": 12,
    "task.k": 2,
    "network.width": [8, 64],
    "train.train_size": [float("inf"), *BEST],
    "train.seed": [1, 0],
    "train.steps": 2_000,
    "eval.log_every": 100,
}


def losses(run: RunConfig, steps: np.ndarray) -> np.ndarray:
    """Subtask k falls at step 100 k, higher for narrow networks and seed 1; all but the first
    rise after the best step of finite data."""
    falls = 1 / (1 + (steps / (100 * np.arange(1, S + 1))) ** 4)
    bits = falls + 0.01 / run.network.width + 0.01 * run.train.seed
    if run.online:
        return bits
    best = BEST[run.train.train_size]
    return np.where(steps > best, np.maximum(bits, 0.9 + steps / 2_000), np.minimum(bits, 0.8))


@pytest.fixture(scope="module")
def results() -> xr.Dataset:
    return results_of(CONFIG, losses)


def curves(figure: Figure, panel: int) -> tuple[np.ndarray, np.ndarray]:
    """The subtasks' lines [S, E, (step, bits)] and colours [S, 4], the last on top."""
    (dense,) = panels(figure)[panel].collections
    assert dense.get_rasterized()
    return np.array(dense.get_segments()), dense.get_colors()


def test_every_subtask_in_bits_by_rank(results: xr.Dataset, tmp_path: Path) -> None:
    figure, measured = drawn(fig7.draw, [results], tmp_path)
    assert measured == []
    size = {0: np.inf, 1: 50_000}
    for panel in (0, 1):
        run = results.isel(
            run=(
                (results.train_size == size[panel]) & (results.width == 64) & (results.seed == 0)
            ).to_numpy()
        ).squeeze()
        lines, colours = curves(figure, panel)
        expected = run.subtask_loss.sel(step=slice(1, None)).T[::-1] / LN2  # most frequent on top
        np.testing.assert_allclose(lines[..., 1], expected, rtol=1e-6)
        np.testing.assert_array_equal(lines[0, :, 0], results.step[1:])
        mean = panels(figure)[panel].get_lines()[0]
        assert mean.get_label() == "mean"
        np.testing.assert_allclose(mean.get_ydata(), run.loss[1:] / LN2, rtol=1e-6)
        # dark for frequent, light for rare: green grows along viridis
        assert (np.diff(colours[::-1, 1]) > 0).all()
    (bar,) = (axes for axes in figure.axes if axes not in panels(figure))
    assert bar.get_ylim() == pytest.approx((1, S))
    assert bar.get_ylabel() == "subtask, by frequency"


def test_the_early_stopping_step_is_marked(results: xr.Dataset, tmp_path: Path) -> None:
    figure, _ = drawn(fig7.draw, [results], tmp_path)
    online, finite = panels(figure)
    assert len(online.get_lines()) == 1
    stop = finite.get_lines()[1]
    assert set(stop.get_xdata()) == {BEST[50_000.0]}
    assert labels(figure) == ["mean", "early stopping, step 700"]


def test_titles_say_which_runs(results: xr.Dataset, tmp_path: Path) -> None:
    figure, _ = drawn(fig7.draw, [results], tmp_path)
    assert [axes.get_title(loc="right") for axes in panels(figure)] == [
        "online, width 64",
        r"$D$ = $5\times10^{4}$, width 64",
    ]
    assert panels(figure)[0].get_ylabel() == "test loss (bits)"
    assert {axes.get_xscale() for axes in panels(figure)} == {"log"}
    assert_legible(figure)


@pytest.mark.parametrize("online", [True, False])
def test_a_kind_that_is_missing_leaves_no_empty_panel(
    online: bool, results: xr.Dataset, tmp_path: Path
) -> None:
    some = results.isel(run=(np.isinf(results.train_size) == online).to_numpy())
    figure, _ = drawn(fig7.draw, [some], tmp_path)
    assert len(panels(figure)) == 1
    assert_legible(figure)


def test_runs_come_from_several_sweeps(results: xr.Dataset, tmp_path: Path) -> None:
    online = np.isinf(results.train_size).to_numpy()
    apart = [results.isel(run=~online), results.isel(run=online)]
    figure, _ = drawn(fig7.draw, apart, tmp_path)
    titles = [axes.get_title(loc="right").split(",")[0] for axes in panels(figure)]
    assert titles == ["online", r"$D$ = $5\times10^{4}$"]
    other = results.assign_coords(alpha=results.alpha + 0.1)
    with pytest.raises(BadInput, match="different tasks"):
        drawn(fig7.draw, [apart[0], other.isel(run=online)], tmp_path)


def test_diverged_runs_are_not_drawn(results: xr.Dataset, tmp_path: Path) -> None:
    bad = results.assign_coords(diverged_at=results.diverged_at.where(results.width == 8, 100))
    figure, _ = drawn(fig7.draw, [bad], tmp_path)
    assert {axes.get_title(loc="right")[-8:] for axes in panels(figure)} == {" width 8"}
    none = results.assign_coords(diverged_at=results.diverged_at.where(False, 100))
    with pytest.raises(BadInput, match="no curve of a run that did not diverge"):
        drawn(fig7.draw, [none], tmp_path)
    with pytest.raises(BadInput, match="no curve of a run"):
        drawn(fig7.draw, [results.isel(step=[0, 1])], tmp_path)


def test_the_full_size_fits_in_small_files(tmp_path: Path) -> None:
    """500 subtasks and 2,000 evaluations are a million points, some 20 MB if drawn as vectors."""
    config = CONFIG | {
        "task.n_tasks": 500,
        "task.n_bits": 100,
        "task.k": 3,
        "network.width": 500,
        "train.seed": 0,
        "train.train_size": float("inf"),
        "train.steps": 200_000,
    }
    rank = np.arange(1, 501)
    full = results_of(config, lambda _, steps: 1 / (1 + (steps / (300 * rank**1.2)) ** 4))
    png, pdf = fig7.draw([full], tmp_path).paths
    assert png.stat().st_size < 1_000_000
    assert pdf.stat().st_size < 1_000_000
