"""Losses of several models on one corpus as one labelled Dataset, read where it is asked."""

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
    KIND,
    SCHEMA_VERSION,
    label_of,
    read_attributes,
)
from jquanta.run.arrays import open_group


def open_losses(*paths: Path | str, models: Sequence[str] | None = None) -> xr.Dataset:
    """Open finished columns of losses, lazily: only what is selected is read::

        losses = jq.open_losses("losses/pile")
        losses.loss.sel(model="EleutherAI/pythia-70m-v0@step143000")[1_000_000:1_000_100].values
        for part in slices(losses): ...  # jquanta.lm.losses.reader: chunk after chunk

    Args:
        paths: folders that ``jquanta losses`` wrote, or run folders of ``jquanta pretrain``, of the
            same corpus.
        models: columns wanted, ``model@revision``; all by default.

    Returns:
        ``loss`` (prediction, model), float32, nats. A prediction's place is its number in the
        corpus (there is no coordinate: it would take more memory than a column). Coordinates of
        ``model``, from the smallest model and the earliest revision on: ``model``
        (``model@revision``), ``name``, ``revision``, ``size`` (parameters without embeddings) and
        ``weights`` (their hash). Attributes: ``corpus`` (its hash), ``source``.

    Raises:
        BadInput: if a folder holds no losses, a column is not finished, the columns are of
            different corpora, or two have the same name.
    """
    found = [column for path in paths for column in _columns(Path(path).expanduser(), models)]
    found.sort(key=lambda column: (column[1]["size"], _natural(column[1]["revision"]), column[0]))
    labels = [label_of(attributes) for _, attributes in found]
    if missing := sorted(set(models or []) - set(labels)):
        raise BadInput(f"models: no losses of {', '.join(missing)} in {_listed(paths)}")
    if not found:
        raise BadInput(f"{_listed(paths)}: no losses yet; compute some: jquanta losses")
    _require_one_corpus(found)
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise BadInput(f"{twice}: in more than one of {_listed(paths)}; leave one out")
    array = _lazy([open_group(path)["loss"] for path, _ in found])
    told = {"units": "nats", "long_name": "cross-entropy of each prediction"}
    first = found[0][1]
    return xr.Dataset(
        {"loss": xr.Variable(("prediction", "model"), LazilyIndexedArray(array), told)},
        {
            "model": ("model", labels),
            "name": ("model", [attributes["model"] for _, attributes in found]),
            "revision": ("model", [attributes["revision"] for _, attributes in found]),
            "size": (
                "model",
                np.array([attributes["size"] for _, attributes in found], np.int64),
                {"units": "1", "long_name": "parameters without embeddings"},
            ),
            "weights": ("model", [attributes["weights"] for _, attributes in found]),
        },
        {"corpus": first["corpus"], "source": first["source"]},
    )


def slices(losses: xr.Dataset, size: int = CHUNK) -> Iterator[xr.Dataset]:
    """The Dataset in parts along the predictions, each loaded: sums over 10^8 rows in a loop.

    Args:
        losses: of ``open_losses``; select models first where not all are needed.
        size: predictions in a part; a chunk on disk by default.
    """
    for first in range(0, losses.sizes["prediction"], size):
        yield losses.isel(prediction=slice(first, first + size)).load()


def mean_loss(losses: xr.Dataset) -> xr.DataArray:
    """Mean loss of each model over all predictions, in nats, summed in float64."""
    total = sum(
        part.loss.sum("prediction", dtype=np.float64, skipna=False) for part in slices(losses)
    )
    if isinstance(total, int):
        raise BadInput("this corpus has no predictions, so there is no mean loss")
    mean: xr.DataArray = total / losses.sizes["prediction"]
    return mean.rename("loss").assign_attrs(units="nats", long_name="mean loss")


def require_corpus(losses: xr.Dataset, corpus: Corpus) -> None:
    """Raise ``BadInput`` unless the losses are of this corpus, and of all of it."""
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
    """The groups of a folder that are wanted, all finished."""
    attributes = read_attributes(root)
    if attributes is None and (root / "losses").is_dir():  # a run folder, of jquanta pretrain
        return _columns(root / "losses", models)
    if attributes is None or attributes.get("kind") != KIND:
        raise BadInput(f"{root}: holds no losses; compute some: jquanta losses --out {root}")
    if attributes["schema_version"] != SCHEMA_VERSION:
        raise BadInput(
            f"{root}: schema {attributes['schema_version']}, and this jquanta reads "
            f"{SCHEMA_VERSION}; compute them again"
        )
    found = []
    for path in sorted(root.iterdir()):
        column = None if path.suffix == ".part" else read_attributes(path)
        if column is not None and (models is None or label_of(column) in models):
            found.append((path, column))
    unfinished = [label_of(column) for _, column in found if "finished" not in column]
    if unfinished:
        raise BadInput(
            f"{root}: not finished: {', '.join(unfinished)}; run the same jquanta losses again, "
            "or name the models that you want"
        )
    return found


def _require_one_corpus(found: Sequence[tuple[Path, dict[str, Any]]]) -> None:
    (first, of), *others = found
    for path, attributes in others:
        if attributes["corpus"] != of["corpus"]:
            raise BadInput(
                f"{path}: losses of another corpus ({attributes['source']}) than {first} "
                f"({of['source']}); open them apart"
            )


def _natural(text: str) -> list[tuple[str, int]]:
    """Sorts step512 before step1000."""
    return [(word, int(number or 0)) for word, number in re.findall(r"(\D*)(\d*)", text)]


def _listed(paths: Sequence[Path | str]) -> str:
    return ", ".join(map(str, paths))


def _lazy(columns: Sequence[Any]) -> Any:
    """Columns side by side as an array that xarray reads from only where it is asked."""

    class Columns(BackendArray):
        shape = (columns[0].shape[0], len(columns))
        dtype = columns[0].dtype

        def __getitem__(self, key: Any) -> Any:
            return explicit_indexing_adapter(key, self.shape, IndexingSupport.OUTER, self._read)

        def _read(self, key: tuple[Any, Any]) -> Any:
            rows, wanted = key
            numbers = np.arange(len(columns))[wanted]
            if numbers.ndim == 0:
                return columns[numbers].oindex[rows]
            return np.stack([columns[i].oindex[rows] for i in numbers], axis=-1)

    return Columns()
