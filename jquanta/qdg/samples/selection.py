"""Which predictions QDG looks at (paper section 4, step 1)."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.losses.reader import require_corpus
from jquanta.qdg.config import TRIGRAM
from jquanta.qdg.samples.induction import by_induction, order_of, parts
from jquanta.qdg.samples.predictions import Predictions

THRESHOLD = 0.1
"""Nats."""


class Newly(NamedTuple):
    """A rule for samples: another model, such as an earlier checkpoint, had not learned them.

    Attributes:
        model: its label, ``model@revision``.
        above: its loss is above this, in nats.
    """

    model: str
    above: float


def select(
    corpus: Corpus,
    losses: xr.Dataset,
    model: str | None = None,
    *,
    threshold: float = THRESHOLD,
    induction: str = TRIGRAM,
    stride: int = 50,
    count: int | None = 10_000,
    newly: Newly | tuple[str, float] | None = None,
) -> Predictions:
    """Predictions that a model makes well, and not by induction (paper section 4).

    First come those with a loss below the threshold that induction does not explain; of them every
    ``stride``-th is taken, and of these the first ``count``. Losses are read from disk a part at a
    time, until there are enough.

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
    return Predictions(corpus, index, model or "", rule)


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
        message = f"nothing selected: of {total:,} predictions {self.below:,} are below "
        message += f"{self.threshold} nats"
        if not self.below:
            return f"{message}; give a higher threshold"
        if self.newly:
            message += f", of these {self.newly_learned:,} above {self.newly.above} nats at "
            message += self.newly.model
            if not self.newly_learned:
                return f"{message}; give newly a lower loss, or an earlier or smaller model"
        return (
            f"{message}, and of these all are {self.induction} induction; give a higher threshold"
        )


def _column(losses: xr.Dataset, labels: list[str], model: str | None, what: str) -> Any:
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
