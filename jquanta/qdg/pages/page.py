"""What a page shows, as plain arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jquanta.qdg.pages.latex import Shown
from jquanta.qdg.pages.texts import Text
from jquanta.qdg.questions.stability import CHANCE


class Trust(NamedTuple):
    """Whether the clusters of one count are more than chance offers; arrays [K], NaN where unknown.

    See ``jquanta.qdg.questions.stability``.
    """

    conductance: NDArray[np.float32]
    null_conductance: NDArray[np.float32]
    """Median of sets of the same size in the null model."""
    p: NDArray[np.float32]
    """Share of such sets that are as tight."""
    again: NDArray[np.float32]
    """Mean Jaccard index with the likest cluster of another clustering."""


class Column(NamedTuple):
    """A model or checkpoint whose losses are shown."""

    label: str
    """``model@revision``."""
    name: str
    size: int
    """Parameters without embeddings."""
    step: int | None
    """Training steps; None where the revision does not say."""


@dataclass(frozen=True, eq=False)
class Page:
    """Clusters of samples, as a page shows them.

    Shapes: Q samples, ``counts`` numbers of clusters, K clusters of one count, M models and
    checkpoints, ``drawn`` samples.

    Attributes:
        title: of the page.
        about: names and values that describe the run.
        index: [Q] numbers of the predictions in the corpus.
        texts: [Q] their text.
        counts: [counts] how many clusters were asked for.
        labels: [counts, Q] clusters, from 0, the largest first.
        centrality: [counts, Q] cosine between a sample's gradient and the mean unit gradient of its
            cluster; NaN where unknown.
        tightness: [counts] arrays [K]: mean cosine between two samples of a cluster; NaN where
            unknown.
        stability: [counts] a line that says how stable the clusters are; empty where unknown.
        trust: [counts] whether the clusters are more than chance offers; None where unknown.
        chance: p above which the page names a cluster no quantum.
        loss: [Q] nats, of the model by whose losses the samples were selected; NaN where unknown.
        columns: [M] models and checkpoints.
        losses: [M, Q] nats.
        drawn: [drawn] samples of the similarity matrix that is drawn, numbers from 0 to Q - 1.
        cosine: [drawn, drawn] the cosines between them.
        notes: sentences that a reader should know before comparing losses.
    """

    title: str
    about: Sequence[tuple[str, str]]
    index: NDArray[np.int64]
    texts: Sequence[Text]
    counts: NDArray[np.int64]
    labels: NDArray[np.int32]
    centrality: NDArray[np.float32]
    tightness: Sequence[NDArray[np.float32]]
    stability: Sequence[str]
    loss: NDArray[np.float32]
    columns: Sequence[Column]
    losses: NDArray[np.float32]
    drawn: NDArray[np.int64]
    cosine: NDArray[np.float32]
    notes: Sequence[str] = ()
    trust: Sequence[Trust | None] = ()
    chance: float = CHANCE


def most_central(page: Page, count: int, cluster: int) -> NDArray[np.int64]:
    """Samples of a cluster by descending cosine to its centre; ties in the order of the corpus.

    Args:
        page: the page.
        count: position of the count in ``page.counts``.
        cluster: its label.
    """
    members = np.flatnonzero(page.labels[count] == cluster)
    known = np.nan_to_num(page.centrality[count, members], nan=-2.0)
    return members[np.argsort(-known, kind="stable")]


def shown(page: Page, count: int, sample: int) -> Shown:
    """A sample with its note, for LaTeX."""
    text = page.texts[sample]
    note = [f"prediction {page.index[sample]}"]
    if not np.isnan(page.loss[sample]):
        note += [f"{page.loss[sample]:.3f} nats"]
    if not np.isnan(page.centrality[count, sample]):
        note += [f"similarity {page.centrality[count, sample]:.2f}"]
    return Shown("".join(text.before), text.target, "".join(text.after), "; ".join(note))
