"""The similarity matrix of samples: cosines of a view of them, of all pairs (paper section 4)."""

import contextlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.lm.models.model import Model
from jquanta.lm.weights.load import fingerprint
from jquanta.machine.memory import usable_together
from jquanta.qdg.config import COMPACT
from jquanta.qdg.cosines.blockwise import BadRows, fill, names
from jquanta.qdg.cosines.factored import Rows, rows_of
from jquanta.qdg.cosines.matrix import (
    COSINE,
    COSINE_ABS,
    FACTORS,
    KEPT,
    STATE,
    InMemory,
    Matrices,
    OnDisk,
    claim,
    require_same,
    strip_shape,
)
from jquanta.qdg.cosines.remembered import SPARE, Remembered, has_room, size_of
from jquanta.qdg.samples.predictions import Predictions
from jquanta.qdg.samples.prefixes import prefixes
from jquanta.qdg.views.factors import Factors
from jquanta.qdg.views.gradient import Gradients
from jquanta.qdg.views.kept import Outer, kept
from jquanta.qdg.views.parameters import is_cut, pieces
from jquanta.qdg.views.per_sample import per_sample, view_of
from jquanta.qdg.views.view import View
from jquanta.qdg.views.ways import way_here
from jquanta.run.arrays import Variable, read, variable
from jquanta.run.environment import environment
from jquanta.run.files import as_path, remove, require_place
from jquanta.run.folder import RunFolder
from jquanta.run.progress import Monitor, Silence
from jquanta.run.settings import as_bytes
from jquanta.run.stop import shortage_in_one_line

SIMILARITY = "similarity.zarr"
WORK = "similarity.work"

EXACT = Gradients()
"""The paper's view of samples."""


@dataclass(frozen=True, eq=False)
class Part:
    """A shard of a similarity: cosines between some groups of samples.

    Attributes:
        starts: the first sample of each group.
        pairs: of groups between which cosines are wanted.
        attributes: of what is stored, by which it is recognised.
    """

    starts: tuple[int, ...]
    pairs: frozenset[tuple[int, int]]
    attributes: Mapping[str, Any]

    def has(self, samples: NDArray[np.int64], others: NDArray[np.int64]) -> bool:
        """Whether any cosine between some samples and some others is wanted."""
        here, there = (
            set((np.searchsorted(self.starts, x, side="right") - 1).tolist())
            for x in (samples, others)
        )
        return any(tuple(sorted(pair)) in self.pairs for pair in itertools.product(here, there))


