"""Open the losses of several models as one table, from folders or a ``.npy`` file, and read it."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.losses.column import CHUNK
from jquanta.lm.losses.reader import open_losses, require_corpus, require_written
from jquanta.lm.models.pythia import PYTHIA
from jquanta.run import npy
from jquanta.run.files import as_path
from jquanta.run.progress import Monitor, Silence

WANTED = "give floats [predictions, models]: losses in nats"
"""What a ``.npy`` file of losses must hold."""

LEAST_SIZES = 3
"""Smallest number of sizes for a curve over N."""

PUBLISHED = ("70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b")
"""Columns of the array that the authors published, all -v0: six models to fit, and the largest."""

ROUNDING = 1e-3
"""How far below 0 a loss may be, in nats: cross-entropies are not negative, but rounded."""


def open_table(paths: Sequence[Path | str], sizes: Sequence[int] = ()) -> xr.Dataset:
    """Open losses lazily, from folders (``jquanta.open_losses``) or from one ``.npy`` file.

    Args:
        paths: folders of losses on one corpus, or one ``.npy`` file with an array of floats
            [predictions, models] in nats, which is mapped from disk. The authors of the paper
            published such a file.
        sizes: for a ``.npy`` file, the parameters without embeddings of its models; by default
            those of the paper's first six or seven models.

    Returns:
        A Dataset with the variable ``loss`` (prediction, model), in nats, and the coordinates
        ``model``, ``name``, ``revision``, ``size``, ``base`` and ``seed`` (the name in two), in
        ascending order of size.

    Raises:
        BadInput: as ``open_losses``; and for a file that is not such an array, for sizes that do
            not fit it, and for sizes together with folders, which store their own.
    """
    files = [path for path in paths if str(path).endswith(".npy")]
    if files and len(paths) > 1:
        raise BadInput(f"--losses: {files[0]} is an array of all models; give it alone")
    if files:
        return _open_array(as_path(files[0]), tuple(sizes))
    if sizes:
        raise BadInput("--sizes is for a .npy file of losses; columns in folders know their size")
    return open_losses(*paths)


def step_of(revision: str) -> int | None:
    """The number N of a revision ``stepN``; None for others, such as ``main``."""
    found = re.fullmatch(r"step(\d+)", revision)
    return int(found[1]) if found else None


def notes(losses: xr.Dataset, *, steps: bool = True) -> list[str]:
    """What a reader of these losses should know before comparing them, in sentences.

    Args:
        losses: of ``open_table``.
        steps: whether models that end at different steps are a reason for one.

    Returns:
        One for each suite that is not finished, one if the models end at different steps, and one
        for checkpoints that have arrays of another step; none if there is nothing to say.
    """
    found = [
        f"{folder}: this suite is not finished; the command that began it continues"
        for folder in losses.attrs.get("unfinished", [])
    ]
    ends = _last_steps(losses) if steps else {}
    if len(set(ends.values())) > 1:
        listed = ", ".join(f"{name} {step:,}" for name, step in ends.items())
        found.append(
            f"the models end at different steps ({listed}): losses, windows of fits and what is "
            "learned are not of equal training"
        )
    if "shared" in losses.coords:
        for label, others in zip(
            losses.model.to_numpy().tolist(), losses.shared.to_numpy().tolist(), strict=True
        ):
            if others:
                found.append(
                    f"{label}: has arrays in common with {others}: one of them is not what its "
                    "name says, or they were frozen"
                )
    return found


def _last_steps(losses: xr.Dataset) -> dict[str, int]:
    """The last step of each model, of those whose revisions all are steps."""
    every: dict[str, list[int | None]] = {}
    names, revisions = losses.name.to_numpy().tolist(), losses.revision.to_numpy().tolist()
    for name, revision in zip(names, revisions, strict=True):
        every.setdefault(name, []).append(step_of(revision))
    return {
        name: max(step for step in steps if step is not None)
        for name, steps in every.items()
        if None not in steps
    }


def at_step(losses: xr.Dataset, step: int | None = None) -> xr.Dataset:
    """Select one checkpoint of each model.

    Args:
        losses: of ``open_table``.
        step: the step of the checkpoint; by default the last one. ``main`` and other revisions
            without a step count as later than all steps.

    Returns:
        The selected columns, in ascending order of size.

    Raises:
        BadInput: if a model has no such checkpoint, or the models have fewer than three sizes.
    """
    # For each model: the step of its chosen column (infinity for ``main``), and its index.
    chosen: dict[str, tuple[float, int]] = {}
    for place, (name, revision) in enumerate(
        zip(losses.name.to_numpy().tolist(), losses.revision.to_numpy().tolist(), strict=True)
    ):
        at = step_of(revision)
        if step is None:
            rank = (np.inf if at is None else float(at), place)
            chosen[name] = max(chosen.get(name, rank), rank)
        elif at == step:
            chosen[name] = (float(step), place)
    lacking = sorted(set(losses.name.to_numpy().tolist()) - set(chosen))
    if lacking:
        raise BadInput(f"--step {step}: no losses of {', '.join(lacking)} at step{step}")
    found = losses.isel(model=[place for _, place in chosen.values()])
    found = found.isel(model=np.argsort(found["size"].to_numpy(), kind="stable"))
    sizes = np.unique(found["size"])
    if len(sizes) < LEAST_SIZES:
        listed = ", ".join(f"{size:,}" for size in sizes.tolist())
        raise BadInput(
            f"losses of {len(sizes)} sizes of models ({listed}): curves against parameters need "
            f"at least {LEAST_SIZES}; give the losses of more models"
        )
    return found


def blocks(
    losses: xr.Dataset, size: int = CHUNK, monitor: Monitor | None = None
) -> Iterator[tuple[int, Float[np.ndarray, "predictions M"]]]:
    """Read a table in blocks of consecutive predictions.

    Args:
        losses: of ``open_table``; all its models are read.
        size: predictions in a block; by default one chunk on disk.
        monitor: receives the progress.

    Yields:
        The number of the first prediction of each block, and its losses [predictions, M] in nats:
        float32 from folders, the dtype of the file otherwise.

    Raises:
        BadInput: if a loss is not finite (in a column that was not finished) or negative; the
            message names model and prediction. At the end, if all losses of a model are 0.
    """
    monitor = monitor or Silence()
    rows = losses.sizes["prediction"]
    empty = np.ones(losses.sizes["model"], bool)
    if not rows:
        raise BadInput("this corpus has no predictions")
    for first in range(0, rows, size):
        part = losses.loss.isel(prediction=slice(first, first + size)).to_numpy()
        require_losses(part, first, losses.model.to_numpy().tolist())
        empty &= ~part.any(axis=0)
        yield first, part
        monitor.work("reading losses", min(1.0, (first + size) / rows))
    require_written(losses.model.to_numpy()[empty].tolist())


def require_text(losses: xr.Dataset, corpus: Corpus) -> None:
    """Raise ``BadInput`` if the losses are of another corpus.

    A ``.npy`` file does not name its corpus; then only the numbers of predictions are compared.
    """
    if losses.attrs["corpus"]:
        require_corpus(losses, corpus)
    elif losses.sizes["prediction"] != corpus.n_predictions:
        raise BadInput(
            f"{corpus.path}: {corpus.n_predictions:,} predictions, and the losses of "
            f"{losses.attrs['source']} are of {losses.sizes['prediction']:,}; give their corpus"
        )


def require_losses(part: NDArray[Any], first: int, labels: Sequence[str]) -> None:
    """Raise ``BadInput`` if a loss of a block [predictions, models] is invalid.

    Args:
        part: the block.
        first: the number of its first prediction.
        labels: of its models.
    """
    # NaN and infinities fail isfinite; a little below 0 is rounding.
    wrong = ~(np.isfinite(part) & (part >= -ROUNDING))
    if not wrong.any():
        return
    row, column = (int(numbers[0]) for numbers in np.nonzero(wrong))
    label, value = labels[column], float(part[row, column])
    if np.isnan(value):
        raise BadInput(
            f"{label}: no loss of prediction {first + row} (NaN): the column was not finished; "
            "run its jquanta losses again"
        )
    raise BadInput(
        f"{label}: loss {value:g} of prediction {first + row}: give cross-entropies in nats, "
        "finite and not negative"
    )


def _open_array(path: Path, sizes: tuple[int, ...]) -> xr.Dataset:
    """Open a ``.npy`` file: see ``open_table``."""
    try:
        array = npy.read(path, WANTED, mapped=True)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; {WANTED}") from None
    if array.ndim != 2 or array.dtype.kind != "f":
        raise BadInput(f"{path}: holds {array.dtype} of shape {array.shape}; {WANTED}")
    models = array.shape[1]
    names = [f"pythia-{size}-v0" for size in PUBLISHED]
    if not sizes and models in (len(PUBLISHED) - 1, len(PUBLISHED)):
        sizes = tuple(PYTHIA[size].non_embedding for size in PUBLISHED[:models])
    elif not sizes:
        raise BadInput(
            f"{path}: {models} models, and the paper's are {len(PUBLISHED)} or the first "
            f"{len(PUBLISHED) - 1} of them: give their parameters without embeddings by --sizes"
        )
    else:
        names = [f"{size:,}" for size in sizes]
    if len(sizes) != models or min(sizes) < 1 or len(set(sizes)) < models:
        raise BadInput(
            f"--sizes: {len(sizes)} given, {path} has {models} models: give a different positive "
            "number for each"
        )
    table = xr.Dataset(
        {"loss": (("prediction", "model"), array, {"units": "nats"})},
        {
            "model": ("model", names[:models]),
            "name": ("model", names[:models]),
            "revision": ("model", ["main"] * models),
            "size": ("model", np.array(sizes, np.int64), {"units": "1"}),
            "base": ("model", names[:models]),
            "seed": ("model", [""] * models),
        },
        {"corpus": "", "source": str(path)},
    )
    # xarray would read the mapped array to reorder its columns, so it does so only if needed.
    return table.isel(model=np.argsort(sizes)) if list(sizes) != sorted(sizes) else table
