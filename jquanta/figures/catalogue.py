"""Which figures there are, and the one call that draws any of them."""

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jquanta.errors import BadInput
from jquanta.figures.drawing import Drawing, save_measured


class Entry(NamedTuple):
    """A figure: what it shows, and the experiments (files in ``configs/``) that it is drawn from.

    No experiments means that it needs no runs.
    """

    title: str
    experiments: tuple[str, ...] = ()


FIGURES = {
    "fig2": Entry(
        "loss against parameters, steps and data, over heat maps of every subtask's loss",
        ("fig2-width", "fig2-data", "many-subtasks"),
    ),
    "fig6": Entry("L(n) where quanta cost -log p_k before they are learned, against one bit"),
    "fig7": Entry(
        "every subtask's loss against steps, online and on finite data",
        ("fig7", "fig2-width", "fig2-data"),
    ),
    "fig8": Entry(
        "steps to convergence against frequency, and the mean loss against steps",
        ("fig2-width", "science-check"),
    ),
    "fig9": Entry(
        "number of subtasks learned against data, and its exponent against alpha",
        ("fig10-data", "data-alpha-k"),
    ),
    "fig10": Entry(
        "exponents of parameters, steps and data against alpha, under the curves",
        ("fig10-width", "fig10-data", "data-alpha-k"),
    ),
    "fig18": Entry("exponents of parameter and data scaling across studies"),
    "width-data": Entry(
        "loss and number learned over width and data, with lines of equal loss", ("width-data",)
    ),
    "widths": Entry(
        "loss and number learned against parameters, by k, or with uniform frequencies",
        ("width-k", "width-uniform"),
    ),
    "learning-rate": Entry(
        "loss curves, final loss and accuracy against the learning rate", ("learning-rate",)
    ),
    "weight-decay": Entry(
        "test loss and number of subtasks learned against weight decay", ("weight-decay",)
    ),
    "data-bits": Entry("how many samples one subtask takes, by task bits", ("data-bits",)),
    "compositional": Entry(
        "loss of codes, and of their composite trained alone, against steps", ("compositional",)
    ),
}
"""Each figure's module in this package."""


def draw(figure: str, runs: Sequence[Path | str] = (), out: Path | str | None = None) -> Drawing:
    """Draw a figure from finished sweeps, as PNG and PDF, with its exponents as JSON.

    Args:
        figure: a name in ``FIGURES``.
        runs: run folders.
        out: folder for the files; if None, ``figures/`` in the first run folder, or here where the
            figure needs no runs.

    Returns:
        The paths written, and the fitted exponents that the figure shows.

    Raises:
        BadInput: if there is no such figure, or a folder has no finished results, or not those
            that the figure needs.
    """
    if figure not in FIGURES:
        raise BadInput(f"unknown figure {figure!r}; give one of {', '.join(FIGURES)}")
    needed = FIGURES[figure].experiments
    if needed and not runs:
        raise BadInput(f"--runs is missing: give the folders of finished sweeps; {train(figure)}")
    from jquanta.sweep.store import open_results

    results = [open_results(path) for path in runs] if needed else []
    folder = Path(out) if out is not None else Path(runs[0] if needed else "") / "figures"
    nearest = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise BadInput(f"--out {folder}: cannot be written; give another folder")
    module = importlib.import_module(f"jquanta.figures.{figure.replace('-', '_')}")
    try:
        drawing: Drawing = module.draw(results, folder)
    except BadInput as error:
        raise BadInput(f"{figure}: {error}{'; ' + train(figure) if needed else ''}") from None
    if not drawing.measured:
        return drawing
    path = folder / f"{figure}.json"
    save_measured(drawing.measured, path)
    return drawing._replace(paths=[*drawing.paths, path])


def train(figure: str) -> str:
    """What to run before a figure can be drawn."""
    files = " or ".join(f"configs/{name}.toml" for name in FIGURES[figure].experiments)
    return f"{figure} is drawn from {files}, trained by python -m jquanta.sweep"
