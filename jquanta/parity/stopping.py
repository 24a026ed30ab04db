"""When a run ends: at its last step, or by early stopping as in the paper's sweep over k."""

from collections.abc import Sequence

import numpy as np

from jquanta.parity.config import RunConfig

PATIENCE_FROM = 4000  # updates; rises of the loss before this one are not counted
RISES = 10  # consecutive rises of the mean test loss after which a run stops


class Endings:
    """Finds the last evaluation of each of R runs that share a schedule of evaluations.

    Call ``see`` after each evaluation.

    Attributes:
        last: [R] index of each run's last evaluation. It starts at the end of the schedule and
            falls where a run stops early.
        evaluations: number of evaluations seen so far.
    """

    def __init__(self, runs: Sequence[RunConfig]):
        self.steps = runs[0].evaluation_steps
        self.last = np.full(len(runs), len(self.steps) - 1)
        self._early = np.array([run.train.early_stop for run in runs])
        self._rises = np.zeros(len(runs), int)
        self._latest = np.full(len(runs), np.nan)
        self.evaluations = 0

    def see(self, loss: np.ndarray) -> None:
        """Add the mean test losses [R] (nats) of the next evaluation."""
        number = self.evaluations
        # A rise counts if both of the evaluations it compares are beyond PATIENCE_FROM.
        if number and self.steps[number - 1] > PATIENCE_FROM:
            self._rises = np.where(loss > self._latest, self._rises + 1, 0)
            stops = self._early & (self._rises == RISES)
            self.last = np.where(stops, np.minimum(self.last, number), self.last)
        self._latest, self.evaluations = np.array(loss), number + 1

    @property
    def all_reached(self) -> bool:
        """Whether every run has reached its last evaluation."""
        return bool((self.last < self.evaluations).all())

    @property
    def ending_now(self) -> np.ndarray:
        """Indices of the runs whose last evaluation is the one seen most recently."""
        return np.flatnonzero(self.last == self.evaluations - 1)

    @property
    def latest(self) -> float | None:
        """Mean test loss (nats) at the latest evaluation, over the runs where it is finite.

        None before the first evaluation, or if no loss is finite.
        """
        finite = self._latest[np.isfinite(self._latest)]
        return float(finite.mean()) if finite.size else None
