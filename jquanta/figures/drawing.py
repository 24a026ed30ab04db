"""The result of drawing a figure: its files, and the numbers that it shows."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jquanta.powerlaw import Fit, mean_interval
from jquanta.run.files import write_whole


class Measured(NamedTuple):
    """A fitted exponent beside the theoretical one.

    Attributes:
        name: of the exponent, such as ``alpha_N``.
        of: which runs it is fitted to, such as ``alpha 0.4``; empty if the figure has one task.
        exponent: the fitted value.
        interval: its 95% confidence interval; NaN where none is told, since the curve bends: the
            spread of its points about a power law would say nothing about the exponent.
        window: smallest and largest scale fitted (parameters, steps or samples).
        n_points: number of points in the window.
        theory: the model's exponent for infinitely many subtasks; None if it predicts none.
        finite: the model's exponent for the task's number of subtasks; None if not computed.
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
        fit: Fit,
        theory: float | None = None,
        finite: float | None = None,
        of: str = "",
        bends: bool = False,
    ) -> "Measured":
        """The exponent of a fit; without its interval where the curve ``bends``."""
        interval = (math.nan, math.nan) if bends else fit.interval
        return cls(name, of, fit.exponent, interval, fit.window, fit.n_points, theory, finite)

    def __str__(self) -> str:
        low, high = self.interval
        first, last = self.window
        theory = "" if self.theory is None else f"; theory {self.theory:.2f}"
        finite = "" if self.finite is None else f", {self.finite:.2f} with finitely many subtasks"
        label = f"{self.name} at {self.of}" if self.of else self.name
        digits = decimals(self.exponent)
        told = math.isfinite(low)
        if digits == 2 and high - low > 0.001 and f"{low:.2f}" == f"{high:.2f}":
            digits = 3  # an interval over seeds may be that narrow
        interval = f" [{low:.{digits}f}, {high:.{digits}f}]" if told else ""
        bends = "" if told else "; the curve bends, so no interval is told"
        return (
            f"{label} = {self.exponent:.{digits}f}{interval} "
            f"over {first:.4g} to {last:.4g} ({self.n_points} points){theory}{finite}{bends}"
        )


class Amount(NamedTuple):
    """A number with its unit, such as a mean loss."""

    name: str
    of: str
    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.name} of {self.of} = {self.value:.4g} {self.unit}"


class Spread(NamedTuple):
    """The mean of a number over seeds, with its 95% confidence interval (Student's t).

    Attributes:
        name, of, unit: as of ``Amount``.
        value: the mean.
        interval: of the mean.
        seeds: as texts.
        each: the numbers of the seeds.
    """

    name: str
    of: str
    value: float
    interval: tuple[float, float]
    unit: str
    seeds: tuple[str, ...]
    each: tuple[float, ...]

    @classmethod
    def over(
        cls, name: str, of: str, each: Sequence[float], unit: str, seeds: Sequence[str]
    ) -> "Spread":
        """The mean of ``each``, a number for each of ``seeds``."""
        low, high = mean_interval(each)
        values = tuple(map(float, each))
        mean = sum(values) / len(values)
        return cls(name, of, mean, (float(low), float(high)), unit, tuple(seeds), values)

    def __str__(self) -> str:
        low, high = self.interval
        # Decimals that show the interval's width, as those of a fit.
        digits = 3
        if 0 < high - low < math.inf:
            digits = min(max(-math.floor(math.log10(high - low)) + 1, 0), 6)
        value, below, above = (f"{x:.{digits}f}" for x in (self.value, low, high))
        count = len(self.seeds)
        return f"{self.name} of {self.of} = {value} [{below}, {above}] {self.unit} ({count} seeds)"


class Agreed(NamedTuple):
    """How far seeds agree, beside what chance would give.

    Attributes:
        name, of: of what, such as the steps of a network.
        value: a share, or a correlation.
        interval: its 95% confidence interval; NaN if there is none.
        chance: the value if seeds had nothing in common.
        number, total: of tokens: those that the value counts, of those that it is of; of a
            correlation the tokens that it is of, of all.
    """

    name: str
    of: str
    value: float
    interval: tuple[float, float]
    chance: float
    number: int
    total: int

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.name}, {self.of} = {self.value:.3f} [{low:.3f}, {high:.3f}] "
            f"({self.number:,} of {self.total:,}); by chance {self.chance:.2g}"
        )


class Share(NamedTuple):
    """A share of a whole: ``share`` is ``number / total``, and NaN if ``total`` is 0."""

    name: str
    of: str
    share: float
    number: int
    total: int

    @classmethod
    def counted(cls, name: str, of: str, number: Any, total: Any) -> "Share":
        """``number`` of ``total``, which may be NumPy integers or 0-dimensional arrays."""
        number, total = int(number), int(total)  # json knows no NumPy integers
        return cls(name, of, number / total if total else math.nan, number, total)

    def __str__(self) -> str:
        share = f"{self.share:.3g}" if self.total else "no share"
        return f"{self.name} at {self.of} = {share} ({self.number:,} of {self.total:,})"


class Portion(NamedTuple):
    """A kind of things: their share by number, and by how much they make a mean fall.

    Attributes:
        name, of: of what, such as tokens that are learned.
        share: ``number / total``.
        number, total: of things.
        fall: how much of ``whole`` is theirs; less than 0 if they rise.
        whole: by how much the mean falls.
        unit: of both.
    """

    name: str
    of: str
    share: float
    number: int
    total: int
    fall: float
    whole: float
    unit: str

    def __str__(self) -> str:
        return (
            f"{self.name} at {self.of} = {self.share:.3f} ({self.number:,} of {self.total:,}); "
            f"{self.fall:.3f} of the {self.whole:.3f} {self.unit} that the mean falls"
        )


class Note(NamedTuple):
    """One line that the reader of the figure should know."""

    note: str

    def __str__(self) -> str:
        return self.note


class Token(NamedTuple):
    """A token that a figure shows: one prediction of a corpus.

    Attributes:
        name: its kind, such as monogenic.
        prediction: its number in the corpus.
        target: the text of the predicted token.
        sizes: of the models: parameters without embeddings.
        losses: of the models, in nats.
        slope: of the least-squares line of the loss on ln N, in nats.
        r2: coefficient of determination of that line.
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


Row = Measured | Amount | Spread | Agreed | Share | Portion | Note | Token


class Drawing(NamedTuple):
    """A drawn figure: the paths of its files, and the numbers that it shows."""

    paths: list[Path]
    measured: Sequence[Row]


def decimals(exponent: float) -> int:
    """Decimals to print of an exponent: two, or three if two would leave one significant digit."""
    return 2 if abs(exponent) >= 0.095 else 3


def save_measured(measured: Sequence[Row], path: Path) -> None:
    """Write the numbers as JSON. NaN and infinities, which JSON lacks, become null."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(part) for part in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    rows = [{key: plain(value) for key, value in row._asdict().items()} for row in measured]
    write_whole(path, json.dumps(rows, indent=1) + "\n")
