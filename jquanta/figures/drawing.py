"""What drawing a figure gives: its files, and what it shows as numbers."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jquanta.run.files import write_whole

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
        digits = decimals(self.exponent)
        return (
            f"{label} = {self.exponent:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}] "
            f"over {first:.4g} to {last:.4g} ({self.n_points} points){theory}{finite}"
        )


class Amount(NamedTuple):
    """A number with its unit, such as a mean loss."""

    name: str
    of: str
    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.name} of {self.of} = {self.value:.4g} {self.unit}"


class Share(NamedTuple):
    """How many of how many: ``share`` is ``number / total``, NaN of none."""

    name: str
    of: str
    share: float
    number: int
    total: int

    @classmethod
    def counted(cls, name: str, of: str, number: Any, total: Any) -> "Share":
        """The share that ``number`` is of ``total``."""
        number, total = int(number), int(total)  # plain, for JSON
        return cls(name, of, number / total if total else math.nan, number, total)

    def __str__(self) -> str:
        share = f"{self.share:.3g}" if self.total else "no share"
        return f"{self.name} at {self.of} = {share} ({self.number:,} of {self.total:,})"


class Note(NamedTuple):
    """What the reader should know, in a line."""

    note: str

    def __str__(self) -> str:
        return self.note


class Token(NamedTuple):
    """A token that is shown: a prediction of a corpus.

    Attributes:
        name: its kind.
        prediction: its number in the corpus.
        target: the predicted text.
        sizes: of the models, parameters without embeddings.
        losses: of the models, in nats.
        slope: of the line of loss on ln N, in nats.
        r2: of that line.
    """

    name: str
    prediction: int
    target: str
    sizes: tuple[int, ...]
    losses: tuple[float, ...]
    slope: float
    r2: float

    def __str__(self) -> str:
        return f"{self.name}: --token {self.prediction}  {self.target!r}"


Row = Measured | Amount | Share | Note | Token


class Drawing(NamedTuple):
    """A drawn figure: the files written, and the numbers shown in it."""

    paths: list[Path]
    measured: Sequence[Row]


def decimals(exponent: float) -> int:
    """Of an exponent: two, or three where that would be a single digit."""
    return 2 if abs(exponent) >= 0.095 else 3


def save_measured(measured: Sequence[Row], path: Path) -> None:
    """Write the numbers as JSON; what is not finite becomes null."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(part) for part in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    rows = [{key: plain(value) for key, value in row._asdict().items()} for row in measured]
    write_whole(path, json.dumps(rows, indent=1) + "\n")
