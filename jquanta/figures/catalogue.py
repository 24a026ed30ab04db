"""Which figures there are, and the one call that draws any of them."""

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jquanta.errors import BadInput
from jquanta.figures.drawing import Drawing, save_measured


class Entry(NamedTuple):
    """A figure: what it shows, and what it is drawn from.

    Attributes:
        title: what it shows.
        experiments: the files in ``configs/`` whose runs it is drawn from.
        source: the flag whose folders it is drawn from, a key of ``SOURCES``; empty for none.
        options: the further flags that it takes: keyword arguments of its module's ``draw``.
    """

    title: str
    experiments: tuple[str, ...] = ()
    source: str = ""
    options: tuple[str, ...] = ()


class Source(NamedTuple):
    """What a figure can be drawn from: what its flag names, and what makes it."""

    what: str
    made: str


SOURCES = {
    "runs": Source("the folders of finished sweeps", "trained by python -m jquanta.sweep"),
    "losses": Source(
        "folders of per-token losses, or an array of them (.npy)",
        "computed by jquanta losses or jquanta pretrain",
    ),
    "qdg": Source(
        "a folder of quanta discovery from gradients (fig5: or a .npy file of labels, "
        "counts × samples; fig16, fig17: of the toy model)",
        "made by jquanta qdg, those of the toy model by jquanta known toy",
    ),
}


TAXONOMY = ("corpus", "token", "monogenic", "polygenic", "seed", "step")
"""What figures of single tokens take."""


def _of_runs(title: str, *experiments: str) -> Entry:
    return Entry(title, experiments, "runs")


FIGURES = {
    "fig2": _of_runs(
        "loss against parameters, steps and data, over heat maps of every subtask's loss",
        "fig2-width",
        "fig2-data",
        "many-subtasks",
    ),
    "fig3": Entry(
        "mean loss of language models against parameters, and how their losses are distributed",
        source="losses",
        options=("fit", "step"),
    ),
    "fig4": Entry(
        "monogenic and polygenic tokens: loss against parameters beside the text",
        source="losses",
        options=TAXONOMY,
    ),
    "fig5": Entry(
        "similarity matrix by cluster, beside the clusters' sizes by rank, for every count",
        source="qdg",
    ),
    "fig6": Entry("L(n) where quanta cost -log p_k before they are learned, against one bit"),
    "fig7": _of_runs(
        "every subtask's loss against steps, online and on finite data",
        "fig7",
        "fig2-width",
        "fig2-data",
    ),
    "fig8": _of_runs(
        "steps to convergence against frequency, and the mean loss against steps",
        "fig2-width",
        "science-check",
    ),
    "fig9": _of_runs(
        "number of subtasks learned against data, and its exponent against alpha",
        "fig10-data",
        "data-alpha-k",
    ),
    "fig10": _of_runs(
        "exponents of parameters, steps and data against alpha, under the curves",
        "fig10-width",
        "fig10-data",
        "data-alpha-k",
    ),
    "fig11": Entry(
        "mean loss and distribution of losses of language models against training steps",
        source="losses",
        options=("fit", "step_tokens"),
    ),
    "fig12": Entry("more tokens of both kinds, as in fig4", source="losses", options=TAXONOMY),
    "fig15": Entry(
        "QDG on sparse parity: similarity by true subtask, beside the clusters' sizes by rank",
        source="qdg",
    ),
    "fig16": Entry("a toy model of clusters' sizes, over dimension, noise and count", source="qdg"),
    "fig17": Entry(
        "slope of the envelope in the toy model against the exponent put in", source="qdg"
    ),
    "quanta": Entry(
        "mean losses of clusters over training and sizes, and when they emerge "
        "(after jquanta emergence)",
        source="qdg",
    ),
    "mechanism": Entry(
        "what a step against each cluster's mean gradient does to the others "
        "(after jquanta mechanism)",
        source="qdg",
    ),
    "fig18": Entry("exponents of parameter and data scaling across studies"),
    "width-data": _of_runs(
        "loss and number learned over width and data, with lines of equal loss", "width-data"
    ),
    "widths": _of_runs(
        "loss and number learned against parameters, by k, or with uniform frequencies",
        "width-k",
        "width-uniform",
    ),
    "learning-rate": _of_runs(
        "loss curves, final loss and accuracy against the learning rate", "learning-rate"
    ),
    "weight-decay": _of_runs(
        "test loss and number of subtasks learned against weight decay", "weight-decay"
    ),
    "data-bits": _of_runs("how many samples one subtask takes, by task bits", "data-bits"),
    "compositional": _of_runs(
        "loss of codes, and of their composite trained alone, against steps", "compositional"
    ),
}
"""Each figure's module in this package."""


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
    """Draw a figure from what is stored, as PNG and PDF, with its numbers as JSON.

    Args:
        figure: a name in ``FIGURES``.
        runs: run folders of finished sweeps.
        out: folder for the files; if None, ``figures/`` in the first folder that the figure is
            drawn from (beside a ``.npy`` file), or here where it needs none.
        losses: folders of per-token losses on one corpus, or one ``.npy`` file of them, float32
            [predictions, models], nats.
        sizes: of the models of a ``.npy`` file: parameters without embeddings; the paper's six
            models by default.
        qdg: a folder of quanta discovery from gradients.
        options: what else the figure takes (``FIGURES[figure].options``); ``--help`` tells of each.

    Returns:
        The paths written, and the numbers that the figure shows.

    Raises:
        BadInput: if there is no such figure, or a folder has no finished results, or not those
            that the figure needs, or something is given that the figure does not take.
    """
    if figure not in FIGURES:
        raise BadInput(f"unknown figure {figure!r}; give one of {', '.join(FIGURES)}")
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
    nearest = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise BadInput(f"--out {folder}: cannot be written; give another folder")
    module = importlib.import_module(f"jquanta.figures.{_room(figure)}.{figure.replace('-', '_')}")
    try:
        drawing: Drawing = module.draw(opened, folder, **options)
    except BadInput as error:
        remedy = f"; {origin(figure)}" if entry.source == "runs" else ""
        raise BadInput(f"{figure}: {error}{remedy}") from None
    if not drawing.measured:
        return drawing
    path = folder / f"{figure}.json"
    save_measured(drawing.measured, path)
    return drawing._replace(paths=[*drawing.paths, path])


