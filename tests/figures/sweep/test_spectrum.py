"""The spectrum of subtasks from losses in which their learning times are planted."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.special import expit

from jquanta import powerlaw
from jquanta.errors import BadInput
from jquanta.figures.drawing import Measured, Portion
from jquanta.figures.sweep import spectrum
from jquanta.spectrum import KINDS, LEARNED
from jquanta.sweep import emergence
from tests.figures.layout import assert_legible, drawn, labels, panels
from tests.figures.sweep.results import results_of
from tests.sweep.examples import Config
from tests.sweep.synthetic import LN2

S, EXPONENT = 16, 0.85
TASK: Config = {
    "name": "spectrum", "task.n_tasks": S, "task.n_bits": 12, "task.k": 2, "train.steps": 8_000,
    "train.seed": [0, 1], "eval.log_every": 100, "network.width": 30,
}  # fmt: skip
P = powerlaw.zipf(S, 0.4)
SLOWER = 0.95, 1.05
WIDTH = 0.3


def times(seed: int) -> np.ndarray:
    """[S] steps ∝ p^-0.85; of the two rarest half as many more, after the last step."""
    law = SLOWER[seed] * 300 * (P / P[0]) ** -EXPONENT
    return np.asarray(np.where(np.arange(S) < S - 2, law, 1.5 * law))


@pytest.fixture(scope="module")
def results() -> xr.Dataset:
    def bits(run: object, steps: np.ndarray) -> np.ndarray:
        seed = run.train.seed  # type: ignore[attr-defined]
        z = (np.log(np.maximum(steps, 1)) - np.log(times(seed))) / WIDTH
        noise = np.random.default_rng(seed).standard_normal((len(steps), S))
        return np.asarray(1 - 0.95 * expit(z) + 0.01 * noise)

    return results_of(TASK, bits)


def test_planted_times_with_their_errors(results: xr.Dataset) -> None:
    found = emergence.learning_times(results)
    assert found.learning_time.dims == ("run", "subtask")
    assert found.learning_time.attrs["units"] == "updates"
    np.testing.assert_allclose(found.frequency[0], P)
    for run, seed in enumerate(found.seed.to_numpy().tolist()):
        kinds = [KINDS[kind] for kind in found.kind[run].to_numpy()]
        assert kinds == ["learned"] * 14 + ["late"] * 2
        error = np.log(found.learning_time[run] / times(seed)).to_numpy()[:14]
        told = found.log_time_error[run].to_numpy()[:14]
        assert (np.abs(error) < 3.5 * told).all()
        assert told.max() < 0.03
    np.testing.assert_allclose(found.high, LN2, rtol=0.02)
    wide = np.log(found.sigmoid_width / WIDTH)[:, :14]
    assert (np.abs(wide) < 3.5 * found.log_width_error[:, :14]).all()


def test_the_figure_finds_the_planted_exponent(results: xr.Dataset, tmp_path: Path) -> None:
    figure, measured = drawn(spectrum.draw, [results], tmp_path)
    first = measured[0]
    assert first.name == "learning time against frequency"
    # Planted without noise; the interval is of two seeds, and so of a single degree of freedom.
    assert first.exponent == pytest.approx(EXPONENT, abs=0.01)
    assert first.interval[0] < EXPONENT < first.interval[1]
    assert first.window[0] == pytest.approx(P[13])
    assert (first.n_points, first.theory) == (28, 1)
    exponents = {row.name: row for row in measured if isinstance(row, Measured)}
    truth = exponents["alpha_S"]
    assert truth.theory == pytest.approx(0.4 / 1.4)
    assert truth.finite is not None
    for name, row in exponents.items():
        if name.startswith("alpha_S rebuilt"):
            assert row.exponent == pytest.approx(truth.exponent, abs=0.02), name
    learned, late = (row for row in measured if isinstance(row, Portion))
    assert (learned.number, late.number) == (28, 4)
    assert learned.fall + late.fall == pytest.approx(learned.whole)
    assert "subtasks" in labels(panels(figure)[0])
    assert_legible(figure)


def test_frequencies_weigh(results: xr.Dataset) -> None:
    found = emergence.spectrum(results)
    mean = results.loss.mean("run").to_numpy()[1:]
    # The stored mean is over the exact frequencies, in float32.
    np.testing.assert_allclose(found.mean, mean, rtol=1e-5)
    learned = found.drops[LEARNED].sum() / found.total
    assert learned == pytest.approx(0.95 * LN2 * P[:14].sum(), rel=0.02)


def test_what_has_no_spectrum(results: xr.Dataset, tmp_path: Path) -> None:
    few = results.isel(step=slice(0, 6))
    with pytest.raises(BadInput, match="5 evaluations after step 0: a sigmoid has four numbers"):
        emergence.learning_times(few)
    flat = results.copy()
    flat["subtask_loss"] = xr.full_like(results.subtask_loss, LN2)
    with pytest.raises(BadInput, match="learning times cannot be fitted"):
        drawn(spectrum.draw, [flat], tmp_path)
    short = results.subtask_loss.copy(data=results.subtask_loss.to_numpy().copy())
    short[1, -5:] = np.nan
    with pytest.raises(BadInput, match="runs evaluated at different steps"):
        emergence.spectrum(results.assign(subtask_loss=short))
    missing = results.frequency.copy(data=results.frequency.to_numpy().copy())
    missing[0, 3:] = np.nan
    found = emergence.learning_times(results.assign(frequency=missing))
    assert found.kind[0, 3:].to_numpy().tolist() == [-1] * 13
    assert found.learning_time[0, 3:].isnull().all()
