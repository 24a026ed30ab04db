"""Spectral embedding: the leading eigenvectors of a normalised Laplacian, for all counts at once.

A is the matrix of affinities without its diagonal, d_i = Σ_j A_ij are the degrees, and D = diag(d).
The symmetric normalised Laplacian is L = 1 - D^-1/2 A D^-1/2. Spectral clustering into k clusters
takes the k eigenvectors u of L with the smallest eigenvalues, divides them by √d, which gives the
eigenvectors D^-1/2 u of the random walk D^-1 A, and clusters their rows by k-means (Shi and Malik,
2000). The eigenvectors for a smaller k are the first of those for a larger one, so one
decomposition serves all counts.

Shapes: Q samples, K eigenvectors, as many as clusters.
"""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import sparse
from scipy.linalg import eigh
from scipy.sparse.csgraph import connected_components, laplacian
from scipy.sparse.linalg import ArpackNoConvergence, eigsh

from jquanta.errors import BadInput, RunFailed
from jquanta.qdg.config import ABSOLUTE, ANGULAR, SHIFTED
from jquanta.run.shown import listed

Affinity: TypeAlias = "np.ndarray | sparse.csr_array"

SHIFT = -1e-5
"""The shift of scikit-learn's shift-invert mode, which finds the eigenvalues nearest to it: just
below the smallest, which is 0."""


class Embedding(NamedTuple):
    """Eigenvectors of the normalised Laplacian divided by √d, by ascending eigenvalue.

    Attributes:
        vectors: float64 [Q, K]; their signs are such that the entry of largest magnitude is
            positive.
        values: eigenvalues, float64 [K], in [0, 2].
    """

    vectors: Float[np.ndarray, "Q K"]
    values: Float[np.ndarray, " K"]


def embed(affinity: Affinity, count: int, *, seed: int = 0) -> Embedding:
    """The first ``count`` eigenvectors: of a dense affinity by LAPACK or the accelerator's
    eigensolver, of a sparse one by ARPACK.

    Args:
        affinity: [Q, Q], symmetric, not negative, connected (see ``refuse_disconnected``).
        count: at most Q, for a sparse affinity below Q.
        seed: of ARPACK's first vector, for a sparse affinity. A dense one needs none.

    Raises:
        RunFailed: if ARPACK does not converge.
    """
    # L and √d. Eigenvectors of L for its smallest eigenvalues are those of 1 - L for the largest.
    minus, root = laplacian(affinity.astype(np.float64), normed=True, return_diag=True, copy=False)
    if sparse.issparse(minus):
        similar = sparse.eye_array(len(root), format="csr") - minus
        try:
            # Lanczos iterations with products alone: shift-invert would factorise the matrix, and
            # the factors of a sparse matrix are nearly dense.
            values, vectors = eigsh(similar, k=count, which="LA", v0=start_vector(seed, len(root)))
        except ArpackNoConvergence as error:
            raise RunFailed(f"the embedding of {count} dimensions: {error}") from None
    else:
        similar = np.negative(minus, out=minus)
        np.einsum("ii->i", similar)[:] += 1
        values, vectors = _largest(similar, count)
    order = np.argsort(-values, kind="stable")
    return Embedding(_signed(vectors[:, order] / root[:, None]), 1 - values[order])


def _largest(matrix: Float[np.ndarray, "Q Q"], count: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest ``count`` eigenvalues, ascending, and their vectors, in float64. ``matrix`` is
    overwritten.

    On a CPU only these are computed. If they are a fifth of all, that takes half the time of a full
    decomposition and a quarter of the memory.
    """
    samples = len(matrix)
    if jax.default_backend() == "cpu":
        # The transpose of a symmetric matrix is itself in Fortran order, LAPACK's own: no copy.
        return eigh(
            matrix.T,
            subset_by_index=(samples - count, samples - 1),
            overwrite_a=True,
            check_finite=False,
        )
    with jax.enable_x64(True):
        values, vectors = jnp.linalg.eigh(jnp.asarray(matrix))
    return np.asarray(values[-count:]), np.asarray(vectors[:, -count:])


def embed_as_scikit_learn(affinity: Affinity, count: int, start: np.ndarray) -> Embedding:
    """The embedding of ``sklearn.cluster.SpectralClustering``, to the bit.

    Args:
        affinity: [Q, Q], as for ``embed``.
        count: below Q. It has an influence on the rounding: the first k of more vectors differ from
            k alone by about 1e-16 over the gap between eigenvalues k and k + 1.
        start: [Q], ARPACK's first vector.

    Raises:
        RunFailed: if ARPACK does not converge.
    """
    minus, root = laplacian(affinity.astype(np.float64), normed=True, return_diag=True)
    try:
        values, vectors = eigsh(minus, k=count, sigma=SHIFT, which="LM", tol=0, v0=start)
    except ArpackNoConvergence as error:
        raise RunFailed(f"the embedding of {count} dimensions: {error}") from None
    order = np.argsort(values, kind="stable")
    return Embedding(_signed(vectors[:, order] / root[:, None]), values[order])


def start_vector(seed: int, samples: int) -> Float[np.ndarray, " Q"]:
    """ARPACK's first vector in scikit-learn at an integer seed."""
    return np.random.RandomState(seed).uniform(-1, 1, samples)


def _signed(vectors: Float[np.ndarray, "Q K"]) -> Float[np.ndarray, "Q K"]:
    """Each column with the sign that makes its entry of largest magnitude positive."""
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
    return np.asarray(vectors * np.sign(largest))


def refuse_disconnected(affinity: Affinity, name: str = "") -> None:
    """Raise ``BadInput`` unless the graph of the affinities is connected: between separate parts
    the eigenvectors of eigenvalue 0 are not unique.

    Args:
        affinity: [Q, Q], not negative.
        name: of the affinity, by which the remedy is known; empty if it has none.
    """
    if sparse.issparse(affinity):
        parts, part = connected_components(affinity, directed=False)
        small = np.flatnonzero(part == np.bincount(part).argmin())
        remedy = "give more neighbours"
    else:
        reached = _reached(affinity)
        if reached.all():
            return
        parts, small = 2, np.flatnonzero(reached if 2 * reached.sum() <= len(reached) else ~reached)
        remedy = "leave these out"
        if name in (ANGULAR, SHIFTED):  # only a cosine of -1 makes an affinity of 0
            remedy = "their cosine to all others is -1: leave these out, or cluster them apart"
        elif name == ABSOLUTE:
            remedy = "leave these out, or choose affinity = 'angular'"
    if parts > 1:
        raise BadInput(
            f"the affinity falls apart: {parts} parts or more without any likeness between them, "
            f"one of {len(small)} samples ({listed(small.tolist())}); {remedy}"
        )


def _reached(affinity: Float[np.ndarray, "Q Q"]) -> np.ndarray:
    """Which samples the first one is connected to, through however many others: a breadth-first
    search."""
    reached = np.zeros(len(affinity), bool)
    new = reached.copy()
    new[:1] = True
    while new.any():
        reached |= new
        if reached.all():
            break
        new = (affinity[new] > 0).any(axis=0) & ~reached
    return reached
