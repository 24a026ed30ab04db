"""What a page shows, as plain arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jquanta.errors import BadInput
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


NO_CLUSTER, NO_SAMPLE = -1, -2
"""Labels of a sample that the clustering beside has in none of its clusters, or does not have."""


@dataclass(frozen=True, eq=False)
class Beside:
    """Another clustering of a page's samples, or of some of them, that stands beside its own.

    Shapes: Q samples of the page, ``counts`` clusterings of the page, K clusters of the other.

    Attributes:
        name: what it is called on the page, such as its model.
        about: names and values that describe it.
        labels: [counts] arrays [Q]: the other's clusters, from 0; ``NO_CLUSTER`` for a sample that
            is in none of them, ``NO_SAMPLE`` for one that is no sample there. None for a count
            that the other lacks.
        noun: what one of its clusters is called.
        sizes: [counts] arrays [K]: how many samples the other's clusters have, those that the page
            lacks included; None as of ``labels``.

    Raises:
        BadInput: for a label without a cluster, or more samples than a cluster has.
    """

    name: str
    about: Sequence[tuple[str, str]]
    labels: Sequence[NDArray[np.int32] | None]
    sizes: Sequence[NDArray[np.int64] | None]
    noun: str = "cluster"

    def __post_init__(self) -> None:
        for label, size in zip(self.labels, self.sizes, strict=True):
            if label is None or size is None:
                fits = label is size
            else:
                held = np.bincount(label[label >= 0], minlength=len(size))
                fits = len(held) == len(size) and bool((held <= size).all())
                fits = fits and bool((label >= NO_SAMPLE).all())
            if not fits:
                raise BadInput(f"{self.name}: its labels do not fit the sizes of its clusters")


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
        beside: another clustering to stand beside; None for none.
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
    beside: Beside | None = None


def listed(settings: Mapping[str, Any]) -> str:
    """Settings in a line."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def how_made(attributes: Mapping[Any, Any]) -> str:
    """By which settings clusters were made, in a line, from their attributes."""
    made = ("method", "affinity", "neighbours", "kmeans", "n_init", "seed")
    return listed({name: attributes[name] for name in made if name in attributes})


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
