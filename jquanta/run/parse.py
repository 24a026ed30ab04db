"""JSON and TOML that somebody else wrote: parsed, or refused in one line.

The parsers of the standard library raise one error for bad syntax, and others for what is too
much for them: nesting of a thousand levels (``RecursionError``), a whole number of more than 4,300
digits (``ValueError``), bytes that are no UTF-8. They also pass half of a surrogate pair, which no
file can hold, and take 1e999 for infinity. Here all of that is ``BadInput``.
"""

import json
import math
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from jquanta.errors import BadInput

MOST_BYTES = 2**28
"""A larger file is no table of settings: the largest one known, a tokenizer's, has 30 MB."""

REASON = 200
"""Characters of a parser's message that are shown."""

BOM = "\ufeff"
"""The byte order mark, which some editors write in front of a text. It is not a part of it."""


def parse_json(text: str | bytes, where: str, remedy: str = "") -> Any:
    """The value of a JSON text.

    Args:
        text: as it is, or as UTF-8; a byte order mark in front is skipped.
        where: what the text is, for the message.
        remedy: advice for the message.

    Raises:
        BadInput: if it is not JSON, or none that can be stored again.
    """
    return _parsed(partial(json.loads, parse_float=_number), text, where, "JSON", remedy)


def parse_toml(text: str | bytes, where: str, remedy: str = "") -> dict[str, Any]:
    """The table of a TOML text. As ``parse_json``."""
    load = partial(tomllib.loads, parse_float=_number)
    found: dict[str, Any] = _parsed(load, text, where, "TOML", remedy)
    return found


def read_json(path: Path, where: str = "", remedy: str = "") -> Any:
    """The value of a JSON file.

    Raises:
        FileNotFoundError: if there is none.
        BadInput: if it cannot be read, as ``parse_json``; ``where`` names it, by default its path.
    """
    return parse_json(_content(path, where or str(path)), where or str(path), remedy)


def read_toml(path: Path, where: str = "", remedy: str = "") -> dict[str, Any]:
    """The table of a TOML file. As ``read_json``."""
    return parse_toml(_content(path, where or str(path)), where or str(path), remedy)


def whole_text(text: str) -> bool:
    """Whether a text can be written as UTF-8: whether it has no half of a surrogate pair."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _number(text: str) -> float:
    """A number as it is written, but infinity only where that is what it says."""
    found = float(text)
    if math.isinf(found) and "inf" not in text.lower():
        raise ValueError(f"{text[:20]} is too large for a number")
    return found


def _content(path: Path, where: str) -> bytes:
    """The bytes of a file. Raises ``BadInput`` if it is too large, or not to be read."""
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise BadInput(f"{where}: has {size:,} bytes, and at most {MOST_BYTES:,} are read")
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BadInput(f"{where}: cannot be read: {error.strerror}") from None


def _parsed(
    parse: Callable[[str], Any], text: str | bytes, where: str, kind: str, remedy: str
) -> Any:
    advice = f"; {remedy}" if remedy else ""
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        found = parse(decoded.removeprefix(BOM))
        if "\\u" in decoded and not _storable(found):
            raise BadInput(
                f"{where}: holds half of a surrogate pair, which is no character{advice}"
            )
        return found
    except BadInput:
        raise
    except RecursionError:
        raise BadInput(f"{where}: its {kind} is nested too deeply{advice}") from None
    except ValueError as error:  # bad syntax, bad UTF-8, or a number of too many digits
        reason = " ".join(str(error).split())[:REASON]
        raise BadInput(f"{where}: not valid {kind} ({reason}){advice}") from None


def _storable(value: Any) -> bool:
    """Whether all texts in a parsed value can be written."""
    if isinstance(value, str):
        return whole_text(value)
    if isinstance(value, dict):
        return all(map(_storable, value)) and all(map(_storable, value.values()))
    return not isinstance(value, list) or all(map(_storable, value))
