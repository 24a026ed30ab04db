"""Scaling curves of results in which exact power laws are planted: no training, no noise."""

import math
from typing import Any

import numpy as np
import pytest
import xarray as xr

from jquanta import scaling, theory
from jquanta.errors import BadInput
from tests.sweep import synthetic
from tests.sweep.synthetic import ALPHA_D, ALPHA_D_LAST, ALPHA_N, ALPHA_S, LN2, planted

# Losses are stored in float32, 6e-8 of themselves; a slope over one decade or more keeps that.
EXACT = 1e-6

WIDTHS = [4, 8, 16, 32, 64]
SIZES = [100, 316, 1000, 3162, 10_000, 31_623, 100_000]


@pytest.fixture(scope="module")
def results() -> xr.Dataset:
    return planted()


def without(results: xr.Dataset, runs: Any) -> xr.Dataset:
    return results.isel(run=~np.asarray(runs))


# Curves


def test_the_curve_of_parameters(results: xr.Dataset) -> None:
    curve = scaling.parameter_curve(results)
    assert scaling.scale_of(curve) == "n_params"
    n_params = [(12 + 12 + 3) * width + 2 for width in WIDTHS]  # paper, section 3
    assert curve.n_params.to_numpy().tolist() == n_params
    # The two seeds average out; the last evaluation lies on the plateau.
    expected = [synthetic.law_n(n) for n in n_params]
    np.testing.assert_allclose(curve.loss, expected, rtol=EXACT)
    assert curve.loss.attrs["units"] == "nats"
    assert curve.attrs["alpha"] == 0.4
    assert (curve.attrs["narrowest"], curve.attrs["width"]) == (4, 64)
    assert curve.attrs["steps"] == 20_000


def test_the_curve_of_steps_is_of_the_widest(results: xr.Dataset) -> None:
    curve = scaling.step_curve(results)
    assert scaling.scale_of(curve) == "step"
    assert curve.step.to_numpy().tolist() == list(range(500, 20_001, 500))  # without step 0
    assert curve.attrs["width"] == 64
    widest = results.loss.isel(run=(results.width == 64) & np.isinf(results.train_size))
    assert widest.sizes["run"] == 2
    np.testing.assert_allclose(curve.loss, widest.mean("run")[1:], rtol=EXACT)


def test_steps_that_were_not_evaluated_are_no_points() -> None:
    """The data block has other steps than the online runs: those are NaN online."""
    changed = dict(synthetic.PLANTED["sweep"][1]) | {"eval.log_every": 300}
    results = planted({"sweep": [synthetic.PLANTED["sweep"][0], changed]})
    assert 300 in results.step
    curve = scaling.step_curve(results)
    assert curve.step.to_numpy().tolist() == list(range(500, 20_001, 500))
    assert np.isfinite(curve.loss).all()


@pytest.mark.parametrize("readout", ["best", "validation", "last"])
def test_the_curve_of_data(results: xr.Dataset, readout: scaling.Readout) -> None:
    curve = scaling.data_curve(results, readout)
    assert scaling.scale_of(curve) == "train_size"
    assert curve.train_size.to_numpy().tolist() == SIZES
    assert curve.attrs["width"] == 64
    past_best = 1 + math.log(synthetic.VALIDATION_STEP / synthetic.BEST_STEP) ** 2
    law = {
        "best": synthetic.law_d,
        "validation": lambda size: synthetic.law_d(size) * past_best,
        "last": lambda size: 3 * size**-ALPHA_D_LAST,
    }[readout]
    np.testing.assert_allclose(curve.loss, [law(size) for size in SIZES], rtol=EXACT)


def test_best_is_the_default_and_the_lowest(results: xr.Dataset) -> None:
    best, held_out, last = (
        scaling.data_curve(results, readout).loss for readout in ("best", "validation", "last")
    )
    xr.testing.assert_identical(scaling.data_curve(results).loss, best)
    assert (best < held_out).all()
    assert (best < last).all()


