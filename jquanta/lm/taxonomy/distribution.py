"""How losses are distributed: p(L), its mean, and the integrand L p(L) (paper section 3)."""

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from jaxtyping import Float64, Int64

from jquanta.lm.taxonomy.tables import blocks
from jquanta.run.progress import Monitor, Silence
from jquanta.sweep.scaling import NATS_PER_BIT

BINS, TOP = 3000, 30.0
"""The paper's histogram: 3,000 bins over 0 … 30 bits."""

COLUMNS = 8
"""Columns read side by side: 32 MiB a block."""


@dataclass(frozen=True, eq=False)
class Distributions:
    """Histograms of the losses of M models, and their exact means.

    Attributes:
        edges: [bins + 1] in bits; a bin holds its lower edge.
        counts: [M, bins] predictions in each.
        beyond: [M] predictions whose loss is at the last edge or above.
        mean: [M] mean loss in nats, summed in float64, not from the histogram.
        predictions: of each model.
    """

    edges: Float64[np.ndarray, " edges"]
    counts: Int64[np.ndarray, "M bins"]
    beyond: Int64[np.ndarray, " M"]
    mean: Float64[np.ndarray, " M"]
    predictions: int

    @property
    def centres(self) -> Float64[np.ndarray, " bins"]:
        """Middles of the bins, in bits."""
        return (self.edges[:-1] + self.edges[1:]) / 2

    @property
    def density(self) -> Float64[np.ndarray, "M bins"]:
        """p(L) for each bit: its area and the share beyond the last edge make 1."""
        return self.counts / (self.predictions * np.diff(self.edges))

    @property
    def integrand(self) -> Float64[np.ndarray, "M bins"]:
        """L p(L): its area is the mean in bits, to half a bin, but for what lies beyond."""
        return self.centres * self.density

    def of(self, models: np.ndarray) -> "Distributions":
        """Those of some models, by place."""
        return replace(
            self, counts=self.counts[models], beyond=self.beyond[models], mean=self.mean[models]
        )

    def merged(self, bins: int) -> "Distributions":
        """Neighbouring bins added up: ``bins`` of them, a divisor of their number."""
        every = self.counts.shape[1] // bins
        counts = self.counts.reshape(len(self.counts), bins, every).sum(2)
        return replace(self, edges=self.edges[::every], counts=counts)


def distributions(
    losses: xr.Dataset, bins: int = BINS, top: float = TOP, monitor: Monitor | None = None
) -> Distributions:
    """Histograms and means of every column, each read once, in blocks.

    Args:
        losses: of ``open_table``, nats.
        bins: number of bins of equal width.
        top: last edge, in bits; the first is 0. Losses a rounding below 0 count as 0.
        monitor: hears how far it is.

    Raises:
        BadInput: for a loss that is NaN, infinite or negative, or no predictions.
    """
    monitor = monitor or Silence()
    models, predictions = losses.sizes["model"], losses.sizes["prediction"]
    counts = np.zeros((models, bins + 1), np.int64)  # the last: beyond
    total = np.zeros(models)
    for left in range(0, models, COLUMNS):
        beside = losses.isel(model=slice(left, left + COLUMNS))
        for first, part in blocks(beside):
            for number, column in enumerate(part.T, left):
                # In float64 even where the bins' width is no float32: bins as numpy's histogram's.
                place = np.floor(column.astype(np.float64) * (bins / (top * NATS_PER_BIT)))
                counts[number] += np.bincount(
                    place.clip(0, bins).astype(np.int64), minlength=bins + 1
                )
                total[number] += column.sum(dtype=np.float64)
            read = left * predictions + part.shape[1] * (first + len(part))
            monitor.work("reading losses", read / (models * predictions))
    return Distributions(
        np.linspace(0, top, bins + 1),
        counts[:, :-1],
        counts[:, -1],
        total / predictions,
        predictions,
    )
