"""Losses on disk: one Zarr group for each model and revision, written in place.

``OUT/MODEL@REVISION/loss`` is a float32 array with one number for each prediction, in nats, NaN
until computed. Its chunks are not compressed (losses hardly compress), so each chunk is a file of
plain numbers, and the losses of a document can be written at their place in it. The number of
finished documents is recorded only after their losses are on disk: however the process ends, every
document that the record counts is there.
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
"""The metadata file whose presence makes a folder a Zarr group."""

CHUNK = 2**20
"""Losses in a chunk: 2^20 · 4 bytes = 4 MiB."""

NUMBER = np.dtype("<f4")
"""How a loss is stored: little-endian float32."""

LEAST_INTERVAL = 10.0
"""Seconds between two records of progress, which is the work that a crash may lose ..."""
MARK_SHARE = 0.05
"""... unless recording would take more than this share of the time: then they are rarer."""


def group_name(model: str, revision: str) -> str:
    """``model@revision`` as a folder's name: characters other than letters, digits and ``_.@+-``
    become ``--``."""
    return re.sub(r"[^\w.@+-]+", "--", f"{model}@{revision}")


def label_of(attributes: dict[str, Any]) -> str:
    """``model@revision`` of a group, from its attributes, as the user wrote it."""
    return f"{attributes['model']}@{attributes['revision']}"


def read_attributes(path: Path) -> dict[str, Any] | None:
    """The attributes of a Zarr group, or None where there is no group.

    Raises:
        BadInput: if the group is damaged.
    """
    if not (path / ROOT).is_file():
        return None
    try:
        return dict(open_group(path).attrs)
    except (ValueError, TypeError, KeyError, OSError):
        raise BadInput(f"{path}: damaged; delete this folder") from None


def make_root(path: Path, corpus: Corpus) -> None:
    """Make a folder the parent group of all losses on a corpus, unless it already is."""
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
    """The losses of one model and revision while they are written.

    Args:
        path: the folder of a group that ``create`` made.
    """

    def __init__(self, path: Path):
        self.path = path
        self.group = open_group(path, "r+")
        self.array = self.group["loss"]
        self._chunks: dict[int, NDArray[np.float32]] = {}
        self._changed: set[int] = set()
        self.due = Due(LEAST_INTERVAL, MARK_SHARE)

    @staticmethod
    def create(path: Path, predictions: int, attributes: dict[str, Any]) -> None:
        """Make a group whose losses are all missing (NaN). It appears complete or not at all.

        Args:
            path: the folder of the group.
            predictions: number of predictions of the corpus.
            attributes: what identifies the column: model, weights, corpus, dtype and so on.
        """
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
        """The finished part of the work, as a list of legs (see ``losses.legs``).

        Columns of the first versions name no order; those versions had ``LONGEST_FIRST`` only.

        Raises:
            BadInput: if another version wrote an order of documents that this one does not know.
        """
        # Before there were legs, "documents_done" alone described the progress.
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
        """Whether the losses of all documents are on disk."""
        return "finished" in self.group.attrs

    def write(self, first: int, losses: NDArray[np.float32]) -> None:
        """Write the losses of consecutive predictions, in nats.

        Args:
            first: number of the first prediction.
            losses: [n] losses of the predictions ``first`` … ``first`` + n - 1.
        """
        while len(losses):  # once for each chunk that the predictions reach into
            number, place = divmod(first, CHUNK)
            part = losses[: CHUNK - place]
            self._chunk(number)[place : place + len(part)] = part
            self._changed.add(number)
            first, losses = first + len(part), losses[len(part) :]

    def mark(self, legs: Sequence[Leg], **attributes: Any) -> None:
        """Record that the documents of these legs are finished, after flushing them to disk.

        Args:
            legs: all legs of the work so far.
            attributes: further attributes to store with them.
        """
        began = time.monotonic()
        # The losses go to disk before the record that counts on them: if the process ends between
        # the two, some documents are computed twice, but none is missing.
        for number in self._changed:
            self._chunks[number].flush()  # type: ignore[attr-defined]
        self._changed.clear()
        done = sum(leg.done for leg in legs)
        self.group.attrs.update({"documents_done": done, "legs": list(legs), **attributes})
        self.due.saved(began)

    def finish(self, legs: Sequence[Leg]) -> None:
        """Record that the column is complete, with the time."""
        self.mark(legs, finished=now())

    def _chunk(self, number: int) -> NDArray[np.float32]:
        """A chunk as an array that is mapped to its file; the file is made if it is missing."""
        if number not in self._chunks:
            path = self.path / "loss" / self.array.metadata.encode_chunk_key((number,))
            if not path.exists():
                # Writing all of the chunk reserves its space: a full disk raises OSError here. A
                # sparse file would end the process by SIGBUS when the mapping is written to.
                path.parent.mkdir(parents=True, exist_ok=True)
                with whole(path) as part:
                    part.write_bytes(np.full(CHUNK, np.nan, NUMBER).tobytes())
            self._chunks[number] = np.memmap(path, NUMBER, "r+", shape=(CHUNK,))
        return self._chunks[number]
