"""When subtasks are learned, in results whose every transition is planted, and beside plain loops.

No training: losses are one bit before a subtask's step and 0.05 bit from there on.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import jquanta as jq
from jquanta import powerlaw, theory
from jquanta.errors import BadInput
from jquanta.sweep import emergence, scaling
from tests.sweep.synthetic import LN2, PLANTED, planted, stored

S = 12  # subtasks of the planted task
LOG_EVERY, STEPS = 500, 20_000

# A fit of planted points only rounds: steps and counts are whole numbers, fits are in float64.
EXACT = 1e-9


def learned_at(steps: Any, **changes: Any) -> xr.Dataset:
    """Planted results whose subtasks are learned at ``steps`` (broadcast to [run, subtask], NaN
    for never), and whose frequencies are Zipf's."""
    results = planted({name.replace("__", "."): value for name, value in changes.items()})
    at = np.broadcast_to(steps, (results.sizes["run"], results.sizes["subtask"]))
    exists = np.arange(results.sizes["subtask"]) < results.n_tasks.to_numpy()[:, None]
    evaluated = np.isfinite(results.loss.to_numpy())
    after = results.step.to_numpy()[None, :, None] >= at[:, None, :]  # NaN: never
    loss = np.where(after, 0.05 * LN2, LN2)
    loss = np.where(evaluated[:, :, None] & exists[:, None, :], loss, np.nan).astype(np.float32)
    frequency = np.full(exists.shape, np.nan)
    for row, n_tasks, alpha in zip(frequency, results.n_tasks, results.alpha, strict=True):
        row[: int(n_tasks)] = powerlaw.zipf(int(n_tasks), float(alpha))
    return results.assign(
        subtask_loss=results.subtask_loss.copy(data=loss),
        frequency=results.frequency.copy(data=frequency),
    )


def select(results: xr.Dataset, runs: Any) -> xr.Dataset:
    return results.isel(run=np.asarray(runs))


WIDE = np.arange(1.0, S + 1) * LOG_EVERY
"""Subtask k is learned at the k-th evaluation after step 0."""


# Convergence


def test_the_first_evaluation_below_the_threshold() -> None:
    planted_at = WIDE.copy()
    planted_at[-2] = LOG_EVERY * 10 + 1  # between evaluations: seen at the next
    planted_at[-1] = np.nan
    steps = emergence.convergence_step(learned_at(planted_at))
    assert steps.dims == ("run", "subtask")
    expected = np.append(WIDE[:-1], np.nan)
    np.testing.assert_array_equal(steps, np.broadcast_to(expected, steps.shape))
    assert steps.attrs["units"] == "updates"


def test_labels_are_kept() -> None:
    results = learned_at(WIDE)
    steps = emergence.convergence_step(results)
    for name in ("run", "alpha", "seed", "width", "train_size", "n_params"):
        xr.testing.assert_identical(
            steps[name].reset_coords(drop=True), results[name].reset_coords(drop=True)
        )
    np.testing.assert_array_equal(steps.frequency, results.frequency)
    assert "step" not in steps.coords
    chosen = steps.sel(subtask=3).where(steps.width == 8, drop=True)  # labels serve to select
    assert chosen.to_numpy().tolist() == [3 * LOG_EVERY] * 2


def test_the_threshold_is_in_bits_and_losses_in_nats() -> None:
    """0.09 nats are 0.13 bits: not learned. 0.05 nats are 0.07 bits: learned."""
    results = learned_at(WIDE)
    losses = np.full(results.subtask_loss.shape, LN2, np.float32)
    losses[:, 2:, 0], losses[:, 4:, 1] = 0.09, 0.05
    results = results.assign(subtask_loss=results.subtask_loss.copy(data=losses))
    steps = emergence.convergence_step(results)
    assert np.isnan(steps.sel(subtask=1)).all()
    assert (steps.sel(subtask=2) == 4 * LOG_EVERY).all()
    assert (emergence.convergence_step(results, below=0.15).sel(subtask=1) == 2 * LOG_EVERY).all()
    assert (emergence.number_learned(results) == 1).all()
    assert (emergence.number_learned(results, "last") == 1).all()
    assert (emergence.number_learned(results, "last", below=0.15) == 2).all()
    curve = scaling.parameter_curve(results)
    assert emergence.transition(curve).notnull().sum() == 1
    assert emergence.transition(curve, below=0.15).notnull().sum() == 2


