"""Scaling curves of results in which exact power laws are planted: no training, no noise."""

import math
from typing import Any

import numpy as np
import pytest
import xarray as xr

from jquanta import powerlaw, theory
from jquanta.errors import BadInput
from jquanta.sweep import emergence, scaling
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


def times(curve: xr.Dataset, factor: float) -> xr.Dataset:
    return curve.assign(loss=curve.loss * factor, seed_loss=curve.seed_loss * factor)


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
    assert curve.width.dims == ("n_params",)
    assert curve.width.to_numpy().tolist() == WIDTHS


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


def test_seeds_are_kept_apart(results: xr.Dataset) -> None:
    """Seeds 0 and 1 lie a tenth above and below the law."""
    for curve in (
        scaling.parameter_curve(results),
        scaling.step_curve(results),
        scaling.data_curve(results),
    ):
        scale = scaling.scale_of(curve)
        assert curve.seed_loss.dims == ("seed", scale)
        assert curve.seed.to_numpy().tolist() == [0, 1]
        assert curve.seed_loss.attrs["units"] == "nats"
        np.testing.assert_allclose(curve.seed_loss.mean("seed"), curve.loss, rtol=EXACT)
        if scale == "step":  # at first no seed is below one bit
            curve = curve.sel(step=slice(2_000, None))
        ratio = curve.seed_loss.sel(seed=0) / curve.seed_loss.sel(seed=1)
        np.testing.assert_allclose(ratio, 1.1 / 0.9, rtol=EXACT)


def test_a_seed_without_a_run_is_nan(results: xr.Dataset) -> None:
    lacking = without(results, (results.seed == 1) & (results.width == 8))
    curve = scaling.parameter_curve(lacking)
    missing = np.isnan(curve.seed_loss).to_numpy().tolist()
    assert missing == [[False] * 5, [False, True, False, False, False]]
    assert np.isfinite(curve.loss).all()
    assert scaling.fit_curve(curve).n_missing == 1


def test_frequencies_go_with_the_subtasks(results: xr.Dataset) -> None:
    p = np.broadcast_to(powerlaw.zipf(12, 0.4), results.frequency.shape)
    results = results.assign(frequency=results.frequency.copy(data=p))
    for curve in (
        scaling.parameter_curve(results),
        scaling.step_curve(results),
        scaling.data_curve(results),
    ):
        assert curve.frequency.dims == ("subtask",)
        np.testing.assert_array_equal(curve.frequency, p[0])


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
    results = without(results, results.seed == 1)
    assert scaling.fit_curve(scaling.parameter_curve(results)).n_points == len(WIDTHS)
    steps = scaling.step_curve(results)
    below = steps.step[(steps.loss < 0.95 * LN2).to_numpy()]
    fit = scaling.fit_curve(steps)
    assert fit.window == (int(below[0]), 15_000)
    assert fit.n_points == ((below <= 15_000).sum())
    assert float(steps.loss[0]) >= 0.95 * LN2, "nothing lies outside: plant a slower law"
    data = scaling.data_curve(results)
    above = data.loss.to_numpy() >= 0.95 * LN2
    slow = times(data, 2.5)
    above = slow.loss.to_numpy() >= 0.95 * LN2
    assert 0 < above.sum() < len(SIZES) - 3
    assert scaling.fit_curve(slow).window == (SIZES[above.sum()], SIZES[-1])
    wide = scaling.parameter_curve(results)
    assert scaling.fit_curve(times(wide, 100)).n_points == len(WIDTHS)


def test_a_window_of_ones_own(results: xr.Dataset) -> None:
    curve = scaling.step_curve(results)
    fit = scaling.fit_curve(curve, (5_000, 10_000))
    assert fit.window == (5_000, 10_000)
    assert fit.n_points == 2 * 11  # seeds, evaluations every 500
    assert fit.exponent == pytest.approx(ALPHA_S, abs=EXACT)


def test_seeds_are_pooled_and_judged_by(results: xr.Dataset) -> None:
    """Equal seeds: the exponent of all points, and the t interval of the seeds' own exponents."""
    curve = scaling.parameter_curve(results)
    bent = curve.seed_loss.copy(data=curve.seed_loss * np.array([np.ones(5), curve.n_params**-0.1]))
    fit = scaling.fit_curve(curve.assign(seed_loss=bent))
    assert fit.n_points == 2 * len(WIDTHS)
    assert fit.exponent == pytest.approx(ALPHA_N + 0.05, abs=EXACT)
    half = 12.706 * 0.1 / 2  # t of one degree of freedom at 97.5%; s/√2 is half the difference
    low, high = fit.interval
    assert (low, high) == pytest.approx((fit.exponent - half, fit.exponent + half), rel=1e-4)

    alone = scaling.fit_curve(curve.assign(seed_loss=bent.isel(seed=[0])))
    assert alone.interval == pytest.approx((ALPHA_N, ALPHA_N), abs=1e-5)  # of points, on a line
    other = bent.where((bent.seed == 0) | (bent.n_params < 0))  # seed 1: nothing was measured
    assert scaling.fit_curve(curve.assign(seed_loss=other)) == alone


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


@pytest.mark.parametrize(
    "changes",
    [
        {"task.alpha": 0.0},
        {"task.frequencies": "uniform"},
        {"task.codes": "0 1 2 0+1+2", "task.n_bits": 24},
    ],
    ids=["alpha", "uniform", "codes"],
)
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


