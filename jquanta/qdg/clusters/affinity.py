"""From cosines to affinities: how alike two samples are, as a number that is not negative.

``angular`` is the paper's (section 4), ``absolute`` the public code's, ``shifted`` the toy model's
(D.2). ``neighbour_graph`` makes a sparse affinity from the samples themselves, where a matrix of
all pairs would not fit.
"""

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from jquanta.errors import BadInput
from jquanta.qdg.config import ABSOLUTE, AFFINITIES, ANGULAR, SHIFTED
from jquanta.run.progress import Monitor, Silence

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Matrix = Float[np.ndarray, "Q Q"]

ASYMMETRY = 1e-3
"""Between C[i, j] and C[j, i], beyond which a matrix is refused: bfloat16 rounds to 4e-3 of 1."""

ABOVE = 1e-2
"""Over 1, beyond which a matrix is refused: inner products that were taken for cosines."""

HELD = 2**26
"""Cosines at once, where neighbours are looked for: 256 MiB."""


def angular(cosine: Matrix) -> Matrix:
    """1 - arccos(C) / π in [0, 1], with C clipped to [-1, 1]: rounding puts self-cosines above."""
    return 1 - np.arccos(np.clip(cosine, -1, 1)) / cosine.dtype.type(np.pi)


def absolute(cosine: Matrix) -> Matrix:
    """C_abs as it is."""
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
        cosine: [Q, Q], symmetric; for ``"absolute"``, products of absolute values.
        name: ``"angular"`` (the paper), ``"absolute"`` (the public code) or ``"shifted"`` (D.2).

    Returns:
        [Q, Q], not negative, exactly symmetric, in the floating-point type of ``cosine``, at least
        float32.

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
    """A matrix of cosines, made exactly symmetric, or ``BadInput`` for what is none."""
    matrix = _numbers(cosine, "cosine", "a matrix such as similarity(...).cosine")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise BadInput(f"cosine has shape {matrix.shape}: give a square matrix, samples × samples")
    if matrix.dtype not in (np.float32, np.float64):
        matrix = matrix.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if bad.size:
        raise BadInput(
            f"cosine: NaN or infinite in the rows of {bad.size} of {len(matrix)} samples, the "
            f"first {bad[0]}; a gradient of norm zero has no cosine: leave such samples out"
        )
    if not np.allclose(matrix, matrix.T, rtol=0, atol=ASYMMETRY):
        raise BadInput("cosine is not symmetric: give C with C[i, j] = C[j, i]")
    largest = abs(matrix).max(initial=0)
    if largest > 1 + ABOVE:
        raise BadInput(
            f"cosine: up to {largest:.3g}, and cosines are at most 1; divide each gradient by its "
            "norm first"
        )
    return (matrix + matrix.T) / 2  # the same numbers where it was symmetric to the bit


def _numbers(values: ArrayLike, name: str, wanted: str) -> np.ndarray:
    """Values as an array of real numbers, or ``BadInput`` for what is none."""
    with contextlib.suppress(TypeError, ValueError):  # a Dataset; rows of different lengths
        array = np.asarray(values)
        if array.dtype.kind in "biuf":
            return array
    raise BadInput(f"{name}: not an array of numbers; give {wanted}")


def neighbour_graph(
    features: Float[np.ndarray, "Q F"],
    neighbours: int = 50,
    *,
    rows: int | None = None,
    monitor: Monitor | None = None,
) -> "csr_array":
    """Angular similarities of each sample to its nearest neighbours, without a matrix of all pairs.

    Args:
        features: a row a sample, such as sketches of gradients; rows need not be normalised.
        neighbours: by cosine, without the sample itself. Two samples are joined if either is
            among the other's.
        rows: samples whose cosines to all others are held at once; by default, 256 MiB of them.
        monitor: told how far it is.

    Returns:
        Sparse [Q, Q] float32 in [0, 1], symmetric, zero on the diagonal.

    Raises:
        BadInput: for features that are no matrix, not finite, or zero in a whole row, or fewer
            samples than neighbours + 1.
    """
    from scipy.sparse import coo_array

    unit = normalised(features)
    samples = len(unit)
    if not 1 <= neighbours < samples:
        raise BadInput(f"neighbours = {neighbours} of {samples} samples: give 1 to {samples - 1}")
    rows = min(samples, rows or max(1, HELD // samples))
    near, cosine = _nearest(unit, neighbours, rows, monitor or Silence())
    sample = np.repeat(np.arange(samples), neighbours)
    likeness = angular(cosine.ravel())
    graph = coo_array((likeness, (sample, near.ravel())), (samples, samples)).tocsr()
    return graph.maximum(graph.T)


def normalised(features: Float[np.ndarray, "Q F"]) -> Float[np.ndarray, "Q F"]:
    """Rows of unit length, float32. Raises ``BadInput`` for rows that have none."""
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
    """Nearest others of each sample and their cosines, [Q, neighbours] each, ``rows`` at a time."""
    import jax
    import jax.numpy as jnp

    points = jnp.asarray(unit)
    every = jnp.arange(len(unit))

    @jax.jit
    def nearest(start: jax.Array) -> tuple[jax.Array, jax.Array]:
        own = start + jnp.arange(rows)
        some = jax.lax.dynamic_slice_in_dim(points, start, rows)
        cosine = jnp.matmul(some, points.T, precision=jax.lax.Precision.HIGHEST)
        return jax.lax.top_k(jnp.where(every == own[:, None], -jnp.inf, cosine), neighbours)

    # The last tile ends with the last sample, so that all are of one size.
    starts = [min(start, len(unit) - rows) for start in range(0, len(unit), rows)]
    cosine = np.empty((len(unit), neighbours), np.float32)
    near = np.empty((len(unit), neighbours), np.int32)
    for start in starts:
        place = slice(start, start + rows)
        cosine[place], near[place] = map(np.asarray, nearest(jnp.int32(start)))
        monitor.work("neighbours", place.stop / len(unit))
    return near, cosine