def test_ragged_runs_and_missing_subtasks_are_never() -> None:
    short = {"network.width": 64, "train.steps": 2_000, "task.n_tasks": 5}
    results = learned_at(WIDE, sweep=[{"network.width": 64}, short])
    steps = emergence.convergence_step(results)
    ends = select(steps, results.last_step == 2_000)
    assert ends.sizes["run"] == 2
    for run in ends.to_numpy():
        assert run[:4].tolist() == WIDE[:4].tolist()
        assert np.isnan(run[4:]).all()
    assert ends.frequency.notnull().sum("subtask").to_numpy().tolist() == [5, 5]
    assert (select(steps, results.last_step == STEPS).count("subtask") == S).all()


def test_nothing_learned_is_never_throughout() -> None:
    results = learned_at(np.nan)
    assert emergence.convergence_step(results).isnull().all()
    assert (emergence.number_learned(results) == 0).all()


def test_diverged_runs_are_left_out() -> None:
    results = learned_at(WIDE)
    bad = np.asarray(results.width == 8)
    results = results.assign_coords(diverged_at=("run", np.where(bad, 3_000, -1)))
    kept = results.run.to_numpy()[~bad].tolist()
    assert 0 < len(kept) < results.sizes["run"]
    for labelled in (
        emergence.convergence_step(results),
        emergence.stopping_step(results),
        emergence.number_learned(results),
        emergence.number_learned(results, "best"),
    ):
        assert labelled.run.to_numpy().tolist() == kept


# Early stopping, and how many are learned


def test_the_step_of_early_stopping() -> None:
    results = learned_at(WIDE)
    finite = select(results, np.isfinite(results.train_size))
    assert (emergence.stopping_step(finite) == 5_000).all()
    assert (emergence.stopping_step(finite, "validation") == 8_000).all()
    assert (emergence.stopping_step(finite, "last") == STEPS).all()
    assert emergence.stopping_step(finite).dims == ("run",)
    assert emergence.stopping_step(results).sizes["run"] == results.sizes["run"]
    with pytest.raises(BadInput, match=r"readout validation: .*train_size = inf"):
        emergence.stopping_step(results, "validation")
    with pytest.raises(BadInput, match="readout validation"):
        emergence.number_learned(results, "validation")


