"""Results of a sweep on disk: one labelled Dataset, and a file of final weights for each run."""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr
from flax import nnx
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from zarr.storage import LocalStore  # given a string, zarr may take a path for a URL

from jquanta.errors import BadInput
from jquanta.parity.config import FIELDS, RunConfig, to_values
from jquanta.parity.network import MLP, make_network
from jquanta.parity.solo import Metrics
from jquanta.parity.task import Task, make_task
from jquanta.run import kinds, sums
from jquanta.run.arrays import DAMAGE, consolidate, open_group, require_whole
from jquanta.run.environment import now
from jquanta.run.files import remove, whole
from jquanta.run.folder import CONFIG
from jquanta.run.parse import parse_toml
from jquanta.run.settings import require_count
from jquanta.sweep.config import SweepConfig, load_config
from jquanta.sweep.folder import RESULTS, SweepFolder
from jquanta.sweep.schema import (
    RUN_COORDINATES,
    SCHEMA_VERSION,
    VARIABLES,
    Variable,
    check,
    field_coordinates,
)

CHUNK = 2**20  # most numbers in a chunk of the largest arrays: 4 MiB of float32


def template(
    config: SweepConfig, attributes: dict[str, Any], members: Sequence[int] | None = None
) -> xr.Dataset:
    """A Dataset with the shape and coordinates of a sweep's results, and no values yet.

    All values are missing. They take no memory, since each array is a single number that is
    broadcast.

    Args:
        config: of the sweep.
        attributes: of the Dataset, in addition to title, schema version and configuration.
        members: the numbers of its runs; all of the configuration's by default.
    """
    every = config.runs()
    members = range(len(every)) if members is None else members
    runs = [every[number] for number in members]
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
        "run": ("run", np.array(members), {"units": "1", "long_name": "run"}),
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


def environment_of(record: dict[str, Any]) -> dict[str, Any]:
    """Attributes of the Dataset about the environment in which it was made."""
    return {
        **{f"{name}_version": number for name, number in record["versions"].items()},
        **{name: str(record[name]) for name in ("commit", "device", "platform")},
        "precision": record["dtype"],
        "created": now(),
    }


class Store:
    """A Dataset that is being written, run by run, under a temporary name.

    Args:
        folder: of the sweep.
        config: of the sweep.
        attributes, members: as for ``template``.
    """

    def __init__(
        self,
        folder: SweepFolder,
        config: SweepConfig,
        attributes: dict[str, Any],
        members: Sequence[int] | None = None,
    ):
        self.path = folder.results
        self.part = self.path.with_name(self.path.name + ".part")
        remove(self.part)
        empty = template(config, attributes, members)
        self.steps = empty.step.to_numpy()
        self.places = {number: place for place, number in enumerate(empty.run.to_numpy().tolist())}
        with warnings.catch_warnings():
            # zarr warns that strings have no final specification in format 3.
            warnings.simplefilter("ignore")
            empty.to_zarr(
                LocalStore(self.part),
                encoding={name: {"chunks": _chunks(empty[name].sizes)} for name in VARIABLES},
                consolidated=False,
                zarr_format=3,
                write_empty_chunks=True,  # an absent chunk is then a damaged one
            )
        # Chunks are written even where all of their numbers are the fill value.
        self.arrays: dict[str, Any] = {
            name: array.with_config({"write_empty_chunks": True})
            for name, array in open_group(self.part, "r+").arrays()
        }

    def add(self, number: int, run: RunConfig, metrics: Metrics, last: int) -> None:
        """Write the results of one run.

        Args:
            number: of the run.
            run: its configuration.
            metrics: its evaluations, arrays [evaluation, …]; losses in nats.
            last: index of its last evaluation. Later ones are not written.
        """
        count = last + 1
        # The Dataset has the steps of all runs; this run has values at some of them.
        steps, place = (
            np.searchsorted(self.steps, run.evaluation_steps[:count]),
            self.places[number],
        )
        for name, values in metrics._asdict().items():
            if values.ndim == 1:
                self._put(name, (place, steps), values[:count])
            else:
                self._put(name, (place, steps, slice(0, values.shape[1])), values[:count])
        task = make_task(run.task, run.train.seed)
        subtasks, positions = map(slice, task.subsets.shape)
        self._put("frequency", (place, subtasks), task.frequencies)
        self._put("subset", (place, subtasks, positions), task.subsets)
        # The first evaluation with an infinite or NaN mean loss tells when the run diverged.
        bad = np.flatnonzero(~np.isfinite(metrics.loss[:count]))
        self._put("last_step", (place,), run.evaluation_steps[last])
        self._put("diverged_at", (place,), run.evaluation_steps[bad[0]] if len(bad) else -1)

    def publish(self) -> None:
        """Write the check sums, and give the complete Dataset its final name."""
        consolidate(self.part)
        sums.write(self.part)
        remove(self.path)
        self.part.replace(self.path)

    def _put(self, name: str, place: tuple[Any, ...], values: Any) -> None:
        """Write values into one array at an orthogonal index (one index for each dimension)."""
        array = self.arrays[name]
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
    kinds.require(folder.path, "sweep", remedy="train one: jquanta sweep", marker=CONFIG)
    if not folder.done:
        folder.read_config()  # refuses another kind of run
        raise BadInput(
            f"{folder.path}: this sweep is not finished; resume it with {folder.command()}"
        )
    remedy = f"{RESULTS} cannot be mended: delete the folder and run the sweep again"
    if not folder.results.exists():
        raise sums.damaged(folder.path, [f"{RESULTS} is missing"], remedy)
    if sums.require_whole(folder.results, remedy):
        return _opened(folder, remedy)
    dataset = _opened(folder, remedy)
    try:
        _require_old(folder.results, dataset, remedy)
    except BadInput:
        raise
    except DAMAGE:
        raise sums.damaged(folder.results, ["some numbers cannot be read"], remedy) from None
    return dataset


