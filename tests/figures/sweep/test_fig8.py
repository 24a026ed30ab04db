"""Figure 8 from runs in which both laws are planted."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import jquanta as jq
from jquanta import powerlaw
from jquanta.errors import BadInput
from jquanta.figures.sweep import fig8
from tests.figures.layout import assert_legible, drawn, labels, panels
from tests.sweep.synthetic import ALPHA_S, LN2, PLANTED, planted, stored

S, EVERY, LEARNED = 12, 500, 10
FREQUENCY = powerlaw.zipf(S, 0.4)
SLOWER = 0.9, 1.2  # seeds 0 and 1


def convergence(seed: int) -> np.ndarray:
    """[S] steps that fall as p^-0.8, to the next evaluation; NaN for the two rarest."""
    steps = SLOWER[seed] * 500 * (FREQUENCY / FREQUENCY[0]) ** -0.8
    return np.where(np.arange(S) < LEARNED, np.ceil(steps / EVERY) * EVERY, np.nan)


def with_convergence(results: xr.Dataset) -> xr.Dataset:
    at = np.array([convergence(int(seed)) for seed in results.seed])[:, None]
    bits = np.where(results.step.to_numpy()[:, None] >= at, 0.05, 1.0)
    return results.assign(
        subtask_loss=results.subtask_loss.copy(data=(bits * LN2).astype(np.float32)),
        frequency=results.frequency.copy(data=np.tile(FREQUENCY, (results.sizes["run"], 1))),
    )


@pytest.fixture(scope="module")
def results() -> xr.Dataset:
    return with_convergence(planted())


def test_exponents_are_those_planted(results: xr.Dataset, tmp_path: Path) -> None:
    figure, (converging, loss) = drawn(fig8.draw, [results], tmp_path)
    steps = np.array([convergence(seed) for seed in (0, 1)])
    expected = powerlaw.fit(np.tile(FREQUENCY, (2, 1)), steps, groups=np.array([[0], [1]]))
    assert converging.name == "convergence"
    assert converging.exponent == pytest.approx(expected.exponent)
    assert converging.interval == pytest.approx(expected.interval)
    assert converging.n_points == 2 * LEARNED
    assert converging.theory == 1
    assert (loss.name, loss.theory) == ("alpha_S", pytest.approx(0.4 / 1.4))
    assert loss.exponent == pytest.approx(ALPHA_S, abs=1e-3)  # losses are float32
    assert loss.window[1] == 15_000
    left, right = panels(figure)
    assert f"{converging.exponent:.2f} [" in labels(left)[1]
    assert r"$\alpha_S$ = 0.80 [0.80, 0.80]" in labels(right)


def test_points_lines_and_resolution(results: xr.Dataset, tmp_path: Path) -> None:
    figure, (converging, loss) = drawn(fig8.draw, [results], tmp_path)
    left, right = panels(figure)
    points, fitted, minus_one, resolution = left.get_lines()
    shown = np.array(points.get_data()).reshape(2, 2, S)
    seeds = sorted(shown[1].tolist(), key=lambda steps: steps[1])
    np.testing.assert_array_equal(seeds, [convergence(0), convergence(1)])
    np.testing.assert_allclose(shown[0], np.tile(FREQUENCY, (2, 1)))
    for line, slope in ((fitted, -converging.exponent), (minus_one, -1)):
        x, y = np.log(line.get_data())
        np.testing.assert_allclose(np.diff(y) / np.diff(x), slope)
    assert set(resolution.get_ydata()) == {EVERY}
    assert labels(left) == [
        "subtasks, 2 seeds (4 not learned)",
        rf"$p^{{-c}},\ c$ = {converging.exponent:.2f} "
        f"[{converging.interval[0]:.2f}, {converging.interval[1]:.2f}]",
        "slope −1",
        "evaluated every 500 steps",
    ]
    (window,) = right.patches
    assert (window.get_x(), window.get_x() + window.get_width()) == loss.window
    assert labels(right)[-1] == f"fitted: steps {loss.window[0]:,.0f} to 15,000"
    *seeds, mean, _, _, _ = right.get_lines()
    widest = results.where((results.width == 64) & np.isinf(results.train_size), drop=True)
    for line, loss_of in zip((*seeds, mean), (*widest.loss, widest.loss.mean("run")), strict=True):
        np.testing.assert_allclose(line.get_ydata(), loss_of[1:] / LN2, rtol=1e-6)


def test_it_can_be_read(results: xr.Dataset, tmp_path: Path) -> None:
    figure, _ = drawn(fig8.draw, [results], tmp_path)
    assert_legible(figure)
    left, right = panels(figure)
    assert left.get_xlabel() == "frequency $p$ of the subtask"
    assert left.get_ylabel() == "steps to loss < 0.1 bit"
    assert (right.get_xlabel(), right.get_ylabel()) == ("steps $S$", "mean test loss (bits)")
    assert right.get_title(loc="right") == "width 64, online"


def test_one_seed(results: xr.Dataset, tmp_path: Path) -> None:
    one = results.isel(run=(results.seed == 0).to_numpy())
    figure, (converging, _) = drawn(fig8.draw, [one], tmp_path)
    assert converging.n_points == LEARNED
    assert labels(panels(figure)[0])[0] == "subtasks (2 not learned)"
    assert len(panels(figure)[1].get_lines()) == 4
    assert_legible(figure)


def test_the_command_stores_both_exponents(results: xr.Dataset, tmp_path: Path) -> None:
    folder = stored(results, jq.load_config(PLANTED), tmp_path / "run")
    paths, measured = jq.draw("fig8", [folder], tmp_path / "out")
    rows = json.loads(paths[-1].read_text())
    assert [row["name"] for row in rows] == ["convergence", "alpha_S"]
    assert [row["exponent"] for row in rows] == [one.exponent for one in measured]


def test_refusals(results: xr.Dataset, tmp_path: Path) -> None:
    finite = results.isel(run=np.isfinite(results.train_size).to_numpy())
    with pytest.raises(BadInput, match="no online runs"):
        fig8.draw([finite], tmp_path)
    never = results.assign(subtask_loss=xr.full_like(results.subtask_loss, LN2))
    with pytest.raises(BadInput, match=r"steps to convergence cannot be fitted \("):
        fig8.draw([never], tmp_path)
    with pytest.raises(BadInput, match="differ in alpha"):
        fig8.draw([planted({"task.alpha": [0.2, 0.4]})], tmp_path)
    assert list(tmp_path.iterdir()) == []
