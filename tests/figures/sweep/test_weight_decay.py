"""The weight-decay figure from planted best and last losses."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from jquanta.errors import BadInput
from jquanta.figures.sweep import weight_decay
from jquanta.parity.config import RunConfig
from tests.figures.layout import assert_legible, drawn, labels, panels
from tests.figures.sweep.results import results_of
from tests.sweep.examples import Config

S = 6
DECAYS = [0.001, 0.01, 0.1, 1.0, 10.0]
CONFIG: Config = {
    "name": "decays",
    "task.n_tasks": S,
    "task.n_bits": 12,
    "task.k": 2,
    "task.frequencies": "uniform",
    "train.train_size": 3_000_000,
    "train.weight_decay": DECAYS,
    "train.steps": 1_000,
    "eval.log_every": 100,
}
BEST, LAST, EVER = [3, 3, 4, 2, 0], [2, 3, 5, 2, 0], [4, 4, 5, 2, 0]
"""Subtasks learned by decay: at the best step 500, at the end, and between them, too."""

place = {decay: i for i, decay in enumerate([0.0, *DECAYS])}


def losses(run: RunConfig, steps: np.ndarray) -> np.ndarray:
    """A learned subtask has 0.05 bit, others 1 bit at step 500, 3 after, 2 before."""
    i = max(0, place[run.train.weight_decay] - 1)
    count = np.select([steps < 500, steps == 500, steps < 1_000], [0, BEST[i], EVER[i]], LAST[i])
    others = np.select([steps < 500, steps == 500], [2.0, 1.0], 3.0)
    return np.where(np.arange(S) < count, 0.05, others)


@pytest.fixture(scope="module")
def results() -> xr.Dataset:
    return results_of(CONFIG, losses)


def lines_of(axes: object) -> dict[str, np.ndarray]:
    return {line.get_label(): line.get_xydata() for line in axes.get_lines()}  # type: ignore[attr-defined]


def test_losses_and_counts(results: xr.Dataset, tmp_path: Path) -> None:
    figure, measured = drawn(weight_decay.draw, [results], tmp_path)
    assert measured == []
    upper, lower = map(lines_of, panels(figure))
    best = [(0.05 * n + (S - n)) / S for n in BEST]
    last = [(0.05 * n + 3 * (S - n)) / S for n in LAST]
    for label, bits in (("best (early stopping)", best), ("after the last step", last)):
        np.testing.assert_allclose(upper[label], np.transpose([DECAYS, bits]), rtol=1e-6)
    for label, counts in (
        ("best (early stopping)", BEST),
        ("after the last step", LAST),
        ("at any evaluation", EVER),
    ):
        np.testing.assert_array_equal(lower[label], np.transpose([DECAYS, counts]))


def test_it_can_be_read(results: xr.Dataset, tmp_path: Path) -> None:
    figure, _ = drawn(weight_decay.draw, [results], tmp_path)
    assert_legible(figure)
    upper, lower = panels(figure)
    assert upper.get_ylabel() == "mean test loss (bits)"
    assert lower.get_ylabel() == "subtasks < 0.1 bit"
    assert (lower.get_xlabel(), lower.get_xscale()) == ("weight decay", "log")
    assert upper.get_title(loc="right") == r"$D$ = $3\times10^{6}$, width 500"
    assert len(labels(figure)) == 3
    assert figure.get_size_inches()[0] <= 3.4  # one column


def test_a_run_without_decay_is_at_zero(tmp_path: Path) -> None:
    plain = results_of(CONFIG | {"train.weight_decay": [0.0, *DECAYS]}, losses)
    figure, _ = drawn(weight_decay.draw, [plain], tmp_path)
    upper, lower = panels(figure)
    assert upper.get_xscale() == "symlog"
    for axes in (upper, lower):
        for line in axes.get_lines():
            assert line.get_xdata()[0] == 0
            assert np.isfinite(line.get_transform().transform(line.get_xydata())).all()
    assert_legible(figure)


def test_diverged_runs_are_left_out(results: xr.Dataset, tmp_path: Path) -> None:
    bad = results.assign_coords(diverged_at=results.diverged_at.where(results.run != 2, 100))
    figure, _ = drawn(weight_decay.draw, [bad], tmp_path)
    for line in panels(figure)[1].get_lines():
        np.testing.assert_array_equal(line.get_xdata(), [*DECAYS[:2], *DECAYS[3:]])


def test_refusals(results: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="all runs have the same weight_decay"):
        weight_decay.draw([results.isel(run=[0])], tmp_path)
    other = results.assign_coords(width=results.width.where(results.run > 0, 7))
    with pytest.raises(BadInput, match="differ in width"):
        weight_decay.draw([other], tmp_path)
    assert list(tmp_path.iterdir()) == []
