"""Join the parts of a sweep (``--shard``) to the sweep that they are parts of."""

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from jquanta.errors import BadInput
from jquanta.parity.solo import Metrics
from jquanta.run import sums
from jquanta.run.environment import now
from jquanta.run.files import LOCK, PART, SHARDS, as_path, remove, require_place, whole
from jquanta.run.folder import CONFIG, RECORD
from jquanta.run.progress import Monitor, Silence
from jquanta.run.shard import Missing, Shard, begun, require_one_whole, whole_of
from jquanta.run.shown import listed
from jquanta.run.stop import Interrupts
from jquanta.sweep.config import SweepConfig
from jquanta.sweep.folder import RESULTS, SweepFolder
from jquanta.sweep.store import Store, environment_of, open_results

OWN = {SHARDS, LOCK, RESULTS, RESULTS + PART, "weights"}
"""What may lie in the folder of the whole: the parts, and what an earlier try left."""

AGAIN = "gather on a machine with more of it"
"""What to do where memory does not suffice."""


def gather(
    parts: Sequence[Path | str], out: Path | str, *, monitor: Monitor | None = None
) -> xr.Dataset:
    """Join the parts of a sweep::

        gather(shards_in("runs/grid"), "runs/grid")  # jquanta.run.shard

    The parts stay as they are. The results are those of the sweep trained in one folder, to
    rounding: networks that train in other company are computed in other shapes.

    Args:
        parts: the folders of all parts.
        out: the run folder of the whole. If it is finished, it is only opened.
        monitor: receives the progress.

    Returns:
        The results, as from ``open_results``.

    Raises:
        Missing: if parts are not there, or not finished, with the commands that make them.
        BadInput: if a folder is no part, or one of another configuration or another cut.
        RunFailed: if the disk is full; the same call gathers.
        Interrupted: after Ctrl-C; the same call gathers.
    """
    monitor, folder = monitor or Silence(), SweepFolder(out)
    found = [SweepFolder(path) for path in begun(list(map(as_path, parts)), RECORD, {CONFIG})]
    if not found:
        raise BadInput(f"{folder.path}: holds no shards; give the folder that was their --out")
    config = _config(found)
    _require_place(folder, config)
    _require_all(found, folder)
    if folder.done:
        return open_results(folder.path)
    results = [open_results(part.path) for part in found]
    _require_each_once(found, results, len(config.runs()))
    with folder.locked(), folder.failures_recorded(AGAIN):
        _join(folder, config, found, results, monitor)
    return open_results(folder.path)


def _config(parts: Sequence[SweepFolder]) -> SweepConfig:
    """The configuration of all parts. Raises ``BadInput`` if a folder is no part of the same."""
    first, *others = parts
    config = first.read_config()
    for part in others:
        if names := config.differences(part.read_config()):
            raise BadInput(
                f"{part.path}: of another configuration than {first.path} (another "
                f"{listed(names)}); leave it out, or delete it"
            )
    shards = []
    for part in parts:
        if part.shard is None:
            raise BadInput(f"{part.path}: a whole sweep, and no shard of one; leave it out")
        shards.append((part.shard, part.path))
    require_one_whole(shards)
    return config


def _require_place(folder: SweepFolder, config: SweepConfig) -> None:
    """Raise ``BadInput`` unless the parts may be joined here, or have been."""
    require_place(folder.path)
    if folder.begun:
        if not folder.gathered:
            what = "a whole sweep" if folder.shard is None else f"shard {folder.shard} of one"
            raise BadInput(f"--out {folder.path}: holds {what}; give a new folder")
        if folder.read_config().runs() != config.runs() or folder.checkpoints.exists():
            raise folder.other_configuration()
    elif folder.path.exists() and {path.name for path in folder.path.iterdir()} - OWN:
        raise BadInput(f"--out {folder.path}: holds other files; give a new folder")


def _require_all(parts: Sequence[SweepFolder], folder: SweepFolder) -> None:
    """Raise ``Missing`` unless every part of the cut is there and finished."""
    there = {part.shard: part for part in parts if part.shard}
    (any_shard, any_part), *_ = there.items()

    def command(shard: Shard) -> str:
        if shard in there and whole_of(there[shard].path, shard):
            return there[shard].command()
        words = ["jquanta", "sweep", str(any_part.config), "--shard", str(shard)]
        return shlex.join([*words, "--out", str(folder.path)])

    lacking = [shard for shard in any_shard.all() if shard not in there or not there[shard].done]
    if commands := list(map(command, lacking)):
        raise Missing(folder.path, any_shard.of, commands)


def _require_each_once(
    parts: Sequence[SweepFolder], results: Sequence[xr.Dataset], runs: int
) -> None:
    """Raise ``BadInput`` unless the parts hold every run once."""
    owner: dict[int, Path] = {}
    for part, found in zip(parts, results, strict=True):
        for run in found.run.to_numpy().tolist():
            if run in owner:
                raise BadInput(f"{part.path}: holds run {run}, as does {owner[run]}; {_ANEW}")
            owner[run] = part.path
    if lost := sorted(set(range(runs)) - set(owner)):
        raise BadInput(f"{parts[0].path.parent}: no part holds run {lost[0]}; {_ANEW}")


_ANEW = "the parts were cut by different versions: delete them and train them by one"


def _join(
    folder: SweepFolder,
    config: SweepConfig,
    parts: Sequence[SweepFolder],
    results: Sequence[xr.Dataset],
    monitor: Monitor,
) -> None:
    """Write weights and Dataset, then say that the sweep is finished. ``folder`` is locked."""
    runs, done = config.runs(), 0
    remove(folder.weights)  # of an earlier try, which may have been of other parts
    records = [part.read_record() for part in parts]
    store = Store(folder, config, _environments(records))
    with Interrupts(f"interrupted; the parts of {folder.path} are as they were") as interrupts:
        for part, found in zip(parts, results, strict=True):
            remedy = "delete this shard and train it again"
            sums.require_whole(part.weights, remedy)
            for place, number in enumerate(found.run.to_numpy().tolist()):
                interrupts.check()
                run, one = runs[number], found.isel(run=place)
                last = run.evaluation_steps.index(int(one.last_step))
                seen = one.sel(step=list(run.evaluation_steps[: last + 1]))
                codes = slice(0, run.task.n_codes)
                columns = (seen[name].to_numpy() for name in Metrics._fields)
                metrics = Metrics(*(x if x.ndim == 1 else x[:, codes] for x in columns))
                store.add(number, run, metrics, last)
                folder.weights.mkdir(parents=True, exist_ok=True)
                with whole(folder.weight_file(number)) as copy:
                    shutil.copyfile(part.weight_file(number), copy)
                done += 1
                monitor.work("gathering", done / len(runs), f"run {done:,} of {len(runs):,}")
    sums.write(folder.weights)
    store.publish()
    seconds = round(sum(record.get("seconds", 0.0) for record in records), 1)
    shards = [{"shard": r["shard"], "device": r["device"], "packs": r["packs"]} for r in records]
    folder.begin(config.name, config.to_toml(), gathered=shards, seconds=seconds)
    folder.finish()


def _environments(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The attributes of the Dataset about where its parts were trained; several of one name are
    joined by semicolons."""
    own = [environment_of(record) for record in records]
    joined = {name: "; ".join(dict.fromkeys(str(e[name]) for e in own)) for name in own[0]}
    return joined | {"created": now()}
