"""What is known of how alike samples are: a matrix of the cosines of all pairs, or a vector for
each sample. Whatever asks about clusters asks ``Likeness``, and need not know which it is.

Shapes: Q samples, F features, ``counts`` numbers of clusters, ``n`` chosen samples.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from jquanta.errors import BadInput
from jquanta.qdg.clusters.affinity import symmetric
from jquanta.qdg.clusters.centres import Centres, centres_of_counts, centres_of_vectors
from jquanta.qdg.clusters.quality import rotated, shuffled
from jquanta.qdg.cosines.features import VECTOR, Stored
from jquanta.qdg.cosines.matrix import COSINE, COSINE_ABS
from jquanta.run.progress import Monitor


@runtime_checkable
class Likeness(Protocol):
    """Of Q samples."""

    def __len__(self) -> int:
        """Q."""

    def centres(
        self, labels: Int[np.ndarray, "counts labels"], monitor: Monitor | None = None
    ) -> list[Centres]:
        """The clusters of every count: their centres, and how close samples are to them."""

    def between(self, chosen: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n n"]:
        """The cosines of all pairs of some samples."""

    def subset(self, chosen: Int[np.ndarray, " n"]) -> "Likeness":
        """Of some samples alone, in memory."""

    def null(self, seed: int) -> "Likeness":
        """A null model: the same gross statistics without clusters."""

    def checked(self) -> "Likeness":
        """The same in memory. Raises ``BadInput`` if a matrix is none of cosines."""

    def stored(self, row: Any) -> Stored | None:
        """The samples' vectors as arrays of these shapes; None where only cosines are kept."""


@dataclass(frozen=True, eq=False)
class Cosines:
    """A matrix of all pairs.

    Attributes:
        matrix: [Q, Q], in memory or lazily.
        absolute: whether they are of absolute values, which are not negative.
    """

    matrix: xr.DataArray | Float[np.ndarray, "Q Q"]
    absolute: bool = False

    def __len__(self) -> int:
        return len(self.matrix)

    def centres(
        self, labels: Int[np.ndarray, "counts labels"], monitor: Monitor | None = None
    ) -> list[Centres]:
        """See ``Likeness``: in one pass over the matrix."""
        return centres_of_counts(self.matrix, labels, monitor=monitor)

    def between(self, chosen: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n n"]:
        """See ``Likeness``."""
        if len(chosen) == len(self) and isinstance(self.matrix, np.ndarray):
            return self.matrix
        rows = self.matrix[chosen]
        return np.asarray(rows[:, chosen])

    def subset(self, chosen: Int[np.ndarray, " n"]) -> "Cosines":
        """See ``Likeness``."""
        return Cosines(self.between(chosen), self.absolute)

    def null(self, seed: int) -> "Cosines":
        """See ``Likeness``: the matrix rotated (``quality.rotated``)."""
        turned = rotated(self.matrix, seed)
        # An affinity is not negative: what the rotation made negative is no likeness at all.
        return Cosines(np.clip(turned, 0, 1) if self.absolute else turned, self.absolute)

    def checked(self) -> "Cosines":
        """See ``Likeness``."""
        return Cosines(symmetric(self.matrix), self.absolute)

    def stored(self, row: Any) -> Stored | None:
        """See ``Likeness``."""
        return None


@dataclass(frozen=True, eq=False)
class Vectors:
    """A vector of unit length for each sample, and no matrix.

    Attributes:
        unit: [Q, F], in memory or lazily.
    """

    unit: xr.DataArray | Float[np.ndarray, "Q F"]

    def __len__(self) -> int:
        return len(self.unit)

    def centres(
        self, labels: Int[np.ndarray, "counts labels"], monitor: Monitor | None = None
    ) -> list[Centres]:
        """See ``Likeness``: in two passes over the vectors."""
        return centres_of_vectors(self.unit, labels, monitor=monitor)

    def between(self, chosen: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n n"]:
        """See ``Likeness``."""
        some = np.asarray(self.unit[chosen])
        return np.clip(some @ some.T, -1, 1)

    def subset(self, chosen: Int[np.ndarray, " n"]) -> "Vectors":
        """See ``Likeness``."""
        return Vectors(np.asarray(self.unit[chosen]))

    def null(self, seed: int) -> "Vectors":
        """See ``Likeness``: each feature permuted among the samples (``quality.shuffled``)."""
        return Vectors(shuffled(self.unit, seed))

    def stored(self, row: Any) -> Stored | None:
        """See ``Likeness``."""
        return Stored(self.unit, row)

    def checked(self) -> "Vectors":
        """See ``Likeness``."""
        return Vectors(np.asarray(self.unit))


def likeness_of(similarity: xr.Dataset, absolute: bool = False) -> Cosines | Vectors:
    """What a stage of QDG has found: a Dataset of ``similarity`` or of ``features``.

    Args:
        similarity: of either.
        absolute: whether cosines of absolute values are wanted.

    Raises:
        BadInput: if those are wanted, and not there.
    """
    name = COSINE_ABS if absolute else COSINE
    if VECTOR in similarity and not absolute:
        return Vectors(similarity[VECTOR])
    if name not in similarity:
        raise BadInput(f"the clusters are of {name}, which the similarity lacks; make it with that")
    return Cosines(similarity[name], absolute)


def as_likeness(given: ArrayLike | Cosines | Vectors, absolute: bool = False) -> Cosines | Vectors:
    """A matrix of cosines as ``Likeness``; what is one already, as it is. Either is checked."""
    if isinstance(given, Cosines | Vectors):
        return given.checked()
    return Cosines(symmetric(given), absolute)


def of_vectors(vectors: Float[np.ndarray, "Q F"]) -> Cosines:
    """The cosines of all pairs of unit vectors, as a matrix in memory."""
    return Cosines(vectors @ vectors.T)