def origin(figure: str) -> str:
    """What to run before a figure can be drawn."""
    entry = FIGURES[figure]
    files = " or ".join(f"configs/{name}.toml" for name in entry.experiments)
    made = SOURCES[entry.source].made
    return f"{figure} is drawn from {files}, {made}" if files else f"they are {made}"


def taken(figure: str) -> str:
    """The flags of a figure, in words."""
    entry = FIGURES[figure]
    flags = [entry.source] * bool(entry.source) + list(entry.options)
    return "it takes " + (", ".join(f"--{flag}" for flag in flags) or "none but --out")


def _refuse_foreign(figure: str, given: Sequence[str]) -> None:
    """Raise ``BadInput`` for what is given and would go unread."""
    entry = FIGURES[figure]
    for name in given:
        if name not in (entry.source, *entry.options):
            raise BadInput(f"{figure} takes no --{name}: {taken(figure)}")


def _open(source: str, paths: Sequence[Path | str], sizes: Sequence[int]) -> Any:
    """What a module's ``draw`` takes first: Datasets of runs, one of losses, a QDG folder."""
    if source == "runs":
        from jquanta.sweep.store import open_results

        return [open_results(path) for path in paths]
    if source == "losses":
        from jquanta.lm.taxonomy.tables import open_table

        return open_table(paths, sizes)
    return Path(paths[0]) if source else []


def _room(figure: str) -> str:
    """The folder of a figure's module."""
    source = {"runs": "sweep", "losses": "lm", "qdg": "qdg", "": "theory"}
    return source[FIGURES[figure].source]


def _home(paths: Sequence[Path | str]) -> Path:
    """The folder that figures go to, within."""
    first = Path(paths[0] if paths else "").expanduser()
    return first.parent if first.is_file() else first
