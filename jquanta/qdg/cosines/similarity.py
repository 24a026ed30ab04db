"""The similarity matrix of a selection: three modes behind one call (paper section 4)."""

import contextlib
import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jquanta.errors import BadInput, RunFailed
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import Params
from jquanta.lm.weights.load import fingerprint
from jquanta.qdg.config import ACTIVATIONS, EXACT, MODES, SKETCH
from jquanta.qdg.cosines.blockwise import BadRows, fill
from jquanta.qdg.cosines.matrices import COSINE, COSINE_ABS, STATE, Matrices
from jquanta.qdg.samples.selection import Selection
from jquanta.qdg.views.activations import activation_rows
from jquanta.qdg.views.gradient import gradient_rows
from jquanta.qdg.views.parameters import PAPER, chosen
from jquanta.qdg.views.per_sample import Rows
from jquanta.qdg.views.sketch import SIZE, sketch_rows
from jquanta.run.arrays import Variable, permuted, read, variable, write
from jquanta.run.environment import environment
from jquanta.run.files import remove
from jquanta.run.folder import RunFolder
from jquanta.run.progress import Monitor

if TYPE_CHECKING:
    import xarray as xr

SIMILARITY = "similarity.zarr"
WORK = "similarity.work"


def similarity(
    config: LMConfig,
    params: Params,
    corpus: Corpus,
    selection: Selection,
    *,
    mode: str = EXACT,
    parameters: str | Sequence[str] = PAPER,
    absolute: bool = False,
    sketch_size: int = SIZE,
    seed: int = 0,
    layer: int | None = None,
    out: Path | str | None = None,
    memory: int | str | None = None,
    dtype: str = "float32",
    batch_tokens: int | None = None,
    panel: int | None = None,
    monitor: Monitor | None = None,
) -> "xr.Dataset":
    """How alike samples are to the model: cosines of their gradients, of all pairs.

    All local devices take part. With ``out``, what was interrupted continues, and what is there
    is left alone.

    Args:
        config, params: the model, in float32, as ``jquanta.load_model`` gives it.
        corpus: whose predictions.
        selection: which; see ``select``.
        mode: ``exact``: of whole gradients. ``sketch``: of gradients between random projections:
            cosines have an error, and products and memory hardly grow with the model.
            ``activations``: of the residual stream where the prediction is made.
        parameters: with respect to what: ``paper``, ``reference``, or patterns of names; see
            ``parameters.chosen``. Activations have none.
        absolute: make ``cosine_abs`` too, of absolute values. Sketches have none.
        sketch_size: a sketch keeps at most the square of this of each product's gradient.
        seed: of the sketch's random projections.
        layer: of the activations: after how many blocks; all by default.
        out: the folder for ``similarity.zarr``; nothing is stored by default.
        memory: what may be taken, in bytes or as ``"8 GB"``; most of what is free by default.
        dtype: in which rows of unit length are held; see ``exact``.
        batch_tokens: tokens of a batch on each device; one sample at least.
        panel: samples multiplied at once; what suits their size by default.
        monitor: is told of the progress.

    Returns:
        ``cosine`` (sample, other), float32, and ``cosine_abs`` if asked for; ``index`` (sample),
        the predictions. Attributes: ``mode``, ``parameters``, ``weights``, ``corpus``, ``dtype``,
        ``samples`` (a hash of the index), and the mode's own settings.

    Raises:
        BadInput: if the parts do not go together, or a gradient is zero or not finite: its
            prediction is named.
        RunFailed: if the disk or a device is full; the same call continues.
        Interrupted: on Ctrl-C; the same call continues.
    """
    told: dict[str, Any] = {
        "mode": mode,
        "parameters": parameters if isinstance(parameters, str) else list(parameters),
    }
    if mode == EXACT:
        names = chosen(config, parameters)
        rows = gradient_rows(config, params, corpus, selection, names, batch_tokens)
    elif mode == SKETCH:
        if absolute:
            raise BadInput("absolute: a sketch keeps no absolute values; use mode exact")
        names = chosen(config, parameters)
        told |= {"sketch_size": sketch_size, "seed": seed}
        rows = sketch_rows(
            config, params, corpus, selection, names, sketch_size, seed, batch_tokens
        )
    elif mode == ACTIVATIONS:
        layer = config.layers if layer is None else layer
        told |= {"parameters": "", "layer": layer}
        rows = activation_rows(config, params, corpus, selection, layer, batch_tokens)
    else:
        raise BadInput(f"mode = {mode}: give one of {', '.join(MODES)}")
    identity = told | {
        "weights": fingerprint(params),
        "corpus": corpus.meta.corpus,
        "dtype": dtype,
        "samples": selection.hash,
    }
    job = _Job(rows, selection, absolute, identity)
    settings = {"dtype": dtype, "memory": memory, "panel": panel, "monitor": monitor}
    if out is None:
        return job.dataset(job.filled(Matrices.in_memory(len(selection), absolute), settings))
    out = Path(out).expanduser()
    job.store(out, settings)
    return open_similarity(out)


