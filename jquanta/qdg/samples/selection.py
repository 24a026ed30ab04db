"""Which predictions QDG looks at (paper section 4, step 1)."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus
from jquanta.qdg.config import TRIGRAM
from jquanta.qdg.samples.induction import by_induction, order_of, parts
from jquanta.run.arrays import read, variable, write

if TYPE_CHECKING:
    import xarray as xr

SELECTION = "selection.zarr"

THRESHOLD = 0.1
"""Nats."""


class Newly(NamedTuple):
    """What was not yet learned at another model.

    Attributes:
        model: its label, ``model@revision``.
        above: the loss there is above this, in nats.
    """

    model: str
    above: float


@dataclass(frozen=True, eq=False)
class Selection:
    """Predictions of a corpus.

    Attributes:
        index: [Q] their numbers, ascending, each once.
        corpus: the corpus' hash.
        model: whose losses chose them, ``model@revision``; empty if none did.
        rule: how they were chosen: every setting.
    """

    index: NDArray[np.int64]
    corpus: str
    model: str = ""
    rule: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        index = np.asarray(self.index)
        if index.ndim != 1 or index.dtype.kind not in "iu" or (np.diff(index) <= 0).any():
            raise BadInput(
                "index: give numbers of predictions, ascending and each once, as "
                "jquanta.qdg.given does"
            )

    def __len__(self) -> int:
        return len(self.index)

    @property
    def hash(self) -> str:
        """sha256 of the index."""
        return hashlib.sha256(np.ascontiguousarray(self.index, "<i8").tobytes()).hexdigest()

    def require_corpus(self, corpus: Corpus) -> None:
        """Raise ``BadInput`` unless the predictions are of this corpus."""
        if self.corpus != corpus.meta.corpus:
            raise BadInput(
                f"{corpus.path}: not the corpus of this selection (its hash is "
                f"{corpus.meta.corpus[:12]}…, the selection's {self.corpus[:12]}…); give that one"
            )

    def save(self, path: Path | str) -> None:
        """Write ``selection.zarr`` in a folder, which is made if need be."""
        path = Path(path).expanduser()
        path.mkdir(parents=True, exist_ok=True)
        told = {"rule": json.dumps(self.rule), "corpus": self.corpus, "model": self.model}
        index = variable(("sample",), self.index, long_name="prediction of the corpus")
        write(path / SELECTION, {"index": index}, told)


def open_selection(path: Path | str) -> Selection:
    """Read ``selection.zarr`` or the folder that holds it. Raises ``BadInput`` if there is none."""
    path = Path(path).expanduser()
    path = path if path.name == SELECTION else path / SELECTION
    stored = read(path, "selection", "index", "make one: jquanta.qdg.select(...).save(FOLDER)")
    told = stored.attrs
    return Selection(
        stored["index"].to_numpy(), told["corpus"], told["model"], json.loads(told["rule"])
    )


def given(corpus: Corpus, index: ArrayLike) -> Selection:
    """A selection of predictions that were chosen elsewhere.

    Args:
        corpus: whose predictions.
        index: their numbers, in any order; each counts once.

    Raises:
        BadInput: for an index outside the corpus, or none at all.
    """
    numbers = np.unique(np.asarray(index))
    if not numbers.size:
        raise BadInput("index: no predictions; give some")
    corpus.locate(numbers)
    return Selection(numbers.astype(np.int64), corpus.meta.corpus, rule={"given": len(numbers)})


def select(
    corpus: Corpus,
    losses: "xr.Dataset",
    model: str | None = None,
    *,
    threshold: float = THRESHOLD,
    induction: str = TRIGRAM,
    stride: int = 50,
    count: int | None = 10_000,
    newly: Newly | None = None,
) -> Selection:
    """Predictions that a model makes well, and not by induction (paper section 4).

    First what is below the threshold and not by induction, of it every ``stride``-th, of that the
    first ``count``. Losses are read part by part, and no further than need be.

    Args:
        corpus: whose predictions.
        losses: of ``jquanta.open_losses``, on this corpus.
        model: ``model@revision``, a column of the losses; may be left out if there is but one.
        threshold: the loss is below this, in nats. The default is the paper's.
        induction: what is left out: ``trigram``: the target ends a trigram that was in the
            document before (the paper's). ``bigram``: the target follows the same token as it
            did before. ``none``: nothing.
        stride: of those that pass, every so many-th is taken, the first one included.
        count: how many to take at most; None for all.
        newly: take only what another model had not learned.

    Raises:
        BadInput: for losses of another corpus or without that model, or that are not finite,
            settings out of range, or if nothing passes: then with how many passed which test.
    """
    from jquanta.lm.losses.reader import require_corpus

    require_corpus(losses, corpus)
    if stride < 1:
        raise BadInput(f"stride = {stride}: give 1 or more")
    if count is not None and count < 1:
        raise BadInput(f"count = {count}: give 1 or more, or None for all")
    if not threshold > 0:
        raise BadInput(f"threshold = {threshold}: give nats above 0")
    order = order_of(induction)
    labels = [str(label) for label in losses.model.values]
    model = labels[0] if model is None and len(labels) == 1 else model
    column = _column(losses, labels, model, "model")
    newly = Newly(*newly) if newly else None
    other = _column(losses, labels, newly.model, "newly") if newly else None
    passed = _Passed(threshold, induction, newly)
    found: list[NDArray[np.int64]] = []
    for part in parts(corpus):
        own = _finite(column, part.predictions, model) < threshold
        passed.below += int(own.sum())
        if newly and other is not None:
            own &= _finite(other, part.predictions, newly.model) > newly.above
            passed.newly_learned += int(own.sum())
        if order:
            own &= ~by_induction(part, order)
        found.append(part.predictions.start + np.flatnonzero(own))
        passed.all += len(found[-1])
        if count is not None and passed.all > (count - 1) * stride:
            break
    if not passed.all:
        raise BadInput(passed.explained(corpus.n_predictions))
    rule = {
        "threshold_nats": threshold,
        "induction": induction,
        "stride": stride,
        "count": count,
        "newly": newly._asdict() if newly else None,
    }
    index = np.concatenate(found)[::stride][:count]
    return Selection(index, corpus.meta.corpus, model or "", rule)


@dataclass
class _Passed:
    """How many predictions passed each test."""

    threshold: float
    induction: str
    newly: Newly | None
    below: int = 0
    newly_learned: int = 0
    all: int = 0

    def explained(self, total: int) -> str:
        """Why nothing is left, and what to do."""
        told = f"nothing selected: of {total:,} predictions {self.below:,} are below "
        told += f"{self.threshold} nats"
        if not self.below:
            return f"{told}; give a higher threshold"
        if self.newly:
            told += f", of these {self.newly_learned:,} above {self.newly.above} nats at "
            told += self.newly.model
            if not self.newly_learned:
                return f"{told}; give newly a lower loss, or an earlier or smaller model"
        return f"{told}, and of these all are {self.induction} induction; give a higher threshold"


def _column(losses: "xr.Dataset", labels: list[str], model: str | None, what: str) -> Any:
    """A model's losses, not read yet."""
    if model is None:
        raise BadInput(f"{what} is missing: give one of {', '.join(labels)}")
    if model not in labels:
        raise BadInput(f"{what} = {model}: no losses of it; there are {', '.join(labels)}")
    return losses.loss.isel(model=labels.index(model))


def _finite(column: Any, part: slice, model: str | None) -> NDArray[np.float32]:
    """A part of a model's losses. Raises ``BadInput`` where there are none."""
    losses: NDArray[np.float32] = column[part].values
    for bad in np.flatnonzero(~np.isfinite(losses))[:1].tolist():
        raise BadInput(
            f"{model}: no finite loss of prediction {part.start + bad}; compute its losses again"
        )
    return losses
