"""``jquanta figures``."""

import sys
import textwrap
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from jquanta.cli import door
from jquanta.cli.flags import argument
from jquanta.cli.places import require_corpus, require_losses, require_quanta, require_sweep
from jquanta.figures.catalogue import FIGURES, Entry
from jquanta.lm.taxonomy.thresholds import MONOGENIC, POLYGENIC, Monogenic, Polygenic
from jquanta.run.settings import knob


def _needs(entry: Entry) -> str:
    """What a figure is drawn from, in words."""
    if entry.experiments:
        return ", ".join(entry.experiments)
    flags = [flag for flag in (entry.source, "corpus") if flag in (entry.source, *entry.options)]
    return " ".join(f"--{flag}" for flag in flags if flag) or "needs no runs"


def _line(name: str, entry: Entry) -> str:
    """What a figure shows, and in brackets what it is drawn from, in two columns."""
    text = f"{entry.title} [{_needs(entry)}]"
    first, *more = textwrap.wrap(text, 76, break_on_hyphens=False)
    return "\n".join([f"  {name:16}{first}", *(f"{'':18}{line}" for line in more)])


@dataclass(frozen=True)
class Options:
    __doc__ = "\n".join(
        [
            "Draw a figure of the paper from stored results, as PNG and PDF.",
            "",
            "Nothing is trained. The numbers that the figure shows are printed, and stored beside",
            "it as JSON. In brackets what each is drawn from: runs of experiments, which jquanta",
            "sweep takes by these names, or folders that a flag names.",
            "",
            *(_line(name, entry) for name, entry in FIGURES.items()),
            "",
            "Examples:",
            "  jquanta figures fig2 --runs runs/fig2-width runs/fig2-data",
            "  jquanta figures fig3 --losses losses/pile",
            "  jquanta figures fig4 --losses losses/pile --corpus corpora/pile",
            "  jquanta figures fig5 --qdg runs/stdlib-quanta",
            "  jquanta figures jumps --losses runs/stdlib-seeds/losses",
            "  jquanta figures spectrum --losses runs/stdlib/losses",
            "",
            "In Python: jq.draw(FIGURE, …).",
        ]
    )

    figure: str = argument("one of the figures, such as fig2", "FIGURE")
    runs: tuple[Path, ...] = knob((), "run folders of finished sweeps", "DIR")
    losses: tuple[Path, ...] = knob(
        (),
        "folders of per-token losses on one corpus, or a .npy file of them: float32 [predictions, "
        "models], nats",
        "DIR|FILE",
    )
    sizes: tuple[int, ...] = knob(
        (), "parameters without embeddings of the models of a .npy file (default: the paper's)"
    )
    corpus: Path | None = knob(None, "fig4, fig12: the corpus of the losses, for the text", "DIR")
    token: tuple[int, ...] = knob(
        (), "fig4, fig12: show these predictions, by number in the corpus", "INDEX"
    )
    step: int | None = knob(
        None, "fig3, fig4, fig12, jumps, spectrum: the checkpoint (default: each model's last)"
    )
    below: float | None = knob(
        None,
        "jumps: nats; a token is learned where its loss stays below; spectrum: a token that does "
        "not change is known below (default: 0.3)",
    )
    along: str | None = knob(None, "spectrum: step, or size (default: step)")
    fit: tuple[float, float] | None = knob(
        None, "fig3: smallest and largest N to fit; fig11: first and last step", "NUMBER"
    )
    step_tokens: int | None = knob(
        None, "fig11: tokens of a step (default: Pythia's 2,097,152, else unknown)"
    )
    monogenic: Monogenic = MONOGENIC
    polygenic: Polygenic = POLYGENIC
    seed: int | None = knob(None, "fig4, fig12: chooses among the tokens of a kind (default: 0)")
    qdg: Path | None = knob(
        None,
        "a folder of quanta discovery from gradients; fig5: or a .npy file of labels, integers "
        "[counts, samples]; fig16, fig17: a folder of jquanta known toy",
        "DIR|FILE",
    )
    out: Path | None = knob(
        None, "folder for the files (default: figures/ in the first folder given, or here)", "DIR"
    )

    def given(self) -> dict[str, Any]:
        """What differs from the defaults, the figure apart."""
        values = {field.name: getattr(self, field.name) for field in fields(self)[1:]}
        return {
            field.name: values[field.name]
            for field in fields(self)[1:]
            if values[field.name] != field.default
        }


def figures(options: Options) -> None:
    """Draw, and print the numbers."""
    for path in options.runs:
        require_sweep(path, flag="--runs")
    for path in options.losses:
        require_losses(path)
    if options.qdg is not None:
        require_quanta(options.qdg, flag="--qdg")
    if options.corpus is not None:
        require_corpus(options.corpus)
    from jquanta import draw

    drawing = draw(options.figure, **options.given())
    print(*drawing.measured, *drawing.paths, sep="\n")


main = door.command("figures", Options, figures, computes=False)

if __name__ == "__main__":
    sys.exit(main())