def open_similarity(path: Path | str) -> "xr.Dataset":
    """Open ``similarity.zarr``, or the folder that holds it, lazily: see ``similarity``.

    Raises:
        BadInput: if there is none.
    """
    path = Path(path).expanduser()
    path = path if path.name == SIMILARITY else path / SIMILARITY
    return read(path, "similarity", COSINE, "compute it: jquanta.qdg.similarity(..., out=FOLDER)")


class _Job:
    """Rows, and what their cosines are to be called."""

    def __init__(self, rows: Rows, selection: Selection, absolute: bool, identity: dict[str, Any]):
        self.rows, self.selection = rows, selection
        self.absolute, self.identity = absolute, identity

    def filled(self, matrices: Matrices, settings: Mapping[str, Any]) -> Matrices:
        """Compute what is missing. Raises ``BadInput`` that names predictions without direction."""
        try:
            fill(matrices, self.rows, self.rows.stops, row=self.rows.row, **settings)
        except BadRows as bad:
            zero, infinite = (self._predictions(rows) for rows in (bad.zero, bad.infinite))
            raise BadRows(zero, infinite, "prediction") from None
        return matrices

    def dataset(self, matrices: Matrices) -> "xr.Dataset":
        """What is computed, with its labels, in memory."""
        import xarray as xr

        variables = self._variables(matrices)
        return xr.Dataset(
            {
                name: (v.dims, np.concatenate(list(v.parts)), dict(v.attributes))
                for name, v in variables.items()
            },
            attrs=environment() | self.identity,
        )

    def store(self, out: Path, settings: Mapping[str, Any]) -> None:
        """Compute what is missing in a folder, and give it its name when it is whole."""
        if (out / SIMILARITY).exists():
            self._require_same(out / SIMILARITY)
            return
        if out.exists() and not out.is_dir():
            raise BadInput(f"--out {out}: is a file; give the path of a folder")
        work, new = out / WORK, not out.exists()
        try:
            with RunFolder(work).locked():
                n = len(self.selection)
                matrices = Matrices.on_disk(work, n, self.absolute, self.identity)
                try:
                    self.filled(matrices, settings)
                except BadRows:
                    remove(work)  # nothing could continue it
                    raise
                write(
                    out / SIMILARITY,
                    self._variables(matrices),
                    environment() | self.identity,
                )
                del matrices
                remove(work)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise RunFailed(
                f"the disk is full: free {8e-9 * len(self.selection) ** 2:.3g} GB or more for "
                f"{out}; then the same command continues"
            ) from error
        finally:
            if not (work / STATE).exists():
                remove(work)
            if new:
                with contextlib.suppress(OSError):  # not empty, so there is something to keep
                    out.rmdir()

    def _variables(self, matrices: Matrices) -> dict[str, Variable]:
        place = np.argsort(self.rows.order)  # where a sample's row is
        n = len(place)
        what = "activations" if self.identity["mode"] == ACTIVATIONS else "gradients"
        long_names = {
            COSINE: f"cosine of {what}",
            COSINE_ABS: f"cosine of {what}' absolute values",
        }
        found = {
            "index": variable(
                ("sample",), self.selection.index, long_name="prediction of the corpus"
            )
        }
        for name, matrix in matrices.arrays.items():
            told = {"units": "1", "long_name": long_names[name]}
            found[name] = Variable(
                ("sample", "other"), (n, n), "float32", permuted(matrix, place), told
            )
        return found

    def _predictions(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.sort(self.selection.index[self.rows.order[rows]])

    def _require_same(self, path: Path) -> None:
        stored = open_similarity(path)
        wanted = self.identity | ({COSINE_ABS: True} if self.absolute else {})
        found = stored.attrs | {COSINE_ABS: COSINE_ABS in stored}
        for name, value in wanted.items():
            if found.get(name) != value:
                raise BadInput(
                    f"{path}: has {name} {str(found.get(name))[:40]}, not {str(value)[:40]}; give "
                    "another --out, or delete it"
                )