def test_subtask_losses_come_from_the_same_evaluation(results: xr.Dataset) -> None:
    """In what is planted, the mean loss tells which subtasks are learned."""
    alone = without(results, results.seed == 1)
    for curve in (
        scaling.parameter_curve(alone),
        scaling.step_curve(alone),
        scaling.data_curve(alone, "best"),
        scaling.data_curve(alone, "validation"),
        scaling.data_curve(alone, "last"),
    ):
        learned = scaling.learned(curve)
        assert learned.dims == curve.loss.dims
        expected = np.minimum(np.rint(LN2 / curve.loss.to_numpy()), 12)
        assert learned.to_numpy().tolist() == expected.tolist()
        assert learned.max() > learned.min()


def test_what_counts_as_learned_is_a_choice_in_bits() -> None:
    losses = xr.DataArray([[0.0, 0.05, 0.15, 1.0]], dims=("step", "subtask")) * LN2
    curve = xr.Dataset({"subtask_loss": losses})
    assert scaling.learned(curve).item() == 2
    assert scaling.learned(curve, below=0.2).item() == 3


def test_diverged_runs_are_left_out(results: xr.Dataset) -> None:
    bad = ((results.width == 8) & (results.seed == 0)).to_numpy()
    loss = results.loss.where(~xr.DataArray(bad, dims="run") | (results.step < 1000))
    broken = results.assign(loss=loss.assign_attrs(results.loss.attrs)).assign_coords(
        diverged_at=("run", np.where(bad, 1000, -1))
    )
    curve = scaling.parameter_curve(broken)
    n_params = int(results.n_params[np.flatnonzero(bad)[0]])
    np.testing.assert_allclose(  # seed 1 alone, a tenth below
        curve.loss.sel(n_params=n_params), 0.9 * synthetic.law_n(n_params), rtol=EXACT
    )
    assert curve.sizes["n_params"] == len(WIDTHS)
    assert np.isfinite(curve.loss).all()


# Fits


def test_planted_exponents_are_found(results: xr.Dataset) -> None:
    for curve, exponent in (
        (scaling.parameter_curve(results), ALPHA_N),
        (scaling.step_curve(results), ALPHA_S),
        (scaling.data_curve(results, "best"), ALPHA_D),
        (scaling.data_curve(results, "validation"), ALPHA_D),
    ):
        fit = scaling.fit_curve(curve)
        assert fit.exponent == pytest.approx(exponent, abs=EXACT), scaling.scale_of(curve)
        low, high = fit.interval
        assert low <= fit.exponent <= high


def test_windows_are_the_papers(results: xr.Dataset) -> None:
    """Parameters: all points. Data: from where the loss is first below 0.95 bit. Steps: likewise,
    up to 15,000."""
    assert scaling.fit_curve(scaling.parameter_curve(results)).n_points == len(WIDTHS)
    steps = scaling.step_curve(results)
    below = steps.step[(steps.loss < 0.95 * LN2).to_numpy()]
    fit = scaling.fit_curve(steps)
    assert fit.window == (int(below[0]), 15_000)
    assert fit.n_points == ((below <= 15_000).sum())
    assert float(steps.loss[0]) >= 0.95 * LN2, "nothing lies outside: plant a slower law"
    data = scaling.data_curve(results)
    above = data.loss.to_numpy() >= 0.95 * LN2
    slow = data.assign(loss=data.loss * 3)
    above = slow.loss.to_numpy() >= 0.95 * LN2
    assert 0 < above.sum() < len(SIZES) - 3
    assert scaling.fit_curve(slow).window == (SIZES[above.sum()], SIZES[-1])
    wide = scaling.parameter_curve(results)
    assert scaling.fit_curve(wide.assign(loss=wide.loss * 100)).n_points == len(WIDTHS)


def test_the_model_predicts_each_scale(results: xr.Dataset) -> None:
    curves = (
        scaling.parameter_curve(results),
        scaling.step_curve(results),
        scaling.data_curve(results),
    )
    # alpha_N = alpha, alpha_S = alpha_D = alpha / (alpha + 1) (paper, section 2)
    predictions = [scaling.predicted(curve) for curve in curves]
    assert predictions == pytest.approx([0.4, 0.4 / 1.4, 0.4 / 1.4])


