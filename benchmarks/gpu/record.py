"""The record of a part: rows of numbers with their units, and the hardware."""

from dataclasses import dataclass

from benchmarks.command import Head


@dataclass(frozen=True)
class Row:
    """One number, as it is printed and stored.

    Attributes:
        name: what was measured.
        value: a number or a word; None if it is not supported here, and the note says why.
        unit: of the value and of the samples.
        note: a remark for the reader, such as an error or a formula.
        samples: the single measurements whose median is the value.
        shown: whether it is also shown in the table at the end of the output.
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
        """The value with its unit, as text."""
        if self.value is None:
            return "–"
        return f"{_digits(self.value)} {self.unit}".strip()


def _digits(value: float | int | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 1000 or isinstance(value, int) else f"{value:.4g}"


@dataclass(frozen=True, kw_only=True)
class Record(Head):
    """The record of one part, written by the process that measures it.

    The supervisor adds how the process ended.

    Attributes:
        part: its name.
        outcome: ``running`` until the supervisor replaces it.
        measuring_seconds: from the beginning of the measurement to the last row so far, without
            the start of Python and JAX.
        rows: the measurements, in their order.
    """

    part: str
    outcome: str = "running"
    measuring_seconds: float = 0.0
    rows: tuple[Row, ...] = ()

    def summary(self) -> str:
        return f"{self.part}: {len(self.rows)} rows in {self.measuring_seconds:.1f} s"
