"""``python -m jquanta.figures``: draw a figure of the paper from finished sweeps."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jquanta import door
from jquanta.figures.catalogue import FIGURES, draw


@dataclass(frozen=True)
class Options:
    __doc__ = "\n".join(
        [
            "Draw a figure of the paper from finished sweeps, as PNG and PDF. Nothing is trained.",
            "The exponents that it shows are printed, and stored beside it as JSON.",
            "",
            "Figures, and the experiments in configs/ that they are drawn from:",
            *(
                f"  {name:16}{entry.title} [{', '.join(entry.experiments) or 'needs no runs'}]"
                for name, entry in FIGURES.items()
            ),
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
        door.option(
            "folder for the files (default: figures/ in the first run folder, or here)", "DIR"
        ),
    ] = None
    debug: Annotated[
        bool, tyro.conf.arg(help="show the traceback of an error", help_behavior_hint="")
    ] = False


def command(argv: Sequence[str]) -> None:
    """Parse and draw."""
    options = door.parse(Options, argv, "python -m jquanta.figures")
    drawing = draw(options.figure, options.runs, options.out)
    print(*drawing.measured, *drawing.paths, sep="\n")


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return door.enter(command, argv)


if __name__ == "__main__":
    sys.exit(main())
