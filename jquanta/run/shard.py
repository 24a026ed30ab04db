"""Parts of long work that need not know of each other: ``--shard 2/5``.

Each part is computed by a process of its own, at any time, on any machine that sees the folder, and
keeps a folder of its own in it: ``WHOLE/shards/2-of-5``. ``jquanta gather WHOLE`` joins them.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jquanta.errors import BadInput
from jquanta.run.files import LOCK, PART, SHARDS, as_path
from jquanta.run.settings import require_count
from jquanta.run.shown import shown

MOST = 100_000
"""Parts of a whole: more than any scheduler starts at once."""


@dataclass(frozen=True, order=True)
class Shard:
    """One of the parts into which work is cut.

    Attributes:
        of: number of parts.
        number: which of them it is, from 1 to ``of``.
    """

    of: int
    number: int

    def __post_init__(self) -> None:
        require_count("--shard: the number of parts", self.of, MOST)
        require_count(f"--shard {self}: the part of {self.of}", self.number, self.of)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def all(self) -> "list[Shard]":
        """All parts of the same cut."""
        return [Shard(self.of, number) for number in range(1, self.of + 1)]

    def folder(self, whole: Path) -> Path:
        """Where the part lies in the folder of the whole."""
        return whole / SHARDS / f"{self.number}-of-{self.of}"

    def places(self, work: ArrayLike) -> NDArray[np.intp]:
        """Which of several pieces of work are this part's: neighbours, with about 1/``of`` of it.

        Every piece belongs to one part: that in which its middle lies, but that no part is left
        without a piece.

        Args:
            work: [n] amount of work of each piece, in any unit, 0 or more; n is at least ``of``.

        Returns:
            Their numbers, ascending.
        """
        amounts = np.asarray(work, np.float64)
        middles = np.cumsum(amounts) - amounts / 2
        share = middles * self.of / max(amounts.sum(), np.finfo(float).tiny)
        part = np.minimum(share.astype(np.int64), self.of - 1)
        # No part is skipped if from piece to piece its number grows by 1 at most, from the first
        # part to the last: that is, if part - piece never grows. The first pass lowers numbers
        # where they jump ahead; the second, from the end, raises those that lag behind the last.
        part[0], pieces = 0, np.arange(len(part))
        behind = np.minimum.accumulate(part - pieces)
        behind[-1] = self.of - len(part)
        part = pieces + np.maximum.accumulate(behind[::-1])[::-1]
        return np.flatnonzero(part == self.number - 1)


class Missing(BadInput):
    """Parts of a whole are not there, or not finished.

    Args:
        whole: its folder.
        of: number of its parts.
        commands: that make what is missing, one or several for each part.
        parts: number of parts to make; by default one for each command.

    Attributes:
        commands: as given.
    """

    def __init__(self, whole: Path, of: int, commands: Sequence[str], parts: int | None = None):
        self.commands = list(commands)
        missing = len(commands) if parts is None else parts
        super().__init__(
            f"{whole}: {missing} of {of} shards {'is' if missing == 1 else 'are'} missing or not "
            f"finished; first: {commands[0]}"
        )


def parse(text: str) -> Shard:
    """Read ``2/5``.

    Raises:
        BadInput: for any other form, or a part that there is not.
    """
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
    if found is None:
        raise BadInput(
            f"--shard {shown(text)}: give the part and the number of parts, such as 2/5; of a job "
            "array $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT, counted from 1"
        )
    return Shard(of=int(found[2]), number=int(found[1]))


def shards_in(whole: Path | str) -> list[Path]:
    """The folders of parts in the folder of a whole, in the order of their numbers."""
    return [path for _, path in _found(whole)]


def cut_of(whole: Path | str) -> int | None:
    """Into how many parts a whole was cut, by the parts in its folder; None if there are none."""
    return next((shard.of for shard, _ in _found(whole)), None)


def _found(whole: Path | str) -> list[tuple[Shard, Path]]:
    named = {path: _named(path) for path in as_path(whole).glob(f"{SHARDS}/*")}
    return sorted((shard, path) for path, shard in named.items() if shard and path.is_dir())


def _named(path: Path) -> Shard | None:
    """The part that a folder's name says it is; None if it says none."""
    found = re.fullmatch(r"([1-9]\d{0,8})-of-([1-9]\d{0,8})", path.name)
    if found is None or int(found[1]) > int(found[2]) or int(found[2]) > MOST:
        return None
    return Shard(of=int(found[2]), number=int(found[1]))


def whole_of(part: Path, shard: Shard) -> Path | None:
    """The folder of the whole that a part lies in; None if the part was moved elsewhere."""
    place = part.absolute()
    whole = place.parent.parent
    return whole if place == shard.folder(whole) else None


def require_same_cut(whole: Path, shard: Shard) -> None:
    """Raise ``BadInput`` if a folder holds parts of another cut than that of ``shard``."""
    for path in shards_in(whole):
        other = _named(path)
        if other is not None and other.of != shard.of:
            raise BadInput(
                f"--shard {shard}: {path} is shard {other} of another cut; go on with /{other.of}, "
                "or delete it"
            )


def require_one_cut(parts: Sequence[Path]) -> int:
    """Into how many a whole was cut, by the names of its parts' folders.

    Raises:
        BadInput: if they are of several cuts.
    """
    named = [(shard, path) for path in parts if (shard := _named(path))]
    require_one_whole(named)
    return named[0][0].of


def begun(parts: Sequence[Path], marker: str, early: Collection[str]) -> list[Path]:
    """The parts that have begun. A process that is killed at its very start leaves a folder with
    next to nothing in it, which is as if it were not there.

    Args:
        parts: their folders.
        marker: the file that every part holds that has begun.
        early: what may be there before.
    """

    def not_yet(part: Path) -> bool:
        if not part.is_dir() or (part / marker).exists():
            return False
        return {path.name.removesuffix(PART) for path in part.iterdir()} <= {*early, LOCK, marker}

    return [part for part in parts if not not_yet(part)]


def require_one_whole(parts: Sequence[tuple[Shard, Path]]) -> None:
    """Check that parts are of one cut, and that none is there twice.

    Args:
        parts: each with its folder; one at least.

    Raises:
        BadInput: naming two folders that do not go together.
    """
    seen: dict[int, Path] = {}
    (first, where), *_ = parts
    for shard, path in parts:
        if shard.of != first.of:
            raise BadInput(
                f"{path}: shard {shard}, and {where} is shard {first}: the parts of two cuts "
                "overlap; give those of one, or delete the others"
            )
        if shard.number in seen:
            raise BadInput(
                f"{path}: shard {shard}, as is {seen[shard.number]}; give one of the two"
            )
        seen[shard.number] = path
