"""Which figures there are, and the one call that draws any of them."""

import importlib
import os
from collections.abc import Sequence
from pathlib import Path

from jquanta.errors import BadInput

FIGURES = {
    "fig2": "loss against parameters, steps and data, over heat maps of every subtask's loss",
}
"""Each figure's module in this package, and what it shows."""


def draw(figure: str, runs: Sequence[Path | str], out: Path | str | None = None) -> list[Path]:
    """Draw a figure from finished sweeps.

    Args:
        figure: a name in ``FIGURES``.
        runs: run folders.
        out: folder for PNG and PDF; ``figures/`` in the first run folder if None.

    Returns:
        The paths written.

    Raises:
        BadInput: if a folder has no finished results, or not those that the figure needs.
    """
    from jquanta.sweep.store import open_results

    results = [open_results(path) for path in runs]
    folder = Path(out) if out is not None else Path(runs[0]) / "figures"
    nearest = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise BadInput(f"--out {folder}: cannot be written; give another folder")
    module = importlib.import_module(f"jquanta.figures.{figure}")
    paths: list[Path] = module.draw(results, folder)
    return paths
