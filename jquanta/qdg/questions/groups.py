"""Groups of samples without a given number of clusters, samples in no group left out: what many
clusterings agree on, or sets grown around each sample.

Both are searched for in null models as well, and only groups stay that these do not offer
(``clusters.quality.by_chance``).

Shapes: Q samples, K groups, ``clusterings``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float64, Int
from numpy.typing import ArrayLike

from jquanta.errors import BadInput
from jquanta.qdg.clusters.cluster import labels_by_seed, labels_hash, open_clusters
from jquanta.qdg.clusters.consensus import agreement_of, consensus_labels, kept, numbered
from jquanta.qdg.clusters.cuts import Apart, Cut, Graph, apart_of, sets_of
from jquanta.qdg.clusters.likeness import Cosines, Vectors, as_likeness
from jquanta.qdg.clusters.local import (
    Sweeps,
    chance_of,
    graph_of,
    returns,
    sets_of_sweeps,
    sweeps,
)
from jquanta.qdg.clusters.quality import by_chance
from jquanta.qdg.config import ANGULAR, CONSENSUS, GROUPS, LOCAL
from jquanta.qdg.questions.stability import CHANCE, few_counts
from jquanta.run import arrays
from jquanta.run.progress import Monitor, Part, Silence

LEAST = 4
"""Samples of a group."""

NULLS = 2
"""Null models that are searched."""

SEEDS = 20
"""Clusterings into each count, each of a single start of k-means: it is their variety that tells
what holds together."""

NEIGHBOURS = 10
"""Nearest others of each sample in the graph on which sets are grown. With many more, small groups
are mostly joined to what is not in them."""

LARGEST = 200
"""Samples of a set that is grown, at most."""


def consensus(
    cosine: ArrayLike | Cosines | Vectors,
    clusters: xr.Dataset,
    *,
    counts: Sequence[int] | None = None,
    seeds: int = SEEDS,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """Groups that clusterings of many counts and seeds agree on (``clusters.consensus``).

    Clusterings are made as ``clusters`` were, from single starts of k-means.

    Args:
        cosine: as of ``stability``.
        clusters: of these cosines, from ``cluster``.
        counts: numbers of clusters, from few to many: by default those of ``stability``, each about
            twice the last, so that coarse and fine clusterings have the same weight.
        seeds: clusterings into each.
        monitor: receives the progress.

    Returns:
        ``label`` (sample) int32: 0 for the largest group, -1 for samples in none. ``sample_sure``
        (sample): the mean share of clusterings in which it is together with another one of its
        group. By ``group``: ``size``; ``sure``, the mean of that; ``within``, ``outside``, mean
        cosines of two of its samples, and of one of them and one of the rest; ``conductance``, on
        the affinity of the clusters, and ``null_conductance``, the mean over sets of its size
        around samples of null models; ``score``, how far ``within`` less ``outside`` is above that
        of these sets, in their standard deviations; ``chance``, the share of groups with at least
        its score that chance would have offered (``by_chance``), up to 0.05. Attributes: ``found``,
        groups before chance was asked, and ``null_found``, of each null model.

    Raises:
        BadInput: as ``cluster`` and ``consensus_labels``; for clusters that were imported, or are
            of other samples.
    """
    made, monitor = clusters.attrs, monitor or Silence()
    if seeds < 1:
        raise BadInput(f"seeds = {seeds}: give at least 1")
    if "n_init" not in made:
        raise BadInput(
            "the clusters were imported, and how they were made is not known; give some of cluster"
        )
    known = _checked(cosine, clusters)
    seed, chosen = int(made["seed"]), sorted(set(counts or few_counts(clusters)))
    clusterings, apart, cuts = [], [], []
    for number in range(NULLS + 1):
        one = known if number == 0 else known.null(seed + number - 1)
        part = Part(monitor, number / (NULLS + 1), 0.9 / (NULLS + 1), "consensus")
        rows = labels_by_seed(
            one, chosen, range(seed, seed + seeds), made={**made, "n_init": 1}, monitor=part
        ).reshape(-1, len(known))
        clusterings.append((rows, consensus_labels(rows, LEAST)))
        apart.append(apart_of(one, made))
        cuts.append(_cut(apart[-1], clusterings[-1][1]))
    sizes = np.unique(np.concatenate([[LEAST], *(cut.size for cut in cuts)]))
    drawn = [sets_of(own, sizes.tolist(), seed=seed) for own in apart[1:]]
    contrast, conductance = (
        np.concatenate([getattr(own, name) for own in drawn])
        for name in ("contrast", "conductance")
    )
    scores = [_scores(cut, sizes, contrast) for cut in cuts]
    monitor.work("consensus", 1.0)
    rows, label = clusterings[0]
    by = by_chance(scores[0], scores[1:])
    usual = conductance.mean(axis=0)[np.searchsorted(sizes, cuts[0].size)]
    return _dataset(
        label,
        agreement_of(rows, label),
        cuts[0],
        {"null_conductance": usual, "score": scores[0], "chance": by},
        {
            "kind": CONSENSUS,
            "counts": chosen,
            "seeds": seeds,
            "base_seed": seed,
            "found": len(by),
            "null_found": [len(own) for own in scores[1:]],
        },
    )


def local_clusters(
    cosine: ArrayLike | Cosines | Vectors,
    clusters: xr.Dataset,
    *,
    neighbours: int = NEIGHBOURS,
    largest: int = LARGEST,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """Sets of least conductance grown around every sample (``clusters.local``), on the graph that
    joins each sample to its nearest neighbours.

    Args:
        cosine: as of ``stability``.
        clusters: of these samples; they tell the affinity and the seed of null models. No label of
            theirs is used.
        neighbours: of each sample.
        largest: samples of a set, at most; never more than half of all.
        monitor: receives the progress.

    Returns:
        As ``consensus``, but for these: ``sample_sure`` is the Jaccard index (samples in both over
        samples in either) of the set that grows around the sample with its group; ``conductance``
        and ``null_conductance``, the mean over samples of null models of sets of the size, are of
        the graph; ``score`` is how far the one is below the other, in standard deviations.

    Raises:
        BadInput: for clusters of other samples, as many ``neighbours`` as samples, or too few
            samples for a set.
    """
    monitor, known = monitor or Silence(), _checked(cosine, clusters)
    largest = min(largest, len(known) // 2)
    if largest < LEAST:
        raise BadInput(
            f"sets of up to {largest} samples: give 8 samples and a largest of {LEAST} or more"
        )
    made, seed = clusters.attrs, int(clusters.attrs.get("seed", 0))
    affinity = made.get("affinity", ANGULAR)

    def swept(one: Cosines | Vectors, number: int) -> tuple[Graph, Sweeps]:
        part = Part(monitor, number / (NULLS + 1), 1 / (NULLS + 1), "local clusters")
        graph = graph_of(one, neighbours, affinity)
        return Graph(graph), sweeps(graph, largest, part)

    graph, found = swept(known, 0)
    null = [swept(known.null(seed + i), i + 1)[1] for i in range(NULLS)]
    chance = chance_of(null)
    sets, decoys = (
        [sets_of_sweeps(one, chance, LEAST) for one in some] for some in ([found], null)
    )
    (best,) = sets
    by = by_chance(best.score, [one.score for one in decoys])
    # By size, as clusters are numbered; what is known of each set goes along.
    label = numbered(best.label)
    place = _order(best.label, label)
    apart = Apart(apart_of(known, {"affinity": affinity, **made}).cosine, graph)
    cut = _cut(apart, label)
    return _dataset(
        label,
        returns(found, best.size, label),
        cut,
        {
            "null_conductance": chance.mean[cut.size - 1],
            "score": best.score[place],
            "chance": by[place],
        },
        {
            "kind": LOCAL,
            "neighbours": neighbours,
            "largest": largest,
            "base_seed": seed,
            "found": len(by),
            "null_found": [len(one.score) for one in decoys],
        },
    )


def _checked(cosine: ArrayLike | Cosines | Vectors, clusters: xr.Dataset) -> Cosines | Vectors:
    """What is known of the samples. Raises ``BadInput`` for clusters of others."""
    known = as_likeness(cosine, clusters.attrs.get("affinity") == "absolute")
    if clusters.sizes["sample"] != len(known):
        raise BadInput(
            f"{clusters.sizes['sample']} labels for {len(known)} samples; give one a sample"
        )
    return known


def _cut(apart: Apart, label: Int[np.ndarray, " Q"]) -> Cut:
    """Of each group; samples in none are the rest."""
    groups = label.max(initial=-1) + 1
    (found,) = apart.clusters(np.where(label < 0, groups, label)[None])
    return Cut(*(part[:groups] for part in found))


def _scores(
    cut: Cut, sizes: Int[np.ndarray, " sizes"], drawn: Float64[np.ndarray, "draws sizes"]
) -> Float64[np.ndarray, " K"]:
    """How far the contrast of groups is above that of sets of their size, in standard deviations of
    these."""
    at = np.searchsorted(sizes, cut.size)
    spread = np.maximum(drawn.std(axis=0), np.finfo(np.float32).eps)
    return np.asarray((cut.contrast - drawn.mean(axis=0)[at]) / spread[at])


def _order(before: Int[np.ndarray, " Q"], after: Int[np.ndarray, " Q"]) -> Int[np.ndarray, " K"]:
    """The number that each group had before."""
    found = np.empty(after.max(initial=-1) + 1, np.int64)
    inside = after >= 0
    found[after[inside]] = before[inside]
    return found


def _dataset(
    label: Int[np.ndarray, " Q"],
    sure: Float64[np.ndarray, " Q"],
    cut: Cut,
    columns: dict[str, np.ndarray],
    attributes: dict[str, Any],
) -> xr.Dataset:
    """The groups that chance does not offer, of all that were found."""
    keep = columns["chance"] <= CHANCE
    chosen = kept(label, keep)
    inside = chosen >= 0
    place = _order(label, chosen)
    size = np.bincount(chosen[inside], minlength=len(place))
    total = np.bincount(chosen[inside], sure[inside], len(place))
    table = {"size": cut.size, "within": cut.within, "outside": cut.outside}
    table |= {"conductance": cut.conductance, **columns}
    words = {"units": "1", "long_name": "group, by size; -1 in none"}
    return xr.Dataset(
        {
            "label": ("sample", chosen, words),
            "sample_sure": ("sample", np.where(inside, sure, np.nan).astype(np.float32)),
            "sure": ("group", total / np.maximum(size, 1)),
            **{name: ("group", values[place]) for name, values in table.items()},
        },
        {"sample": np.arange(len(label)), "group": np.arange(len(place))},
        attributes,
    )


def store(kind: str) -> str:
    """The name of the Zarr group that holds groups of a kind."""
    return f"groups-{kind}.zarr"


def save_groups(found: xr.Dataset, clusters: xr.Dataset, folder: Path) -> Path:
    """Write ``groups-consensus.zarr`` or ``groups-local.zarr`` into a folder that exists, whole or
    not at all; its path.

    Args:
        found: from ``consensus`` or ``local_clusters``.
        clusters: all of the run's, by whose labels a result of earlier ones is recognised.
        folder: of the run.
    """
    path = folder / store(found.attrs["kind"])
    arrays.save_dataset(found.assign_attrs(labels=labels_hash(clusters)), path)
    return path


def open_groups(folder: Path, kind: str) -> xr.Dataset:
    """What ``save_groups`` wrote into a run folder, in memory.

    Args:
        folder: of the run.
        kind: ``"consensus"`` or ``"local"``.

    Raises:
        BadInput: if there are none, the folder's clusters have changed since, or for another kind.
    """
    if kind not in GROUPS:
        raise BadInput(f"groups by {kind!r}: give {' or '.join(GROUPS)}")
    remedy = f"make them: jquanta groups {folder} --by {kind}"
    path = folder / store(kind)
    found = arrays.read(path, f"{kind} groups", "label", remedy).load()
    if found.attrs["labels"] != labels_hash(open_clusters(folder)):
        raise BadInput(f"{path}: of other clusters than are there now; {remedy}")
    return found
