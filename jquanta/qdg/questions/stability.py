"""Are the clusters real? How much they depend on the seed, on the samples and on their number, and
what is found where there is nothing to find. Which of them are no quantum, and how many clusters
there should be.

Two clusterings are compared by the adjusted Rand index (ARI): 1 for equal partitions, 0 for what
chance gives. A cluster is compared with sets of its size that a cloud without clusters offers
(``clusters.cuts.sets_of``), and looked for in other clusterings (``clusters.quality.found_again``).

Shapes: Q samples, F features, K clusters, ``counts`` numbers of clusters, ``seeds``, ``again``
other clusterings: further seeds, then subsamples.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float64, Int
from numpy.typing import ArrayLike

from jquanta.errors import BadInput
from jquanta.qdg.clusters.cluster import labels_by_seed, labels_hash, open_clusters
from jquanta.qdg.clusters.cuts import Cut, apart_of, p_values, sets_of
from jquanta.qdg.clusters.likeness import Cosines, Vectors, as_likeness, of_vectors
from jquanta.qdg.clusters.quality import agreement, found_again, shuffled, tightness
from jquanta.qdg.results import chosen_count
from jquanta.run import arrays
from jquanta.run.progress import Monitor, Part, Silence

SUBSAMPLE = 0.8
"""Share of the samples in a subsample. They are drawn without replacement: with it, a sample drawn
several times would be a cluster of its own."""

STORE = "stability.zarr"

CHANCE = 0.05
"""A cluster is no quantum if chance does as well more often than this."""

FOUND = 0.75
"""A cluster is found again in another clustering if the Jaccard index with one of its clusters is
above this, as of stable ones (Hennig, 2007). Half of a group that was cut in two has 0.5 with the
whole group."""

RESAMPLES = 1000
"""Draws of other clusterings, with replacement, by which the recommended count varies."""


def stability(
    cosine: ArrayLike | Cosines | Vectors,
    clusters: xr.Dataset,
    *,
    features: ArrayLike | None = None,
    seeds: int = 5,
    subsamples: int = 5,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """How stable clusters are, beside those of a null model.

    Everything is clustered again with the settings that the clusters were made with (method,
    affinity, k-means, restarts), and drawn from their seed.

    Args:
        cosine: [Q, Q]; products of absolute values for clusters of the absolute affinity. Or what
            is known instead of a matrix: see ``clusters.likeness``.
        clusters: of these cosines, from ``cluster``; ``clusters.sel(count=[…])`` for some counts.
        features: [Q, F], such as sketches of the gradients. The null model then permutes them (see
            ``shuffled``); without them it rotates ``cosine`` (see ``rotated``). Where the vectors
            of the samples are what is known, it permutes those.
        seeds: further seeds of k-means.
        subsamples: subsets of ``SUBSAMPLE`` of the samples.
        monitor: receives the progress.

    Returns:
        Adjusted Rand indices by ``count``: ``ari_seed`` (count, seed), with the clusters at another
        seed; ``ari_subsample`` (count, subsample), with the clusters of a subsample, on its
        samples; ``ari_next`` (count), with the next larger count, which cannot be 1, NaN for the
        last; ``null_ari_seed`` (count, seed), as ``ari_seed`` within the null model. ``tightness``
        and ``null_tightness`` (count): the mean over samples of their mean cosine to the others of
        their cluster, where there are others.

        By ``count`` and ``cluster``, NaN where a count has fewer: ``cluster_size``;
        ``cluster_within`` and ``cluster_outside``, mean cosines of two of its samples, and of one
        of them and one of the rest; ``conductance`` (``clusters.cuts``); ``null_contrast`` and
        ``null_conductance``, medians over 199 sets of its size around samples of the null
        model, of within less outside and of conductance; ``null_contrast_high``, the 95th
        percentile; ``p``, the share of such sets whose contrast is at least the cluster's;
        ``found_again`` (count, cluster, again), the Jaccard index with the likest cluster of each
        other clustering.

    Raises:
        BadInput: as ``cluster``; for clusters that were imported, or are of other samples.
    """
    if min(seeds, subsamples) < 1:
        raise BadInput("seeds and subsamples: give at least 1 of each")
    made = clusters.attrs
    if "n_init" not in made:
        raise BadInput(
            "the clusters were imported, and how they were made is not known; give some of cluster"
        )
    monitor = monitor or Silence()
    known = as_likeness(cosine, made.get("affinity") == "absolute")
    base, seed = clusters.label.to_numpy(), int(made["seed"])
    if base.shape[1] != len(known):
        raise BadInput(f"{base.shape[1]} labels for {len(known)} samples; give one a sample")
    counts: list[int] = clusters["count"].to_numpy().tolist()
    null = known.null(seed) if features is None else of_vectors(shuffled(features, seed))
    again = partial(labels_by_seed, made=made)
    # Progress: about the same work for each clustering.
    total = 2 * seeds + 1 + subsamples + 1

    def part(before: int, clusterings: int) -> Part:
        return Part(monitor, before / total, clusterings / total, "stability")

    further = range(seed + 1, seed + 1 + seeds)
    others = again(known, counts, further, monitor=part(0, seeds))
    of_null = again(null, counts, range(seed, seed + 1 + seeds), monitor=part(seeds, seeds + 1))
    chance = np.random.default_rng(seed)
    drawn: list[np.ndarray] = []
    again_of = [[found_again(*pair) for pair in zip(base, other, strict=True)] for other in others]
    for i in range(subsamples):
        kept = np.sort(chance.permutation(len(known))[: round(SUBSAMPLE * len(known))])
        (found,) = again(known.subset(kept), counts, [seed], monitor=part(2 * seeds + 1 + i, 1))
        drawn.append(agreement(base[:, kept], found))
        again_of.append([found_again(*pair) for pair in zip(base[:, kept], found, strict=True)])
    apart = apart_of(known, made).clusters(base)
    sizes = np.unique(np.concatenate([cut.size for cut in apart]))
    chance_sets = sets_of(
        apart_of(null, made), sizes[sizes > 1].tolist(), seed=seed, monitor=part(total - 1, 1)
    )
    return xr.Dataset(
        {
            "ari_seed": (("count", "seed"), _against(base, others)),
            "ari_subsample": (("count", "subsample"), np.stack(drawn, axis=1)),
            "ari_next": ("count", np.append(agreement(base[:-1], base[1:]), np.nan)),
            "null_ari_seed": (("count", "seed"), _against(of_null[0], of_null[1:])),
            "tightness": ("count", tightness(known.centres(base))),
            "null_tightness": ("count", tightness(null.centres(of_null[0]))),
            **_of_clusters(apart, chance_sets, again_of),
        },
        {"count": np.asarray(counts), "seed": list(further)},
        {
            "null": "shuffled" if isinstance(null, Vectors) or features is not None else "rotated",
            "base_seed": seed,
        },
    )


def _of_clusters(
    apart: Sequence[Cut], chance: Cut, again: Sequence[Sequence[np.ndarray]]
) -> dict[str, Any]:
    """What is told of each cluster, (count, cluster).

    Args:
        apart: of every count.
        chance: sets of the null model, [draws, sizes].
        again: of every other clustering and count, [K].
    """
    most = max(len(cut.size) for cut in apart)

    def padded(rows: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([np.pad(row, (0, most - len(row)), constant_values=np.nan) for row in rows])

    # For a single sample there is no set of two, and nothing within: its values are NaN.
    place = [np.searchsorted(chance.size[0], np.maximum(cut.size, 2)) for cut in apart]
    last = chance.size.shape[1] - 1

    def of_null(values: Float64[np.ndarray, " sizes"]) -> np.ndarray:
        found = [
            np.where(cut.size > 1, values[np.minimum(at, last)], np.nan)
            for cut, at in zip(apart, place, strict=True)
        ]
        return padded(found)

    p = [
        p_values(cut.contrast, chance.contrast[:, np.minimum(at, last)])
        for cut, at in zip(apart, place, strict=True)
    ]
    tables = {
        "cluster_size": padded([cut.size.astype(float) for cut in apart]),
        "cluster_within": padded([cut.within for cut in apart]),
        "cluster_outside": padded([cut.outside for cut in apart]),
        "conductance": padded([cut.conductance for cut in apart]),
        "null_contrast": of_null(np.median(chance.contrast, axis=0)),
        "null_contrast_high": of_null(np.quantile(chance.contrast, 1 - CHANCE, axis=0)),
        "null_conductance": of_null(np.median(chance.conductance, axis=0)),
        "p": padded(p),
    }
    found = {name: (("count", "cluster"), values) for name, values in tables.items()}
    # A cluster none of whose samples is in a subsample has fewer rows there, at the end.
    others = np.stack([padded(rows) for rows in again], axis=-1)
    return {**found, "found_again": (("count", "cluster", "again"), others)}


def trusted(found: xr.Dataset) -> xr.DataArray:
    """Which clusters chance does not offer (p up to ``CHANCE``), (count, cluster); False for single
    samples, of which nothing can be told."""
    return found.p <= CHANCE


def no_quanta(found: xr.Dataset, count: int) -> list[int]:
    """The clusters of two samples and more that are no more alike than chance offers, by number."""
    here = found.sel(count=count)
    return np.flatnonzero(here.p.to_numpy() > CHANCE).tolist()


class Recommended(NamedTuple):
    """The number of clusters of which most can be trusted.

    Attributes:
        clusters: the count.
        low, high: between which it lies in 95% of ``RESAMPLES`` draws of the other clusterings.
        found: of each count, how many clusters chance does not offer and another clustering finds
            again, the mean over other clusterings.
    """

    clusters: int
    low: int
    high: int
    found: Float64[np.ndarray, " counts"]


def recommended(found: xr.Dataset) -> Recommended:
    """The count with the most clusters that chance does not offer and that are found again.

    A cluster counts in another clustering (of another seed, or of a subsample) if its Jaccard index
    with one of that is above ``FOUND``; at most one counts for each of its clusters, so that halves
    of a group are not two. Fewer clusters than there are groups cannot find them all; more cut some
    in parts that change with seed and samples. Of equal counts the smallest is taken.

    It can only be one of the counts that were looked at; the interval says how it depends on the
    other clusterings, and nothing of counts between.

    Args:
        found: from ``stability``.
    """
    counts = found["count"].to_numpy()
    again = (found.found_again > FOUND) & trusted(found)
    number = again.sum("cluster").transpose("count", "again").to_numpy()
    others = number.shape[1]
    chance = np.random.default_rng(found.attrs["base_seed"])
    drawn = number[:, chance.integers(0, others, (RESAMPLES, others))].mean(axis=-1)
    low, high = np.quantile(counts[drawn.argmax(axis=0)], (0.025, 0.975), method="nearest")
    mean = number.mean(axis=1)
    return Recommended(int(counts[mean.argmax()]), int(low), int(high), mean)


def few_counts(clusters: xr.Dataset) -> list[int]:
    """Counts to look at where none are asked for: the fewest clusters, those nearest to twice, four
    times, … as many, those that the page opens with, and the most."""
    counts: list[int] = clusters["count"].to_numpy().tolist()
    doubled = [counts[0] << i for i in range((counts[-1] // counts[0]).bit_length())]
    near = {min(counts, key=lambda count: abs(count - wanted)) for wanted in doubled}
    return sorted({*near, chosen_count(clusters, None), counts[-1]})


def save_stability(found: xr.Dataset, clusters: xr.Dataset, folder: Path) -> Path:
    """Write ``stability.zarr`` into a folder that exists, whole or not at all; its path.

    Args:
        found: from ``stability``.
        clusters: all of the run's, by whose labels a result of earlier clusters is recognised.
        folder: of the run.
    """
    arrays.save_dataset(found.assign_attrs(labels=labels_hash(clusters)), folder / STORE)
    return folder / STORE


def open_stability(folder: Path) -> xr.Dataset:
    """What ``save_stability`` wrote into a run folder, in memory.

    Raises:
        BadInput: if there is none, or the folder's clusters have changed since.
    """
    remedy = f"make it: jquanta stability {folder}"
    found = arrays.read(folder / STORE, "stability", "ari_seed", remedy).load()
    if found.attrs["labels"] != labels_hash(open_clusters(folder)):
        raise BadInput(f"{folder / STORE}: of other clusters than are there now; {remedy}")
    return found


def sentence(found: xr.Dataset, count: int) -> str:
    """The stability of one count's clusters in a line for people."""
    here = found.sel(count=count)
    seeds, null, subsamples = (
        float(here[name].mean()) for name in ("ari_seed", "null_ari_seed", "ari_subsample")
    )
    return (
        f"stability: ARI {seeds:.2f} over seeds (null model {null:.2f}), {subsamples:.2f} over "
        "subsamples"
    )


def known_of_clusters(found: xr.Dataset) -> bool:
    """Whether a stored result tells of single clusters, which those of earlier versions do not."""
    return "p" in found


def _against(
    labels: Int[np.ndarray, "counts Q"], others: Int[np.ndarray, "seeds counts Q"]
) -> Float64[np.ndarray, "counts seeds"]:
    """ARI with each of the others."""
    return np.stack([agreement(labels, other) for other in others], axis=1)
