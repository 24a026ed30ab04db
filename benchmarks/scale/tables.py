"""The rows of the arithmetic as tables of docs/scale.md, and as they are stored."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.scale.arithmetic import (
    EXACT,
    FACTORS,
    MATRIX,
    MOST_PAIRED,
    NEIGHBOURS,
    SAMPLES,
    SIZES,
    SKETCH,
    SPHERICAL,
    TOKENS,
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


def markdown(rows: Sequence[Row]) -> list[str]:
    """The tables of the document."""
    parts = (_paper(rows), _losses(rows), _matrix(rows), _without(rows))
    return ["\n".join(part) for part in parts]


def _paper(rows: Sequence[Row]) -> Iterator[str]:
    yield (
        "| of the paper | operations | memory | disk | 1 GPU | 64 GPUs | useful to | then most is |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    words = {"sweeps": "{}, {:,} {}", "losses": "losses of {}", "qdg": "QDG of {}"}
    for row in rows:
        if row.paper:
            networks = "networks" if row.amount > 1 else "network"
            name = words[row.group].format(row.name, row.amount, networks)
            yield (
                f"| {name} | {power(row.operations)} | {bytes_of(row.memory)} | "
                f"{bytes_of(row.disk)} | {duration(row.seconds(1))} | "
                f"{duration(row.seconds(MANY))} | {row.useful} | {row.why} |"
            )


def _losses(rows: Sequence[Row]) -> Iterator[str]:
    heads = (f"{power(tokens)} tokens" for tokens in TOKENS)
    yield f"| losses | operations a token | reads | memory | {' | '.join(heads)} |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for dtype in ("float32", "bfloat16"):
        for size in SIZES:
            own = [_one(rows, size, dtype, tokens) for tokens in TOKENS]
            one = own[-1]
            yield (
                f"| {size}, {dtype} | {power(one.operations / one.amount)} | "
                f"{bytes_of(one.reads)} | {bytes_of(one.memory)} | "
                f"{' | '.join(map(cell, own))} |"
            )


def _matrix(rows: Sequence[Row]) -> Iterator[str]:
    """Ways by a matrix, to as many samples as are planned. The time is shown where the matrix can
    be made, even if its clusters do not fit."""
    counts = [n for n in SAMPLES if n <= MOST_PAIRED]
    words = {EXACT: "exact", FACTORS: "factors", SKETCH: "sketch"}
    heads = [f"{words[way]}, {power(n)}" for way in MATRIX for n in counts]
    yield f"| QDG by a matrix | {' | '.join(heads)} |"
    yield f"| --- |{' --- |' * len(heads)}"
    for size in SIZES:
        found = [_one(rows, size, way, n) for way in MATRIX for n in counts]
        cells = [times_of(row) if row.times else row.limit for row in found]
        yield f"| {size} | {' | '.join(cells)} |"


def _without(rows: Sequence[Row]) -> Iterator[str]:
    """Ways without a matrix."""
    heads = [f"{power(samples)} samples" for samples in SAMPLES]
    yield f"| QDG of sketches | operations a sample | memory | {' | '.join(heads)} |"
    yield f"| --- | --- | --- |{' --- |' * len(heads)}"
    for way, word in ((NEIGHBOURS, "neighbours"), (SPHERICAL, "spherical")):
        for size in SIZES:
            own = [_one(rows, size, way, samples) for samples in SAMPLES]
            first = own[0]
            yield (
                f"| {size}, {word} | {power(first.operations / first.amount)} | "
                f"{bytes_of(first.memory)} | {' | '.join(map(cell, own))} |"
            )


def _one(rows: Sequence[Row], name: str, way: str, amount: int) -> Row:
    """The row that is not the paper's."""
    wanted = (name, way, amount, False)
    return next(row for row in rows if (row.name, row.way, row.amount, row.paper) == wanted)


def cell(row: Row) -> str:
    """Times, or why there are none."""
    return row.limit or times_of(row)


def times_of(row: Row) -> str:
    """On one GPU and on ``MANY``."""
    return f"{duration(row.seconds(1))}, {duration(row.seconds(MANY))}"


def power(number: float) -> str:
    """A large number, such as 10^7 and 3.2 × 10^15, in HTML."""
    lead, exponent = f"{number:.1e}".split("e")
    high = f"10<sup>{int(exponent)}</sup>"
    return high if lead == "1.0" else f"{lead} × {high}"
