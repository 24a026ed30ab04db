"""``python -m benchmarks.gpu.child PART --out FILE``: measure one part in this process.

Each row is printed, and the file rewritten, as soon as the row is known, so that everything that
was measured is kept if the process is killed.
"""

import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine
from benchmarks.command import say
from benchmarks.gpu.catalogue import asked_for
from benchmarks.gpu.record import Record, Row
from jquanta.cli import door, flags
from jquanta.cli.flags import argument, needed
from jquanta.run import environment
from jquanta.run.settings import knob


@dataclass(frozen=True)
class Options:
    """Measure one part of the GPU benchmark in this process.

    Exit codes: 0 done, 2 bad input, 1 failed on the way, 130 interrupted.
    """

    part: str = argument("its name", "PART")
    out: Path = needed("JSON file", "FILE")
    small: bool = knob(False, "seconds on a CPU; the numbers mean nothing")


def follow(name: str, rows: Iterator[Row], small: bool, out: Path) -> Record:
    """Print and store rows as they are measured.

    Args:
        name: of the part.
        rows: the measurements.
        small: whether they are those of the quick test.
        out: the file of the record.

    Returns:
        The record with all rows.
    """
    begun, start = machine.start(), time.perf_counter()
    record = Record(
        benchmark="gpu",
        mode="small" if small else "full",
        versions=machine.versions("flax", "transformers"),
        hardware=machine.hardware(begun),
        part=name,
    )
    record.write(out)  # without rows, so that there is a record even if the first one never comes
    for row in rows:
        print(f"  {row}", flush=True)
        record = dataclasses.replace(
            record,
            finished=environment.now(),
            hardware=machine.hardware(begun),
            measuring_seconds=time.perf_counter() - start,
            rows=(*record.rows, row),
        )
        record.write(out)
    return record


def command(argv: Sequence[str]) -> None:
    """Parse and do."""
    options = flags.parse(Options, argv, "python -m benchmarks.gpu.child")
    (part,) = asked_for(options.part)
    say(follow(part.name, part.measure(options.small), options.small, options.out).summary())


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return door.enter(command, argv)


if __name__ == "__main__":
    sys.exit(main())
