"""What a part leaves behind: rows of numbers with their units, and the machine."""

from dataclasses import dataclass

from benchmarks.command import Head


@dataclass(frozen=True)
class Row:
    """One number, as it is printed and stored.

    Attributes:
        name: of what was measured.
        value: a number or a word; None where it does not work here, and the note says why.
        unit: of the value and the samples.
        note: in words, what else a reader should know, such as an error or a formula.
        samples: of which the value is the median.
        shown: whether the table at the end of the output has it, too.
    """

    name: str
    value: float | int | str | None
    unit: str = ""
    note: str = ""
    samples: tuple[float, ...] = ()
    shown: bool = True

    def __str__(self) -> str:
        return f"{self.name}: {self.amount}{f'  ({self.note})' if self.note else ''}"

    @property
    def amount(self) -> str:
        """The value with its unit."""
        if self.value is None:
            return "–"
        return f"{_digits(self.value)} {self.unit}".strip()


def _digits(value: float | int | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 1000 or isinstance(value, int) else f"{value:.4g}"


@dataclass(frozen=True, kw_only=True)
class Record(Head):
    """One part, by the process that measured it; the supervisor adds how it ended.

    Attributes:
        part: its name.
        outcome: ``running`` until the supervisor knows better.
        measuring_seconds: from the first line of the part to the last row so far, without starting
            Python and JAX.
        rows: what was measured, in this order.
    """

    part: str
    outcome: str = "running"
    measuring_seconds: float = 0.0
    rows: tuple[Row, ...] = ()

    def summary(self) -> str:
        return f"{self.part}: {len(self.rows)} rows in {self.measuring_seconds:.1f} s"
