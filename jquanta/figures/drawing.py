"""What drawing a figure gives: its files, and the exponents that it shows, as numbers."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jquanta.sweep.folder import write_whole

if TYPE_CHECKING:
    from jquanta.powerlaw import Fit


class Measured(NamedTuple):
    """One fitted exponent beside what theory expects.

    Attributes:
        name: such as ``alpha_N``.
        of: which runs, such as ``alpha 0.4``; empty where the figure has one task.
        exponent: fitted.
        interval: 95% confidence.
        window: of the fit, in units of its scale.
        n_points: in the window.
        theory: the model's exponent in the limit of many subtasks; None where it has none.
        finite: the same with the task's finitely many subtasks.
    """

    name: str
    of: str
    exponent: float
    interval: tuple[float, float]
    window: tuple[float, float]
    n_points: int
    theory: float | None = None
    finite: float | None = None

    @classmethod
    def from_fit(
        cls,
        name: str,
        fit: "Fit",
        theory: float | None = None,
        finite: float | None = None,
        of: str = "",
    ) -> "Measured":
        """A fit's exponent under a name."""
        return cls(name, of, fit.exponent, fit.interval, fit.window, fit.n_points, theory, finite)

    def __str__(self) -> str:
        low, high = self.interval
        first, last = self.window
        theory = "" if self.theory is None else f"; theory {self.theory:.2f}"
        finite = "" if self.finite is None else f", {self.finite:.2f} with finitely many subtasks"
        label = f"{self.name} at {self.of}" if self.of else self.name
        return (
            f"{label} = {self.exponent:.2f} [{low:.2f}, {high:.2f}] "
            f"over {first:.4g} to {last:.4g} ({self.n_points} points){theory}{finite}"
        )


class Drawing(NamedTuple):
    """A drawn figure: the files written, and the exponents shown in it."""

    paths: list[Path]
    measured: list[Measured]


def save_measured(measured: Sequence[Measured], path: Path) -> None:
    """Write the exponents as JSON; what is not finite becomes null."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(part) for part in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    rows = [{key: plain(value) for key, value in row._asdict().items()} for row in measured]
    write_whole(path, json.dumps(rows, indent=1) + "\n")
