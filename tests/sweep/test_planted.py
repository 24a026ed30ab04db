"""Planted truth: a small sweep shows what the quantization model says (paper, sections 2 and 3).

The frequencies are planted; that subtasks are learned one after another, in their order, and more
of them the larger a scale is, has to come out. Bounds leave room for another seed's luck: a trial
of twelve subtasks gave a rank correlation of 0.97 and 0, 2, 4, 10 subtasks at the four widths.
"""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import jquanta as jq
from jquanta.sweep.scaling import LEARNED_BELOW, NATS_PER_BIT
from tests.sweep.examples import Config

PLANTED: Config = {
    "task.n_tasks": 12,
    "task.n_bits": 12,
    "task.k": 2,
    "train.batch_size": 500,
    "train.steps": 1200,
    "train.lr": 0.005,
    "eval.log_every": 50,
    "eval.points_per_task": 500,
    "sweep": [
        {"network.width": [2, 8, 32, 100]},
        {"network.width": 100, "train.train_size": [100, 1600, 6400]},
    ],
}

RANK_FLOOR = 0.85
"""Of 12 subtasks in random order, the rank correlation exceeds this once in 2,600 times."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results() -> xr.Dataset:
    return jq.run_sweep(PLANTED)


def widest(results: xr.Dataset) -> xr.Dataset:
    (run,) = np.flatnonzero((results.width == 100) & np.isinf(results.train_size))
    return results.isel(run=run)


def first_learned(run: xr.Dataset) -> np.ndarray:
    """The step [S] of each subtask's first evaluation below 0.1 bit; NaN if there is none."""
    below = (run.subtask_loss < LEARNED_BELOW * NATS_PER_BIT).to_numpy()
    return np.where(below.any(0), run.step.to_numpy()[below.argmax(0)], np.nan)


def test_subtasks_are_learned_in_order_of_frequency(results: xr.Dataset) -> None:
    run = widest(results)
    assert (np.diff(run.frequency) < 0).all()
    when = first_learned(run)
    reached = np.flatnonzero(np.isfinite(when))
    assert len(reached) >= 8
    # Those that were never reached are the rarest.
    assert reached.max() <= len(reached)
    assert len(np.unique(when[reached])) >= 6  # one after another, not at one stroke
    never_last = np.where(np.isfinite(when), when, run.step.max() + 1)
    assert stats.spearmanr(run.subtask, never_last).statistic > RANK_FLOOR


def test_each_subtask_is_learned_at_one_stroke(results: xr.Dataset) -> None:
    """From chance to learned within a small part of the training, as quanta are: the mean loss
    falls smoothly because many such steps follow one another."""
    run = widest(results)
    bits = run.subtask_loss.to_numpy() / NATS_PER_BIT
    learned = np.flatnonzero(np.isfinite(first_learned(run)))[1:]  # the first begins at once
    from_chance = np.array([np.flatnonzero(bits[:, s] > 0.9).max() for s in learned])
    to_learned = np.array([np.flatnonzero(bits[:, s] < 0.5).min() for s in learned])
    evaluations = len(bits)
    assert np.median(to_learned - from_chance) < 0.25 * evaluations


def test_more_is_learned_by_wider_networks(results: xr.Dataset) -> None:
    curve = jq.scaling.parameter_curve(results)
    count = jq.scaling.learned(curve).to_numpy()
    assert (np.diff(count) > 0).all()
    assert count[-1] >= count[0] + 6
    assert (np.diff(curve.loss) < 0).all()


def test_more_is_learned_in_more_steps(results: xr.Dataset) -> None:
    curve = jq.scaling.step_curve(results)
    count = jq.scaling.learned(curve).sel(step=[100, 400, 800, 1200]).to_numpy()
    assert (np.diff(count) > 0).all()
    assert (np.diff(curve.loss.sel(step=[100, 400, 800, 1200])) < 0).all()


def test_more_is_learned_from_more_data(results: xr.Dataset) -> None:
    curve = jq.scaling.data_curve(results)
    count = jq.scaling.learned(curve).to_numpy()
    assert (np.diff(count) > 0).all()
    assert (np.diff(curve.loss) < 0).all()
    # Online training, with new samples at every step, is the limit of many.
    assert count[-1] <= jq.scaling.learned(jq.scaling.step_curve(results)).max()


def test_little_data_is_overfitted(results: xr.Dataset) -> None:
    """The test loss of the smallest dataset ends far above its best, and above guessing."""
    (run,) = np.flatnonzero(results.train_size == 100)
    loss = results.loss.isel(run=run)
    assert loss[-1] > 1.5 * NATS_PER_BIT
    assert loss.min() < 1.05 * NATS_PER_BIT