# A table of exponents


def test_the_curve_of_finitely_many_subtasks_is_the_model_s(results: xr.Dataset) -> None:
    """Written out: subtask k is learned when k of them fit, or when it was seen often enough."""
    for curve_of in (scaling.parameter_curve, scaling.step_curve, scaling.data_curve):
        curve = curve_of(results)
        fit, scale = scaling.fit_curve(curve), scaling.scale_of(curve)
        found = scaling.finite_curve(curve, fit)
        assert found is not None
        x, nats = found[scale].to_numpy(), found.to_numpy()
        assert curve[scale].min() <= x[0] < x[-1] <= curve[scale].max()
        assert (np.diff(nats) <= 0).all()
        p = powerlaw.zipf(curve.attrs["n_tasks"], curve.attrs["alpha"])
        middle = np.sqrt(np.prod(fit.window))
        # It meets the fit there, or steps over it.
        near = nats[np.abs(np.log(x / middle)) < 0.05]
        assert near.min() <= float(fit.predict(middle)) * 1.01
        assert near.max() >= float(fit.predict(middle)) * 0.99
        if scale != "n_params":  # a staircase whose levels are what the rest of the subtasks cost
            levels = LN2 * (1 - np.concatenate([[0.0], np.cumsum(p)]))
            assert np.abs(nats[:, None] - levels).min(1).max() < 1e-9


def test_the_table_of_exponents(results: xr.Dataset) -> None:
    table = scaling.exponents(results)
    assert table.scale.to_numpy().tolist() == ["n_params", "step", "train_size"]
    wanted = []
    for curve, window in (
        (scaling.parameter_curve(results), None),
        (scaling.step_curve(results), (500, 15_000)),  # paper, Fig. 10
        (scaling.data_curve(results), None),
    ):
        fit = scaling.fit_curve(curve, window)
        bounds = fit.exponent, *fit.interval, *fit.window, fit.n_points, fit.n_missing, fit.r2
        wanted.append([*bounds, scaling.predicted(curve), scaling.predicted_finite(curve, fit)])
    names = ["exponent", "low", "high", "first", "last", "n_points", "n_missing", "r2"]
    for row, name in zip(np.transpose(wanted), [*names, "theory", "theory_finite"], strict=True):
        assert table[name].to_numpy().tolist() == row.tolist(), name
    assert table["first"].sel(scale="step") == 500
    assert table["last"].sel(scale="step") == 15_000


def test_short_runs_keep_the_curves_own_window() -> None:
    """The last step of Fig. 10's window is beyond a miniature's last."""
    results = planted({"train.steps": 14_000})
    fit = scaling.fit_curve(scaling.step_curve(results))
    assert fit.window[0] > 500
    row = scaling.exponents(results).sel(scale="step")
    assert (row["first"], row["last"]) == fit.window
    assert row.exponent == fit.exponent


def test_tables_of_several_tasks_and_folders() -> None:
    results = planted({"task.alpha": [0.2, 0.4]})
    finite = np.isfinite(results.train_size)
    with pytest.raises(BadInput, match="differ in alpha"):
        scaling.exponents(results)
    table = results.groupby("alpha").map(scaling.exponents)
    assert table.exponent.dims == ("alpha", "scale")
    for alpha in (0.2, 0.4):
        alone = scaling.exponents(results.isel(run=(results.alpha == alpha).to_numpy()))
        xr.testing.assert_identical(table.sel(alpha=alpha, drop=True), alone)
    by_width, by_data = (
        without(results, runs).groupby("alpha").map(scaling.exponents) for runs in (finite, ~finite)
    )
    missing = np.isnan(by_width.exponent).to_numpy().tolist()
    assert missing == [[False, False, True]] * 2
    xr.testing.assert_identical(by_width.combine_first(by_data), table)


def test_what_cannot_be_fitted_is_nan(results: xr.Dataset) -> None:
    flat = results.assign(loss=results.loss * 0 + LN2)
    table = scaling.exponents(flat).sel(scale=["step", "train_size"])
    assert np.isnan(table.drop_vars("theory").sel(scale="train_size").to_array()).all()
    np.testing.assert_allclose(table.theory, 0.4 / 1.4)
    assert table.exponent.sel(scale="step") == pytest.approx(0, abs=EXACT)  # a window of its own


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
    with pytest.raises(BadInput, match="2 values of n_params to fit: at least 3"):
        scaling.fit_curve(scaling.parameter_curve(results).isel(n_params=slice(2)))


def test_what_is_no_curve_and_what_are_no_results(results: xr.Dataset) -> None:
    curve_functions: list[Any] = [scaling.fit_curve, scaling.predicted, scaling.fig10_window]
    for call in curve_functions:
        with pytest.raises(BadInput, match="no curve of losses along a scale; make one"):
            call(results)
    of_results: list[Any] = [
        scaling.parameter_curve,
        scaling.step_curve,
        scaling.data_curve,
        scaling.exponents,
        emergence.convergence_step,
        emergence.stopping_step,
    ]
    for call in of_results:
        with pytest.raises(BadInput, match=r"no results of a sweep; give what jq\.open_results"):
            call(results[["loss"]].mean("run"))
