"""Join the parts of losses (``--shard``) to the columns that they are parts of."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from jquanta.errors import BadInput
from jquanta.lm.losses.batches import LONGEST_FIRST
from jquanta.lm.losses.column import (
    CHUNK,
    Column,
    group_name,
    label_of,
    read_attributes,
    read_column,
    read_root,
    require_whole,
)
from jquanta.lm.losses.legs import Leg
from jquanta.lm.losses.reader import open_losses
from jquanta.run.arrays import METADATA, make_group, open_group
from jquanta.run.files import PART, SHARDS, as_path, remove, require_place
from jquanta.run.folder import RunFolder
from jquanta.run.progress import Monitor, Silence
from jquanta.run.shard import Missing, Shard, begun, parse, require_one_whole
from jquanta.run.stop import Interrupts, shortage_in_one_line

Columns = dict[Shard, tuple[Path, dict[str, Any]]]
"""For each shard that has begun one column: its folder and attributes."""

OF_PART = ("shard", "documents", "predictions", "command", "legs", "documents_done", "finished")
"""Attributes that say something of a part and not of the column."""

AGAIN = "gather on a machine with more of it"
"""What to do where memory does not suffice."""

SAME = ("weights", "dtype", "size", "corpus")
"""Attributes that all parts of a column have in common."""


def gather(
    parts: Sequence[Path | str],
    out: Path | str,
    *,
    models: Sequence[str] | None = None,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """Join the parts of losses::

        gather(shards_in("losses/pile"), "losses/pile")  # jquanta.run.shard

    The parts stay as they are; columns that have been joined are left alone.

    Args:
        parts: the folders of all parts.
        out: the folder for the whole; it may hold other losses on the same corpus.
        models: the columns to join, ``model@revision`` each; all that the parts have by default.
        monitor: receives the progress.

    Returns:
        The columns that the parts are of, in nats, as from ``open_losses``.

    Raises:
        Missing: if parts of a column are not there, or not finished, with the commands that
            compute them.
        BadInput: if a folder is no part, or parts do not go together.
        RunFailed: if the disk is full; the same call gathers.
        Interrupted: after Ctrl-C; the same call gathers.
    """
    monitor, out = monitor or Silence(), as_path(out)
    places = begun(list(map(as_path, parts)), METADATA, set())
    if not places:
        raise BadInput(f"{out}: holds no shards; give the folder that was their --out")
    roots = list(map(_root, places))
    first = roots[0]
    for place, root in zip(places, roots, strict=True):
        if root["corpus"] != first["corpus"]:
            raise BadInput(
                f"{place}: losses on another corpus ({root['source']}) than {places[0]} "
                f"({first['source']}); leave it out, or delete it"
            )
    shards = [(parse(root["shard"]), place) for place, root in zip(places, roots, strict=True)]
    require_one_whole(shards)
    columns = _columns(shards)
    if models is not None:
        columns = {label: found for label, found in columns.items() if label in models}
    _require_all(columns, shards, out)
    for found in columns.values():
        _require_column(found, int(first["predictions"]))
    _require_room(out, first)
    with (
        RunFolder(out).locked(),
        shortage_in_one_line(AGAIN),
        Interrupts(f"interrupted; the parts of {out} are as they were") as interrupts,
    ):
        if read_attributes(out) is None:
            make_group(out, {k: v for k, v in first.items() if k != "shard"})
        for left in out.glob(f"*@*{PART}"):
            remove(left)
        for number, (label, found) in enumerate(sorted(columns.items())):
            _join(out, found, interrupts)
            monitor.work("gathering", (number + 1) / len(columns), label)
    return open_losses(out, models=sorted(columns))


def _root(place: Path) -> dict[str, Any]:
    """The attributes of the folder of a part. Raises ``BadInput`` if it is none."""
    root = read_root(place) if place.is_dir() else None
    if root is None:
        raise BadInput(f"{place}: holds no losses; leave it out")
    if "shard" not in root:
        raise BadInput(f"{place}: whole losses, and no shard of some; leave it out")
    return root


def _columns(shards: Sequence[tuple[Shard, Path]]) -> dict[str, Columns]:
    """The columns of all parts, by their labels."""
    columns: dict[str, Columns] = {}
    for shard, place in shards:
        for path in sorted(place.iterdir()):
            attributes = None if path.suffix == PART else read_column(path)
            if attributes is not None:
                columns.setdefault(label_of(attributes), {})[shard] = (path, attributes)
    if not columns:
        raise BadInput(f"{shards[0][1]}: holds no column yet; run its command again")
    return columns


def _require_all(
    columns: Mapping[str, Columns], shards: Sequence[tuple[Shard, Path]], out: Path
) -> None:
    """Raise ``Missing`` unless every shard has finished every column."""
    every = shards[0][0].all()
    lacking: dict[Shard, list[str]] = {}
    for found in columns.values():
        path, attributes = next(iter(found.values()))
        command = attributes.get("command")
        if command is None:
            raise BadInput(f"{path}: was not made with --shard; delete it")
        for shard in every:
            if shard not in found or "finished" not in found[shard][1]:
                own = f"{command} --shard {shard} --out {shlex.quote(str(out))}"
                lacking.setdefault(shard, []).append(own)
    if lacking:
        commands = [command for shard in sorted(lacking) for command in lacking[shard]]
        raise Missing(out, len(every), commands, len(lacking))


def _require_column(found: Columns, predictions: int) -> None:
    """Raise ``BadInput`` unless the parts of a column are whole, alike, and hold every prediction
    once."""
    (first, own), *_ = found.values()
    for path, attributes in found.values():
        require_whole(path)
        for name in SAME:
            if attributes.get(name) != own.get(name):
                raise BadInput(
                    f"{path}: another {name} than {first} ({str(attributes.get(name))[:40]}, not "
                    f"{str(own.get(name))[:40]}); delete one of the two, and compute it again"
                )
    end = 0
    for begin, stop, path in sorted((*a["predictions"], path) for path, a in found.values()):
        if begin != end:
            raise BadInput(
                f"{path}: begins at prediction {begin:,}, and the part before ends at {end:,}: "
                "they were cut by different versions; delete them, and compute them by one"
            )
        end = stop
    if end != predictions:
        raise BadInput(f"{first.parents[1]}: predictions from {end:,} on are in no part")


def _require_room(out: Path, root: Mapping[str, Any]) -> None:
    """Raise ``BadInput`` unless the whole may be put here."""
    require_place(out)
    stored = read_root(out) if out.exists() else None
    if stored is not None and (stored["corpus"] != root["corpus"] or "shard" in stored):
        raise BadInput(f"--out {out}: holds losses of another corpus or a shard; give a new folder")
    if stored is None and out.exists() and {path.name for path in out.iterdir()} - {SHARDS}:
        raise BadInput(f"--out {out}: holds other files; give a new folder")


def _join(out: Path, found: Columns, interrupts: Interrupts) -> None:
    """Write one column, unless it is finished; what an earlier try has left is replaced."""
    (_, own), *_ = found.values()
    path = out / group_name(own["model"], own["revision"])
    stored = read_column(path)
    if stored is not None:
        begun_alone = "finished" not in stored and "gathered" not in stored
        if begun_alone or stored["weights"] != own["weights"]:
            raise BadInput(f"{path}: holds losses of its own; give another --out, or delete it")
        if "finished" in stored:
            return
        remove(path)
    shares = [{"shard": a["shard"], "device": a.get("device")} for _, a in found.values()]
    identity = {name: value for name, value in own.items() if name not in OF_PART}
    end = max(attributes["predictions"][1] for _, attributes in found.values())
    Column.create(path, end, identity | {"gathered": shares})
    column = Column(path)
    for part, attributes in found.values():
        array: Any = open_group(part)["loss"]
        begin, stop = attributes["predictions"]
        for first in range(begin, stop, CHUNK):
            interrupts.check()
            column.write(first, array[first : min(first + CHUNK, stop)])
    documents = sum(int(attributes["documents_done"]) for _, attributes in found.values())
    column.finish([Leg(LONGEST_FIRST, documents)])
