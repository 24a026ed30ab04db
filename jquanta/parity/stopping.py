"""Where a run ends: at its last step, or by early stopping as in the paper's sweep over k."""

from collections.abc import Sequence

import numpy as np

from jquanta.parity.config import RunConfig

PATIENCE_FROM = 4000  # updates; evaluations up to here do not count
RISES = 10  # consecutive rises of the mean test loss that stop a run


class Endings:
    """The evaluation that ends each of several runs of one schedule, as losses come in.

    Attributes:
        last: [R] number of each run's last evaluation, as far as is known.
        evaluations: how many were seen.
    """

    def __init__(self, runs: Sequence[RunConfig]):
        self.steps = runs[0].evaluation_steps
        self.last = np.full(len(runs), len(self.steps) - 1)
        self._early = np.array([run.train.early_stop for run in runs])
        self._rises = np.zeros(len(runs), int)
        self._latest = np.full(len(runs), np.nan)
        self.evaluations = 0

    def see(self, loss: np.ndarray) -> None:
        """Take in the mean test losses [R] of the next evaluation."""
        number = self.evaluations
        if number and self.steps[number - 1] > PATIENCE_FROM:
            self._rises = np.where(loss > self._latest, self._rises + 1, 0)
            stops = self._early & (self._rises == RISES)
            self.last = np.where(stops, np.minimum(self.last, number), self.last)
        self._latest, self.evaluations = np.array(loss), number + 1

    @property
    def all_reached(self) -> bool:
        """Whether every run has had its last evaluation."""
        return bool((self.last < self.evaluations).all())

    @property
    def ending_now(self) -> np.ndarray:
        """The runs whose last evaluation was the latest one."""
        return np.flatnonzero(self.last == self.evaluations - 1)

    @property
    def latest(self) -> float | None:
        """The mean test loss (nats) of the latest evaluation over the runs that are finite."""
        finite = self._latest[np.isfinite(self._latest)]
        return float(finite.mean()) if finite.size else None
