"""Clusters as their centres see them, from the cosines within them alone (no gradients).

A cluster's centre is the mean of its n unit gradients, m = Σ_j g_j / n. With s_i = Σ_j g_i·g_j over
the cluster, (n|m|)² = Σ_i s_i: sums of cosines tell all that follows.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int

if TYPE_CHECKING:
    import xarray as xr

STRIP = 1024
"""Rows of the matrix in memory at a time."""


class Centres(NamedTuple):
    """Of one count's clusters.

    Attributes:
        label: [Q] cluster of each sample.
        lengths: [k] n|m|; 0 where gradients cancel.
        apart: [Q] cosine of each sample to the centre of the *others* of its cluster; NaN for one
            alone.
    """

    label: Int[np.ndarray, " Q"]
    lengths: Float[np.ndarray, " k"]
    apart: Float[np.ndarray, " Q"]


def centres(
    cosine: "xr.DataArray | Float[np.ndarray, 'Q Q']", label: Int[np.ndarray, " Q"]
) -> Centres:
    """One pass over the matrix, which may be on disk.

    A unit gradient's product with the others' sum nm - g is s - 1, and |nm - g|² = Σs - 2s + 1.
    """
    sums = np.empty(len(label))
    for start in range(0, len(label), STRIP):
        strip = np.asarray(cosine[start : start + STRIP])
        same = label[start : start + STRIP, None] == label
        sums[start : start + STRIP] = strip.sum(1, dtype=np.float64, where=same)
    squares = np.maximum(np.bincount(label, sums), 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = (sums - 1) / np.sqrt(squares[label] - 2 * sums + 1)
    alone = np.bincount(label)[label] == 1
    return Centres(label, np.sqrt(squares), np.where(alone, np.nan, apart))


def to_centres(cosines: Float[np.ndarray, "N Q"], centres: Centres) -> Float[np.ndarray, "N k"]:
    """Cosines of new gradients to the centres, from those to the samples; NaN for no centre."""
    order = np.argsort(centres.label, kind="stable")
    starts = np.searchsorted(centres.label[order], np.arange(len(centres.lengths)))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.add.reduceat(cosines[:, order], starts, axis=1) / centres.lengths
    found[:, centres.lengths == 0] = np.nan
    return found
