"""Features of samples that were made elsewhere, in place of gradients: such as the activations of a
sparse autoencoder. All that is done with gradients is then done with them.

Shapes: Q samples, F features.
"""

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float32
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.machine.memory import usable_together
from jquanta.qdg.config import GIVEN
from jquanta.qdg.cosines.factored import Rows
from jquanta.qdg.cosines.features import FEATURES, MOST_NUMBERS, Stored, of_source, open_features
from jquanta.qdg.cosines.matrix import require_same
from jquanta.qdg.cosines.similarity import SIMILARITY, of_rows, open_similarity
from jquanta.qdg.samples.predictions import Predictions
from jquanta.run.progress import Monitor, Silence
from jquanta.run.settings import as_bytes
from jquanta.run.shown import counted, listed

WHAT = "given features"

STRIP = 1024
"""Samples that are scaled at once."""

REMEDY = "save a matrix of numbers, samples × features, by numpy.save"


def given_features(
    file: Path | str,
    predictions: Predictions,
    *,
    out: Path,
    matrix: bool = True,
    memory: int | str | None = None,
    dtype: str = "float32",
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """The cosines of the features that a file holds, on disk; or the features, of unit length.

    Args:
        file: ``.npy``, [Q, F], a row for each sample, in the order of ``predictions.index``.
        predictions: the samples.
        out: the folder for ``similarity.zarr`` or ``features.zarr``.
        matrix: whether the cosines of all pairs are wanted.
        memory, dtype: as for ``similarity``.
        monitor: sees the progress.

    Returns:
        As ``similarity``, or as ``features``. The attribute ``features`` is the file's SHA-256.

    Raises:
        BadInput: if the file holds something else than when it was read, or no array, or a row
            is zero or not finite: its number is named.
        RunFailed, Interrupted: as of ``similarity``; the same call continues.
    """
    file, store = Path(file), SIMILARITY if matrix else FEATURES
    identity: dict[str, Any] = {
        "mode": GIVEN,
        "parameters": "",
        "corpus": predictions.corpus.meta.corpus,
        "samples": predictions.hash,
    }
    if (out / store).exists():
        found = (open_similarity if matrix else open_features)(out)
        require_same(out / store, found.attrs, identity)
        require_same_file(file, out / store, found)
        return found
    rows = read_rows(file, len(predictions))
    require_directions(file, rows)
    identity |= {"features": digest(file)}
    source = Stored(_scaled(rows), jax.ShapeDtypeStruct(rows.shape[1:], np.float32))
    if not matrix:
        return of_source(source, predictions, identity, WHAT, out=out, monitor=monitor)
    return of_rows(
        lambda _: Rows(source, taken=rows.nbytes),
        predictions,
        identity | {"dtype": dtype},
        WHAT,
        out=out,
        memory=usable_together() if memory is None else as_bytes(memory),
        monitor=monitor or Silence(),
    )


def read_rows(file: Path, samples: int | None = None) -> NDArray[Any]:
    """The array of a file, opened lazily: real numbers, a row for each sample.

    Args:
        file: which.
        samples: Q, if it is known.

    Raises:
        BadInput: naming the file, if it holds anything else.
    """
    name = f"input.features = {file}"
    try:
        rows = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise BadInput(f"{name}: no such file; {REMEDY}") from None
    except (OSError, ValueError, EOFError):
        raise BadInput(f"{name}: no array of numpy; {REMEDY}") from None
    if not isinstance(rows, np.ndarray):
        raise BadInput(f"{name}: several arrays; {REMEDY}")
    if rows.ndim != 2 or not rows.shape[1] or rows.dtype.kind not in "biuf":
        raise BadInput(f"{name}: has shape {rows.shape} and type {rows.dtype}; {REMEDY}")
    if samples is not None and len(rows) != samples:
        raise BadInput(
            f"{name}: {len(rows):,} rows for {samples:,} samples; give a row for each sample of "
            "input.samples, in the order of its index"
        )
    if rows.shape[1] > MOST_NUMBERS:
        raise BadInput(f"{name}: {rows.shape[1]:,} numbers a sample; give up to {MOST_NUMBERS:,}")
    return rows


def require_directions(file: Path, rows: NDArray[Any]) -> None:
    """Raise ``BadInput``, with their numbers from 0, if rows are zero or not finite."""
    zero, infinite = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for start in range(0, len(rows), STRIP):
        largest = np.abs(rows[start : start + STRIP].astype(np.float64)).max(axis=1)
        zero.append(start + np.flatnonzero(largest == 0))
        infinite.append(start + np.flatnonzero(~np.isfinite(largest)))
    bad = {"zero": np.concatenate(zero), "not finite": np.concatenate(infinite)}
    found = [
        f"{counted(len(some), 'row')} {what} ({listed(some.tolist())})"
        for what, some in bad.items()
        if len(some)
    ]
    if found:
        raise BadInput(
            f"input.features = {file}: {' and '.join(found)}, counted from 0, and a cosine needs a "
            "direction; such samples can have a feature of their own, a column that is 1 for them"
        )


def require_same_file(file: Path, store: Path, found: xr.Dataset) -> None:
    """Raise ``BadInput`` if results are of features that the file no longer holds. It need not be
    there for ever: nothing is known of one that is gone."""
    if file.is_file():
        require_same(store, found.attrs, {"features": digest(file)})


def digest(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _scaled(rows: NDArray[Any]) -> Float32[np.ndarray, "Q F"]:
    """Each row over its largest number, so that no square of float32 overflows or vanishes."""
    found = np.empty(rows.shape, np.float32)
    for start in range(0, len(rows), STRIP):
        strip = rows[start : start + STRIP].astype(np.float64)
        found[start : start + STRIP] = strip / np.abs(strip).max(axis=1, keepdims=True)
    return found
