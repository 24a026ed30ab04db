"""Spectral embedding: the leading eigenvectors of a normalised Laplacian, for all counts at once.

With affinities A (their diagonal left out), degrees d and N = d^-1/2 A d^-1/2, the normalised
Laplacian is 1 - N. Spectral clustering into k clusters is k-means of the k eigenvectors of its
smallest eigenvalues, divided by d^1/2. The eigenvectors for a smaller count are the first of those
for a larger one.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float
from scipy import sparse
from scipy.linalg import eigh
from scipy.sparse.csgraph import connected_components, laplacian
from scipy.sparse.linalg import ArpackNoConvergence, eigsh

from jquanta.errors import BadInput, RunFailed

Affinity: TypeAlias = "np.ndarray | sparse.csr_array"

SHIFT = -1e-5
"""Near which scikit-learn looks for eigenvalues: just below the smallest, which is 0."""


class Embedding(NamedTuple):
    """Eigenvectors by ascending eigenvalue.

    Attributes:
        vectors: float64 [Q, K]; the largest entry of each is positive.
        values: of the normalised Laplacian, float64 [K].
    """

    vectors: Float[np.ndarray, "Q K"]
    values: Float[np.ndarray, " K"]


def embed(affinity: Affinity, count: int, *, seed: int = 0) -> Embedding:
    """The first ``count`` dimensions: dense by LAPACK or the accelerator, sparse by ARPACK.

    Args:
        affinity: [Q, Q], symmetric, not negative, connected (see ``refuse_disconnected``).
        count: at most Q, for a sparse affinity under Q.
        seed: of ARPACK's start, for a sparse affinity.

    Raises:
        RunFailed: if ARPACK does not converge.
    """
    minus, root = laplacian(affinity.astype(np.float64), normed=True, return_diag=True, copy=False)
    if sparse.issparse(minus):
        similar = sparse.eye_array(len(root), format="csr") - minus
        try:
            # The largest of N, without a factorisation, which would fill the graph up.
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
    """Largest eigenvalues, ascending, and their vectors, in float64; ``matrix`` is used up.

    On a CPU no others are computed: where a fifth is wanted, half the time of all, and the whole
    embedding takes a quarter of the memory.
    """
    import jax
    import jax.numpy as jnp

    samples = len(matrix)
    if jax.default_backend() == "cpu":
        # Symmetric, and LAPACK's own order: no copy.
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
    """The embedding of ``sklearn.cluster.SpectralClustering`` to the bit, for ``count`` under Q.

    ``start`` [Q] is ARPACK's first vector, and ``count`` its share in the rounding: the first k of
    more vectors differ from k by about 1e-16 over the gap between eigenvalues k and k + 1.

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
    """What scikit-learn starts ARPACK from at an integer seed."""
    return np.random.RandomState(seed).uniform(-1, 1, samples)


def _signed(vectors: Float[np.ndarray, "Q K"]) -> Float[np.ndarray, "Q K"]:
    """Each column with its largest entry positive."""
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
    return np.asarray(vectors * np.sign(largest))


def refuse_disconnected(affinity: Affinity) -> None:
    """Raise ``BadInput`` where samples fall into parts with no affinity between them."""
    if sparse.issparse(affinity):
        parts, part = connected_components(affinity, directed=False)
        smallest = np.bincount(part).min()
        remedy = "give more neighbours"
    else:
        reached = _reached(affinity)
        if reached.all():
            return
        parts, smallest = 2, min(reached.sum(), (~reached).sum())
        remedy = "leave out one part, or choose affinity = 'angular'"
    if parts > 1:
        raise BadInput(
            f"the affinity falls apart: {parts} parts or more without any likeness between them, "
            f"one of {smallest} samples; {remedy}"
        )


def _reached(affinity: Float[np.ndarray, "Q Q"]) -> np.ndarray:
    """Which samples the first is joined to, by however many others."""
    reached = np.zeros(len(affinity), bool)
    new = reached.copy()
    new[:1] = True
    while new.any():
        reached |= new
        if reached.all():
            break
        new = (affinity[new] > 0).any(axis=0) & ~reached
    return reached
