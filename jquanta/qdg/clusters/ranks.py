"""Rank-frequency curves of clusters, their envelope and its slope (paper, section 4).

The envelope is the largest cluster size at each rank over all counts; its log-log slope over ranks
100 … 1000 estimates -(alpha + 1).

How far to trust it: the envelope is a staircase, so the sizes at its ranks are not independent.
The confidence interval from one clustering is therefore cluster-robust, with each step (a run of
ranks with equal sizes) as one group. Since sizes are sorted, the noise of different steps is still
correlated, and the interval is too narrow. More informative are how the slope depends on the window
(``window_table``) and how it varies over seeds or subsamples (several clusterings given to
``envelope_slope``). It is biased, too (``qdg.known.toy``). The paper puts the uncertainty of any
such slope at 0.2 or more.

Shapes: Q samples, K clusters.
"""

import numpy as np
import xarray as xr
from jaxtyping import Int, Int64

from jquanta.errors import BadInput
from jquanta.masks import unmasked
from jquanta.powerlaw import Fit, Window, fit

WINDOW: Window = (100, 1000)
"""The paper's: one decade of ranks."""

WINDOWS: tuple[Window, ...] = ((30, 300), (50, 500), (100, 500), (100, 1000), (200, 1000))
"""Windows of ``window_table``, each clipped to the ranks there are."""

LEAST_RATIO = 3
"""Least ratio of a window's end to its start."""


def rank_sizes(label: Int[np.ndarray, " Q"]) -> Int64[np.ndarray, " K"]:
    """Sizes of clusters, the largest first, without empty clusters."""
    sizes = np.unique(unmasked(label, "label"), return_counts=True)[1]
    return np.sort(sizes)[::-1].astype(np.int64)


def rank_frequency(clusters: xr.Dataset) -> xr.Dataset:
    """Sizes by rank.

    Args:
        clusters: from ``cluster``, ``open_clusters`` or ``imported``.

    Returns:
        ``size`` (count, rank), 0 beyond a count's last cluster, and ``envelope`` (rank), the
        largest over counts; in samples, ranks from 1.
    """
    curves = [rank_sizes(row) for row in clusters.label.to_numpy()]
    size = np.zeros((len(curves), max(map(len, curves))), np.int64)
    for row, curve in zip(size, curves, strict=True):
        row[: len(curve)] = curve
    units = {"units": "samples"}
    return xr.Dataset(
        {
            "size": (("count", "rank"), size, units | {"long_name": "size of the cluster"}),
            "envelope": ("rank", size.max(axis=0), units | {"long_name": "largest over counts"}),
        },
        {"count": clusters["count"].to_numpy(), "rank": np.arange(1, size.shape[1] + 1)},
    )


def envelope_slope(*curves: xr.Dataset, window: Window = WINDOW, level: float = 0.95) -> Fit:
    """Fit the envelope's slope; ``exponent`` is its negative, an estimate of alpha + 1.

    Args:
        curves: from ``rank_frequency``. Several, such as of seeds or subsamples, are fitted
            together, and the interval says how the slope varies among them; for one curve, among
            its steps.
        window: first and last rank, clipped to the ranks there are; by default the paper's.
        level: coverage of the interval.

    Raises:
        BadInput: for under three ranks in the window, or no curves.
    """
    if not curves:
        raise BadInput("curves: give the rank-frequency curves of one clustering or more")
    ranks = min(found.sizes["rank"] for found in curves)
    rank = np.arange(1, ranks + 1)
    envelopes = np.stack([found.envelope.to_numpy()[:ranks] for found in curves])
    low, high = window = clipped(window, ranks)
    groups = np.arange(len(curves))[:, None] if len(curves) > 1 else envelopes
    # One step alone has nothing to vary among.
    flat = np.ptp(envelopes[:, (low <= rank) & (rank <= high)]) == 0
    return fit(rank, envelopes, window, groups=None if flat else groups, level=level)


def window_table(*curves: xr.Dataset, level: float = 0.95) -> list[Fit]:
    """``envelope_slope`` over each of ``WINDOWS``: how much the slope depends on the choice."""
    ranks = min(found.sizes["rank"] for found in curves)
    windows = dict.fromkeys(clipped(window, ranks) for window in WINDOWS)  # without repeats
    return [envelope_slope(*curves, window=window, level=level) for window in windows]


def clipped(window: Window, ranks: int) -> Window:
    """A window within the ranks there are that still spans a factor of ``LEAST_RATIO``."""
    high = min(window[1], ranks)
    return (min(window[0], high / LEAST_RATIO), high)