def test_subtasks_learned_after_early_stopping_count() -> None:
    """Best test loss at step 5,000, best validation loss at 8,000; one more each 500 steps."""
    results = learned_at(WIDE)
    finite = select(results, np.isfinite(results.train_size))
    assert (emergence.number_learned(finite, "best") == 5_000 // LOG_EVERY).all()
    assert (emergence.number_learned(finite) == S).all()
    forgotten = finite.assign(  # learned once, lost again by the last evaluation
        subtask_loss=finite.subtask_loss.where(finite.step < 15_000, LN2)
    )
    assert (emergence.number_learned(forgotten) == S).all()
    assert (emergence.number_learned(forgotten, "last") == 0).all()
    assert (emergence.number_learned(forgotten, "validation") == S).all()
    counts = emergence.number_learned(finite)
    np.testing.assert_array_equal(counts.train_size, finite.train_size)


# Transitions


def test_the_width_of_each_transition() -> None:
    """Subtask k is learned from the width 4·2^(k-1) on."""
    results = planted()
    starts = 4 * 2.0 ** np.arange(S)
    results = learned_at(np.where(results.width.to_numpy()[:, None] >= starts, 1_000, np.nan))
    curve = scaling.parameter_curve(results)
    widths = emergence.transition(curve, scale="width")
    assert widths.dims == ("subtask",)
    assert widths[:5].to_numpy().tolist() == [4, 8, 16, 32, 64]
    assert np.isnan(widths[5:]).all()
    np.testing.assert_allclose(widths.frequency, powerlaw.zipf(S, 0.4))
    n_params = emergence.transition(curve)
    assert n_params.name == "transition_n_params"
    # (n_tasks + n_bits + 3) * width + 2 (paper, section 3)
    assert n_params[:5].to_numpy().tolist() == [(12 + 12 + 3) * w + 2 for w in (4, 8, 16, 32, 64)]


def test_the_data_and_the_steps_of_each_transition() -> None:
    sizes = np.array([100, 316, 1_000, 3_162, 10_000, 31_623, 100_000])
    size = planted().train_size.to_numpy()[:, None]
    first = np.append(sizes, np.full(S - len(sizes), np.nan))  # subtask k from the k-th size on
    steps = np.where(np.isfinite(size), np.where(size >= first, 1_000, np.nan), WIDE)
    results = learned_at(steps)
    np.testing.assert_array_equal(emergence.transition(scaling.data_curve(results)), first)
    np.testing.assert_array_equal(emergence.transition(scaling.step_curve(results)), WIDE)


def test_the_first_value_counts_whatever_comes_after() -> None:
    losses = np.array([[1.0, 0.05, 1.0, 0.05], [1.0, 1.0, 1.0, 1.0], [0.05, 1.0, 1.0, 1.0]])
    curve = xr.Dataset(
        {"loss": ("step", losses.mean(0)), "subtask_loss": (("step", "subtask"), losses.T * LN2)},
        {"step": [10, 20, 30, 40]},
    )
    np.testing.assert_array_equal(emergence.transition(curve), [20, np.nan, 10])


# A plain loop


shapes = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 4))
losses_in_bits = shapes.flatmap(
    lambda shape: hnp.arrays(
        np.float32, shape, elements=st.sampled_from([0.0, 0.05, 0.0999, 0.1001, 0.5, 1.0, np.nan])
    )
)


@settings(max_examples=40)
@given(losses_in_bits, st.data())
def test_everything_equals_a_plain_loop(bits: np.ndarray, data: st.DataObject) -> None:
    n_runs, n_steps, n_subtasks = bits.shape
    mean = data.draw(hnp.arrays(np.float32, (n_runs, n_steps), elements=st.floats(0, 1, width=32)))
    ends = data.draw(st.lists(st.integers(0, n_steps - 1), min_size=n_runs, max_size=n_runs))
    diverged = data.draw(st.lists(st.booleans(), min_size=n_runs, max_size=n_runs))
    step = np.arange(n_steps) * 7
    reached = np.arange(n_steps) <= np.array(ends)[:, None]
    mean = np.where(reached, mean, np.nan)
    bits = np.where(reached[:, :, None], bits, np.nan)
    results = xr.Dataset(
        {
            "loss": (("run", "step"), mean),
            "subtask_loss": (("run", "step", "subtask"), bits * np.float32(LN2)),
            "frequency": (("run", "subtask"), np.ones((n_runs, n_subtasks))),
        },
        {
            "run": np.arange(n_runs),
            "step": step,
            "diverged_at": ("run", np.where(diverged, 1, -1)),
            "last_step": ("run", step[ends]),
        },
    )
    steps, stops, ever, best, last = [], [], [], [], []
    for run in range(n_runs):
        if diverged[run]:
            continue
        first = [np.nan] * n_subtasks
        lowest = 0
        for e in range(ends[run] + 1):
            for s in range(n_subtasks):
                if bits[run, e, s] < 0.1 and np.isnan(first[s]):
                    first[s] = step[e]
            if mean[run, e] < mean[run, lowest]:
                lowest = e
        steps.append(first)
        stops.append(step[lowest])
        ever.append(sum(not np.isnan(value) for value in first))
        best.append(sum(value < 0.1 for value in bits[run, lowest]))
        last.append(sum(value < 0.1 for value in bits[run, ends[run]]))
    if not steps:
        return
    np.testing.assert_array_equal(emergence.convergence_step(results), steps)
    assert emergence.stopping_step(results).to_numpy().tolist() == stops
    assert emergence.number_learned(results).to_numpy().tolist() == ever
    assert emergence.number_learned(results, "best").to_numpy().tolist() == best
    assert emergence.number_learned(results, "last").to_numpy().tolist() == last
    curve = xr.Dataset(
        {"loss": results.loss[0], "subtask_loss": results.subtask_loss[0]}
    ).assign_coords(n_half=("step", step / 2))
    for scale, factor in ((None, 1.0), ("n_half", 0.5)):
        expected = [
            next((step[e] * factor for e in range(n_steps) if bits[0, e, s] < 0.1), np.nan)
            for s in range(n_subtasks)
        ]
        np.testing.assert_array_equal(emergence.transition(curve, scale=scale), expected)


