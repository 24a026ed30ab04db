"""Values in messages, which are one line."""

from collections.abc import Collection
from itertools import islice

MOST_SHOWN = 80
"""Characters of a value in a message."""

NAMED = 8
"""Things that a message names, of many."""


def listed(values: Collection[object]) -> str:
    """Values for a message: the first ``NAMED`` of them, and how many more there are."""
    more = f" and {len(values) - NAMED:,} more" if len(values) > NAMED else ""
    return ", ".join(map(shown, islice(values, NAMED))) + more


def shown(value: object) -> str:
    """A value for a message: its text, cut after ``MOST_SHOWN`` characters."""
    try:
        text = str(value)
    except ValueError:  # a whole number of more digits than Python prints
        return "a number of thousands of digits"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def counted(number: int, word: str) -> str:
    """A number of things: ``1 shard``, ``2 shards``."""
    return f"{number:,} {word}{'s' * (number != 1)}"
