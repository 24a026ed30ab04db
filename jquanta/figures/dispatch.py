"""The one call that draws any figure."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jquanta.errors import BadInput
from jquanta.figures.catalogue import FIGURES, SOURCES, origin, taken
from jquanta.figures.drawing import Drawing, save_measured
from jquanta.lm.taxonomy.tables import open_table
from jquanta.run.files import require_place
from jquanta.run.settings import nearest
from jquanta.sweep.store import open_results


def draw(
    figure: str,
    runs: Sequence[Path | str] = (),
    out: Path | str | None = None,
    *,
    losses: Sequence[Path | str] = (),
    sizes: Sequence[int] = (),
    qdg: Path | str | None = None,
    **options: Any,
) -> Drawing:
    """Draw a figure from stored results as PNG and PDF, and write its numbers as JSON.

    Args:
        figure: a name in ``catalogue.FIGURES``.
        runs: run folders of finished sweeps.
        out: folder for the files. By default ``figures/`` in the first folder that the figure is
            drawn from (or beside a ``.npy`` file), and in the working directory if it needs none.
        losses: folders of per-token losses on one corpus, or one ``.npy`` file of losses, float32
            [predictions, models], in nats.
        sizes: for a ``.npy`` file, the models' numbers of parameters without embeddings; by default
            those of the paper's models.
        qdg: a folder of quanta discovery from gradients.
        options: further arguments of the figure (``FIGURES[figure].options``), described by
            ``jquanta figures --help``.

    Returns:
        The paths written, and the numbers that the figure shows.

    Raises:
        BadInput: if there is no such figure; a folder has no finished results, or not those that
            the figure needs; ``out`` cannot be written; or the figure does not take an argument.
    """
    if figure not in FIGURES:
        meant = nearest(figure, FIGURES)
        remedy = f"did you mean {meant}?" if meant else f"give one of {', '.join(FIGURES)}"
        raise BadInput(f"unknown figure {figure!r}: {remedy}")
    entry = FIGURES[figure]
    given = {"runs": tuple(runs), "losses": tuple(losses), "qdg": () if qdg is None else (qdg,)}
    _refuse_foreign(figure, [*(name for name, paths in given.items() if paths), *options])
    paths = given.get(entry.source, ())
    if entry.source and not paths:
        what = SOURCES[entry.source].what
        raise BadInput(f"--{entry.source} is missing: give {what}; {origin(figure)}")
    if sizes and entry.source != "losses":
        raise BadInput(f"{figure} takes no --sizes: {taken(figure)}")
    opened = _open(entry.source, paths, sizes)
    folder = Path(out) if out is not None else _home(paths) / "figures"
    require_place(folder)
    try:
        drawing = _function(entry.function)(opened, folder, **options)
    except BadInput as error:
        remedy = f"; {origin(figure)}" if entry.source == "runs" else ""
        raise BadInput(f"{figure}: {error}{remedy}") from None
    if not drawing.measured:
        return drawing
    path = folder / f"{figure}.json"
    save_measured(drawing.measured, path)
    return drawing._replace(paths=[*drawing.paths, path])


def _refuse_foreign(figure: str, given: Sequence[str]) -> None:
    """Raise ``BadInput`` for an argument that the figure would ignore."""
    entry = FIGURES[figure]
    for name in given:
        if name not in (entry.source, *entry.options):
            raise BadInput(f"{figure} takes no --{name}: {taken(figure)}")


def _open(source: str, paths: Sequence[Path | str], sizes: Sequence[int]) -> Any:
    """The first argument of a figure's function: what the folders of its source hold."""
    if source == "runs":
        return [open_results(path) for path in paths]
    if source == "losses":
        return open_table(paths, sizes)
    return Path(paths[0]) if source else []


def _function(name: str) -> Callable[..., Drawing]:
    """The function of this full name; its module, and with it matplotlib, is imported now."""
    module, _, function = name.rpartition(".")
    return getattr(importlib.import_module(module), function)


def _home(paths: Sequence[Path | str]) -> Path:
    """The folder that the figures of these paths lie beside, in ``figures/``."""
    first = Path(paths[0] if paths else "").expanduser()
    # Nothing is written into a store, such as the results.zarr of a sweep.
    return first.parent if first.is_file() or first.suffix == ".zarr" else first
