"""Rank-frequency curves of clusters, their envelope and its slope (paper, section 4).

The envelope is the largest cluster at each rank over all counts; its log-log slope over ranks
100 … 1000 estimates -(alpha + 1). What to make of it: the envelope is a staircase, so its ranks are
not independent; the interval of one clustering takes each step as one (a run of ranks with equal
sizes). As sizes are sorted, steps still share their noise, and the interval is too narrow. The
slope's dependence on the window (``window_table``), and on seeds or subsamples (several clusterings
given to ``envelope_slope``), tell more; and it is biased (``qdg.known.toy``). The paper puts the
uncertainty of any such slope at 0.2 or more.
"""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, Int64

from jquanta.errors import BadInput
from jquanta.powerlaw import Fit, Window, fit

if TYPE_CHECKING:
    import xarray as xr

WINDOW: Window = (100, 1000)
"""The paper's: one decade of ranks."""

WINDOWS: tuple[Window, ...] = ((30, 300), (50, 500), (100, 500), (100, 1000), (200, 1000))
"""Of the table, where there are as many ranks."""

LEAST_RATIO = 3
"""Of a window's end to its start."""


def rank_sizes(label: Int[np.ndarray, " Q"]) -> Int64[np.ndarray, " k"]:
    """Sizes of clusters, the largest first, without empty ones."""
    sizes = np.unique(label, return_counts=True)[1]
    return np.sort(sizes)[::-1].astype(np.int64)


def rank_frequency(clusters: "xr.Dataset") -> "xr.Dataset":
    """Sizes by rank.

    Args:
        clusters: from ``cluster``, ``open_clusters`` or ``imported``.

    Returns:
        ``size`` (count, rank), 0 beyond a count's last cluster, and ``envelope`` (rank), the
        largest over counts; in samples, ranks from 1.
    """
    import xarray as xr

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


def envelope_slope(*curves: "xr.Dataset", window: Window = WINDOW, level: float = 0.95) -> Fit:
    """Fit the envelope's slope; ``exponent`` is its negative, an estimate of alpha + 1.

    Args:
        curves: from ``rank_frequency``. Several, such as of seeds or subsamples, are fitted
            together, and the interval tells how the slope varies among them; else among the steps.
        window: of ranks, clipped to those there are; by default the paper's.
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
    flat = np.ptp(envelopes[:, (low <= rank) & (rank <= high)]) == 0  # a single step has no others
    return fit(rank, envelopes, window, groups=None if flat else groups, level=level)


def window_table(*curves: "xr.Dataset", level: float = 0.95) -> list[Fit]:
    """``envelope_slope`` over each of ``WINDOWS``: how far the slope hangs on the choice."""
    ranks = min(found.sizes["rank"] for found in curves)
    windows = dict.fromkeys(clipped(window, ranks) for window in WINDOWS)  # each once
    return [envelope_slope(*curves, window=window, level=level) for window in windows]


def clipped(window: Window, ranks: int) -> Window:
    """A window that ends with the ranks there are, and spans a factor of 3 at least."""
    high = min(window[1], ranks)
    return (min(window[0], high / LEAST_RATIO), high)
