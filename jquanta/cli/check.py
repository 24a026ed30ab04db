"""``jquanta check``."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jquanta.cli import door
from jquanta.cli.flags import argument
from jquanta.errors import BadInput
from jquanta.run.files import as_path

if TYPE_CHECKING:
    from jquanta.integrity import Part


@dataclass(frozen=True)
class Options:
    """Read a folder of results, and tell whether anything in it is lost or altered.

    FOLDER is a run folder of a sweep, a suite or a QDG run; losses, a corpus or a model; or any
    folder that holds some of these, such as runs. Each part is named, with its state: whole (as it
    was written, byte for byte), unfinished (the command that began it continues), damaged, or
    without check sums: jquanta 0.1 wrote none, so that a missing file is found, and an altered one
    is not.

    Every finished folder holds its check sums in sums.json. Results of up to 32 MiB are compared
    with them whenever they are opened; of larger ones only the files' sizes are, and all of them
    are read here. The exit code is 2 if something is damaged.

    Example:
      jquanta check runs/fig2-width

    In Python: jquanta.check.
    """

    folder: Path = argument("a folder that jquanta has written, or one with such folders", "FOLDER")


def check(options: Options) -> None:
    """Read and print."""
    folder = as_path(options.folder)
    if not folder.is_dir():  # said before the imports
        what = "is a file" if folder.exists() else "no such folder"
        raise BadInput(f"{folder}: {what}; give a folder that jquanta has written")
    from jquanta import integrity

    found = integrity.check(folder)
    print(table(folder, found))
    if damaged := [part for part in found if part.state == integrity.DAMAGED]:
        more = f", as are {len(damaged) - 1:,} more" if damaged[1:] else ""
        raise BadInput(
            f"{damaged[0].path}: damaged{more} ({len(found):,} parts were checked); delete what is "
            "damaged, or the run folder that holds it, then run the command that made it"
        )
    counts = Counter(part.state for part in found)
    print(f"{len(found):,} parts: {', '.join(f'{n:,} {state}' for state, n in counts.items())}")


def table(folder: Path, found: Sequence["Part"]) -> str:
    """A line for each part: its state, what it is, where it lies, and what is wrong."""
    rows = [(part.state, part.what, _place(folder, part.path), part.detail) for part in found]
    states, kinds = (max(len(row[i]) for row in rows) for i in (0, 1))
    return "\n".join(
        f"{state:{states}}  {what:{kinds}}  {place}{': ' * bool(detail)}{detail}"
        for state, what, place, detail in rows
    )


def _place(folder: Path, path: Path) -> str:
    return str(folder if path == folder else path.relative_to(folder))


main = door.command("check", Options, check, computes=False)


if __name__ == "__main__":
    sys.exit(main())
