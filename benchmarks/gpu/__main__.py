"""``python -m benchmarks.gpu``: everything that this project measures on a GPU, in parts."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.catalogue import Part, asked_for
from benchmarks.gpu.record import Row
from jquanta.cli import door, flags
from jquanta.errors import BadInput, RunFailed
from jquanta.run.settings import knob

WIDTH = 110  # characters in a line of the table


@dataclass(frozen=True)
class Options:
    """Measure this project on a GPU in parts, the most important first.

    Each part runs in a separate process with its own time limit. Its numbers are printed, and
    written to DIR/PART.json, as soon as they are measured; DIR/gpu.json collects all parts in DIR.
    A part that hangs or fails does not affect the others; DIR/PART.log holds its standard error.
    If --minutes is small, the last parts are left out; if it is large, all limits grow, and the
    parts marked "spare" are run, too. Compilation caches are empty at first.

    Only the rivals need torch, and are skipped without it.

    Exit codes: 0 done, 2 bad input, 1 if a part failed or timed out, 130 interrupted.
    """

    minutes: float = knob(8.0, "for all parts together", "M")
    out: Path = knob(Path("runs/gpu"), "folder for the records", "DIR")
    parts: str | None = knob(None, 'some parts only, such as "rates, step"; see --list', "NAMES")
    list: bool = knob(False, "print the parts and measure nothing")
    small: bool = knob(
        False, "every part in miniature: under 3 minutes on 2 cores without a GPU, to find mistakes"
    )


def command(argv: Sequence[str]) -> None:
    """Parse the arguments, run the parts and print the table."""
    from benchmarks.gpu.supervisor import FAILED, OK, TIMED_OUT, collect, run_parts

    options = flags.parse(Options, argv, "python -m benchmarks.gpu")
    parts = asked_for(options.parts)
    if options.list:
        for line in listed(parts):
            print(line)
        return
    if not options.minutes > 0:
        raise BadInput(f"--minutes {options.minutes:g}: give more than 0")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        collect(options.out)
    except OSError as error:
        raise BadInput(
            f"--out {options.out}: cannot be written ({error.strerror}); give another folder"
        ) from None
    for line in listed(parts, 60 * options.minutes):
        print(line)
    with tempfile.TemporaryDirectory(prefix="jquanta-") as scratch:
        records = run_parts(
            parts, 60 * options.minutes, options.out.absolute(), Path(scratch), options.small
        )
    print("\n".join(("", *table(records), f"records: {options.out}")))
    bad = [record["part"] for record in records if record["outcome"] in (FAILED, TIMED_OUT)]
    if bad:
        raise RunFailed(f"{', '.join(bad)}: failed or timed out; {options.out}/PART.log says more")
    print(f"{sum(record['outcome'] == OK for record in records)} parts measured")


def listed(parts: Sequence[Part], seconds: float | None = None) -> list[str]:
    """Describe the parts with their limits, one in a line.

    Args:
        parts: in the order in which they are run.
        seconds: time for all of them; parts that may not be reached are marked. None marks none.
    """
    lines, used = [], 0.0
    for part in parts:
        used += part.seconds
        late = seconds is not None and used > seconds
        mark = "  spare: only with time left" if part.spare else "  if time is left" * late
        lines.append(f"{part.name:18} {part.seconds:4.0f} s  {part.what}{mark}")
    ordinary = sum(part.seconds for part in parts if not part.spare)
    return [*lines, f"{'without spare ones':18} {ordinary:4.0f} s at most"]


def table(records: Sequence[dict[str, Any]]) -> list[str]:
    """The results in few and short lines, for a log of which only the end may be kept."""
    hardware: dict[str, Any] = next((r["hardware"] for r in records if "hardware" in r), {})
    mode = next((r["mode"] for r in records if "mode" in r), "nothing measured")
    name = hardware.get("gpu") or f"{hardware.get('cpu')}, {hardware.get('cores')} cores"
    lines = [f"benchmarks.gpu, {mode}, {name}"]
    for record in records:
        ending = f"{record['outcome']}, {record['seconds']:.0f} s  {record['reason']}"
        lines.append(f"{record['part']:17} {ending}")
        for row in (Row(**stored) for stored in record["rows"]):
            if row.shown:
                lines.append(f"  {row.name:38} {row.amount:>13}  {row.note}")
    return [shortened(line.rstrip(), WIDTH) for line in lines]


def shortened(line: str, most: int) -> str:
    """Cut a line to at most ``most`` characters."""
    return line if len(line) <= most else f"{line[: most - 1]}…"


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return door.enter(command, argv, computes=False)


if __name__ == "__main__":
    sys.exit(main())
