"""Clusters of samples for a list of counts: spectral clustering with one eigendecomposition.

Paper, section 4. The everyday call::

    clusters = cluster(open_similarity(folder).cosine)
    save_clusters(clusters, folder)
    clusters.label.sel(count=400)  # 0 is the largest cluster
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int32
from numpy.typing import ArrayLike

from jquanta.errors import BadInput
from jquanta.qdg.clusters.affinity import affinity_of, neighbour_graph, symmetric
from jquanta.qdg.config import COUNTS, KMEANS, chosen_counts
from jquanta.run import arrays
from jquanta.run.progress import Monitor, Silence

if TYPE_CHECKING:
    import xarray as xr

    from jquanta.qdg.clusters.spectral import Affinity, Embedding

CLEAR_GAP = 1e-7
"""Between neighbouring eigenvalues: the first k of more vectors are then those of k to 1e-8."""

STORE = "clusters.zarr"


def cluster(
    cosine: "ArrayLike | xr.DataArray",
    counts: Sequence[int] | None = None,
    *,
    affinity: str = "angular",
    seed: int = 0,
    kmeans: str = "jax",
    n_init: int = 30,
    monitor: Monitor | None = None,
) -> "xr.Dataset":
    """Spectral clustering of a similarity matrix into each of ``counts`` clusters.

    Args:
        cosine: [Q, Q] cosines of gradients; a DataArray's attributes are kept.
        counts: ascending numbers of clusters, or one, below Q. By default ``COUNTS`` up to Q / 5.
        affinity: ``"angular"`` (the paper); ``"absolute"`` (the public code's, of ``cosine_abs``);
            ``"shifted"``, 1 + cosine (the toy model of D.2).
        seed: of everything random.
        kmeans: ``"jax"``, float32, all restarts in one program; or ``"scikit-learn"``, float64,
            whose labels are those of ``SpectralClustering(k, affinity="precomputed",
            n_init=n_init, random_state=seed)``, renumbered. That holds to rounding: the leading
            vectors of the shared decomposition differ from a fresh one's by about 1e-16 over the
            gap between eigenvalues k and k + 1, and a draw of k-means++ that falls so close to an
            edge could turn out otherwise. Where the gap is under ``CLEAR_GAP``, as where
            eigenvalues repeat, k vectors are computed afresh.
        n_init: restarts of k-means.
        monitor: told how far it is.

    Returns:
        ``label`` (count, sample) int32, 0 for the largest cluster, ties by the smallest first
        sample; ``inertia`` (count), of k-means. A count may have fewer clusters than its name
        where samples are equal.

    Raises:
        BadInput: for a matrix that is not square, symmetric and finite, or whose affinity falls
            apart; fewer samples than clusters; unknown names.
    """
    matrix = affinity_of(cosine, affinity)
    settings = {"affinity": affinity, **getattr(cosine, "attrs", {})}
    return _clustered(matrix, counts, seed, kmeans, n_init, monitor or Silence(), settings)


def cluster_features(
    features: Float[np.ndarray, "Q F"],
    counts: Sequence[int] | None = None,
    *,
    neighbours: int = 50,
    seed: int = 0,
    kmeans: str = "jax",
    n_init: int = 30,
    monitor: Monitor | None = None,
    **attributes: Any,
) -> "xr.Dataset":
    """As ``cluster``, from a row a sample and without a matrix of all pairs: for 10^5 and more.

    Args:
        features: [Q, F], such as sketches of gradients.
        counts: as in ``cluster``, under Q.
        neighbours: of each sample that count (``affinity.neighbour_graph``). Too few, and the
            graph falls apart.
        seed: as in ``cluster``, as are ``kmeans``, ``n_init``, ``monitor`` and errors.
        attributes: kept in the Dataset's attributes.
    """
    monitor = monitor or Silence()
    graph = neighbour_graph(features, neighbours, monitor=monitor)
    settings = {"affinity": "angular", "neighbours": neighbours, **attributes}
    return _clustered(graph, counts, seed, kmeans, n_init, monitor, settings)


def _clustered(
    affinity: "Affinity",
    counts: Sequence[int] | None,
    seed: int,
    kmeans: str,
    n_init: int,
    monitor: Monitor,
    settings: dict[str, Any],
) -> "xr.Dataset":
    from jquanta.qdg.clusters.spectral import refuse_disconnected

    samples = affinity.shape[0]
    if kmeans not in KMEANS:
        raise BadInput(f"kmeans = {kmeans!r}: give one of {', '.join(KMEANS)}")
    if n_init < 1:
        raise BadInput(f"n_init = {n_init}: give at least 1 restart")
    if not 0 <= seed < 2**32:
        raise BadInput(f"seed = {seed}: give a number from 0 to 2^32 - 1")
    chosen = chosen_counts(counts, samples)
    if counts is None and len(chosen) < len(COUNTS):
        monitor.say(
            f"cluster counts {COUNTS[len(chosen)]} to {COUNTS[-1]} are left out: above a fifth of "
            f"{samples} samples"
        )
    refuse_disconnected(affinity)
    solve = _jax_solutions if kmeans == "jax" else _scikit_learn_solutions
    # Of k-means: clusters × dimensions, and what a count costs however small it is.
    work = np.cumsum(np.array(chosen, float) ** 2 + 100**2)
    labels, inertias = [], []
    monitor.work("embedding", 0.0)
    for share, solution in zip(work / work[-1], solve(affinity, chosen, seed, n_init), strict=True):
        labels.append(ranked(solution.label))
        inertias.append(solution.inertia)
        monitor.work("clusters", float(share))
    made = {"seed": seed, "kmeans": kmeans, "n_init": n_init}
    return _dataset(np.stack(labels), chosen, settings | made, np.array(inertias))


class _Solution(NamedTuple):
    label: Int[np.ndarray, " Q"]
    inertia: float


def _jax_solutions(
    affinity: "Affinity", counts: Sequence[int], seed: int, n_init: int
) -> Iterator[_Solution]:
    from jquanta.qdg.clusters.kmeans import kmeans
    from jquanta.qdg.clusters.spectral import embed

    vectors = embed(affinity, counts[-1], seed=seed).vectors
    for count in counts:
        found = kmeans(vectors[:, :count], count, seed=seed, n_init=n_init)
        yield _Solution(found.label, found.inertia)


def _scikit_learn_solutions(
    affinity: "Affinity", counts: Sequence[int], seed: int, n_init: int
) -> Iterator[_Solution]:
    from sklearn.cluster import k_means

    from jquanta.qdg.clusters.spectral import embed_as_scikit_learn, start_vector

    samples = affinity.shape[0]
    start = start_vector(seed, samples)
    # One vector more than needed tells the gap after the last.
    shared = embed_as_scikit_learn(affinity, min(counts[-1] + 1, samples - 1), start)
    for count in counts:
        clear = _is_clear(shared, count)
        embedding = shared if clear else embed_as_scikit_learn(affinity, count, start)
        random = np.random.RandomState(seed)
        random.uniform(-1, 1, samples)  # scikit-learn draws ARPACK's start first
        _, label, inertia = k_means(
            embedding.vectors[:, :count], count, n_init=n_init, random_state=random
        )
        yield _Solution(label, float(inertia))


def _is_clear(embedding: "Embedding", count: int) -> bool:
    """Whether the space of the first ``count`` vectors is well defined by their eigenvalues."""
    values = embedding.values
    return count < len(values) and bool(values[count] - values[count - 1] > CLEAR_GAP)


def ranked(label: Int[np.ndarray, " Q"]) -> Int32[np.ndarray, " Q"]:
    """Labels renumbered by size, the largest 0; ties by the smallest first sample."""
    _, first, number, size = np.unique(
        label, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(size), np.int32)
    rank[np.lexsort((first, -size))] = np.arange(len(size))
    return np.asarray(rank[number])


def imported(
    labels: ArrayLike, counts: Sequence[int] | None = None, **attributes: Any
) -> "xr.Dataset":
    """Labels made elsewhere as what ``cluster`` returns.

    Args:
        labels: integers [counts, Q], or [Q] for one count.
        counts: of the rows, ascending; by default how many different labels each holds.
        attributes: kept in the Dataset's attributes.

    Returns:
        ``label`` (count, sample), ranked; ``inertia`` is NaN.

    Raises:
        BadInput: for labels that are no such array, or counts that are not theirs.
    """
    rows = np.atleast_2d(np.asarray(labels))
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
    labels: Int32[np.ndarray, "C Q"],
    counts: Sequence[int],
    attributes: dict[str, Any],
    inertia: Float[np.ndarray, " C"],
) -> "xr.Dataset":
    import xarray as xr

    told = {"units": "1", "long_name": "cluster, by size"}
    return xr.Dataset(
        {
            "label": (("count", "sample"), labels, told),
            "inertia": ("count", inertia, {"units": "1", "long_name": "of k-means"}),
        },
        {
            "count": ("count", np.asarray(counts, np.int64), {"long_name": "number of clusters"}),
            "sample": ("sample", np.arange(labels.shape[1]), {"long_name": "sample"}),
        },
        attributes,
    )


def save_clusters(clusters: "xr.Dataset", folder: Path | str) -> Path:
    """Write ``clusters.zarr`` into a folder that exists, whole or not at all; its path."""
    path = Path(folder) / STORE
    arrays.save_dataset(clusters, path)
    return path


def open_clusters(folder: Path | str) -> "xr.Dataset":
    """What ``save_clusters`` wrote, from its folder or its own path, in memory.

    Raises:
        BadInput: if there is none, or it holds something else.
    """
    path = Path(folder)
    path = path if path.suffix == ".zarr" else path / STORE
    return arrays.read(path, "clusters", "label", "make them with jquanta qdg").load()


def centrality(
    cosine: ArrayLike, label: Int[np.ndarray, " Q"]
) -> tuple[Float[np.ndarray, " Q"], Float[np.ndarray, " Q"]]:
    """How central each sample is to its cluster.

    Args:
        cosine: [Q, Q].
        label: cluster of each sample.

    Returns:
        Mean cosine to the other samples of its cluster, NaN for one alone; and cosine to the
        cluster's mean unit gradient, NaN where that is zero. float64 [Q] each.

    Raises:
        BadInput: for a matrix that is none, or of other samples.
    """
    matrix, label = symmetric(cosine), np.asarray(label)
    if label.shape != matrix.shape[:1]:
        raise BadInput(f"{label.size} labels for {len(matrix)} samples; give one a sample")
    mean, to_centre = np.full((2, len(matrix)), np.nan)
    order = np.argsort(label, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
        block = matrix[np.ix_(members, members)].astype(np.float64)
        sums = block.sum(axis=1)
        if len(members) > 1:
            mean[members] = (sums - np.diagonal(block)) / (len(members) - 1)
        # With unit gradients g and their mean m, |m| = √ΣC / n and g · m = ΣC[g] / n.
        if sums.sum() > 0:
            to_centre[members] = sums / np.sqrt(sums.sum())
    return mean, to_centre
