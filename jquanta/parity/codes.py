"""Codes: the sets of atomic subtasks on which compositional sparse parity trains.

In a sample of a code, the control bits of all its members are set, and the label is the parity of
the union of the members' disjoint subsets of task bits ("On the creation of narrow AI", Michaud et
al., 2025). Where every code has one member, this is plain multitask sparse parity.
"""

import math
import re
from dataclasses import dataclass
from functools import lru_cache

from jquanta.errors import BadInput
from jquanta.run.shown import shown

# Members joined by +, then perhaps * and a weight, whose number is checked below: "0+1+2*2.5".
_CODE = re.compile(r"([0-9]{1,9}(?:\+[0-9]{1,9})*)(?:\*(.+))?")


@dataclass(frozen=True)
class Code:
    """A set of atomic subtasks.

    Attributes:
        members: the atomic subtasks, numbered from 0, ascending.
        weight: factor on the code's frequency, applied before the frequencies are normalised.
    """

    members: tuple[int, ...]
    weight: float


@lru_cache(maxsize=64)
def parse_codes(text: str) -> tuple[Code, ...]:
    """Parse the field ``task.codes``.

    Args:
        text: codes separated by spaces, such as ``"0 1 2 0+1+2*2.5"``.

    Returns:
        The codes in the order of the text; empty for an empty text.

    Raises:
        BadInput: for a word that is not a code, a subtask named twice in a code, or a code given
            twice.
    """
    codes: dict[tuple[int, ...], Code] = {}
    for word in text.split():
        found = _CODE.fullmatch(word)
        if not found:
            raise refused(
                text, f"{shown(repr(word))} is no code; write 3, 0+1+2, or 0+1+2*2.5 with a weight"
            )
        members = sorted(int(number) for number in found[1].split("+"))
        if len(set(members)) < len(members):
            raise refused(text, f"{shown(repr(word))} names a subtask twice; name each once")
        # Members are sorted, so that 0+1 and 1+0 are the same code.
        if tuple(members) in codes:
            raise refused(text, f"{shown(repr(word))} repeats a code; give it once, with a weight")
        codes[tuple(members)] = Code(tuple(members), _weight(text, word, found[2]))
    return tuple(codes.values())


def refused(text: str, remedy: str) -> BadInput:
    """The error to raise where ``task.codes`` is ``text``; ``remedy`` says what to change."""
    return BadInput(f"task.codes = {shown(repr(text))}: {remedy}")


def _weight(text: str, word: str, number: str | None) -> float:
    try:
        weight = 1.0 if number is None else float(number)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        raise refused(text, f"the weight of {shown(repr(word))} must be a finite number above 0")
    return weight
