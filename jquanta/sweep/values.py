"""Values of a configuration field: one, several, or a range, from TOML or from a flag."""

import math
import re
from typing import Any

from jquanta.errors import BadInput
from jquanta.parity.config import FIELDS, Scalar
from jquanta.run import settings
from jquanta.run.shown import shown

_ITEM = re.compile(r"\s*((?:log|lin)\s*\([^()]*\)|[^,()]+?)\s*(?:,|$)")
_RANGE = re.compile(r"(log|lin)\s*\(([^()]*)\)")

MAX_COUNT = 100_000  # values of a field; more is a mistake, and would only fill the memory

MAX_WHOLE = settings.MAX_SEED  # steps and sizes are 32-bit on the device, too

COUNTS = ("train.train_size",)  # whole numbers that may be inf, held as floats


def parse_values(name: str, spec: Any) -> tuple[tuple[Scalar, ...], int]:
    """All values that ``spec`` gives the field ``name``, in order.

    Args:
        name: dotted name of the field.
        spec: a number, a word, a TOML list of these, or a string such as ``"0.1, 0.2"``,
            ``"log(10, 500, 30)"`` (30 values from 10 to 500, evenly spaced in their logarithm,
            both ends included) or ``"lin(0.1, 0.8, 8)"``. Integer fields round to the nearest.

    Returns:
        The values, and how many duplicates (of rounding) were dropped.

    Raises:
        BadInput: for a wrong type, an empty list, or an empty or descending range.
    """
    items = spec if isinstance(spec, list) else [spec]
    values: list[Scalar] = []
    for item in items:
        if len(values) > MAX_COUNT:
            break
        values += _from_text(name, item) if isinstance(item, str) else [_typed(name, item)]
    if not values:
        raise BadInput(f"{name}: no value given; give one, or several such as 'log(10, 500, 30)'")
    if len(values) > MAX_COUNT:
        raise BadInput(f"{name}: more than {MAX_COUNT:,} values; give fewer")
    unique = tuple(dict.fromkeys(values))
    return unique, len(values) - len(unique)


def _from_text(name: str, text: str) -> list[Scalar]:
    text_field = FIELDS[name].type is str
    if text_field and not text.strip():
        return [""]
    values: list[Scalar] = []
    end = 0
    while end < len(text):
        item = _ITEM.match(text, end)
        if not item:
            raise BadInput(
                f"{name} = {shown(repr(text))}: cannot be read; give values such as "
                "'0.1, 0.2', 'log(10, 500, 30)' or 'lin(0.1, 0.8, 8)'"
            )
        spread = _RANGE.fullmatch(item[1])
        values += _spread(name, *spread.groups()) if spread else [_typed(name, item[1])]
        end = len(text) if len(values) > MAX_COUNT else item.end()
    return values


def _spread(name: str, kind: str, arguments: str) -> list[Scalar]:
    """The values of a range: ``log(first, last, count)`` or ``lin(first, last, count)``."""
    told = f"{name} = {shown(repr(f'{kind}({arguments})'))}"
    try:
        first, last, count = (float(part) for part in arguments.split(","))
    except ValueError:
        raise BadInput(f"{told}: give {kind}(first, last, count)") from None
    if not (count.is_integer() and 2 <= count <= MAX_COUNT):
        raise BadInput(f"{told}: the count must be a whole number from 2 to {MAX_COUNT}")
    if not (math.isfinite(first) and math.isfinite(last) and first < last):
        raise BadInput(f"{told}: the first value must be below the last")
    if kind == "log" and first <= 0:
        raise BadInput(f"{told}: a log range starts above 0")
    if not math.isfinite(last / first if kind == "log" else last - first):
        raise BadInput(f"{told}: too wide a range for a number; give a narrower one")
    place = [i / (count - 1) for i in range(1, int(count) - 1)]
    if kind == "log":
        between = [first * (last / first) ** t for t in place]
    else:
        between = [first + (last - first) * t for t in place]
    values = [first, *(float(f"{v:.12g}") for v in between), last]
    whole = FIELDS[name].type is int or name in COUNTS
    return [_typed(name, round(v) if whole else v) for v in values]


def _typed(name: str, value: Any) -> Scalar:
    """``value`` as the field's type, without losing anything."""
    value = settings.as_kind(name, FIELDS[name].type, value)
    if FIELDS[name].type is int and abs(value) > MAX_WHOLE:
        raise BadInput(f"{name} = {value!r}: too large; give at most {MAX_WHOLE}")
    return value
