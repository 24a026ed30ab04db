"""``python -m benchmarks.scale table`` and ``python -m benchmarks.scale draw``."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jquanta.cli import door, flags
from jquanta.cli.flags import argument
from jquanta.errors import BadInput
from jquanta.run.files import write_whole
from jquanta.run.settings import knob

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "docs" / "figures"


@dataclass(frozen=True)
class Options:
    """How work grows, in numbers and in a picture.

    table: operations, memory, disk and time on 1 to 512 H200 for every experiment of the paper, for
    losses of 10^7 to 10^10 tokens and for QDG of 10^4 to 10^7 samples, from 70m to 12b: the
    estimates that --plan prints, of shards that know nothing of each other. Prints the tables of
    docs/scale.md, and stores all rows in benchmarks/records/scale-table.json. Some minutes on 2
    cores; nothing is computed but numbers.

    draw: weak and strong scaling of sweeps and losses over 1, 2, 4 and 8 simulated devices and
    shards, the cost of sweeps against networks × width × steps, and peak memory, all measured here
    on the CPU in seconds of the processor. Stores benchmarks/records/scale-cpu-CORES-cores.json,
    and draws docs/figures/scaling.png. A quarter to half an hour on 2 cores.
    """

    which: str | None = argument("what to make", "table|draw", default=None)
    again: bool = knob(False, "show or draw what is stored; compute and measure nothing")


def command(argv: Sequence[str]) -> None:
    """Parse the arguments, and do it."""
    options = flags.parse(Options, argv, "python -m benchmarks.scale")
    if options.which == "table":
        table(options.again)
    elif options.which == "draw":
        draw(options.again)
    else:
        raise BadInput(f"{options.which or 'nothing to make'}: give table or draw")


def table(again: bool) -> None:
    """Make the rows, store and print them."""
    from benchmarks.scale import tables

    if not again:
        from benchmarks.scale.arithmetic import rows

        write_whole(tables.RECORD, tables.as_json(rows()))
    stored = tables.from_json(tables.RECORD.read_text(encoding="utf-8"))
    print("\n\n".join(tables.markdown(stored)))


def draw(again: bool) -> None:
    """Measure, store and draw."""
    from benchmarks.scale import drawing
    from docs.pictures import store
    from jquanta.machine import cores

    record = None if again else drawing.measure()
    path = ROOT / "benchmarks" / "records" / f"scale-cpu-{cores.count()}-cores.json"
    if record is not None:
        record.write(path)
    from PIL import Image

    with tempfile.TemporaryDirectory(prefix="jquanta-") as scratch:
        drawn = drawing.draw(drawing.read(path), Path(scratch))[0]
        store(Image.open(drawn), FIGURES / f"{drawing.NAME}.png")
    print(f"record    {path.relative_to(ROOT)}")
    print(f"exponent  {drawing.exponent(drawing.read(path)[1]):.3f}")


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return door.enter(command, argv, computes=False)


if __name__ == "__main__":
    sys.exit(main())
