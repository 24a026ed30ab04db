"""Codes: the sets of atomic subtasks that compositional sparse parity trains.

A code sets the control bits of all its members, and its label is the parity of the union of their
disjoint subsets ("On the creation of narrow AI", Michaud et al., 2025). Every atomic subtask by
itself is the plain task.
"""

import math
import re
from dataclasses import dataclass
from functools import lru_cache

from jquanta.errors import BadInput

_CODE = re.compile(r"([0-9]{1,9}(?:\+[0-9]{1,9})*)(?:\*(.+))?")


@dataclass(frozen=True)
class Code:
    """A set of atomic subtasks.

    Attributes:
        members: the atomic subtasks, numbered from 0, ascending.
        weight: what the frequency of the code's place is multiplied with, before all are
            normalised.
    """

    members: tuple[int, ...]
    weight: float


@lru_cache(maxsize=64)
def parse_codes(text: str) -> tuple[Code, ...]:
    """The codes of ``task.codes`` in order, such as ``"0 1 2 0+1+2*2.5"``; none of an empty text.

    Raises:
        BadInput: for a word that is no code, a subtask twice in a code, or a code twice.
    """
    codes: dict[tuple[int, ...], Code] = {}
    for word in text.split():
        found = _CODE.fullmatch(word)
        if not found:
            raise refused(text, f"{word!r} is no code; write 3, 0+1+2, or 0+1+2*2.5 with a weight")
        members = sorted(int(number) for number in found[1].split("+"))
        if len(set(members)) < len(members):
            raise refused(text, f"{word!r} names a subtask twice; name each once")
        if tuple(members) in codes:
            raise refused(text, f"{word!r} repeats a code; give it once, with a weight")
        codes[tuple(members)] = Code(tuple(members), _weight(text, word, found[2]))
    return tuple(codes.values())


def refused(text: str, remedy: str) -> BadInput:
    """What to raise for the codes ``text``."""
    return BadInput(f"task.codes = {text!r}: {remedy}")


def _weight(text: str, word: str, number: str | None) -> float:
    try:
        weight = 1.0 if number is None else float(number)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        raise refused(text, f"the weight of {word!r} must be a finite number above 0")
    return weight
