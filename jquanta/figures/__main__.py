"""``python -m jquanta.figures``: draw a figure of the paper from finished sweeps."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jquanta import door
from jquanta.errors import BadInput
from jquanta.figures.catalogue import FIGURES


@dataclass(frozen=True)
class Options:
    __doc__ = "\n".join(
        [
            "Draw a figure of the paper from finished sweeps, as PNG and PDF. Nothing is trained.",
            "",
            "Figures:",
            *(f"  {name:8}{title}" for name, title in FIGURES.items()),
            "",
            "Example: python -m jquanta.figures fig2 --runs runs/fig2-width runs/fig2-data",
        ]
    )

    figure: Annotated[
        str,
        tyro.conf.Positional,
        door.option("which figure", "FIGURE"),
    ]
    runs: Annotated[
        tuple[Path, ...],
        door.option("run folders of finished sweeps", "DIR …"),
    ] = ()
    out: Annotated[
        Path | None,
        door.option("folder for the files (default: figures/ in the first run folder)", "DIR"),
    ] = None
    debug: Annotated[
        bool, tyro.conf.arg(help="show the traceback of an error", help_behavior_hint="")
    ] = False


def command(argv: Sequence[str]) -> None:
    """Parse and draw."""
    options = door.parse(Options, argv, "python -m jquanta.figures")
    if options.figure not in FIGURES:
        raise BadInput(f"unknown figure {options.figure!r}; give one of {', '.join(FIGURES)}")
    if not options.runs:
        raise BadInput("--runs is missing: give the folders of finished sweeps")
    from jquanta.figures.catalogue import draw

    for path in draw(options.figure, options.runs, options.out):
        print(path)


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return door.enter(command, argv)


if __name__ == "__main__":
    sys.exit(main())
