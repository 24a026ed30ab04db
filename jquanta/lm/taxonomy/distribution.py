"""The distribution of losses: p(L), its mean, and the integrand L p(L) (paper, section 3)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from jaxtyping import Float64, Num

from jquanta.lm.taxonomy.tables import blocks
from jquanta.run.progress import Monitor, Silence
from jquanta.sweep.curves import NATS_PER_BIT

BINS, TOP = 3000, 30.0
"""The paper's histogram: 3,000 bins of equal width over 0 … 30 bits."""

COLUMNS = 8
"""Models that are read together: 8 · 2^20 losses · 4 bytes = 32 MiB in a block."""


@dataclass(frozen=True, eq=False)
class Distributions:
    """Histograms of the losses of M models, and their exact means.

    Attributes:
        edges: [bins + 1] of the bins, in bits; a loss at an edge belongs to the bin above it.
        counts: [M, bins] number of predictions in each bin; a mean number for a mean of models.
        beyond: [M] number of predictions whose loss is at or above the last edge.
        mean: [M] mean loss in nats, summed in float64 from the losses, not from the histogram.
        predictions: number of predictions, the same for each model.
    """

    edges: Float64[np.ndarray, " edges"]
    counts: Num[np.ndarray, "M bins"]
    beyond: Num[np.ndarray, " M"]
    mean: Float64[np.ndarray, " M"]
    predictions: int

    @property
    def centres(self) -> Float64[np.ndarray, " bins"]:
        """[bins] centres of the bins, in bits."""
        return (self.edges[:-1] + self.edges[1:]) / 2

    @property
    def density(self) -> Float64[np.ndarray, "M bins"]:
        """[M, bins] the probability density p(L), per bit.

        Its integral over the bins, plus the share of predictions beyond the last edge, is 1.
        """
        return self.counts / (self.predictions * np.diff(self.edges))

    @property
    def integrand(self) -> Float64[np.ndarray, "M bins"]:
        """[M, bins] L p(L), dimensionless: the contribution of losses near L to the mean loss.

        Its integral is the mean loss in bits, up to half the width of a bin, without the
        predictions beyond the last edge.
        """
        return self.centres * self.density

    def of(self, models: np.ndarray) -> "Distributions":
        """The distributions of some of the models, selected by their index along M."""
        return replace(
            self, counts=self.counts[models], beyond=self.beyond[models], mean=self.mean[models]
        )

    def averaged(self, groups: Sequence[Sequence[int]]) -> "Distributions":
        """The mean distribution of each group of models, such as the seeds of a network, selected
        by their index along M."""
        counts, beyond, mean = (
            np.array([values[list(models)].mean(0) for models in groups])
            for values in (self.counts, self.beyond, self.mean)
        )
        return replace(self, counts=counts, beyond=beyond, mean=mean)

    def merged(self, bins: int) -> "Distributions":
        """Add up neighbouring bins, to ``bins`` wider ones; ``bins`` divides the present number."""
        every = self.counts.shape[1] // bins
        counts = self.counts.reshape(len(self.counts), bins, every).sum(2)
        return replace(self, edges=self.edges[::every], counts=counts)


def distributions(
    losses: xr.Dataset, bins: int = BINS, top: float = TOP, monitor: Monitor | None = None
) -> Distributions:
    """Compute histograms and means of the losses of every model, reading each loss once.

    Args:
        losses: of ``open_table``, in nats.
        bins: number of bins of equal width.
        top: last edge, in bits; the first edge is 0. Losses that rounding made slightly negative
            count as 0.
        monitor: receives the progress.

    Raises:
        BadInput: for a loss that is NaN, infinite or negative, or if there are no predictions.
    """
    monitor = monitor or Silence()
    models, predictions = losses.sizes["model"], losses.sizes["prediction"]
    counts = np.zeros((models, bins + 1), np.int64)  # the last bin: beyond the last edge
    total = np.zeros(models)
    for left in range(0, models, COLUMNS):
        beside = losses.isel(model=slice(left, left + COLUMNS))
        for first, part in blocks(beside):
            for number, column in enumerate(part.T, left):
                # The number of the bin of each loss. In float64, so that losses fall into the same
                # bins as by np.histogram even if the width of a bin is not exact in float32.
                place = np.floor(column.astype(np.float64) * (bins / (top * NATS_PER_BIT)))
                counts[number] += np.bincount(
                    place.clip(0, bins).astype(np.int64), minlength=bins + 1
                )
                total[number] += column.sum(dtype=np.float64)
            # Losses read so far, of models · predictions in all.
            read = left * predictions + part.shape[1] * (first + len(part))
            monitor.work("reading losses", read / (models * predictions))
    return Distributions(
        np.linspace(0, top, bins + 1),
        counts[:, :-1],
        counts[:, -1],
        total / predictions,
        predictions,
    )
