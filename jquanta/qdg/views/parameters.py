"""Which parameters a gradient is taken with respect to, by their roles or their names."""

import re
from collections.abc import Sequence

import numpy as np

from jquanta.errors import BadInput
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import shapes
from jquanta.lm.models.roles import Role, role

PAPER = "paper"
REFERENCE = "reference"


def chosen(config: LMConfig, parameters: str | Sequence[str] = PAPER) -> tuple[str, ...]:
    """Names of parameters, in the order in which a flat gradient holds them.

    That is the order of ``network.shapes``; within a parameter, rows first (C order).

    Args:
        config: the model's shape.
        parameters: ``paper``: kernels and biases of attention and MLP (section 4; 18,902,016
            numbers at Pythia-70m). ``reference``: the last layer norm too, as the public code has
            it (18,903,040). Else regular expressions, one or several, each to be found somewhere
            in a name: ``r"layers\\.3\\."``, ``r"mlp\\.(up|down)\\.kernel"``.

    Raises:
        BadInput: if an expression is not valid, or is found in no name.
    """
    names = tuple(shapes(config))
    if parameters in (PAPER, REFERENCE):
        inner = [name for name in names if role(name) in (Role.ATTENTION, Role.MLP)]
        last = [name for name in names if name.startswith("final_norm.")]
        wanted = {*inner, *(last if parameters == REFERENCE else [])}
        return tuple(name for name in names if name in wanted)
    patterns = [parameters] if isinstance(parameters, str) else list(parameters)
    if not patterns:
        raise BadInput("parameters: empty; give paper, reference, or patterns of names")
    wanted = set()
    for pattern in patterns:
        found = [name for name in names if _search(pattern, name)]
        if not found:
            raise BadInput(
                f"parameters {pattern!r}: in no name of this model; give paper, reference, or "
                f"patterns of names such as {names[0]}, {names[-1]}"
            )
        wanted.update(found)
    return tuple(name for name in names if name in wanted)


def as_attribute(parameters: str | Sequence[str]) -> str | list[str]:
    """The choice as JSON has it."""
    return parameters if isinstance(parameters, str) else list(parameters)


def as_option(stored: str | Sequence[str]) -> str | tuple[str, ...]:
    """The choice that ``as_attribute`` stored."""
    return stored if isinstance(stored, str) else tuple(stored)


def count(config: LMConfig, names: Sequence[str]) -> int:
    """P: how many numbers the gradient with respect to these parameters has."""
    sizes = shapes(config)
    return sum(int(np.prod(sizes[name])) for name in names)


def columns(config: LMConfig, names: Sequence[str]) -> dict[str, slice]:
    """Where in a flat gradient each parameter lies."""
    ends = np.cumsum([0, *(count(config, [name]) for name in names)]).tolist()
    return {name: slice(*ends[i : i + 2]) for i, name in enumerate(names)}


def _search(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error as error:
        raise BadInput(f"parameters {pattern!r}: no regular expression ({error})") from None
