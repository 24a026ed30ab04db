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
from jquanta.run import arrays, files
from jquanta.run.arrays import (
    DAMAGE,
    METADATA,
    consolidate,
    make_group,
    open_group,
    set_attributes,
)
from jquanta.run.checkpoint import Due
from jquanta.run.environment import now
from jquanta.run.sums import damaged

SCHEMA_VERSION = 1
KIND = "per-token losses"

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


FIELDS: dict[str, type] = {
    "model": str,
    "revision": str,
    "size": int,
    "weights": str,
    "corpus": str,
    "source": str,
    "documents_done": int,
}
"""Attributes that every column has, and their types."""

ROOT_FIELDS: dict[str, type] = {"corpus": str, "source": str, "schema_version": int}
"""Attributes that the parent group of all columns has."""


def read_attributes(path: Path) -> dict[str, Any] | None:
    """The attributes of a Zarr group, or None where there is no group.

    Raises:
        BadInput: if the group is damaged.
    """
    if not (path / METADATA).is_file():
        return None
    try:
        return dict(open_group(path).attrs)
    except DAMAGE:
        raise damaged(path, [f"{METADATA} cannot be read"], "delete this folder") from None


def read_column(path: Path) -> dict[str, Any] | None:
    """The attributes of a column, or None where there is none.

    Raises:
        BadInput: if its metadata are damaged or lost, or it is no column.
    """
    found = _checked(path, FIELDS)
    if found is None and (path / "loss").is_dir():
        raise damaged(path, [f"{METADATA} is missing"], "delete this folder")
    return found


def read_root(path: Path) -> dict[str, Any] | None:
    """The attributes of the parent group of losses, or None where there is no group, or another.

    Raises:
        BadInput: if its metadata are damaged.
    """
    if (read_attributes(path) or {}).get("kind") != KIND:
        return None
    return _checked(path, ROOT_FIELDS)


def _checked(path: Path, fields: dict[str, type]) -> dict[str, Any] | None:
    attributes = read_attributes(path)
    if attributes is None:
        return None
    for name, kind in fields.items():
        if not isinstance(attributes.get(name), kind):
            raise damaged(
                path, [f"{METADATA} has no {name}, or one of a wrong type"], "delete this folder"
            )
    return attributes


def require_whole(path: Path) -> None:
    """Raise ``BadInput`` unless the files of a finished column are as they were written."""
    arrays.require_whole(path, "delete this folder, and compute its losses again")
    attributes, remedy = read_column(path), "delete this folder, and compute its losses again"
    try:
        array: Any = open_group(path)["loss"]
        fits = array.ndim == 1 and array.dtype == NUMBER
    except DAMAGE:
        fits = False
    if attributes is None or not fits:
        raise damaged(path, ["holds no losses"], remedy)


def make_root(path: Path, corpus: Corpus, shard: str | None = None) -> None:
    """Make a folder the parent group of all losses on a corpus, or of one shard's, unless it
    already is."""
    if read_attributes(path) is None:
        attributes = {
            "kind": KIND,
            "schema_version": SCHEMA_VERSION,
            "corpus": corpus.meta.corpus,
            "source": corpus.meta.source,
            "documents": corpus.n_documents,
            "predictions": corpus.n_predictions,
        }
        if shard is not None:
            attributes["shard"] = shard
        make_group(path, attributes)


class Column:
    """The losses of one model and revision while they are written.

    Args:
        path: the folder of a group that ``create`` made.
    """

    def __init__(self, path: Path):
        self.path = path
        files.clear_partials(path)
        self.attributes = read_column(path) or {}
        try:
            self.array: Any = open_group(path, "r+")["loss"]
        except DAMAGE:
            raise damaged(path, ["holds no losses"], "delete this folder") from None
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
        with files.whole(path) as part:
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
            consolidate(part)  # then no reader has to list the folder, which holds other files, too

    @property
    def legs(self) -> list[Leg]:
        """The finished part of the work, as a list of legs (see ``losses.legs``).

        Columns of the first versions name no order; those versions had ``LONGEST_FIRST`` only.

        Raises:
            BadInput: if another version wrote an order of documents that this one does not know.
        """
        # Before there were legs, "documents_done" alone described the progress.
        done = int(self.attributes["documents_done"])
        stored = self.attributes.get("legs", [(LONGEST_FIRST, done)] if done else [])
        try:
            legs = [Leg(str(order), int(done)) for order, done in stored]
        except (TypeError, ValueError):
            raise damaged(self.path, ["its legs cannot be read"], "delete this folder") from None
        for order, _ in legs:
            if not known(order):
                raise BadInput(
                    f"{self.path}: begun by another version of jquanta, which took documents in "
                    f"another order ({order[:40]}); go on with that version, or delete this folder"
                )
        return legs

    @property
    def finished(self) -> bool:
        """Whether the losses of all documents are on disk."""
        return "finished" in self.attributes

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

    def mark(self, legs: Sequence[Leg]) -> None:
        """Record that the documents of these legs are finished, after flushing them to disk.

        Args:
            legs: all legs of the work so far.
        """
        began = time.monotonic()
        # The losses go to disk before the record that counts on them: if the process ends between
        # the two, some documents are computed twice, but none is missing.
        self._flush()
        set_attributes(self.path, _progress(legs))
        self.due.saved(began)

    def finish(self, legs: Sequence[Leg]) -> None:
        """Record that the column is complete, with the time and the check sums.

        Raises:
            BadInput: if losses that were written earlier are not there any more.
        """
        self._flush()
        self._require_all()
        arrays.finish(self.path, _progress(legs) | {"finished": now()})

    def _require_all(self) -> None:
        """Raise ``BadInput`` unless every prediction has a loss: of a shard, its own."""
        begin, end = self.attributes.get("predictions", (0, self.array.shape[0]))
        for number in range(begin // CHUNK, -(-end // CHUNK)):
            first = number * CHUNK
            here = self._chunk(number)[max(0, begin - first) : end - first]
            if lost := int(np.isnan(here).sum()):
                raise damaged(
                    self.path,
                    [f"{lost:,} losses that were written are lost"],
                    "delete this folder, and compute its losses again",
                )

    def _flush(self) -> None:
        for number in self._changed:
            self._chunks[number].flush()  # type: ignore[attr-defined]
        self._changed.clear()

    def _chunk(self, number: int) -> NDArray[np.float32]:
        """A chunk as an array that is mapped to its file; the file is made if it is missing."""
        if number not in self._chunks:
            path = self.path / "loss" / self.array.metadata.encode_chunk_key((number,))
            if not path.exists():
                # Writing all of the chunk reserves its space: a full disk raises OSError here. A
                # sparse file would end the process by SIGBUS when the mapping is written to.
                path.parent.mkdir(parents=True, exist_ok=True)
                with files.whole(path) as part:
                    part.write_bytes(np.full(CHUNK, np.nan, NUMBER).tobytes())
            size, full = path.stat().st_size, CHUNK * NUMBER.itemsize
            if size != full:  # numpy would lengthen the file, with zeros
                found = f"{path.relative_to(self.path)} has {size:,} bytes, not {full:,}"
                raise damaged(self.path, [found], "delete this folder")
            self._chunks[number] = np.memmap(path, NUMBER, "r+", shape=(CHUNK,))
        return self._chunks[number]


def _progress(legs: Sequence[Leg]) -> dict[str, Any]:
    """The attributes that say how far a column is."""
    return {"documents_done": sum(leg.done for leg in legs), "legs": list(legs)}