def stored_config(dataset: xr.Dataset) -> SweepConfig:
    """The resolved configuration in a Dataset's attributes: its runs have the Dataset's numbers."""
    return load_config(parse_toml(dataset.attrs["config"], "the configuration of the results"))


def _require_old(path: Path, dataset: xr.Dataset, remedy: str) -> None:
    """Raise ``BadInput`` unless results without check sums are whole.

    Version 0.1 wrote none, and left out chunks of nothing but fill values: coordinates that are all
    zeros, which the configuration knows, and evaluations that a run does not have, or whose losses
    are all NaN because it diverged.
    """
    runs = stored_config(dataset)
    expected = template(runs, {})
    known = {"run", "step", "subtask", "n_params", *field_coordinates()}
    steps, evaluations = expected.step.to_numpy(), [r.evaluation_steps for r in runs.runs()]

    def may_lack(name: str, place: tuple[int, ...]) -> bool:
        if name in known:
            return True
        if VARIABLES.get(name, RUN_COORDINATES["n_params"]).dims[:2] != ("run", "step"):
            return False
        size = dataset[name].encoding["chunks"][1]
        here = steps[place[1] * size : (place[1] + 1) * size]
        last, diverged = (int(dataset[x][place[0]]) for x in ("last_step", "diverged_at"))
        here = here[here <= (last if diverged < 0 else min(last, diverged - 1))]
        online = math.isinf(float(dataset.train_size[place[0]]))
        absent = name == "validation_loss" and online
        return absent or not set(here.tolist()) & set(evaluations[place[0]])

    require_whole(path, remedy, may_lack)
    for name in sorted(known):
        if not np.array_equal(dataset[name].to_numpy(), expected[name].to_numpy()):
            raise sums.damaged(path, [f"{name} is not that of its configuration"], remedy)


def _opened(folder: SweepFolder, remedy: str) -> xr.Dataset:
    """The Dataset of files that are whole, if it follows the schema."""
    try:
        dataset = xr.open_zarr(LocalStore(folder.results, read_only=True), chunks=None)
        check(dataset, str(folder.results))
        return dataset
    except BadInput:
        raise
    except DAMAGE:
        raise sums.damaged(folder.results, ["its metadata cannot be read"], remedy) from None


class Trained(NamedTuple):
    """A trained run of a sweep.

    Attributes:
        task: draws samples, and evaluates networks.
        network: the network with its final weights, float32 (NaN among them if the run diverged).
            It is called on the samples' inputs.
    """

    task: Task
    network: MLP


def load_run(path: Path | str, run: int) -> Trained:
    """Load the task and the trained network of one run of a sweep::

        task, network = jq.load_run("runs/fig2-width", run=0)
        samples = task.draw(1000)
        right = network(samples.inputs).argmax(1) == samples.label
        loss, accuracy = task.evaluate(network)  # by subtask

    Args:
        path: of the run folder.
        run: number of the run, as in the coordinate ``run``.

    Raises:
        BadInput: as ``open_results``; if there is no such run; or if its file of weights is
            missing, damaged, or of another network.
    """
    dataset = open_results(path)
    runs = stored_config(dataset).runs()
    require_count(f"{path}: run", run, len(runs) - 1, least=0)
    if run not in dataset.run.to_numpy():
        raise BadInput(f"{path}: run {run} is none of this shard's; give the gathered sweep")
    network = make_network(runs[run])
    _fill(network, SweepFolder(path).weight_file(run))
    return Trained(make_task(runs[run].task, runs[run].train.seed), network)


def _fill(network: MLP, file: Path) -> None:
    """Give a network the weights of a file. Raises ``BadInput`` unless they are its own."""
    remedy = "run the sweep again in another folder"
    sums.require_whole(file.parent, remedy, [file.name])
    try:
        stored = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else "damaged"
        raise BadInput(f"{file}: {reason}; {remedy}") from None
    weights = nnx.to_flat_state(nnx.state(network))
    wanted = {".".join(map(str, place)): leaf for place, leaf in weights}
    shapes = {name: (leaf.shape, str(leaf.dtype)) for name, leaf in wanted.items()}
    if {name: (array.shape, str(array.dtype)) for name, array in stored.items()} != shapes:
        raise BadInput(f"{file}: holds the weights of another network; {remedy}")
    for name, leaf in wanted.items():
        leaf.set_value(jnp.asarray(stored[name]))
    nnx.update(network, nnx.from_flat_state(weights))


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
