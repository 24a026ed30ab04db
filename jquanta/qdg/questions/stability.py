"""Are the clusters real? How much they depend on the seed, on the samples and on their number, and
what clustering finds where there is nothing to find.

Two clusterings are compared by the adjusted Rand index (ARI): 1 for equal partitions, 0 for what
chance gives.

Shapes: Q samples, F features, ``counts`` numbers of clusters, ``seeds``.
"""

from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Float64, Int
from numpy.typing import ArrayLike

from jquanta.errors import BadInput
from jquanta.qdg.clusters.cluster import labels_by_seed, labels_hash, open_clusters
from jquanta.qdg.clusters.likeness import Cosines, Vectors, as_likeness, of_vectors
from jquanta.qdg.clusters.quality import agreement, shuffled, tightness
from jquanta.qdg.results import chosen_count
from jquanta.run import arrays
from jquanta.run.progress import Monitor, Part, Silence

SUBSAMPLE = 0.8
"""Share of the samples in a subsample. They are drawn without replacement: with it, a sample drawn
several times would be a cluster of its own."""

STORE = "stability.zarr"


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
    total = 2 * seeds + 1 + subsamples

    def part(before: int, clusterings: int) -> Part:
        return Part(monitor, before / total, clusterings / total, "stability")

    further = range(seed + 1, seed + 1 + seeds)
    others = again(known, counts, further, monitor=part(0, seeds))
    of_null = again(null, counts, range(seed, seed + 1 + seeds), monitor=part(seeds, seeds + 1))
    chance = np.random.default_rng(seed)
    drawn = []
    for i in range(subsamples):
        kept = np.sort(chance.permutation(len(known))[: round(SUBSAMPLE * len(known))])
        (found,) = again(known.subset(kept), counts, [seed], monitor=part(2 * seeds + 1 + i, 1))
        drawn.append(agreement(base[:, kept], found))
    return xr.Dataset(
        {
            "ari_seed": (("count", "seed"), _against(base, others)),
            "ari_subsample": (("count", "subsample"), np.stack(drawn, axis=1)),
            "ari_next": ("count", np.append(agreement(base[:-1], base[1:]), np.nan)),
            "null_ari_seed": (("count", "seed"), _against(of_null[0], of_null[1:])),
            "tightness": ("count", tightness(known.centres(base))),
            "null_tightness": ("count", tightness(null.centres(of_null[0]))),
        },
        {"count": np.asarray(counts), "seed": list(further)},
        {
            "null": "shuffled" if isinstance(null, Vectors) or features is not None else "rotated",
            "base_seed": seed,
        },
    )


def few_counts(clusters: xr.Dataset) -> list[int]:
    """Counts to look at where none are asked for: the fewest clusters, those that the page opens
    with, and the most."""
    counts: list[int] = clusters["count"].to_numpy().tolist()
    return sorted({counts[0], chosen_count(clusters, None), counts[-1]})


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


def _against(
    labels: Int[np.ndarray, "counts Q"], others: Int[np.ndarray, "seeds counts Q"]
) -> Float64[np.ndarray, "counts seeds"]:
    """ARI with each of the others."""
    return np.stack([agreement(labels, other) for other in others], axis=1)
