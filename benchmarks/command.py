"""What the benchmark commands share: options, the head of a record, and the run of a command."""

import dataclasses
import importlib.util
import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from benchmarks.machine import Hardware, device_slug
from jquanta.cli import door, flags
from jquanta.errors import BadInput
from jquanta.run import environment
from jquanta.run.files import write_whole

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Options:
    """The options of all benchmarks. Each declares the first three again with its own help text."""

    quick: bool = False
    repeats: int | None = None
    out: Path | None = None

    @property
    def mode(self) -> str:
        """The name of the mode in records."""
        return "quick" if self.quick else "full"


@dataclass(frozen=True, kw_only=True)
class Head(ABC):
    """The fields with which every record begins.

    A record is made when the measurement has finished: ``finished`` is the time of its making.
    """

    benchmark: str
    mode: str
    finished: str = field(default_factory=environment.now)
    commit: str | None = field(default_factory=environment.commit)
    versions: dict[str, str]
    hardware: Hardware

    @abstractmethod
    def summary(self) -> str:
        """The last line of the output, ``name=value`` pairs that are easy to search for."""

    def write(self, path: Path) -> None:
        """Write the record as JSON. Raises ``BadInput`` if the file cannot be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(dataclasses.asdict(self), indent=2) + "\n")
        except OSError as error:
            raise _unwritable(path, error.strerror) from None


Chosen = TypeVar("Chosen", bound=Options)
Record = TypeVar("Record", bound=Head)


def run(
    name: str,
    options: type[Chosen],
    rivals: Sequence[str],
    measure: Callable[[Chosen], Record],
    show: Callable[[Record, "Console"], None],
    argv: Sequence[str] | None,
) -> int:
    """Run the command ``python -m benchmarks.NAME`` and return its exit code.

    The options and the place of the record are checked before the measurement, which takes minutes.

    Args:
        name: of the benchmark.
        options: the dataclass of its options.
        rivals: libraries that the rivals need.
        measure: makes the record from the options.
        show: prints the record; its path and summary are printed after it.
        argv: the arguments of the command; None for those of the process.
    """

    def command(argv: Sequence[str]) -> None:
        chosen = flags.parse(options, argv, f"python -m benchmarks.{name}")
        if chosen.repeats is not None and chosen.repeats < 1:
            raise BadInput(f"--repeats {chosen.repeats}: give at least 1")
        for library in rivals:
            if importlib.util.find_spec(library) is None:
                raise BadInput(
                    f"{library} is not installed and the rivals need it: run make env-test"
                )
        records = Path(__file__).with_name("records")
        _check_writable(chosen.out or records / f"{name}.json")
        record = measure(chosen)
        out = chosen.out or records / f"{name}-{device_slug()}.json"  # only now, for it starts JAX
        record.write(out)

        from rich.console import Console

        console = Console(highlight=False)
        show(record, console)
        console.print(f"record: {out}")
        print(record.summary(), flush=True)

    return door.enter(
        command, argv, keeps_programs=False
    )  # no compilation cache: compiling is measured


def say(stage: str) -> None:
    """Print on standard error what is being measured, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {stage}", file=sys.stderr, flush=True)


def _unwritable(path: Path, reason: str | None) -> BadInput:
    return BadInput(f"--out {path}: cannot be written ({reason}); give another file")


def _check_writable(path: Path) -> None:
    """Raise ``BadInput`` unless a file can be written at ``path``. Writes nothing."""
    if path.is_dir():
        raise _unwritable(path, "it is a folder")
    nearest = next(p for p in path.absolute().parents if p.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise _unwritable(path, f"{nearest} is not a writable folder")