def test_few_subtasks_bend_the_prediction(results: xr.Dataset) -> None:
    """The finite sum of the task's own 12 subtasks, over those learned inside the fit's window."""
    curve = scaling.step_curve(results)
    fit = scaling.fit_curve(curve)
    inside = scaling.learned(curve).sel(step=slice(*fit.window))
    window = (int(inside[0]), min(11, int(inside.max())))
    finite = scaling.predicted_finite(curve, fit)
    assert finite == theory.finite_exponents(0.4, 12, window).alpha_S
    limit = scaling.predicted(curve)
    assert finite is not None
    assert limit is not None
    assert finite > limit  # the sum ends where the integral goes on
    nothing_learned = curve.assign(subtask_loss=curve.subtask_loss * 0 + LN2)
    assert scaling.predicted_finite(nothing_learned, fit) is None


@pytest.mark.parametrize("changes", [{"task.alpha": 0.0}, {"task.frequencies": "uniform"}])
def test_where_the_model_has_no_exponent_none_is_given(changes: dict[str, Any]) -> None:
    curve = scaling.step_curve(planted(changes))
    fit = scaling.fit_curve(curve)
    assert scaling.predicted(curve) is None
    assert scaling.predicted_finite(curve, fit) is None
    assert fit.exponent == pytest.approx(ALPHA_S, abs=EXACT)


def test_each_curve_has_the_alpha_of_its_own_runs() -> None:
    online, finite = synthetic.PLANTED["sweep"]
    results = planted({"sweep": [online, finite | {"task.alpha": 1.0}]})
    assert scaling.predicted(scaling.parameter_curve(results)) == pytest.approx(0.4)
    assert scaling.predicted(scaling.data_curve(results)) == pytest.approx(0.5)


# Errors


def test_missing_curves_are_said(results: xr.Dataset) -> None:
    finite = np.isfinite(results.train_size)
    with pytest.raises(BadInput, match="no online runs"):
        scaling.parameter_curve(without(results, ~finite))
    with pytest.raises(BadInput, match="no online runs"):
        scaling.step_curve(without(results, ~finite))
    with pytest.raises(BadInput, match="no runs on finite data"):
        scaling.data_curve(without(results, finite))
    with pytest.raises(BadInput, match="no width sweep"):
        scaling.parameter_curve(without(results, results.width < 64))
    with pytest.raises(BadInput, match="no data sweep"):
        scaling.data_curve(without(results, results.train_size > 100))
    everything_diverged = results.assign_coords(diverged_at=results.diverged_at * 0)
    with pytest.raises(BadInput, match="no online runs"):
        scaling.parameter_curve(everything_diverged)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("task.alpha", [0.2, 0.4]),
        ("task.k", [2, 3]),
        ("train.lr", [0.1, 0.2]),
        ("train.steps", [10_000, 20_000]),
    ],
)
def test_runs_that_differ_otherwise_are_not_mixed(field: str, values: list[Any]) -> None:
    results = planted({field: values})
    name = field.split(".")[1]
    for curve_of in (scaling.parameter_curve, scaling.step_curve, scaling.data_curve):
        with pytest.raises(BadInput, match=rf"differ in {name} \({values[0]}, {values[1]}\)"):
            curve_of(results)
        chosen = results.isel(run=(results[name] == values[0]).to_numpy())
        assert np.isfinite(curve_of(chosen).loss).all()


def test_steps_are_shown_up_to_where_the_first_seed_stops(results: xr.Dataset) -> None:
    """Beyond it the mean would be of the others alone, and jump."""
    stopped = (results.seed == 1) & (results.step > 5000)
    curve = scaling.step_curve(results.assign(loss=results.loss.where(~stopped)))
    expected = scaling.step_curve(results).loss.sel(step=slice(None, 5000))
    xr.testing.assert_equal(curve.loss, expected)


def test_one_evaluation_is_no_curve_of_steps() -> None:
    with pytest.raises(scaling.NoSuchRuns, match=r"lower eval\.log_every"):
        scaling.step_curve(planted({"eval.log_every": 20_000}))


def test_a_loss_that_never_falls_is_not_fitted(results: xr.Dataset) -> None:
    curve = scaling.step_curve(results)
    with pytest.raises(BadInput, match=r"stays above 0\.95 bit"):
        scaling.fit_curve(curve.assign(loss=curve.loss * 0 + LN2))
    with pytest.raises(BadInput, match="3"):
        scaling.fit_curve(scaling.parameter_curve(results).isel(n_params=slice(2)))
