"""Spectral clustering of samples into each of a list of counts, with one eigendecomposition.

Paper, section 4. The everyday call::

    clusters = cluster(open_similarity(folder).cosine)
    save_clusters(clusters, folder)
    clusters.label.sel(count=400)  # 0 is the largest cluster

The steps: cosines → affinities → the leading eigenvectors of their normalised Laplacian → k-means
of the samples' coordinates in them (Ng, Jordan and Weiss, 2002; von Luxburg, 2007).

Shapes: Q samples, F features, ``counts`` numbers of clusters, ``seeds``.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sklearn.cluster
import xarray as xr
from jaxtyping import Float, Float32, Float64, Int, Int32, Integer
from numpy.typing import ArrayLike

from jquanta.errors import BadInput
from jquanta.masks import unmasked
from jquanta.qdg.clusters.affinity import affinity_of, joined, neighbour_graph, normalised
from jquanta.qdg.clusters.kmeans import kmeans as jax_kmeans
from jquanta.qdg.clusters.likeness import Cosines, Vectors
from jquanta.qdg.clusters.spectral import (
    Affinity,
    Embedding,
    embed,
    embed_as_scikit_learn,
    refuse_disconnected,
    start_vector,
)
from jquanta.qdg.clusters.spherical import points, spherical
from jquanta.qdg.config import ANGULAR, COUNTS, KMEANS, NEIGHBOURS, SPHERICAL, chosen_counts
from jquanta.run import arrays
from jquanta.run.files import as_path
from jquanta.run.progress import Monitor, Part, Silence

CLEAR_GAP = 1e-7
"""Between eigenvalues k and k + 1: the solver's error of about 1e-15 over this gap turns the space
of the first k eigenvectors by about 1e-8, however many further ones are computed with them."""

N_INIT, SPHERICAL_INIT = 30, 1
"""Restarts of k-means: the paper's; and of features, where a restart takes long and changes the
inertia by a thousandth."""

STORE = "clusters.zarr"


def cluster(
    cosine: ArrayLike | xr.DataArray,
    counts: Sequence[int] | ArrayLike | None = None,
    *,
    affinity: str = "angular",
    seed: int = 0,
    kmeans: str = "jax",
    n_init: int = 30,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """Spectral clustering of a similarity matrix into each of ``counts`` clusters.

    Args:
        cosine: [Q, Q] cosines of gradients; a DataArray's attributes are kept.
        counts: ascending numbers of clusters, or one, below Q. By default ``COUNTS`` up to Q / 5.
        affinity: ``"angular"`` (the paper); ``"absolute"`` (the public code's, of ``cosine_abs``);
            ``"shifted"``, 1 + cosine (the toy model of D.2).
        seed: of everything random.
        kmeans: ``"jax"``, float32, all restarts in one compiled program; or ``"scikit-learn"``,
            float64, whose labels are those of ``SpectralClustering(k, affinity="precomputed",
            n_init=n_init, random_state=seed)``, renumbered. They are equal up to rounding: the
            first k vectors of the shared decomposition differ from those of a decomposition for k
            alone by about 1e-16 over the gap between eigenvalues k and k + 1, which can change the
            outcome of a random draw of k-means++ that lies as close to its threshold. Where the gap
            is under ``CLEAR_GAP``, as where eigenvalues repeat, k vectors are computed anew.
        n_init: restarts of k-means, of which the best is taken.
        monitor: receives the progress.

    Returns:
        ``label`` (count, sample) int32: 0 for the largest cluster, and among clusters of one size
        the one whose first sample comes first. ``inertia`` (count): the sum of squared distances to
        the cluster means, which k-means minimises. A count may have fewer clusters than its name
        says where samples are equal.

    Raises:
        BadInput: for a matrix that is not square, symmetric and finite, or whose graph is not
            connected; fewer samples than clusters; unknown names.
    """
    matrix = affinity_of(cosine, affinity)
    settings = {"affinity": affinity, **getattr(cosine, "attrs", {})}
    return _clustered(matrix, counts, seed, kmeans, n_init, monitor or Silence(), settings)


def cluster_features(
    features: ArrayLike | xr.DataArray,
    counts: Sequence[int] | ArrayLike | None = None,
    *,
    method: str = NEIGHBOURS,
    neighbours: int = 50,
    seed: int = 0,
    kmeans: str = "jax",
    n_init: int | None = None,
    monitor: Monitor | None = None,
    **attributes: Any,
) -> xr.Dataset:
    """As ``cluster``, from the samples' features and without a matrix of all pairs: for 10^5
    samples and more.

    Args:
        features: [Q, F], such as sketches of gradients; a DataArray's attributes are kept.
        counts: as in ``cluster``, below Q.
        method: ``"neighbours"``: spectral clustering of the graph of nearest neighbours.
            ``"spherical"``: k-means of the features on the unit sphere (``clusters.spherical``),
            which also makes thousands of clusters in minutes.
        neighbours: how many nearest others each sample is joined to (``affinity.neighbour_graph``).
            A graph that falls apart is joined by its most alike pairs
            (``affinity.joined``). For ``"neighbours"`` only.
        seed: as in ``cluster``, as are ``monitor`` and errors.
        kmeans: as in ``cluster``, for ``"neighbours"`` only.
        n_init: restarts; by default 30 as in ``cluster``, and ``SPHERICAL_INIT`` for
            ``"spherical"``.
        attributes: kept in the Dataset's attributes.
    """
    monitor = monitor or Silence()
    if method not in (NEIGHBOURS, SPHERICAL):
        raise BadInput(f"method = {method!r}: give {NEIGHBOURS} or {SPHERICAL}")
    unit = normalised(features)
    chosen = _chosen(counts, len(unit), monitor)
    made = {**getattr(features, "attrs", {}), "method": method, **attributes}
    if method == SPHERICAL:
        made |= {"n_init": SPHERICAL_INIT if n_init is None else n_init}
    else:
        made |= {"affinity": ANGULAR, "neighbours": neighbours, "kmeans": kmeans}
        made |= {"n_init": N_INIT if n_init is None else n_init}
    labels, inertia = _of_features(unit, chosen, [seed], made, monitor)
    return _dataset(labels[0], chosen, made | {"seed": seed}, inertia[0])


def labels_by_seed(
    likeness: Cosines | Vectors,
    counts: Sequence[int],
    seeds: Sequence[int],
    *,
    made: Mapping[Any, Any],
    monitor: Monitor | None = None,
) -> Int32[np.ndarray, "seeds counts Q"]:
    """The labels that clusters have at each seed, otherwise made as those with the attributes
    ``made``. Eigenvectors that do not depend on the seed are computed once for all of them."""
    chosen, monitor = chosen_counts(counts, len(likeness)), monitor or Silence()
    if isinstance(likeness, Vectors):
        return _of_features(normalised(likeness.unit), chosen, seeds, made, monitor)[0]
    matrix, name = affinity_of(likeness.matrix, made["affinity"]), made["affinity"]
    return _solved(matrix, chosen, seeds, made["kmeans"], int(made["n_init"]), monitor, name)[0]


def _of_features(
    unit: Float32[np.ndarray, "Q F"],
    counts: Sequence[int],
    seeds: Sequence[int],
    made: Mapping[Any, Any],
    monitor: Monitor,
) -> tuple[Int32[np.ndarray, "seeds counts Q"], Float64[np.ndarray, "seeds counts"]]:
    """Labels and inertias for every seed and count, made as the attributes say."""
    n_init = int(made["n_init"])
    _require(seeds, n_init)
    if made["method"] == SPHERICAL:
        return _stacked(_spherical_solutions(unit, counts, seeds, n_init, monitor), seeds, counts)
    graph = joined(neighbour_graph(unit, int(made["neighbours"]), monitor=monitor), unit, monitor)
    return _solved(graph, counts, seeds, made["kmeans"], n_init, monitor, ANGULAR)


def _spherical_solutions(
    unit: Float32[np.ndarray, "Q F"],
    counts: Sequence[int],
    seeds: Sequence[int],
    n_init: int,
    monitor: Monitor,
) -> Iterator["_Solution"]:
    """Seed by seed, for each its counts."""
    there = points(unit)
    # An iteration multiplies with all centres, and adds samples up.
    work = np.cumsum([0.0, *(count + 128.0 for _ in seeds for count in counts)])
    number = 0
    for seed in seeds:
        for count in counts:
            before, own = work[number] / work[-1], (work[number + 1] - work[number]) / work[-1]
            part = Part(monitor, float(before), float(own))

            def watch(share: float, detail: str, part: Part = part) -> None:
                part.work("clusters", share, detail)

            found = spherical(there, count, seed=seed, n_init=n_init, watch=watch)
            yield _Solution(found.label, found.inertia)
            number += 1


def _clustered(
    affinity: Affinity,
    counts: Sequence[int] | ArrayLike | None,
    seed: int,
    kmeans: str,
    n_init: int,
    monitor: Monitor,
    settings: dict[str, Any],
) -> xr.Dataset:
    chosen = _chosen(counts, affinity.shape[0], monitor)
    labels, inertia = _solved(
        affinity, chosen, [seed], kmeans, n_init, monitor, settings["affinity"]
    )
    made = {"seed": seed, "kmeans": kmeans, "n_init": n_init}
    return _dataset(labels[0], chosen, settings | made, inertia[0])


def _chosen(counts: Sequence[int] | ArrayLike | None, samples: int, monitor: Monitor) -> list[int]:
    """The counts of clusters; what is left out is said."""
    chosen = chosen_counts(counts, samples)
    if counts is None and len(chosen) < len(COUNTS):
        monitor.say(
            f"cluster counts {COUNTS[len(chosen)]} to {COUNTS[-1]} are left out: above a fifth of "
            f"{samples} samples"
        )
    return chosen


def _require(seeds: Sequence[int], n_init: int) -> None:
    """Raise ``BadInput`` for no restarts, or a seed out of range."""
    if n_init < 1:
        raise BadInput(f"n_init = {n_init}: give at least 1 restart")
    for seed in seeds:
        if not 0 <= seed < 2**32:
            raise BadInput(f"seed = {seed}: give a number from 0 to 2^32 - 1")


def _solved(
    affinity: Affinity,
    counts: Sequence[int],
    seeds: Sequence[int],
    kmeans: str,
    n_init: int,
    monitor: Monitor,
    name: str,
) -> tuple[Int32[np.ndarray, "seeds counts Q"], Float64[np.ndarray, "seeds counts"]]:
    """Labels and inertias for every seed and count; ``name`` is the affinity's, for messages."""
    if kmeans not in KMEANS:
        raise BadInput(f"kmeans = {kmeans!r}: give one of {', '.join(KMEANS)}")
    _require(seeds, n_init)
    refuse_disconnected(affinity, name)
    solve = _jax_solutions if kmeans == "jax" else _scikit_learn_solutions
    # The work of k-means for a count k: k clusters × k dimensions, and a share that every count
    # takes however small it is.
    work = np.cumsum(np.tile(np.array(counts, float) ** 2 + 100**2, len(seeds)))
    monitor.work("embedding", 0.0)

    def watched() -> Iterator[_Solution]:
        solutions = solve(affinity, counts, seeds, n_init)
        for share, solution in zip(work / work[-1], solutions, strict=True):
            yield solution
            monitor.work("clusters", float(share))

    return _stacked(watched(), seeds, counts)


def _stacked(
    solutions: "Iterator[_Solution]", seeds: Sequence[int], counts: Sequence[int]
) -> tuple[Int32[np.ndarray, "seeds counts Q"], Float64[np.ndarray, "seeds counts"]]:
    """Labels, ranked, and inertias."""
    labels, inertias = [], []
    for solution in solutions:
        labels.append(ranked(solution.label))
        inertias.append(solution.inertia)
    shape = (len(seeds), len(counts))
    return np.stack(labels).reshape(*shape, -1), np.array(inertias).reshape(shape)


class _Solution(NamedTuple):
    label: Int[np.ndarray, " Q"]
    inertia: float


def _jax_solutions(
    affinity: Affinity, counts: Sequence[int], seeds: Sequence[int], n_init: int
) -> Iterator[_Solution]:
    """Seed by seed, for each its counts. The first k eigenvectors serve the count k."""
    vectors = embed(affinity, counts[-1], seed=seeds[0]).vectors
    for seed in seeds:
        for count in counts:
            found = jax_kmeans(vectors[:, :count], count, seed=seed, n_init=n_init)
            yield _Solution(found.label, found.inertia)


def _scikit_learn_solutions(
    affinity: Affinity, counts: Sequence[int], seeds: Sequence[int], n_init: int
) -> Iterator[_Solution]:
    """As ``SpectralClustering`` at each seed, which also draws the eigensolver's first vector."""
    samples = affinity.shape[0]
    for seed in seeds:
        start = start_vector(seed, samples)
        # One vector more than needed, for the gap between the last two eigenvalues.
        shared = embed_as_scikit_learn(affinity, min(counts[-1] + 1, samples - 1), start)
        for count in counts:
            clear = _is_clear(shared, count)
            embedding = shared if clear else embed_as_scikit_learn(affinity, count, start)
            # scikit-learn draws the start vector and then k-means from one stream: pass over the
            # first numbers.
            random = np.random.RandomState(seed)
            random.uniform(-1, 1, samples)
            _, label, inertia = sklearn.cluster.k_means(
                embedding.vectors[:, :count], count, n_init=n_init, random_state=random
            )
            yield _Solution(label, float(inertia))


def _is_clear(embedding: Embedding, count: int) -> bool:
    """Whether a gap between eigenvalues separates the first ``count`` vectors from the next."""
    values = embedding.values
    return count < len(values) and bool(values[count] - values[count - 1] > CLEAR_GAP)


def ranked(label: Integer[np.ndarray, " Q"]) -> Int32[np.ndarray, " Q"]:
    """Labels renumbered by size: 0 is the largest cluster, and of equal ones the one whose first
    sample comes first."""
    _, first, number, size = np.unique(
        label, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(size), np.int32)
    rank[np.lexsort((first, -size))] = np.arange(len(size))
    return np.asarray(rank[number])


def imported(
    labels: ArrayLike, counts: Sequence[int] | None = None, **attributes: Any
) -> xr.Dataset:
    """Labels made elsewhere, in the form that ``cluster`` returns.

    Args:
        labels: integers [counts, Q], or [Q] for one count.
        counts: of the rows, ascending; by default the number of different labels in each row.
        attributes: kept in the Dataset's attributes.

    Returns:
        ``label`` (count, sample), ranked; ``inertia`` is NaN.

    Raises:
        BadInput: for labels of another shape or type, or counts that do not fit them.
    """
    rows = np.atleast_2d(unmasked(labels, "labels"))
    if rows.ndim != 2 or not rows.size or not np.issubdtype(rows.dtype, np.integer):
        raise BadInput(
            f"labels have shape {np.shape(labels)} and type {rows.dtype}: give integers, "
            "counts × samples"
        )
    found = [len(np.unique(row)) for row in rows]
    chosen = found if counts is None else [int(count) for count in counts]
    if len(chosen) != len(rows) or any(a > b for a, b in zip(found, chosen, strict=True)):
        raise BadInput(
            f"counts = {chosen}: the rows of labels hold {found} clusters; give one count a row"
        )
    if chosen != sorted(set(chosen)):
        raise BadInput(f"counts = {chosen}: give ascending and different counts, a row each")
    ranks = np.stack([ranked(row) for row in rows])
    unknown = np.full(len(rows), np.nan)
    return _dataset(ranks, chosen, {"kmeans": "imported", **attributes}, unknown)


def _dataset(
    labels: Int32[np.ndarray, "counts Q"],
    counts: Sequence[int],
    attributes: dict[str, Any],
    inertia: Float[np.ndarray, " counts"],
) -> xr.Dataset:
    units = {"units": "1", "long_name": "cluster, by size"}
    return xr.Dataset(
        {
            "label": (("count", "sample"), labels, units),
            "inertia": ("count", inertia, {"units": "1", "long_name": "of k-means"}),
        },
        {
            "count": ("count", np.asarray(counts, np.int64), {"long_name": "number of clusters"}),
            "sample": ("sample", np.arange(labels.shape[1]), {"long_name": "sample"}),
        },
        attributes,
    )


def save_clusters(clusters: xr.Dataset, folder: Path | str) -> Path:
    """Write ``clusters.zarr`` into a folder that exists, whole or not at all; its path."""
    path = as_path(folder) / STORE
    arrays.save_dataset(clusters, path)
    return path


def open_clusters(folder: Path | str) -> xr.Dataset:
    """What ``save_clusters`` wrote, from its folder or its own path, in memory.

    Raises:
        BadInput: if there is none, or it holds something else.
    """
    path = as_path(folder)
    path = path if path.suffix == ".zarr" else path / STORE
    return arrays.read(path, "clusters", "label", "make them: jquanta qdg").load()


def labels_hash(clusters: xr.Dataset) -> str:
    """SHA-256 of the labels, by which results about clusters know that the clusters changed."""
    labels = np.ascontiguousarray(clusters.label.to_numpy(), "<i4")
    return hashlib.sha256(labels.tobytes()).hexdigest()
