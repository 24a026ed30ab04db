"""Open the losses of several models on one corpus as one labelled Dataset.

The data stay on disk; xarray reads only what is selected.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core.indexing import IndexingSupport, LazilyIndexedArray, explicit_indexing_adapter

from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.losses.column import (
    CHUNK,
    SCHEMA_VERSION,
    label_of,
    read_attributes,
    read_column,
    read_root,
    require_whole,
)
from jquanta.lm.losses.seeds import split_seed
from jquanta.run import kinds
from jquanta.run.arrays import open_group
from jquanta.run.files import PART, as_path
from jquanta.run.folder import RunFolder

LOSSES = "losses"
"""Name of the folder of losses in a run folder of ``jquanta pretrain``."""


def open_losses(*paths: Path | str, models: Sequence[str] | None = None) -> xr.Dataset:
    """Open finished columns of losses lazily, so that only selected values are read::

        losses = jq.open_losses("losses/pile")
        losses.loss.sel(model="EleutherAI/pythia-70m-v0@step143000")[1_000_000:1_000_100].values
        for part in slices(losses): ...  # jquanta.lm.losses.reader: one chunk at a time

    Args:
        paths: folders that ``jquanta losses`` wrote, or run folders of ``jquanta pretrain``, all of
            the same corpus.
        models: the columns to open, ``model@revision``; all by default.

    Returns:
        A Dataset with the variable ``loss`` (prediction, model), float32, in nats. The index along
        ``prediction`` is the prediction's number in the corpus (it has no coordinate, which would
        take more memory than a column). Coordinates along ``model``, in ascending order of size
        and then of revision: ``model`` (``model@revision``), ``name``, ``revision``, ``size``
        (parameters without embeddings), ``base`` and ``seed`` (the name in two: ``25.5k`` and ``3``
        of ``25.5k-seed3``, see ``seeds.split_seed``; ``by_seed`` makes a dimension of them),
        ``weights`` (hash of the weights) and ``shared`` (other steps of the model that have some of
        its arrays, so that one of them is not what its name says; empty for none). Attributes:
        ``corpus`` (hash of the corpus), ``source`` (name of its source) and ``unfinished`` (run
        folders of suites that are still being trained).

    Raises:
        BadInput: if a folder holds no losses, a column is not finished, the columns are of
            different corpora, or two have the same name.
    """
    found = [column for path in paths for column in _columns(as_path(path), models)]
    # By size, then by step, then by path, so that the order does not depend on the file system.
    found.sort(
        key=lambda column: (column[1]["size"], kinds.natural(column[1]["revision"]), column[0])
    )
    labels = [label_of(attributes) for _, attributes in found]
    if missing := sorted(set(models or []) - set(labels)):
        raise BadInput(f"models: no losses of {', '.join(missing)} in {_listed(paths)}")
    if not found:
        raise BadInput(f"{_listed(paths)}: no losses yet; compute some: jquanta losses")
    _require_one_corpus(found)
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise BadInput(f"{twice}: in more than one of {_listed(paths)}; leave one out")
    arrays: list[Any] = [open_group(path)["loss"] for path, _ in found]
    lengths = {array.shape[0] for array in arrays}
    if len(lengths) > 1:
        raise BadInput(
            f"{_listed(paths)}: columns of {min(lengths):,} and of {max(lengths):,} predictions of "
            "one corpus; some are damaged: compute them again"
        )
    array = _lazy(arrays)
    metadata = {"units": "nats", "long_name": "cross-entropy of each prediction"}
    first = found[0][1]
    return xr.Dataset(
        {"loss": xr.Variable(("prediction", "model"), LazilyIndexedArray(array), metadata)},
        {
            "model": ("model", labels),
            "name": ("model", [attributes["model"] for _, attributes in found]),
            "revision": ("model", [attributes["revision"] for _, attributes in found]),
            "size": (
                "model",
                np.array([attributes["size"] for _, attributes in found], np.int64),
                {"units": "1", "long_name": "parameters without embeddings"},
            ),
            "base": ("model", [split_seed(attributes["model"])[0] for _, attributes in found]),
            "seed": ("model", [split_seed(attributes["model"])[1] for _, attributes in found]),
            "weights": ("model", [attributes["weights"] for _, attributes in found]),
            "shared": ("model", _shared([attributes for _, attributes in found])),
        },
        {
            "corpus": first["corpus"],
            "source": first["source"],
            "unfinished": sorted({str(path) for one in found if (path := _unfinished(one[0]))}),
        },
    )


def slices(losses: xr.Dataset, size: int = CHUNK) -> Iterator[xr.Dataset]:
    """Cut the Dataset along the predictions and load one part after another.

    So a loop can sum over 10^8 predictions in little memory.

    Args:
        losses: of ``open_losses``; select models first if not all are needed.
        size: predictions in a part; by default one chunk on disk.
    """
    for first in range(0, losses.sizes["prediction"], size):
        yield losses.isel(prediction=slice(first, first + size)).load()


def mean_loss(losses: xr.Dataset) -> xr.DataArray:
    """Mean loss of each model over all predictions, in nats, summed in float64.

    Raises:
        BadInput: if the corpus has no predictions, or all losses of a model are 0.
    """
    total = sum(
        part.loss.sum("prediction", dtype=np.float64, skipna=False) for part in slices(losses)
    )
    if isinstance(total, int):  # the sum over no parts is the integer 0
        raise BadInput("this corpus has no predictions, so there is no mean loss")
    require_written(losses.model.to_numpy()[(total == 0).to_numpy()].tolist())
    mean: xr.DataArray = total / losses.sizes["prediction"]
    return mean.rename("loss").assign_attrs(units="nats", long_name="mean loss")


def require_written(empty: Sequence[str]) -> None:
    """Raise ``BadInput`` if there are models whose losses are all 0: no model predicts everything,
    and a column that was never written reads like this."""
    if empty:
        raise BadInput(
            f"{', '.join(empty)}: every loss is 0, so the column was never computed; leave it out, "
            "or compute it again"
        )


def require_corpus(losses: xr.Dataset, corpus: Corpus) -> None:
    """Raise ``BadInput`` unless the losses are those of all predictions of this corpus."""
    if losses.attrs["corpus"] != corpus.meta.corpus:
        raise BadInput(
            f"{corpus.path}: not the corpus of these losses (its hash is "
            f"{corpus.meta.corpus[:12]}…, theirs {losses.attrs['corpus'][:12]}…, of "
            f"{losses.attrs['source']}); give that one"
        )
    if losses.sizes["prediction"] != corpus.n_predictions:
        raise BadInput(
            f"losses of {losses.sizes['prediction']:,} predictions, and {corpus.path} has "
            f"{corpus.n_predictions:,}; give those of all"
        )


def _columns(root: Path, models: Sequence[str] | None) -> list[tuple[Path, dict[str, Any]]]:
    """The folders and attributes of the columns below a folder.

    Args:
        root: a folder that ``jquanta losses`` wrote, or a run folder of ``jquanta pretrain``.
        models: labels ``model@revision`` to keep; None for all.

    Raises:
        BadInput: if the folder holds no losses, or one of these columns is not finished.
    """
    kinds.require(root, "losses", "suite", remedy="make one: jquanta losses")
    attributes = read_root(root)
    suite = root / LOSSES  # in a run folder of jquanta pretrain
    if read_attributes(root) is None and suite.is_dir():
        return _columns(suite, models)
    if attributes is None:
        raise BadInput(f"{root}: holds no losses; compute some: jquanta losses --out {root}")
    if "shard" in attributes:
        raise BadInput(
            f"{root}: shard {attributes['shard']} of losses; join all of them: jquanta gather "
            f"{root.absolute().parents[1]}"
        )
    if attributes["schema_version"] != SCHEMA_VERSION:
        raise BadInput(
            f"{root}: schema {attributes['schema_version']}, and this jquanta reads "
            f"{SCHEMA_VERSION}; compute them again"
        )
    found = []
    for path in sorted(root.iterdir()):
        column = None if path.suffix == PART else read_column(path)
        if column is not None and (models is None or label_of(column) in models):
            found.append((path, column))
    unfinished = [label_of(column) for _, column in found if "finished" not in column]
    if any("gathered" in column for _, column in found if "finished" not in column):
        raise BadInput(
            f"{root}: not finished: {', '.join(unfinished)}; jquanta gather {root} goes on"
        )
    if unfinished:
        raise BadInput(
            f"{root}: not finished: {', '.join(unfinished)}; run the same jquanta losses again, "
            "or name the models that you want"
        )
    for path, _ in found:
        require_whole(path)
    return found


def _shared(columns: Sequence[dict[str, Any]]) -> list[str]:
    """For each column the revisions of other steps of its model with which it has arrays in common.

    Columns of version 0.1 know only whether all arrays are the same.
    """
    having: dict[tuple[str, str, str], list[str]] = {}
    prints = [{**_prints(column.get("arrays")), "": column["weights"]} for column in columns]
    for column, own in zip(columns, prints, strict=True):
        if re.fullmatch(r"step\d+", column["revision"]):  # main may well be the last step
            for name, digest in own.items():
                having.setdefault((column["model"], name, digest), []).append(column["revision"])
    found = []
    for column, own in zip(columns, prints, strict=True):
        alike = {
            revision
            for name, digest in own.items()
            for revision in having.get((column["model"], name, digest), [])
        }
        stepped = column["revision"] in alike
        found.append(", ".join(sorted(alike - {column["revision"]}, key=kinds.natural)) * stepped)
    return found


def _prints(stored: Any) -> dict[str, str]:
    """Hashes of arrays as a column stores them; none if it has none."""
    return {str(k): str(v) for k, v in stored.items()} if isinstance(stored, dict) else {}


def _unfinished(column: Path) -> Path | None:
    """The run folder of the suite that a column belongs to, if that is still being trained."""
    suite = RunFolder(column.absolute().parents[1])
    inside = column.absolute().parent.name == LOSSES and suite.begun and suite.record.exists()
    return suite.path if inside and not suite.done else None


def _require_one_corpus(found: Sequence[tuple[Path, dict[str, Any]]]) -> None:
    """Raise ``BadInput`` unless all columns are of the same corpus."""
    (first, of), *others = found
    for path, attributes in others:
        if attributes["corpus"] != of["corpus"]:
            raise BadInput(
                f"{path}: losses of another corpus ({attributes['source']}) than {first} "
                f"({of['source']}); open them apart"
            )


def _listed(paths: Sequence[Path | str]) -> str:
    return ", ".join(map(str, paths))


def _lazy(columns: Sequence[Any]) -> Any:
    """Zarr arrays [P] side by side as one [P, M] array for xarray's lazy indexing.

    xarray translates an index into one for each axis and calls ``_read`` with it when the values
    are needed.
    """

    class Columns(BackendArray):
        shape = (columns[0].shape[0], len(columns))
        dtype = columns[0].dtype

        def __getitem__(self, key: Any) -> Any:
            return explicit_indexing_adapter(key, self.shape, IndexingSupport.OUTER, self._read)

        def _read(self, key: tuple[Any, Any]) -> Any:
            rows, wanted = key
            numbers = np.arange(len(columns))[wanted]
            if numbers.ndim == 0:  # one model by an integer index: its axis goes away
                return columns[numbers].oindex[rows]
            return np.stack([columns[i].oindex[rows] for i in numbers], axis=-1)

    return Columns()