# Fits


def converging(exponent: float, seeds: list[float], missing: int = 0) -> xr.DataArray:
    """Convergence steps ∝ p^-exponent of the widest online runs, in the ratio of ``seeds``.

    Steps are evaluated ones and so whole; the frequencies are made to fit them.
    """
    width = {"network.width": 64}
    at = WIDE * np.array(seeds)[:, None]
    at[:, S - missing :] = np.nan
    results = learned_at(at, sweep=[width], train__seed=list(range(len(seeds))))
    p = WIDE ** (-1 / exponent)
    p = np.broadcast_to(p / p.sum(), results.frequency.shape)
    results = results.assign(frequency=results.frequency.copy(data=p))
    return emergence.convergence_step(scaling.widest(results, online=True))


@pytest.mark.parametrize("exponent", [0.81, 1.0])
@pytest.mark.parametrize("seeds", [[1], [1, 2], [1, 2, 3]])
def test_steps_against_frequency(exponent: float, seeds: list[float]) -> None:
    fit = emergence.fit_convergence(converging(exponent, seeds))
    assert fit.exponent == pytest.approx(exponent, abs=EXACT)
    assert fit.n_points == S * len(seeds)
    assert fit.n_missing == 0
    # All seeds have one slope: their interval is a point, though the points' scatter is not.
    assert fit.interval == pytest.approx((exponent, exponent), abs=EXACT)


def test_the_interval_is_of_seeds() -> None:
    """With two seeds and equal frequencies it is the t interval of their own exponents."""
    steps = converging(0.8, [1, 1])
    bent = steps.copy(data=steps * np.array([np.ones(S), steps[1] ** 0.1]))
    alone = [emergence.fit_convergence(bent[run : run + 1]).exponent for run in range(2)]
    assert alone == pytest.approx([0.8, 0.88], abs=EXACT)
    fit = emergence.fit_convergence(bent)
    half = 12.706 * np.ptp(alone) / 2  # t of one degree of freedom at 97.5%; s/√2 = range/2
    assert fit.interval == pytest.approx((0.84 - half, 0.84 + half), rel=1e-4)  # t's digits


def test_never_learned_is_left_out_and_counted() -> None:
    fit = emergence.fit_convergence(converging(0.81, [1, 2], missing=3))
    assert fit.exponent == pytest.approx(0.81, abs=EXACT)
    assert (fit.n_points, fit.n_missing) == (2 * (S - 3), 2 * 3)


