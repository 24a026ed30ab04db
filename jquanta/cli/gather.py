"""``jquanta gather``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jquanta.cli import door
from jquanta.cli.flags import argument
from jquanta.errors import BadInput
from jquanta.run import kinds
from jquanta.run.files import SHARD_SETTINGS, SHARDS, as_path
from jquanta.run.settings import knob
from jquanta.run.shown import counted


@dataclass(frozen=True)
class Options:
    """Join the parts that jobs with --shard have made: of a sweep, of losses, or of quanta.

    FOLDER is what all of them were given as --out; the whole is put there, beside the parts, which
    stay. Parts that were made elsewhere are named one by one, with --out for the whole. If parts
    are missing or not finished, the commands that make them are printed, one a line, and nothing
    is joined. Parts of another configuration, or there twice, are refused by name. When the
    similarities of quanta are joined, clusters and page are made, as jquanta qdg does.

    Examples:
      jquanta sweep fig10-width --shard 1/2 --out runs/fig10    # on one machine
      jquanta sweep fig10-width --shard 2/2 --out runs/fig10    # on another, or later
      jquanta gather runs/fig10
      jquanta gather parts/1-of-2 parts/2-of-2 --out runs/fig10

    In Python: jquanta.sweep.gather.gather, jquanta.lm.losses.gather.gather, jq.qdg.run.
    """

    folder: tuple[Path, ...] = argument("the --out of all parts, or the parts themselves", "FOLDER")
    out: Path | None = knob(None, "folder for the whole (default: the one with the parts)", "DIR")


def gather(options: Options) -> None:
    """Find the parts, and join them."""
    from jquanta.run.folder import CONFIG
    from jquanta.run.shard import Missing

    parts = [part for folder in map(as_path, options.folder) for part in _parts(folder)]
    out = as_path(options.out) if options.out is not None else _whole(parts)
    join = _losses
    if any((part / SHARD_SETTINGS).is_file() for part in parts):
        join = _quanta
    elif any((part / CONFIG).is_file() for part in parts):
        join = _sweep
    try:
        join(parts, out)
    except Missing as missing:
        print(*missing.commands, sep="\n", flush=True)
        raise


def _parts(folder: Path) -> list[Path]:
    """The parts in a folder, or the folder itself if it is one. Raises ``BadInput`` where it is
    neither."""
    from jquanta.run.shard import shards_in

    place = folder.absolute()
    if found := shards_in(place.parent if place.name == SHARDS else folder):
        return found
    if not folder.is_dir():
        raise BadInput(f"{folder}: {kinds.absent(folder) or 'no such folder'}; {_REMEDY}")
    kind = kinds.kind_of(folder)
    if kind is None or kind.name not in ("sweep", "shard of losses", "shard of quanta"):
        raise BadInput(f"{folder}: holds no shards; {_REMEDY}")
    return [folder]


_REMEDY = "give the folder that was --out of commands with --shard"


def _whole(parts: Sequence[Path]) -> Path:
    """The folder that holds all parts. Raises ``BadInput`` where they lie apart."""
    place, *others = {part.absolute().parent for part in parts}
    if others or place.name != SHARDS:
        raise BadInput(f"{parts[0]}: lies in no folder of a whole; give one to join in by --out")
    return place.parent


def _sweep(parts: Sequence[Path], out: Path) -> None:
    from jquanta.cli.sweep_result import summarise
    from jquanta.run.progress import Bar
    from jquanta.sweep.folder import SweepFolder
    from jquanta.sweep.gather import gather as join

    with Bar("gathering", "reading") as line:
        results = join(parts, out, monitor=line)
    print(f"gathered  {counted(results.sizes['run'], 'network')} of {counted(len(parts), 'shard')}")
    summarise(results)
    print(f"results   {SweepFolder(out).results}")
    print(f"next      jquanta figures --help tells what can be drawn of --runs {out}")


def _losses(parts: Sequence[Path], out: Path) -> None:
    from jquanta.lm.losses.gather import gather as join
    from jquanta.run.progress import Bar

    with Bar("gathering", "reading") as line:
        losses = join(parts, out, monitor=line)
    columns, predictions = counted(losses.sizes["model"], "column"), losses.sizes["prediction"]
    print(f"gathered  {columns} of {predictions:,} losses from {counted(len(parts), 'shard')}")
    print(f"losses    {out}")


def _quanta(parts: Sequence[Path], out: Path) -> None:
    """Shards of a similarity lie in the folder of the whole; they are not moved."""
    from jquanta.cli.qdg import discover
    from jquanta.qdg.cosines.shards import require_done
    from jquanta.run.shard import shards_in

    if [part.absolute() for part in parts] != [part.absolute() for part in shards_in(out)]:
        raise BadInput(f"{parts[0]}: shards of a similarity are joined where they are; {_REMEDY}")
    discover(require_done(parts, out), out, None)


main = door.command("gather", Options, gather)

if __name__ == "__main__":
    sys.exit(main())
