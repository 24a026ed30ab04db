"""The rows of the arithmetic as tables of docs/scale.md, and as they are stored."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.scale.arithmetic import (
    SAMPLES,
    SIZES,
    TOKENS,
    VIEWS,
    Row,
    Time,
    bytes_of,
)
from jquanta.run.progress import duration

RECORD = Path(__file__).parents[1] / "records" / "scale-table.json"
MANY = 64
"""GPUs of the second time in a cell."""


def as_json(rows: Sequence[Row]) -> str:
    """Rows as they are stored, one a line."""
    lines = ",\n".join(json.dumps(_rounded(dataclasses.asdict(row))) for row in rows)
    return f"[\n{lines}\n]\n"


def from_json(text: str) -> list[Row]:
    """Rows as they were stored."""
    return [
        Row(**{**one, "times": {int(n): Time(**time) for n, time in one["times"].items()}})
        for one in json.loads(text)
    ]


def _rounded(value: Any) -> Any:
    """Numbers with four digits, which is more than an estimate knows."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def markdown(rows: Sequence[Row]) -> str:
    """The tables of the document."""
    parts = (_paper(rows), _losses(rows), _qdg(rows))
    return "\n\n".join("\n".join(part) for part in parts)


def _paper(rows: Sequence[Row]) -> Iterator[str]:
    yield (
        "| of the paper | operations | memory | disk | 1 GPU | 64 GPUs | half of the time of use "
        "| what then takes most |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    words = {"sweeps": "{}, {:,} networks", "losses": "losses of {}", "qdg": "QDG of {}"}
    for row in rows:
        if row.paper:
            name = words[row.group].format(row.name, row.amount)
            yield (
                f"| {name} | {power(row.operations)} | {bytes_of(row.memory)} | "
                f"{bytes_of(row.disk)} | {duration(row.seconds(1))} | "
                f"{duration(row.seconds(MANY))} | to {row.useful} | {row.why} |"
            )


def _losses(rows: Sequence[Row]) -> Iterator[str]:
    heads = (f"{power(tokens)} tokens" for tokens in TOKENS)
    yield f"| losses | operations a token | reads | memory | {' | '.join(heads)} |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for dtype in ("float32", "bfloat16"):
        for size in SIZES:
            own = [r for r in rows if (r.group, r.name, r.way) == ("losses", size, dtype)]
            own = [r for r in own if not r.paper]
            one = own[-1]
            yield (
                f"| {size}, {dtype} | {power(one.operations / one.amount)} | "
                f"{bytes_of(one.reads)} | {bytes_of(one.memory)} | "
                f"{' | '.join(map(cell, own))} |"
            )


def _qdg(rows: Sequence[Row]) -> Iterator[str]:
    heads = (f"{power(samples)} samples" for samples in SAMPLES)
    yield f"| QDG | operations at {power(SAMPLES[0])} | memory | {' | '.join(heads)} |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for way in VIEWS:
        for size in SIZES:
            own = [r for r in rows if (r.group, r.name, r.way) == ("qdg", size, way)]
            own = [r for r in own if not r.paper]
            first = own[0]
            memory = bytes_of(first.memory) if first.memory else "–"
            work = power(first.operations) if first.times else "–"
            yield f"| {size}, {way} | {work} | {memory} | {' | '.join(map(cell, own))} |"


def cell(row: Row) -> str:
    """Times on one GPU and on ``MANY``, or why there are none."""
    if row.limit:
        return row.limit
    return f"{duration(row.seconds(1))}, {duration(row.seconds(MANY))}"


def power(number: float) -> str:
    """A large number, such as 10^7 and 3.2 × 10^15, in HTML."""
    lead, exponent = f"{number:.1e}".split("e")
    high = f"10<sup>{int(exponent)}</sup>"
    return high if lead == "1.0" else f"{lead} × {high}"
