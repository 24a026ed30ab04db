"""Matrices of low rank, kept as two factors.

A kernel's gradient is a sum of outer products, one for each position of the prefix, and a few
directions hold most of its length. ``factored`` finds them by products alone (a randomised range
finder with half a power iteration: Halko, Martinsson and Tropp, 2011, algorithm 4.4).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

HIGHEST = jax.lax.Precision.HIGHEST
_matmul = partial(jnp.matmul, precision=HIGHEST)

DEPENDENT = 8.0
"""A row of which no more than so many units of rounding are left, when the earlier rows' directions
are taken out, depends on these: what is left is rounding."""


class LowRank(NamedTuple):
    """Matrices [..., n_in, n_out] of rank r at most, as leftᵀ·right: a tree of two arrays.

    Attributes:
        left: [..., r, n_in]
        right: [..., r, n_out]
    """

    left: Any
    right: Any


def is_low(x: Any) -> bool:
    """Whether a part of a tree is a ``LowRank``."""
    return isinstance(x, LowRank)


def dense(x: LowRank) -> Float[Array, "... n_in n_out"]:
    """The matrices themselves: 2·r·n_in·n_out operations each."""
    return _matmul(x.left.mT, x.right)


def factored(
    matrix: Float[Array, "n_in n_out"], probe: Float[Array, "r n_in"]
) -> tuple[LowRank, Float[Array, ""]]:
    """The part of a matrix in its r leading directions, about, and the squared length of the rest.

    With Q, an orthonormal basis of the range of M·(MᵀΩ) for random Ω, that part is Q·(QᵀM), an
    orthogonal projection: nothing is added to M, and of a matrix of rank r or less nothing is lost.
    The rows of ``left`` are Q's columns. Four products of 2·r·n_in·n_out operations.

    Args:
        matrix: M. Its squares must not leave the range of floats: divide it by its largest number.
        probe: Ωᵀ, normal random numbers.
    """
    across = orthonormal(_matmul(probe, matrix))
    left = orthonormal(_matmul(across, matrix.T))
    right = _matmul(left, matrix)
    # The rest itself is summed up. The difference of two squared lengths would be the rounding of
    # long sums where little is lost.
    return LowRank(left, right), jnp.square(matrix - _matmul(left.T, right)).sum()


def orthonormal(rows: Float[Array, "r n"]) -> Float[Array, "r n"]:
    """Rows of length 1 at right angles that span what these span; zeros where a row depends on
    earlier ones. Gram-Schmidt, twice, is as exact as Householder's QR (Giraud and others, 2005) and
    asks for products and sums only, which an accelerator computes for many matrices at once."""
    largest = jnp.abs(rows).max(1, keepdims=True)
    rows = rows / jnp.where(largest == 0, 1, largest)
    length = jnp.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / jnp.where(length == 0, 1, length)
    least = DEPENDENT * float(np.finfo(rows.dtype).eps)

    def add(found: Array, row_and_place: tuple[Array, Array]) -> tuple[Array, None]:
        row, place = row_and_place
        for _ in range(2):
            row = row - _matmul(_matmul(found, row), found)
        length = jnp.linalg.norm(row)
        row = jnp.where(length <= least, 0, row / length)  # what is not finite stays so
        # Chosen, not written: for many samples at once, writing a row is a scatter.
        return jnp.where(place[:, None], row, found), None

    found, _ = jax.lax.scan(add, jnp.zeros_like(rows), (rows, jnp.eye(len(rows), dtype=bool)))
    return found
