"""Results without training: exact power laws in the shape that a sweep stores them."""

import math
import warnings
from pathlib import Path

import numpy as np
import xarray as xr

import jquanta as jq
from jquanta.parity.config import RunConfig
from jquanta.run import sums
from jquanta.run.folder import DONE
from jquanta.sweep import schema
from jquanta.sweep.config import SweepConfig
from jquanta.sweep.folder import SweepFolder
from jquanta.sweep.store import template
from tests.sweep.examples import Config

LN2 = math.log(2)

ALPHA_N, ALPHA_S, ALPHA_D, ALPHA_D_LAST = 0.45, 0.8, 0.25, 0.15
BEST_STEP, VALIDATION_STEP = 5_000, 8_000
PLATEAU = 15_000  # updates from which the loss no longer falls

PLANTED: Config = {
    "name": "planted",
    "task.n_tasks": 12,
    "task.n_bits": 12,
    "task.k": 2,
    "train.batch_size": 100,
    "train.steps": 20_000,
    "train.seed": [0, 1],
    "eval.log_every": 500,
    "sweep": [
        {"network.width": "log(4, 64, 5)"},
        {"network.width": 64, "train.train_size": "log(100, 100000, 7)"},
    ],
}
"""A width block and a data block of two seeds each."""


def law_n(n_params: float) -> float:
    return 2.0 * n_params**-ALPHA_N


def law_d(size: float) -> float:
    return 1.5 * size**-ALPHA_D


def curves(run: RunConfig, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean test and validation losses (nats) at ``steps``.

    Seeds 0 and 1 lie a tenth above and below the law. Online, the loss falls as a power of the
    steps until the plateau, from where the width's law holds. On finite data it has its minimum at
    ``BEST_STEP``, the validation loss at ``VALIDATION_STEP``, and the last loss another law.
    """
    seed = 1.1 - 0.2 * run.train.seed
    if run.online:
        falling = (np.maximum(steps, 1) / PLATEAU) ** -ALPHA_S
        loss = law_n(run.n_params) * np.maximum(falling, 1)
        return np.minimum(LN2, loss * seed), np.full(len(steps), np.nan)
    test, held_out = (
        law_d(run.train.train_size) * (1 + np.log(np.maximum(steps, 1) / best) ** 2)
        for best in (BEST_STEP, VALIDATION_STEP)
    )
    test[-1] = 3 * run.train.train_size**-ALPHA_D_LAST
    return test * seed, held_out * seed


def planted(changes: Config | None = None) -> xr.Dataset:
    """A Dataset that keeps to the schema, with the losses of ``curves`` in it.

    Where the mean loss is about 1 / m bits, the first m subtasks are learned, and no others.
    """
    config = jq.load_config(PLANTED | (changes or {}))
    results = template(config, {"created": "never"}).copy(deep=True)
    written = {name: np.array(results[name]) for name in (*schema.VARIABLES, "last_step")}
    steps = results.step.to_numpy()
    for number, run in enumerate(config.runs()):
        place = np.searchsorted(steps, run.evaluation_steps)
        written["loss"][number, place], written["validation_loss"][number, place] = curves(
            run, steps[place]
        )
        written["last_step"][number] = run.train.steps
    count = LN2 / written["loss"][..., None]
    subtask = np.arange(1, results.sizes["subtask"] + 1)
    written["subtask_loss"][:] = np.where(subtask < count + 0.5, 0.01, LN2)
    results = results.assign(
        {name: results[name].copy(data=written[name]) for name in schema.VARIABLES}
    ).assign_coords(last_step=results.last_step.copy(data=written["last_step"]))
    schema.check(results)
    return results


def stored(results: xr.Dataset, config: SweepConfig, path: Path) -> Path:
    """A finished run folder that holds ``results``."""
    folder = SweepFolder(path)
    path.mkdir(parents=True)
    folder.begin(config.name, config.to_toml())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr: strings have no final specification yet
        results.to_zarr(folder.results, zarr_format=3)
    sums.write(folder.results)
    folder.update_record(state=DONE)
    return path
