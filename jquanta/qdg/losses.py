"""Losses of single predictions from their prefixes, under any parameters."""

from collections.abc import Iterator
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import Params, count
from jquanta.qdg.gradient import loss
from jquanta.qdg.rows import Rows, per_sample
from jquanta.qdg.samples import Plan, samples
from jquanta.qdg.selection import Selection


def loss_rows(config: LMConfig, params: Params, corpus: Corpus, selection: Selection) -> Rows:
    """The loss of each sample, in nats: rows of a single number."""
    selection.require_corpus(corpus)
    return per_sample(
        partial(loss, config),
        dict(params),
        samples(corpus, selection.index, config),
        config,
        operations=2.0 * count(config)[1],
    )


def losses_under(rows: Rows, params: Params, wanted: NDArray[np.int64]) -> NDArray[np.float64]:
    """Losses of some samples under some parameters, in nats.

    Args:
        rows: of ``loss_rows``.
        params: in place of those that the rows were made with: nothing is compiled for them.
        wanted: samples, each once.
    """
    placed = rows.place(dict(params))
    found = np.empty(len(rows.order))
    for chosen, size, length in batches(rows.plan, wanted):
        found[chosen] = np.asarray(rows.compute(placed, chosen, size, length))
    return found[wanted]


def batches(plan: Plan, wanted: NDArray[np.int64]) -> Iterator[tuple[NDArray[Any], int, int]]:
    """Some of a plan's samples in batches of its shapes, as ``Rows.compute`` takes them."""
    inside = np.zeros(len(plan.order), bool)
    inside[wanted] = True
    for (rows, length), group in groupby(
        plan.batches, key=lambda batch: (batch.rows, batch.length)
    ):
        alike = list(group)
        own = plan.order[alike[0].start : alike[-1].stop]
        own = own[inside[own]]
        for start in range(0, len(own), rows):
            yield own[start : start + rows], rows, length
