"""``python -m jquanta.figures``: draw a figure of the paper from what is stored."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from jquanta.cli import door
from jquanta.figures.catalogue import FIGURES, Entry
from jquanta.lm.taxonomy.thresholds import MONOGENIC, POLYGENIC, Monogenic, Polygenic


def _needs(entry: Entry) -> str:
    if entry.experiments:
        return ", ".join(entry.experiments)
    flags = [flag for flag in (entry.source, "corpus") if flag in (entry.source, *entry.options)]
    return " ".join(f"--{flag}" for flag in flags if flag) or "needs no runs"


@dataclass(frozen=True)
class Options:
    __doc__ = "\n".join(
        [
            "Draw a figure of the paper from what is stored, as PNG and PDF. Nothing is trained.",
            "The numbers that it shows are printed, and stored beside it as JSON.",
            "",
            "Figures, and what they are drawn from: experiments in configs/, or folders that a",
            "flag names:",
            *(f"  {name:16}{entry.title} [{_needs(entry)}]" for name, entry in FIGURES.items()),
            "",
            "Examples:",
            "  python -m jquanta.figures fig2 --runs runs/fig2-width runs/fig2-data",
            "  python -m jquanta.figures fig3 --losses losses/pile",
            "  python -m jquanta.figures fig4 --losses losses/pile --corpus corpora/pile",
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
    losses: Annotated[
        tuple[Path, ...],
        door.option(
            "folders of per-token losses on one corpus, or a .npy file of them: "
            "float32 [predictions, models], nats",
            "DIR|FILE …",
        ),
    ] = ()
    sizes: Annotated[
        tuple[int, ...],
        door.option(
            "parameters without embeddings of the models of a .npy file (default: the paper's)",
            "INT …",
        ),
    ] = ()
    corpus: Annotated[
        Path | None, door.option("fig4, fig12: the corpus of the losses, for the text", "DIR")
    ] = None
    token: Annotated[
        tuple[int, ...],
        door.option("fig4, fig12: show these predictions, by number in the corpus", "INDEX …"),
    ] = ()
    step: Annotated[
        int | None,
        door.option("fig3, fig4, fig12: the checkpoint (default: each model's last)", "INT"),
    ] = None
    fit: Annotated[
        tuple[float, float] | None,
        door.option("fig3: smallest and largest N to fit; fig11: first and last step", "LOW HIGH"),
    ] = None
    step_tokens: Annotated[
        int | None,
        door.option("fig11: tokens of a step (default: Pythia's 2,097,152, else unknown)", "INT"),
    ] = None
    monogenic: Monogenic = MONOGENIC
    polygenic: Polygenic = POLYGENIC
    seed: Annotated[
        int | None,
        door.option("fig4, fig12: chooses among the tokens of a kind (default: 0)", "INT"),
    ] = None
    qdg: Annotated[
        Path | None,
        door.option(
            "a folder of quanta discovery from gradients; fig5: or a .npy file of labels, "
            "integers [counts, samples]; fig16, fig17: a folder of jquanta known toy",
            "DIR|FILE",
        ),
    ] = None
    out: Annotated[
        Path | None,
        door.option(
            "folder for the files (default: figures/ in the first folder given, or here)", "DIR"
        ),
    ] = None
    debug: Annotated[
        bool, tyro.conf.arg(help="show the traceback of an error", help_behavior_hint="")
    ] = False

    def given(self) -> dict[str, Any]:
        """What differs from the defaults, the figure and the help for finding errors apart."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            field.name: values[field.name]
            for field in fields(self)
            if field.name not in ("figure", "debug") and values[field.name] != field.default
        }


def command(argv: Sequence[str]) -> None:
    """Parse and draw."""
    options = door.parse(Options, argv, "python -m jquanta.figures")
    from jquanta.figures.dispatch import draw  # after parsing, so that --help opens fast

    drawing = draw(options.figure, **options.given())
    print(*drawing.measured, *drawing.paths, sep="\n")


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code."""
    return door.enter(command, argv)


if __name__ == "__main__":
    sys.exit(main())
