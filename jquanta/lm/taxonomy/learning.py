"""When is each token learned? A sigmoid in ln of steps, or of sizes, for each token's losses.

What is fitted, what else a token may be, and what thresholds mean: ``jquanta.spectrum``. Here
losses are read block by block, whatever their number, and the fits stored as they are made.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from jaxtyping import Float
from zarr.storage import LocalStore

from jquanta.errors import BadInput
from jquanta.lm.losses.column import CHUNK
from jquanta.lm.taxonomy.laws import step_curves
from jquanta.lm.taxonomy.repeats import Curve, curves
from jquanta.lm.taxonomy.tables import at_step, require_losses
from jquanta.lm.taxonomy.thresholds import MONOGENIC
from jquanta.run import arrays
from jquanta.run.environment import environment, now
from jquanta.run.files import PART, as_path, clear_partials, remove, require_place
from jquanta.run.progress import Monitor, Part, Silence
from jquanta.run.stop import Interrupts, shortage_in_one_line
from jquanta.spectrum import LEAST, VARIABLES, Checkpoints, Fits, Spectrum, described

UNITS = {"step": "updates", "size": "parameters"}

KIND = "learning times"
"""The attribute ``kind`` of a stored group."""

DONE = "blocks_done"
"""The attribute of a group that is being written: blocks whose chunks are on disk."""

Values = Mapping[str, np.ndarray]


def curves_along(losses: xr.Dataset, along: str, step: int | None = None) -> list[Curve]:
    """The networks whose tokens can be fitted, with their columns; of sizes one for all.

    Args:
        losses: of ``open_table``.
        along: ``step``: the checkpoints of each network; ``size``: its sizes at one checkpoint.
        step: for sizes the checkpoint; by default each model's last.

    Returns:
        In ascending order of size; ``steps`` are the sizes where ``along`` is ``size``. Seeds lie
        side by side.

    Raises:
        BadInput: if there are fewer than six checkpoints of every network, or sizes.
    """
    if along not in UNITS:
        raise BadInput(f"along = {along!r}: give 'step' or 'size'")
    if along == "step":
        places = {
            name: own for name, own in step_curves(losses).items() if len(own) >= LEAST
        }  # fewer tell nothing, and more seeds with them would be left out
        found = [one for one in curves(losses, places) if len(one.steps) >= LEAST]
        if not found:
            most = max(map(len, step_curves(losses).values()))
            raise BadInput(
                f"losses at {most} checkpoints: a sigmoid has four numbers, and needs {LEAST} or "
                "more; give more of a network (jquanta losses --revision …, jquanta pretrain "
                "--train.checkpoints 8)"
            )
        return found
    models = at_step(losses, step)
    labels = losses.model.to_numpy().tolist()
    by_seed: dict[str, dict[int, int]] = {}
    for label, size, seed in zip(
        *(models[name].to_numpy().tolist() for name in ("model", "size", "seed")), strict=True
    ):
        by_seed.setdefault(seed, {}).setdefault(size, labels.index(label))
    enough = {seed: own for seed, own in by_seed.items() if len(own) >= LEAST}
    if not enough:
        most = max(map(len, by_seed.values()))
        raise BadInput(
            f"losses of {most} sizes: a sigmoid has four numbers, and needs {LEAST} or more; give "
            "the losses of more models"
        )
    sizes = {tuple(sorted(own)) for own in enough.values()}
    return [
        Curve(
            f"{len(of)} sizes",
            max(of),
            tuple(seed for seed, own in enough.items() if tuple(sorted(own)) == of),
            of,
            tuple(
                tuple(own[size] for size in of)
                for own in enough.values()
                if tuple(sorted(own)) == of
            ),
        )
        for of in sorted(sizes)
    ]


def spectrum_of(
    losses: xr.Dataset,
    curve: Curve,
    below: float = MONOGENIC.below,
    *,
    block: int = CHUNK,
    keep: Callable[[int, Float[np.ndarray, "predictions n"], Fits], None] | None = None,
    monitor: Monitor | None = None,
) -> Spectrum:
    """The learning-time spectrum of a network, over all tokens and seeds, reading each loss once.

    Args:
        losses: of ``open_table``, in nats.
        curve: of ``curves_along``.
        below: nats; a token that does not change is ``known`` below, and else ``flat``.
        block: predictions that are in memory at once.
        keep: is given each block: the number of its first prediction, its losses and their fits.
        monitor: receives the progress.

    Raises:
        BadInput: for a threshold that is not positive, or a loss that is NaN, infinite or negative.
    """
    require_threshold(below)
    checkpoints = Checkpoints(np.array(curve.steps))
    found = Spectrum(checkpoints)
    for seed, columns in enumerate(curve.columns):
        share = Part(monitor or Silence(), seed / len(curve.columns), 1 / len(curve.columns))
        for first, part, fits in _blocks(losses, columns, checkpoints, below, block, share):
            found.add(part, fits)
            if keep:
                keep(first, part, fits)
    return found


def learning_times(
    losses: xr.Dataset,
    out: Path | str | None = None,
    *,
    along: str = "step",
    below: float = MONOGENIC.below,
    step: int | None = None,
    block: int = CHUNK,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """When each token is learned, and whether it can be told::

        times = jq.learning_times(jq.open_losses("runs/stdlib"))
        last = times.isel(series=-1)  # of the largest network
        last.learning_time.where(last.kind == 0).median()  # steps, of those that are learned

    Every token's losses over the checkpoints of a network, or over sizes, are fitted with the
    sigmoid of ``jquanta.spectrum`` in the logarithm of steps, or of parameters. 10^6 tokens at 32
    checkpoints take ten seconds on 2 cores.

    Args:
        losses: of ``open_losses``, in nats.
        out: a folder to be written, such as ``spectrum.zarr``: then the Dataset is read from there
            lazily, memory stays as it is whatever the number of tokens, and what was interrupted
            continues with the same bits. By default all is in memory: 29 bytes a token and series.
        along: ``step`` or ``size``.
        below: nats; a token that does not change is ``known`` below, and else ``flat``.
        step: for sizes, the checkpoint; by default each model's last.
        block: predictions that are in memory at once, and in a chunk on disk.
        monitor: receives the progress.

    Returns:
        Variables (series, prediction): ``learning_time`` (updates, or parameters),
        ``sigmoid_width`` (of its logarithm), ``high`` and ``low`` (nats), ``log_time_error`` and
        ``log_width_error`` (standard errors of the logarithms), ``r2``, and ``kind``, whose values
        mean ``flag_meanings``. The sigmoid is the best that falls, whatever the kind; NaN where
        none is better than a constant. Coordinates of ``series``, one for each network and seed:
        ``name``, ``seed`` and ``size`` (of sizes the largest).

    Raises:
        BadInput: as ``curves_along`` and ``spectrum_of``; if ``out`` cannot be written, or holds
            something else.
        RunFailed: if the disk or memory is full; the same call continues.
        Interrupted: on Ctrl-C; the same call continues.
    """
    require_threshold(below)
    found = curves_along(losses, along, step)
    series = [(one, i) for one in found for i in range(len(one.seeds))]
    coordinates = {
        "name": np.array([one.name for one, _ in series]),
        "seed": np.array([one.seeds[i] for one, i in series]),
        "size": np.array([one.size for one, _ in series], np.int64),
    }
    labels = losses.model.to_numpy()
    weights = losses.weights.to_numpy() if "weights" in losses.coords else labels
    attributes = {
        "kind": KIND,
        "along": along,
        "below_nats": below,
        "corpus": losses.attrs.get("corpus", ""),
        "source": losses.attrs.get("source", ""),
        "columns": [labels[list(one.columns[i])].tolist() for one, i in series],
        "weights": [weights[list(one.columns[i])].tolist() for one, i in series],
        "at": [list(one.steps) for one, _ in series],
        "block": block,
    }
    rows = losses.sizes["prediction"]
    shape, total = (len(series), rows), len(series) * -(-rows // block)

    def pieces(done: int) -> Iterator[tuple[int, int, Values]]:
        """The variables of each block from the one numbered ``done`` on."""
        for number, (one, i) in enumerate(series):
            before = number * -(-rows // block)
            begin = max(done - before, 0) * block
            if begin and begin >= rows:
                continue
            share = Part(monitor or Silence(), number / len(series), 1 / len(series))
            checkpoints = Checkpoints(np.array(one.steps))
            for first, _, fits in _blocks(
                losses, one.columns[i], checkpoints, below, block, share, begin
            ):
                yield number, first, {name: of.of(fits) for name, of in VARIABLES.items()}

    if out is None:
        values = {name: np.zeros(shape, of.dtype) for name, of in VARIABLES.items()}
        for number, first, columns in pieces(0):
            for name, column in columns.items():
                values[name][number, first : first + len(column)] = column
        data = {
            name: (("series", "prediction"), values[name], described(name, UNITS[along]))
            for name in VARIABLES
        }
        return xr.Dataset(data, {k: ("series", v) for k, v in coordinates.items()}, attributes)
    path = as_path(out)
    _store(path, shape, block, coordinates, attributes, pieces, total)
    return open_learning_times(path)


def open_learning_times(path: Path | str) -> xr.Dataset:
    """Open what ``learning_times`` stored, lazily.

    Raises:
        BadInput: if there is nothing of the kind, or a part of it is missing.
    """
    remedy = "make it: jquanta spectrum LOSSES"
    found = arrays.read(as_path(path), KIND, "learning_time", remedy)
    return found.set_coords(["name", "seed", "size"])


def require_threshold(below: float) -> None:
    """Raise ``BadInput`` unless this can be a loss in nats."""
    if not 0 < below < np.inf:
        raise BadInput(f"below = {below:g}: give a positive number of nats")


def _blocks(
    losses: xr.Dataset,
    columns: tuple[int, ...],
    checkpoints: Checkpoints,
    below: float,
    block: int,
    monitor: Monitor,
    begin: int = 0,
) -> Iterator[tuple[int, np.ndarray, Fits]]:
    """The losses [predictions, n] of some columns, block by block, with their fits."""
    own = losses.isel(model=list(columns))
    labels, rows = own.model.to_numpy().tolist(), own.sizes["prediction"]
    if not rows:
        raise BadInput("this corpus has no predictions")
    for first in range(begin, rows, block):
        part = own.loss.isel(prediction=slice(first, first + block)).to_numpy()
        require_losses(part, first, labels)
        yield first, part, checkpoints.fit(part, below)
        monitor.work("fitting sigmoids", min(1.0, (first + block) / rows))


def _store(
    path: Path,
    shape: tuple[int, int],
    block: int,
    coordinates: Values,
    attributes: dict[str, Any],
    pieces: Callable[[int], Iterator[tuple[int, int, Values]]],
    total: int,
) -> None:
    """Write the group, or go on with one that was begun. Each block is on disk before it counts."""
    require_place(path.parent)
    if path.exists():
        held = open_learning_times(path).attrs
        if {key: held.get(key) for key in attributes} == attributes:
            return
        raise BadInput(
            f"{path}: holds learning times of other losses, or by other settings; give another "
            "--out"
        )
    work = path.with_name(path.name + PART)
    done = _resumed(work, attributes)
    if done == 0:
        remove(work)
        path.parent.mkdir(parents=True, exist_ok=True)
        _create(work, shape, block, coordinates, attributes)
    group = arrays.open_group(work, "r+")
    stopped = f"stopped; the same command continues in {path}"
    with (
        Interrupts(stopped) as interrupts,
        shortage_in_one_line("give a smaller block"),
        zarr.config.set({"array.write_empty_chunks": True}),  # an absent chunk is a damaged one
    ):
        for number, first, columns in pieces(done):
            for name, column in columns.items():
                group[name][number, first : first + len(column)] = column
            done += 1
            arrays.set_attributes(work, {DONE: done})
            if done < total:
                interrupts.check()
    arrays.consolidate(work)
    arrays.finish(work, {"finished": now()})
    work.replace(path)


def _resumed(work: Path, attributes: dict[str, Any]) -> int:
    """How many blocks are on disk of just this; 0 where there is nothing to go on with."""
    clear_partials(work)
    try:
        held = dict(arrays.open_group(work).attrs)
    except arrays.DAMAGE:
        return 0
    same = {key: held.get(key) for key in attributes} == attributes
    return int(held.get(DONE, 0)) if same else 0


def _create(
    work: Path,
    shape: tuple[int, int],
    block: int,
    coordinates: Values,
    attributes: dict[str, Any],
) -> None:
    """A group whose variables are not written yet."""
    with warnings.catch_warnings():
        # zarr warns that strings have no final specification in format 3.
        warnings.simplefilter("ignore")
        held = {**attributes, **environment(), DONE: 0}
        group = zarr.create_group(LocalStore(work), attributes=held)
        for name, values in coordinates.items():
            group.create_array(name, data=values, compressors=None, dimension_names=("series",))
    for name, one in VARIABLES.items():
        group.create_array(
            name,
            shape=shape,
            chunks=(1, min(block, shape[1])),
            dtype=one.dtype,
            compressors=None,
            dimension_names=("series", "prediction"),
            attributes=described(name, UNITS[attributes["along"]]),
        )
