"""Losses on disk: a Zarr group a model and revision, written in place (contract.md).

``OUT/MODEL@REVISION/loss`` is a float32 array of all predictions, NaN until computed. Its chunks
are not compressed (losses hardly can be), so a chunk is a file of plain numbers and a document
is written where it belongs. How many documents are done is marked after they are: whatever ends
the process, what is marked is there.
"""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore

from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.losses.batches import LONGEST_FIRST
from jquanta.lm.losses.legs import Leg, known
from jquanta.run.arrays import open_group
from jquanta.run.checkpoint import Due
from jquanta.run.environment import now
from jquanta.run.files import whole

SCHEMA_VERSION = 1
KIND = "per-token losses"

ROOT = "zarr.json"
"""The file that makes a folder a Zarr group."""

CHUNK = 2**20
"""Losses in a chunk: 4 MiB."""

NUMBER = np.dtype("<f4")

LEAST_INTERVAL = 10.0
"""Seconds of work that a crash may cost, unless marking takes long ..."""
MARK_SHARE = 0.05
"""... for marking takes no more than this share of the time."""


def group_name(model: str, revision: str) -> str:
    """``model@revision`` as the name of a folder."""
    return re.sub(r"[^\w.@+-]+", "--", f"{model}@{revision}")


def label_of(attributes: dict[str, Any]) -> str:
    """``model@revision`` of a group, as it was asked for."""
    return f"{attributes['model']}@{attributes['revision']}"


def read_attributes(path: Path) -> dict[str, Any] | None:
    """What a group says of itself; None where there is no group."""
    if not (path / ROOT).is_file():
        return None
    try:
        return dict(open_group(path).attrs)
    except (ValueError, TypeError, KeyError, OSError):
        raise BadInput(f"{path}: damaged; delete this folder") from None


def make_root(path: Path, corpus: Corpus) -> None:
    """Mark a folder as one of losses on a corpus, if it is not yet."""
    if read_attributes(path) is None:
        attributes = {
            "kind": KIND,
            "schema_version": SCHEMA_VERSION,
            "corpus": corpus.meta.corpus,
            "source": corpus.meta.source,
            "documents": corpus.n_documents,
            "predictions": corpus.n_predictions,
        }
        zarr.create_group(LocalStore(path), attributes=attributes)


class Column:
    """The losses of one model and revision, being written."""

    def __init__(self, path: Path):
        self.path = path
        self.group = open_group(path, "r+")
        self.array = self.group["loss"]
        self._chunks: dict[int, NDArray[np.float32]] = {}
        self._changed: set[int] = set()
        self.due = Due(LEAST_INTERVAL, MARK_SHARE)

    @staticmethod
    def create(path: Path, predictions: int, attributes: dict[str, Any]) -> None:
        """A group without any losses yet. It appears whole."""
        with whole(path) as part:
            group = zarr.create_group(
                LocalStore(part), attributes={**attributes, "documents_done": 0}
            )
            group.create_array(
                "loss",
                shape=(predictions,),
                chunks=(CHUNK,),
                dtype=NUMBER,
                fill_value=np.nan,
                compressors=None,
                filters=None,
                dimension_names=("prediction",),
                attributes={"units": "nats", "long_name": "cross-entropy of each prediction"},
            )

    @property
    def legs(self) -> list[Leg]:
        """How far the work is. Columns of old versions say no order: it was this one."""
        done = int(self.group.attrs["documents_done"])
        stored = self.group.attrs.get("legs", [(LONGEST_FIRST, done)] if done else [])
        for order, _ in stored:
            if not known(order):
                raise BadInput(
                    f"{self.path}: begun by another version of jquanta, which took documents in "
                    f"another order ({order[:40]}); go on with that version, or delete this folder"
                )
        return [Leg(order, done) for order, done in stored]

    @property
    def finished(self) -> bool:
        """Whether all of them are."""
        return "finished" in self.group.attrs

    def write(self, first: int, losses: NDArray[np.float32]) -> None:
        """Put the losses of predictions ``first``, ``first`` + 1, … in their place."""
        while len(losses):
            number, place = divmod(first, CHUNK)
            part = losses[: CHUNK - place]
            self._chunk(number)[place : place + len(part)] = part
            self._changed.add(number)
            first, losses = first + len(part), losses[len(part) :]

    def mark(self, legs: Sequence[Leg], **attributes: Any) -> None:
        """Say that the documents of these legs are there, once they are on disk."""
        began = time.monotonic()
        for number in self._changed:
            self._chunks[number].flush()  # type: ignore[attr-defined]
        self._changed.clear()
        done = sum(leg.done for leg in legs)
        self.group.attrs.update({"documents_done": done, "legs": list(legs), **attributes})
        self.due.saved(began)

    def finish(self, legs: Sequence[Leg]) -> None:
        """Say that the column is whole."""
        self.mark(legs, finished=now())

    def _chunk(self, number: int) -> NDArray[np.float32]:
        """A chunk's file as an array."""
        if number not in self._chunks:
            path = self.path / "loss" / self.array.metadata.encode_chunk_key((number,))
            if not path.exists():
                # All of it is written now: a disk that is full says so here, not in the middle.
                path.parent.mkdir(parents=True, exist_ok=True)
                with whole(path) as part:
                    part.write_bytes(np.full(CHUNK, np.nan, NUMBER).tobytes())
            self._chunks[number] = np.memmap(path, NUMBER, "r+", shape=(CHUNK,))
        return self._chunks[number]
