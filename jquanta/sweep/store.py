"""Results of a sweep on disk: one labelled Dataset, and a file of final weights for each run."""

import tomllib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from flax import nnx
from safetensors.numpy import load_file, save_file
from zarr.storage import LocalStore  # given a string, zarr may take a path for a URL

from jquanta.errors import BadInput
from jquanta.parity.config import FIELDS, RunConfig, to_values
from jquanta.parity.network import make_network
from jquanta.parity.solo import Metrics
from jquanta.parity.task import Task, make_task
from jquanta.run import kinds
from jquanta.run.arrays import consolidate, open_group
from jquanta.run.files import remove, whole
from jquanta.sweep.config import SweepConfig, load_config
from jquanta.sweep.folder import SweepFolder
from jquanta.sweep.schema import (
    RUN_COORDINATES,
    SCHEMA_VERSION,
    VARIABLES,
    Variable,
    check,
    field_coordinates,
)

CHUNK = 2**20  # most numbers in a chunk of the largest arrays: 4 MiB of float32


def template(config: SweepConfig, attributes: dict[str, Any]) -> xr.Dataset:
    """A Dataset with the shape and coordinates of a sweep's results, and no values yet.

    All values are missing. They take no memory, since each array is a single number that is
    broadcast.

    Args:
        config: of the sweep.
        attributes: of the Dataset, in addition to title, schema version and configuration.
    """
    runs = config.runs()
    steps = sorted({step for run in runs for step in run.evaluation_steps})
    sizes = {
        "run": len(runs),
        "step": len(steps),
        "subtask": max(run.task.n_codes for run in runs),
        "position": max(run.task.longest_subset for run in runs),
    }

    # A broadcast array has strides of 0: all of its elements are the same number in memory.
    def missing(variable: Variable) -> Any:
        value = np.asarray(variable.missing).astype(variable.dtype)
        shape = tuple(sizes[dim] for dim in variable.dims)
        return variable.dims, np.broadcast_to(value, shape), _attributes(variable)

    tables = [to_values(run) for run in runs]
    fields = {
        field.split(".")[1]: (
            "run",
            np.array([table[field] for table in tables]),
            _attributes(variable),
        )
        for field, variable in zip(FIELDS, field_coordinates().values(), strict=True)
    }
    # The number of parameters is known before training; the other coordinates are missing.
    known = {"n_params": ("run", np.array([run.n_params for run in runs], np.int64))}
    coordinates = {
        name: (*(known.get(name) or missing(variable)[:2]), _attributes(variable))
        for name, variable in RUN_COORDINATES.items()
    }
    axes = {
        "run": ("run", np.arange(len(runs)), {"units": "1", "long_name": "run"}),
        "step": ("step", np.array(steps), {"units": "updates", "long_name": "updates made"}),
        "subtask": (
            "subtask",
            np.arange(1, sizes["subtask"] + 1),
            {"units": "1", "long_name": "subtask or code, by its place"},
        ),
    }
    return xr.Dataset(
        {name: missing(variable) for name, variable in VARIABLES.items()},
        axes | fields | coordinates,
        {
            "title": config.name,
            "schema_version": SCHEMA_VERSION,
            "config": config.to_toml(),
            **attributes,
        },
    )


class Store:
    """A Dataset that is being written, run by run, under a temporary name.

    Args:
        folder: of the sweep.
        config: of the sweep.
        attributes: as for ``template``.
    """

    def __init__(self, folder: SweepFolder, config: SweepConfig, attributes: dict[str, Any]):
        self.path = folder.results
        self.part = self.path.with_name(self.path.name + ".part")
        remove(self.part)
        empty = template(config, attributes)
        self.steps = empty.step.to_numpy()
        with warnings.catch_warnings():
            # zarr warns that strings have no final specification in format 3.
            warnings.simplefilter("ignore")
            empty.to_zarr(
                LocalStore(self.part),
                encoding={name: {"chunks": _chunks(empty[name].sizes)} for name in VARIABLES},
                consolidated=False,
                zarr_format=3,
            )
        self.group = open_group(self.part, "r+")

    def add(self, number: int, run: RunConfig, metrics: Metrics, last: int) -> None:
        """Write the results of one run.

        Args:
            number: of the run on the run axis.
            run: its configuration.
            metrics: its evaluations, arrays [evaluation, …]; losses in nats.
            last: index of its last evaluation. Later ones are not written.
        """
        count = last + 1
        # The Dataset has the steps of all runs; this run has values at some of them.
        place = np.searchsorted(self.steps, run.evaluation_steps[:count])
        for name, values in metrics._asdict().items():
            if values.ndim == 1:
                self._put(name, (number, place), values[:count])
            else:
                self._put(name, (number, place, slice(0, values.shape[1])), values[:count])
        task = make_task(run.task, run.train.seed)
        subtasks, positions = map(slice, task.subsets.shape)
        self._put("frequency", (number, subtasks), task.frequencies)
        self._put("subset", (number, subtasks, positions), task.subsets)
        # The first evaluation with an infinite or NaN mean loss tells when the run diverged.
        bad = np.flatnonzero(~np.isfinite(metrics.loss[:count]))
        self._put("last_step", (number,), run.evaluation_steps[last])
        self._put("diverged_at", (number,), run.evaluation_steps[bad[0]] if len(bad) else -1)

    def publish(self) -> None:
        """Give the complete Dataset its final name."""
        consolidate(self.part)
        remove(self.path)
        self.part.replace(self.path)

    def _put(self, name: str, place: tuple[Any, ...], values: Any) -> None:
        """Write values into one array at an orthogonal index (one index for each dimension)."""
        array: Any = self.group[name]
        array.oindex[place] = np.asarray(values, array.dtype)