def test_subtasks_that_do_not_exist_are_not_counted() -> None:
    """The padding of another run in the folder, with more subtasks."""
    other = {"task.n_tasks": S + 3, "task.n_bits": 14}
    results = learned_at(
        np.append(WIDE, [np.nan] * 3), sweep=[{"network.width": 64}, other | {"network.width": 4}]
    )
    assert results.sizes["subtask"] == S + 3
    runs = select(results, results.n_tasks == S)
    fit = emergence.fit_convergence(emergence.convergence_step(runs))
    assert (fit.n_points, fit.n_missing) == (2 * S, 0)


def test_a_window_of_frequencies() -> None:
    steps = converging(0.81, [1, 2])
    p = steps.frequency[0].to_numpy()
    fit = emergence.fit_convergence(steps, (p[5], 1))
    assert fit.n_points == 2 * 6
    assert fit.window == pytest.approx((p[5], p[0]))


def test_mixed_runs_are_not_fitted() -> None:
    steps = emergence.convergence_step(learned_at(WIDE))
    with pytest.raises(BadInput, match=r"differ in width \(4, 8, 16, 32, 64\)"):
        emergence.fit_convergence(steps)
    counts = emergence.number_learned(learned_at(WIDE, task__alpha=[0.2, 0.4]))
    with pytest.raises(BadInput, match=r"differ in alpha \(0\.2, 0\.4\)"):
        emergence.fit_learned(counts.where(counts.width == 64, drop=True))
    with pytest.raises(BadInput, match="differ in width"):
        emergence.fit_learned(emergence.number_learned(learned_at(WIDE)))


SIZES = [25, 100, 400, 1_600, 6_400, 25_600]
COUNTS = [0, 1, 2, 4, 8, 12]  # ∝ √D between none and all


def counting(**changes: Any) -> xr.Dataset:
    """Finite runs that learn √(D / 100) subtasks, which forget them again after step 5,000."""
    sweep = [{"network.width": 64, "train.train_size": SIZES}]
    empty = planted({"sweep": sweep} | {n.replace("__", "."): v for n, v in changes.items()})
    count = dict(zip(map(float, SIZES), COUNTS, strict=True))
    n = np.array([count[float(size)] for size in empty.train_size])
    results = learned_at(np.where(np.arange(S) < n[:, None], 4_000, np.nan), sweep=sweep, **changes)
    return results.assign(
        subtask_loss=results.subtask_loss.where(results.step <= 5_000, LN2).assign_attrs(
            results.subtask_loss.attrs
        )
    )


def test_the_number_learned_against_data() -> None:
    results = counting()
    counts = emergence.number_learned(results)
    fit = emergence.fit_learned(counts)
    assert fit.slope == pytest.approx(0.5, abs=EXACT)
    assert fit.window == (100, 6_400)  # neither where nothing nor where all is learned
    assert fit.n_points == 2 * 4
    some = emergence.fit_learned(counts, window=(100, 1_600))
    assert (some.window, some.n_points) == ((100, 1_600), 2 * 3)
    assert some.slope == pytest.approx(0.5, abs=EXACT)
    with pytest.raises(BadInput, match="0 measured points"):
        emergence.fit_learned(emergence.number_learned(results, "last"))


def test_one_seed_without_a_subtask_ends_the_window() -> None:
    counts = emergence.number_learned(counting())
    counts = counts.copy(data=np.where((counts.seed == 1) & (counts.train_size == 100), 0, counts))
    assert emergence.fit_learned(counts).window == (400, 6_400)


