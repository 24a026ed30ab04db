"""Predictions of a corpus as one object: the samples that QDG looks at."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus
from jquanta.masks import unmasked
from jquanta.run.arrays import read, variable, write
from jquanta.run.files import as_path

SELECTION = "selection.zarr"


@dataclass(frozen=True, eq=False)
class Predictions:
    """Some predictions of a corpus, called samples. They are checked when this is made, so no
    function that takes them need ask again whether index and corpus belong together.

    Attributes:
        corpus: whose predictions.
        index: [Q] their numbers in the corpus, int64, ascending, each once.
        model: the one whose losses chose them, ``model@revision``; empty if none did.
        rule: every setting by which they were chosen.

    Raises:
        BadInput: for an index that is no array of whole numbers, is not ascending, or lies outside
            the corpus.
    """

    corpus: Corpus
    index: NDArray[Any]
    model: str = ""
    rule: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        index = unmasked(self.index, "index")
        if index.ndim != 1 or index.dtype.kind not in "iu" or (np.diff(index) <= 0).any():
            raise BadInput(
                "index: give numbers of predictions, ascending and each once, as "
                "jquanta.qdg.given does"
            )
        self.corpus.locate(index)
        object.__setattr__(self, "index", index.astype(np.int64))  # the class is frozen

    def __len__(self) -> int:
        return len(self.index)

    @property
    def hash(self) -> str:
        """sha256 of the index: what results keep to recognise their samples."""
        return hashlib.sha256(np.ascontiguousarray(self.index, "<i8").tobytes()).hexdigest()

    @property
    def targets(self) -> NDArray[np.int64]:
        """[Q] the tokens that are predicted."""
        document, position = self.corpus.locate(self.index)
        at = self.corpus.offsets[document] + position + 1
        return np.asarray(self.corpus.tokens[at], np.int64)

    def at(self, places: NDArray[np.int64]) -> "Predictions":
        """Those at some places of the index (ascending), of the same corpus."""
        return replace(self, index=self.index[places])

    def save(self, path: Path | str) -> None:
        """Write ``selection.zarr`` in a folder, which is made if need be."""
        path = as_path(path)
        path.mkdir(parents=True, exist_ok=True)
        index = variable(("sample",), self.index, long_name="prediction of the corpus")
        attributes = {
            "rule": json.dumps(self.rule),
            "corpus": self.corpus.meta.corpus,
            "model": self.model,
        }
        write(path / SELECTION, {"index": index}, attributes)


def given(corpus: Corpus, index: Sequence[int] | ArrayLike) -> Predictions:
    """Predictions that were chosen elsewhere.

    Args:
        corpus: whose predictions.
        index: their numbers, in any order; each counts once.

    Raises:
        BadInput: for an index outside the corpus, or none at all.
    """
    numbers = np.unique(unmasked(index, "index"))
    if not numbers.size:
        raise BadInput("index: no predictions; give some")
    return Predictions(corpus, numbers, rule={"given": len(numbers)})


def common(one: Predictions, other: Predictions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the predictions that two selections share stand in each: two arrays of places, for the
    same predictions in the same order.

    Raises:
        BadInput: if they are of two corpora, or share none.
    """
    one_hash, other_hash = one.corpus.meta.corpus, other.corpus.meta.corpus
    if one_hash != other_hash:
        raise BadInput(
            f"samples of two corpora ({one.corpus.path}, hash {one_hash[:12]}…, and "
            f"{other.corpus.path}, hash {other_hash[:12]}…); give two runs on the same corpus"
        )
    _, here, there = np.intersect1d(one.index, other.index, return_indices=True)
    if not here.size:
        raise BadInput(
            "no sample is in both runs; give the second one the samples of the first: "
            "--input.samples RESULTS"
        )
    return here, there


def open_selection(path: Path | str, corpus: Corpus) -> Predictions:
    """Read what ``Predictions.save`` wrote.

    Args:
        path: ``selection.zarr`` or the folder that holds it.
        corpus: the one that the predictions are of.

    Raises:
        BadInput: if there is no selection, or it is of another corpus.
    """
    stored = stored_selection(path)
    if stored.attrs["corpus"] != corpus.meta.corpus:
        raise BadInput(
            f"{corpus.path}: not the corpus of this selection (its hash is "
            f"{corpus.meta.corpus[:12]}…, the selection's {stored.attrs['corpus'][:12]}…); give "
            "that one"
        )
    rule = json.loads(stored.attrs["rule"])
    return Predictions(corpus, stored["index"].to_numpy(), stored.attrs["model"], rule)


def stored_selection(path: Path | str) -> xr.Dataset:
    """``selection.zarr`` as it lies on disk, for what can be asked without its corpus: ``index``
    (sample), and as attributes the corpus' hash, ``model`` and ``rule``.

    Raises:
        BadInput: if there is none.
    """
    path = as_path(path)
    path = path if path.name == SELECTION else path / SELECTION
    return read(path, "selection", "index", "make one: jquanta qdg")
