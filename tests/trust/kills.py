"""Kill every command at random moments, and see that the same command then ends as it should.

A case is one death and one repetition: the command is killed (or terminated, or told that the disk
is full …) just before the n-th time that it changes its folder, with n drawn at random; then it is
started again, and must end with exit code 0 and with the very bytes of a run that nothing befell.
"""

import argparse
import collections
import importlib
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.trust import fates, places
from tests.trust.children import Child, End

EXPECTED = {
    "killed": {-signal.SIGKILL},
    "killed in the middle": {-signal.SIGKILL},
    "terminated": {130},
    "paused": {0},
    "disk full": {1, 2},
    "read-only": {1, 2},
}
"""Exit codes of a command that met its fate. Any may also end with 0: what it meant to do was done,
or the file was not needed."""


class Case(NamedTuple):
    """One death of one command, and what was wrong with it (nothing: an empty text)."""

    command: str
    fate: str
    at: int
    of: int
    fault: str


def run(
    words: Sequence[str], fate: str | None, at: int, root: Path, counted: Path | None = None
) -> int:
    """A command in this process, which meets a fate; its exit code."""
    from jquanta.__main__ import main

    fates.meet(fate, at, root, counted)
    return main(words)


def answered(command: str, folder: Path) -> dict[str, bytes]:
    """What a folder tells, see ``answers``."""
    from tests.trust.answers import ANSWERS

    return ANSWERS[command](folder)


class Trial:
    """A place with everything that the commands read, and what each of them should make.

    Args:
        place: an empty folder.
        commands: those to be tried.
    """

    def __init__(self, place: Path, commands: Sequence[str]):
        self.place = place
        self.right: dict[str, dict[str, bytes]] = {}
        self.changes: dict[str, int] = {}
        places.prepare(place)
        import_everything()
        for command in places.with_needs(commands):
            counted = place / f"{command}.count"
            end = self.start(command, command, counted=counted).end()
            if end.code:
                raise RuntimeError(f"{command} fails by itself: {end.said}")
            self.changes[command] = counted.stat().st_size
            self.right[command] = self.answer(command, command)

    def start(
        self,
        command: str,
        out: str,
        fate: str | None = None,
        at: int = 0,
        counted: Path | None = None,
    ) -> Child:
        """Start a command that writes the folder ``out``."""
        words = [*places.COMMANDS[command], "--out", out]
        return Child(partial(run, words, fate, at, self.place / out, counted), self.place)

    def answer(self, command: str, out: str) -> dict[str, bytes]:
        """What a finished folder tells."""
        end = Child(partial(answered, command, self.place / out), self.place).end()
        if end.value is None:
            raise ValueError(_last_line(end))
        return end.value

    def case(self, command: str, fate: str, at: int) -> Case:
        """One death, and the repetition."""
        out = "tried"
        _clear(self.place, out)
        fault = "; ".join(self._faults(command, fate, at, out))
        return Case(command, fate, at, self.changes[command], fault)

    def _faults(self, command: str, fate: str, at: int, out: str) -> Iterator[str]:
        child = self.start(command, out, fate, at)
        if fate == "paused" and child.stopped():
            other = self.start(command, out).end()
            if other.code not in (0, 2):
                yield f"a second command beside it ended with {other.code}: {_last_line(other)}"
            child.proceed()
        end = child.end()
        if end.code not in EXPECTED[fate] | {0}:
            yield f"it ended with {end.code}: {_last_line(end)}"
        elif "Traceback" in end.said:
            yield f"it printed a traceback: {_last_line(end)}"
        again = self.start(command, out).end()
        if again.code or "Traceback" in again.said:
            yield f"the repetition ended with {again.code}: {_last_line(again)}"
            return
        try:
            answer = self.answer(command, out)
        except ValueError as error:
            yield f"what it made cannot be read: {error}"
            return
        if answer != self.right[command]:
            other = sorted(k for k in answer if answer[k] != self.right[command].get(k))
            yield f"other results: {', '.join(other[:5])}"
        left = sorted(
            str(path.relative_to(self.place))
            for pattern in ("*.partial", "*.part", "*.work", "lock", "checkpoints")
            for path in (*(self.place / out).rglob(pattern), *self.place.glob(f"{out}.*"))
        )
        if left:
            yield f"left behind: {', '.join(left[:5])}"


def import_everything() -> None:
    """What commands import, so that children need not: importing starts no threads of JAX."""
    for name in (
        "orbax.checkpoint",
        "sklearn.cluster",
        "jquanta.lm.losses.compute",
        "jquanta.lm.pretrain.drive",
        "jquanta.qdg.pipeline",
        "jquanta.sweep.drive",
        "tests.trust.answers",
    ):
        importlib.import_module(name)


def cases(trial: Trial, commands: Sequence[str], each: int, seed: int) -> Iterator[Case]:
    """``each`` deaths of every command, the fates in turn, at random moments."""
    chance = random.Random(seed)
    for command in commands:
        for i in range(each):
            fate = list(fates.FATES)[i % len(fates.FATES)]
            yield trial.case(command, fate, chance.randint(1, trial.changes[command]))


def _clear(place: Path, out: str) -> None:
    for path in place.glob(f"{out}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _last_line(end: End) -> str:
    return end.said.strip().splitlines()[-1][:200] if end.said.strip() else "it said nothing"


def table(found: Sequence[Case]) -> str:
    """Counts by command and fate, as a table in Markdown."""
    tried = collections.Counter((case.command, case.fate) for case in found)
    wrong = collections.Counter((case.command, case.fate) for case in found if case.fault)
    rows = [
        f"| {command} | {fate} | {tried[command, fate]} | {wrong[command, fate]} |"
        for command, fate in tried
    ]
    return "\n".join(["| command | fate | tried | faults |", "| --- | --- | --- | --- |", *rows])


def main() -> int:
    """Print a line for each case, and the table; the exit code is 1 if there was a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.trust.kills", description=__doc__)
    parser.add_argument("--each", type=int, default=50, help="deaths of each command (default: 50)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=list(places.COMMANDS), help="commands")
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as place:
        trial = Trial(Path(place).resolve(), options.only)
        for case in cases(trial, options.only, options.each, options.seed):
            print(
                f"{case.command}: {case.fate} at change {case.at} of {case.of}:",
                case.fault or "as if nothing had happened",
                flush=True,
            )
            found.append(case)
    print(table(found))
    return int(any(case.fault for case in found))


if __name__ == "__main__":
    sys.exit(main())