def save_weights(path: Path, weights: dict[str, np.ndarray]) -> None:
    """Write a network's weights by name to a safetensors file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        save_file({name: np.ascontiguousarray(w) for name, w in weights.items()}, part)


def open_results(path: Path | str) -> xr.Dataset:
    """Open the Dataset of a finished sweep. Arrays are read from disk when they are used.

    Args:
        path: a run folder, or the ``results.zarr`` in it.

    Returns:
        A Dataset with dimensions ``run``, ``step`` and ``subtask``, losses in nats, and every
        configuration field as a coordinate of ``run``. ``jquanta.sweep.schema`` lists all
        variables.

    Raises:
        BadInput: if there are no results, the sweep is not finished, or the schema is another.
    """
    folder = SweepFolder(path)
    kinds.require(folder.path, "sweep", remedy="train one: jquanta sweep")
    if not folder.begun:
        raise BadInput(
            f"{folder.path}: not a run folder (no config.toml); train one with "
            f"jquanta sweep --out {folder.path}"
        )
    if not folder.done or not folder.results.exists():
        folder.read_config()  # refuses another kind of run
        raise BadInput(
            f"{folder.path}: this sweep is not finished; resume it with "
            f"jquanta sweep {folder.config} --out {folder.path}"
        )
    dataset = xr.open_zarr(LocalStore(folder.results, read_only=True), chunks=None)
    check(dataset, str(folder.results))
    return dataset


def load_run(path: Path | str, run: int) -> tuple[Task, Any, Any]:
    """Load the task and the trained network of one run of a sweep.

    Args:
        path: of the run folder.
        run: index of the run on the ``run`` dimension.

    Returns:
        The task, the network's NNX graph definition, and its final weights (float32; NaN among
        them if the run diverged). ``nnx.merge(network, weights)`` is the module, a
        ``jquanta.parity.network.MLP``.

    Raises:
        BadInput: as ``open_results``, and if there is no such run.
    """
    # The configuration in the Dataset's attributes is the resolved one: run numbers are the same.
    dataset = open_results(path)
    runs = load_config(tomllib.loads(dataset.attrs["config"])).runs()
    if not 0 <= run < len(runs):
        raise BadInput(f"run {run}: {path} has runs 0 to {len(runs) - 1}")
    stored = load_file(SweepFolder(path).weight_file(run))
    network, weights = nnx.split(make_network(runs[run]))
    for place, leaf in nnx.to_flat_state(weights):
        leaf.set_value(stored[".".join(map(str, place))])
    return make_task(runs[run].task, runs[run].train.seed), network, weights


def _attributes(variable: Variable) -> dict[str, str]:
    """The attributes of an array of the Dataset."""
    return {"units": variable.units, "long_name": variable.long_name}


def _chunks(sizes: Any) -> tuple[int, ...]:
    """Shape of the chunks of an array: one run, and as many steps as ``CHUNK`` numbers allow.

    Arrays without the dimension ``step`` are a single chunk.
    """
    shape: Sequence[int] = tuple(sizes.values())
    if tuple(sizes)[:2] != ("run", "step"):
        return tuple(shape)
    a_step = int(np.prod(shape[2:], dtype=int))
    return (1, max(1, min(shape[1], CHUNK // a_step)), *shape[2:])
