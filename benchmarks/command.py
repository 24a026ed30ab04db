"""What the commands share: options, the record they leave behind, and the way from one to it."""

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

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Options:
    """Of every benchmark; each declares the first three anew, with a help text of its own."""

    quick: bool = False
    repeats: int | None = None
    out: Path | None = None

    @property
    def mode(self) -> str:
        """As records call it."""
        return "quick" if self.quick else "full"


@dataclass(frozen=True, kw_only=True)
class Head(ABC):
    """What every record begins with. Making one says that the benchmark has finished."""

    benchmark: str
    mode: str
    finished: str = field(default_factory=environment.now)
    commit: str | None = field(default_factory=environment.commit)
    versions: dict[str, str]
    hardware: Hardware

    @abstractmethod
    def summary(self) -> str:
        """The line for whoever greps."""

    def write(self, path: Path) -> None:
        """As JSON. Raises ``BadInput`` where it cannot be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            folder.write_whole(path, json.dumps(dataclasses.asdict(self), indent=2) + "\n")
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
    """The exit code of ``python -m benchmarks.NAME``. Bad input is told before minutes are spent.

    Args:
        name: of the benchmark.
        options: what is parsed.
        rivals: libraries that the contestants need.
        measure: makes the record.
        show: prints it; where it lies and its summary follow.
        argv: the words after the name; None takes the process's own.
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
        out = chosen.out or records / f"{name}-{device_slug()}.json"  # late: JAX starts with it
        record.write(out)

        from rich.console import Console

        console = Console(highlight=False)
        show(record, console)
        console.print(f"record: {out}")
        print(record.summary(), flush=True)

    return door.enter(command, argv, keeps_programs=False)  # compiling is measured, too


def say(stage: str) -> None:
    """Tell on standard error what is being measured."""
    print(f"{time.strftime('%H:%M:%S')} {stage}", file=sys.stderr, flush=True)


def _unwritable(path: Path, reason: str | None) -> BadInput:
    return BadInput(f"--out {path}: cannot be written ({reason}); give another file")


def _check_writable(path: Path) -> None:
    if path.is_dir():
        raise _unwritable(path, "it is a folder")
    nearest = next(p for p in path.absolute().parents if p.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise _unwritable(path, f"{nearest} is not a writable folder")