def test_the_number_learned_against_parameters() -> None:
    width = planted({"sweep": [{"network.width": [4, 8, 16, 32]}]}).width.to_numpy()
    results = learned_at(
        np.where(np.arange(S) < width[:, None] // 4, 1_000, np.nan),
        sweep=[{"network.width": [4, 8, 16, 32]}],
    )
    counts = emergence.number_learned(results)
    fit = emergence.fit_learned(counts, "n_params")
    # n ∝ width exactly, and N = 27 width + 2 is up to 2% from it
    assert fit.slope == pytest.approx(1, abs=0.01)


def test_a_table_over_alpha() -> None:
    table = counting(task__alpha=[0.3, 0.6]).groupby("alpha").map(emergence.learned_exponent)
    assert table.alpha.to_numpy().tolist() == [0.3, 0.6]
    np.testing.assert_allclose(table.exponent, 0.5, atol=EXACT)
    assert (table.low <= table.exponent + EXACT).all()
    assert (table.high >= table.exponent - EXACT).all()
    np.testing.assert_allclose(table.theory, [1 / 1.3, 1 / 1.6])
    assert np.isnan(table.theory_finite).all()  # D^(1/(alpha+1)) up to the last subtask
    assert (table["first"] == 100).all()
    assert (table["last"] == 6_400).all()
    assert (table.n_points == 8).all()


def test_a_table_says_nan_where_nothing_can_be_fitted() -> None:
    last = emergence.learned_exponent(counting(), at="last")
    assert np.isnan(last.exponent)
    assert last.theory == pytest.approx(1 / 1.4)
    uniform = emergence.learned_exponent(counting(task__frequencies="uniform"))
    assert uniform.exponent == pytest.approx(0.5, abs=EXACT)
    assert np.isnan(uniform.theory)
    assert np.isnan(uniform.theory_finite)
    with pytest.raises(scaling.NoSuchRuns, match="no runs on finite data"):
        emergence.learned_exponent(learned_at(WIDE, sweep=[{"network.width": [4, 8]}]))
    with pytest.raises(BadInput, match="differ in alpha"):
        emergence.learned_exponent(counting(task__alpha=[0.3, 0.6]))


def test_results_from_a_folder(tmp_path: Path) -> None:
    """As they are opened: lazily, and through the package's front door."""
    results = learned_at(WIDE)
    opened = jq.open_results(stored(results, jq.load_config(PLANTED), tmp_path / "run"))
    xr.testing.assert_equal(
        jq.emergence.convergence_step(opened), emergence.convergence_step(results)
    )
    xr.testing.assert_equal(
        jq.emergence.number_learned(opened, "best"), emergence.number_learned(results, "best")
    )


# The solvable model


def test_the_first_subtask_tells_all_others() -> None:
    """Curves of the model itself, with noise: its two numbers, and the curves of all subtasks."""
    tau, start = 1200.0, 0.03
    results = learned_at(WIDE)
    runs = scaling.widest(results, online=True)
    p = powerlaw.zipf(S, 0.4)
    steps = runs.step.to_numpy()
    truth = LN2 * np.square(1 - theory.strengths(steps, p, tau, start))
    noise = 0.01 * np.random.default_rng(0).standard_normal((2, *truth.shape))
    losses = np.where(runs.subtask_loss.notnull(), truth + noise, np.nan)
    runs = runs.assign(subtask_loss=runs.subtask_loss.copy(data=losses.astype(np.float32)))
    found = emergence.solvable(runs)
    assert found.attrs["tau"] == pytest.approx(tau, rel=0.02)
    assert found.attrs["start"] == pytest.approx(start, rel=0.2)
    known = np.isin(steps, found.step)
    np.testing.assert_allclose(found.subtask_loss, truth[known], atol=0.02)
    fewer = runs.where(runs.subtask <= 9)  # subtasks that these runs do not have
    whole = fewer.frequency.sum("subtask")
    few = emergence.solvable(fewer.assign(frequency=fewer.frequency / whole))
    assert few.attrs["start"] == pytest.approx(found.attrs["start"])
    assert few.attrs["tau"] == pytest.approx(found.attrs["tau"] / float(whole[0]))
    assert few.sizes["subtask"] == 9
    flat = runs.assign(subtask_loss=xr.full_like(runs.subtask_loss, LN2))
    with pytest.raises(BadInput, match="the first subtask's loss does not fall by half"):
        emergence.solvable(flat)