def similarity(
    model: Model,
    predictions: Predictions,
    view: View = EXACT,
    *,
    absolute: bool = False,
    out: Path | str | None = None,
    memory: int | str | None = None,
    dtype: str = "float32",
    batch_tokens: int | None = None,
    panel: int | None = None,
    part: Part | None = None,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """How alike samples are to a model: the cosines of their gradients, of all pairs.

    All local devices take part. With ``out``, what was interrupted continues, and what is there
    is left alone.

    Args:
        model: in float32, as ``jquanta.load_model`` gives it.
        predictions: the samples; see ``select``.
        view: of what the cosines are taken. ``Gradients()``: of whole gradients. ``Factors()``: of
            their leading directions, which are kept, so that each gradient is made once however
            many there are. ``Sketch()``: of gradients between random projections: cosines have an
            error, and products and memory hardly grow with the model. ``Activations()``: of the
            residual stream where the prediction is made.
        absolute: make ``cosine_abs`` too, of absolute values. Sketches have none.
        out: the folder for ``similarity.zarr``; nothing is stored by default.
        memory: what may be taken, in bytes or as ``"8 GB"``; most of what is free by default.
        dtype: in which rows of unit length are held; see ``exact``.
        batch_tokens: tokens of a batch on each device; one sample at least.
        panel: samples multiplied at once; what suits their size by default.
        part: compute some blocks of the matrix only; the others hold zeros. See ``shards``.
        monitor: sees the progress.

    Returns:
        ``cosine`` (sample, other), float32, and ``cosine_abs`` if asked for; ``index`` (sample),
        the predictions. Attributes: the view's ``mode`` and options, ``weights``, ``corpus``,
        ``dtype``, ``samples`` (a hash of the index). By ``Factors`` also ``lost`` (sample), the
        share of each gradient's squared length that its factors lack; the attributes ``whole``, how
        many were made again since they lose more than the tolerance; and ``error_rms`` and
        ``error_max``, of the cosines of ``error_pairs`` pairs of samples, against those of whole
        gradients.

    Raises:
        BadInput: if the parts do not go together, or a gradient is zero or not finite: its
            prediction is named.
        RunFailed: if the disk or a device is full; the same call continues.
        Interrupted: on Ctrl-C; the same call continues.
    """
    if absolute and not view.has_absolute:
        raise BadInput(f"absolute: a {view.mode} keeps no absolute values; use mode exact")
    monitor = monitor or Silence()
    memory = usable_together() if memory is None else as_bytes(memory)
    identity = identity_of(model, predictions, view) | {"dtype": dtype}
    identity |= {} if part is None else part.attributes
    made = _rows(model, predictions, view, batch_tokens, part.starts if part else (0,))

    def rows(folder: Path | None) -> Rows:
        if folder is not None and view.mode in COMPACT:
            claim(folder, identity)
            return _remembered(made, folder / KEPT, len(predictions), monitor)
        if not isinstance(view, Factors):
            return Rows(made, working=made.working)
        place = folder and folder / FACTORS
        if folder is not None:
            claim(folder, identity)
        found = kept(model, predictions, view, made, place, memory=memory, monitor=monitor)
        return rows_of(found, dtype, memory - found.nbytes, monitor)

    return of_rows(
        rows,
        predictions,
        identity,
        view.what,
        absolute=absolute,
        out=out,
        memory=memory,
        panel=panel,
        part=part,
        monitor=monitor,
    )


def of_rows(
    rows: Callable[[Path | None], Rows],
    predictions: Predictions,
    identity: Mapping[str, Any],
    what: str,
    *,
    absolute: bool = False,
    out: Path | str | None = None,
    memory: int,
    panel: int | None = None,
    part: Part | None = None,
    monitor: Monitor,
) -> xr.Dataset:
    """The cosines of any rows of samples; the other arguments are those of ``similarity``.

    Args:
        rows: makes them, given the folder of the work if there is one.
        predictions: the samples.
        identity: what the cosines depend on, ``dtype`` among it: attributes.
        what: the rows are, in words.
        memory: in bytes.
    """

    def filled(matrices: Matrices, rows: Rows) -> dict[str, Any]:
        """What is known then. Raises ``BadRows`` that names predictions."""
        left = memory - rows.taken
        try:
            fill(
                matrices,
                rows.source,
                memory=left,
                dtype=identity["dtype"],
                panel=panel,
                working=rows.working,
                wanted=part.has if part else None,
                monitor=monitor,
            )
        except BadRows as bad:
            zero, infinite = (predictions.index[np.sort(x)] for x in (bad.zero, bad.infinite))
            raise BadRows(zero, infinite, "prediction") from None
        finally:
            if isinstance(rows.source, Remembered):
                rows.source.save()
        return environment() | dict(identity) | rows.after()

    if out is None:
        found = rows(None)
        wanted = matrices_of(predictions, what, absolute) | dict(found.more)
        matrix = InMemory(len(predictions), names(absolute))
        attributes = filled(matrix, found)
        values = {name: next(iter(v.parts), None) for name, v in wanted.items()} | matrix.arrays
        return xr.Dataset(
            {name: (v.dims, values[name], dict(v.attributes)) for name, v in wanted.items()},
            attrs=attributes,
        )
    out = as_path(out)
    if (out / SIMILARITY).exists():
        stored = open_similarity(out)
        wanted = dict(identity) | ({COSINE_ABS: True} if absolute else {})
        require_same(out / SIMILARITY, stored.attrs | {COSINE_ABS: COSINE_ABS in stored}, wanted)
        if (out / WORK).exists():  # a process was killed just after its last step
            with contextlib.suppress(BadInput), work_folder(out / WORK) as work:
                remove(work / STATE)
        return open_similarity(out)
    require_place(out)
    with work_folder(out / WORK) as work:
        found = rows(work)
        wanted = matrices_of(predictions, what, absolute) | dict(found.more)
        matrices = OnDisk(work, wanted, dict(identity))
        try:
            attributes = filled(matrices, found)
        except BadRows:
            remove(work / STATE)  # there is nothing to continue
            raise
        matrices.finish(out / SIMILARITY, attributes)
        remove(work / STATE)
    return open_similarity(out)


def identity_of(model: Model, predictions: Predictions, view: View) -> dict[str, Any]:
    """What the cosines of samples depend on: attributes of what is stored."""
    return view.attributes(model.config) | {
        "weights": fingerprint(model.params),
        "corpus": predictions.corpus.meta.corpus,
        "samples": predictions.hash,
    }


def open_similarity(path: Path | str) -> xr.Dataset:
    """Open ``similarity.zarr``, or the folder that holds it, lazily: see ``similarity``.

    Raises:
        BadInput: if there is none.
    """
    path = as_path(path)
    path = path if path.name == SIMILARITY else path / SIMILARITY
    return read(path, "similarity", COSINE, "compute it: jquanta qdg")


def _rows(
    model: Model,
    predictions: Predictions,
    view: View,
    batch_tokens: int | None,
    starts: tuple[int, ...],
) -> Any:
    """The rows as devices make them, and checked: a ``Source``. Of factors, what they lack, too."""
    if isinstance(view, Factors):
        samples = prefixes(predictions, model.config)
        return per_sample(view.measured(model), samples, model.config, batch_tokens, starts=starts)
    rows = view_of(model, predictions, view, batch_tokens, starts=starts)
    if isinstance(view, Gradients) and way_here(model.placement).scanned:
        kept = pieces(model.config, view.parameters)
        if not is_cut(model.config, kept):
            return Outer(rows, model.config, tuple(piece.name for piece in kept))
    return rows


def _remembered(made: Any, folder: Path, samples: int, monitor: Monitor) -> Rows:
    """Rows that are kept in a file, if the disk has room for them."""
    if not has_room(made, samples, folder):
        monitor.say(
            f"the disk has less than {SPARE} times {1e-9 * size_of(made, samples):.3g} GB, so what "
            "is made of samples is not kept: the same command would make it again"
        )
        return Rows(made, working=made.working)
    found = Remembered(made, folder, samples)
    if found.done.any():
        monitor.say(f"samples: continuing after {found.done.mean():.0%}")
    return Rows(found, working=made.working)


@contextlib.contextmanager
def work_folder(work: Path) -> Any:
    """A locked folder for work, which is yielded. At the end it is deleted unless it holds a state
    to continue from, and with it the folder that it lies in if that was made for it."""
    out, new = work.parent, not work.parent.exists()
    try:
        with (
            RunFolder(work).locked(),
            shortage_in_one_line("give less memory; then the same command continues"),
        ):
            yield work
    finally:
        if not (work / STATE).exists():
            remove(work)
        if new:
            with contextlib.suppress(OSError):  # not empty, so there is something to keep
                out.rmdir()


def matrices_of(predictions: Predictions, what: str, absolute: bool) -> dict[str, Variable]:
    """What is stored, the numbers of the matrices apart. ``what`` is what cosines are taken of."""
    n = len(predictions)
    long_names = {
        COSINE: f"cosine of {what}",
        COSINE_ABS: f"cosine of {what}' absolute values",
    }
    matrices = {
        name: Variable(
            ("sample", "other"),
            (n, n),
            "float32",
            (),
            {"units": "1", "long_name": long_names[name]},
            strip_shape(n),
        )
        for name in names(absolute)
    }
    index = variable(("sample",), predictions.index, long_name="prediction of the corpus")
    return {"index": index, **matrices}
