"""Affinities: the similarity of two samples as a number that is not negative, as spectral
clustering takes it.

``angular`` is the paper's (section 4), ``absolute`` the public code's, ``shifted`` the toy model's
(D.2). ``neighbour_graph`` makes a sparse affinity from the samples' features, where a matrix of all
pairs would not fit in memory.

Shapes: Q samples, F features.
"""

import contextlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from jquanta.errors import BadInput
from jquanta.masks import unmasked
from jquanta.qdg.config import ABSOLUTE, AFFINITIES, ANGULAR, SHIFTED
from jquanta.run.progress import Monitor, Silence
from jquanta.run.shown import listed

Matrix = Float[np.ndarray, "Q Q"]

ASYMMETRY = 1e-3
"""Largest difference between C[i, j] and C[j, i] that is taken for rounding."""

ABOVE = 1e-2
"""How far above 1 a cosine may be, through rounding (bfloat16 rounds by 4e-3). A matrix with larger
entries is refused: it holds inner products of vectors that were not normalised."""

HELD = 2**26
"""Cosines in memory at a time in the search for neighbours: 2^26 × 4 bytes = 256 MiB."""


def angular(cosine: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """1 - arccos(C) / π, in [0, 1]. C is clipped to [-1, 1], since rounding may leave the cosine of
    a sample with itself slightly above 1."""
    return 1 - np.arccos(np.clip(cosine, -1, 1)) / cosine.dtype.type(np.pi)


def absolute(cosine: Matrix) -> Matrix:
    """C itself, for cosines of absolute values."""
    return cosine


def shifted(cosine: Matrix) -> Matrix:
    """1 + C, in [0, 2]."""
    return 1 + np.clip(cosine, -1, 1)


_FUNCTIONS: dict[str, Callable[[Matrix], Matrix]] = {
    ANGULAR: angular,
    ABSOLUTE: absolute,
    SHIFTED: shifted,
}


def affinity_of(cosine: ArrayLike, name: str = "angular") -> Matrix:
    """The affinity of a matrix of cosines.

    Args:
        cosine: [Q, Q], symmetric; for ``"absolute"``, inner products of absolute values.
        name: ``"angular"`` (the paper), ``"absolute"`` (the public code) or ``"shifted"`` (D.2).

    Returns:
        [Q, Q], not negative, exactly symmetric, in float64 if ``cosine`` is, otherwise float32.

    Raises:
        BadInput: for an unknown name, or a matrix that is not square, not symmetric, not finite,
            or, as absolute cosines, negative.
    """
    if name not in AFFINITIES:
        raise BadInput(f"affinity = {name!r}: give one of {', '.join(AFFINITIES)}")
    affinity = _FUNCTIONS[name](symmetric(cosine))
    if affinity.min(initial=0) < 0:
        raise BadInput(
            f"affinity = {name!r}: the matrix has negative entries, and spectral clustering takes "
            "none; give products of absolute values (cosine_abs), or affinity = 'angular'"
        )
    return affinity


def symmetric(cosine: ArrayLike) -> Matrix:
    """A matrix of cosines made exactly symmetric. Raises ``BadInput`` if it cannot be one."""
    matrix = _numbers(cosine, "cosine", "a matrix such as similarity(...).cosine")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise BadInput(f"cosine has shape {matrix.shape}: give a square matrix, samples × samples")
    if matrix.dtype not in (np.float32, np.float64):
        matrix = matrix.astype(np.float32)
    _require_finite(matrix)
    if not np.allclose(matrix, matrix.T, rtol=0, atol=ASYMMETRY):
        raise BadInput("cosine is not symmetric: give C with C[i, j] = C[j, i]")
    largest = abs(matrix).max(initial=0)
    if largest > 1 + ABOVE:
        raise BadInput(
            f"cosine: up to {largest:.3g}, and cosines are at most 1; divide each gradient by its "
            "norm first"
        )
    return (matrix + matrix.T) / 2  # changes no bit of a matrix that is exactly symmetric


def _require_finite(matrix: Matrix) -> None:
    """Raise ``BadInput`` if numbers are NaN or infinite, naming the samples to leave out."""
    wrong = ~np.isfinite(matrix)
    if not wrong.any():
        return
    # A sample without a cosine has a whole row and column of NaN, and so is in all other rows, too.
    # The fewest samples without which nothing is wrong, nearly: those with the most, one by one.
    wrong |= wrong.T
    left_out: list[int] = []
    counts = wrong.sum(axis=1)
    while counts.any():
        left_out.append(worst := int(counts.argmax()))
        counts -= wrong[worst]
        counts[worst] = 0
        wrong[worst] = wrong[:, worst] = False
    raise BadInput(
        f"cosine: NaN or infinite for {len(left_out)} of {len(matrix)} samples: leave out "
        f"{listed(sorted(left_out))} (a gradient of norm zero has no cosine)"
    )


def _numbers(values: ArrayLike, name: str, wanted: str) -> np.ndarray:
    """Values as an array of real numbers. Raises ``BadInput`` for anything else."""
    with contextlib.suppress(TypeError, ValueError):  # such as a Dataset, or a ragged list
        array = unmasked(values, name)
        if array.dtype.kind in "biuf":
            return array
    raise BadInput(f"{name}: not an array of numbers; give {wanted}")


def neighbour_graph(
    features: ArrayLike,
    neighbours: int = 50,
    *,
    rows: int | None = None,
    monitor: Monitor | None = None,
) -> csr_array:
    """A graph that joins each sample to its nearest neighbours, with angular similarities as
    weights. No matrix of all pairs is made.

    Args:
        features: [Q, F], such as sketches of gradients; rows need not be normalised.
        neighbours: how many nearest others of each sample, by cosine. Two samples are joined if
            either is among the nearest of the other.
        rows: samples whose cosines to all others are in memory at a time; by default as many as
            take 256 MiB.
        monitor: receives the progress.

    Returns:
        Sparse [Q, Q] float32 in [0, 1], symmetric, zero on the diagonal.

    Raises:
        BadInput: for features that are not a matrix, not finite, or zero in a whole row, or fewer
            samples than neighbours + 1.
    """
    unit = normalised(features)
    samples = len(unit)
    if not 1 <= neighbours < samples:
        raise BadInput(f"neighbours = {neighbours} of {samples} samples: give 1 to {samples - 1}")
    rows = min(samples, rows or max(1, HELD // samples))
    near, cosine = _nearest(unit, neighbours, rows, monitor or Silence())
    sample = np.repeat(np.arange(samples), neighbours)
    weight = angular(cosine.ravel())
    graph = coo_array((weight, (sample, near.ravel())), (samples, samples)).tocsr()
    return graph.maximum(graph.T)


def joined(
    graph: csr_array, unit: Float[np.ndarray, "Q F"], monitor: Monitor | None = None
) -> csr_array:
    """A graph whose parts are joined to one: between separate parts the eigenvectors of eigenvalue
    0 are not unique.

    Each part but the largest is joined to what lies outside by its most alike pair of samples, and
    so again until there is one part: the missing edges of a maximum spanning tree (Borůvka's
    algorithm).

    Args:
        graph: from ``neighbour_graph``.
        unit: [Q, F] the samples' features, of unit length.
        monitor: is told of parts.
    """
    parts, part = connected_components(graph, directed=False)
    if parts > 1 and monitor is not None:
        small = len(part) - np.bincount(part).max()
        monitor.say(
            f"the graph of nearest neighbours has {parts:,} parts, {small:,} samples outside the "
            "largest: each is joined to the others by its most alike pair"
        )
    while parts > 1:
        order = np.argsort(part, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(part))[:-1])
        largest = max(range(parts), key=lambda number: len(members[number]))
        pairs = [_nearest_outside(unit, own) for i, own in enumerate(members) if i != largest]
        cosine, one, other = (np.array(column) for column in zip(*pairs, strict=True))
        # An angle of 180° would be an edge of no weight, which joins nothing.
        weight = np.maximum(angular(cosine.astype(np.float32)), np.float32(1e-6))
        edges = coo_array((weight, (one, other)), graph.shape).tocsr()
        graph = graph.maximum(edges).maximum(edges.T)
        parts, part = connected_components(graph, directed=False)
    return graph


def _nearest_outside(
    unit: Float[np.ndarray, "Q F"], own: Int[np.ndarray, " n"]
) -> tuple[float, int, int]:
    """The highest cosine between some samples and all others, and between which it is."""
    best = (-np.inf, -1, -1)
    rows = max(1, HELD // len(unit))
    for start in range(0, len(own), rows):
        some = own[start : start + rows]
        cosine = unit[some] @ unit.T
        cosine[:, own] = -np.inf
        place = int(cosine.argmax())
        i, j = divmod(place, len(unit))
        best = max(best, (float(cosine[i, j]), int(some[i]), j))
    return best


def normalised(features: ArrayLike) -> Float[np.ndarray, "Q F"]:
    """Rows scaled to unit length, float32. Raises ``BadInput`` for rows of length zero."""
    features = _numbers(features, "features", "samples × features").astype(np.float32)
    if features.ndim != 2:
        raise BadInput(f"features have shape {features.shape}: give samples × features")
    norm = np.linalg.norm(features, axis=1)
    bad = np.flatnonzero(~(np.isfinite(norm) & (norm > 0)))
    if bad.size:
        raise BadInput(
            f"features: zero, NaN or infinite in {bad.size} of {len(norm)} samples, the first "
            f"{bad[0]}; leave such samples out"
        )
    return features / norm[:, None]


def _nearest(
    unit: Float[np.ndarray, "Q F"], neighbours: int, rows: int, monitor: Monitor
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest others of each sample and their cosines, [Q, neighbours] each, for ``rows`` samples
    at a time."""
    points = jnp.asarray(unit)
    every = jnp.arange(len(unit))

    @jax.jit  # points are an argument: what a program closes over becomes part of it
    def nearest(points: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
        own = start + jnp.arange(rows)
        some = jax.lax.dynamic_slice_in_dim(points, start, rows)
        cosine = jnp.matmul(some, points.T, precision=jax.lax.Precision.HIGHEST)
        # A sample is not its own neighbour.
        found = jax.lax.top_k(jnp.where(every == own[:, None], -jnp.inf, cosine), neighbours)
        return found[0], found[1]

    # All strips have the same number of rows, so that one program serves them: the last one ends
    # with the last sample and overlaps the one before.
    starts = [min(start, len(unit) - rows) for start in range(0, len(unit), rows)]
    cosine = np.empty((len(unit), neighbours), np.float32)
    near = np.empty((len(unit), neighbours), np.int32)
    for start in starts:
        place = slice(start, start + rows)
        cosine[place], near[place] = map(np.asarray, nearest(points, jnp.int32(start)))
        monitor.work("neighbours", place.stop / len(unit))
    return near, cosine
