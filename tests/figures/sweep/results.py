"""Results without training whose every loss is given, in the shape that a sweep stores them."""

from collections.abc import Callable

import numpy as np
import xarray as xr

import jquanta as jq
from jquanta.parity.config import RunConfig
from jquanta.parity.task import make_task
from jquanta.sweep import schema
from jquanta.sweep.store import template
from tests.sweep.examples import Config
from tests.sweep.synthetic import LN2

Losses = Callable[[RunConfig, np.ndarray], np.ndarray]
"""The subtasks' test losses in bits [E, S] of a run at steps [E, 1]; NaN or infinite: diverged."""


def results_of(config: Config, losses: Losses) -> xr.Dataset:
    """A finished sweep's Dataset with these losses.

    The mean is over the exact frequencies, the accuracy 1 - loss / 2 bits, and the validation loss
    the test loss.
    """
    sweep = jq.load_config(config)
    results = template(sweep, {"created": "never"}).copy(deep=True)
    names = (*schema.VARIABLES, "last_step", "diverged_at")
    written = {name: np.array(results[name]) for name in names}
    for number, run in enumerate(sweep.runs()):
        place = np.searchsorted(results.step, run.evaluation_steps)
        task = make_task(run.task, run.train.seed)
        bits = losses(run, np.array(run.evaluation_steps)[:, None])
        bits = np.broadcast_to(bits, (len(place), run.task.n_codes))
        mean = bits @ task.frequencies
        subtasks = slice(0, run.task.n_codes)
        written["frequency"][number, subtasks] = task.frequencies
        written["subtask_loss"][number, place, subtasks] = bits * LN2
        written["subtask_accuracy"][number, place, subtasks] = 1 - bits / 2
        written["loss"][number, place] = mean * LN2
        written["accuracy"][number, place] = 1 - mean / 2
        if not run.online:
            written["validation_loss"][number, place] = mean * LN2
        bad = np.flatnonzero(~np.isfinite(mean))
        written["last_step"][number] = run.evaluation_steps[-1]
        written["diverged_at"][number] = run.evaluation_steps[bad[0]] if bad.size else -1
    filled = {name: results[name].copy(data=values) for name, values in written.items()}
    coordinates = {name: filled.pop(name) for name in ("last_step", "diverged_at")}
    results = results.assign(filled).assign_coords(coordinates)
    schema.check(results)
    return results
