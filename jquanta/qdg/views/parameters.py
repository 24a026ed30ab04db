"""Which parameters a gradient is taken with respect to, by their roles or their names."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jquanta.errors import BadInput
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.heads import Piece, of_head, whole
from jquanta.lm.models.network import shapes
from jquanta.lm.models.roles import Role, role

PAPER = "paper"
REFERENCE = "reference"

HEAD = re.compile(r"layers\.(\d+)\.head\.(\d+)")
"""How an attention head is spelled."""


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
        if HEAD.fullmatch(pattern):
            raise BadInput(
                f"parameters {pattern!r}: a head is some rows and columns of its layer's kernels, "
                "and only similarity.mode = 'exact' cuts kernels; give paper, reference, or "
                "patterns of names"
            )
        found = [name for name in names if _search(pattern, name)]
        if not found:
            raise BadInput(
                f"parameters {pattern!r}: in no name of this model; give paper, reference, or "
                f"patterns of names such as {names[0]}, {names[-1]}"
            )
        wanted.update(found)
    return tuple(name for name in names if name in wanted)


def pieces(config: LMConfig, parameters: str | Sequence[str] = PAPER) -> tuple[Piece, ...]:
    """As ``chosen``, with attention heads: what is taken of each parameter, in order.

    Args:
        config: the model's shape.
        parameters: as for ``chosen``; among the patterns may be heads, such as ``layers.3.head.5``
            (``lm.models.heads`` says what a head has).

    Raises:
        BadInput: as ``chosen``, and for a head that there is not.
    """
    wanted = [parameters] if isinstance(parameters, str) else list(parameters)
    heads = [match for one in wanted if (match := HEAD.fullmatch(one))]
    rest = [one for one in wanted if not HEAD.fullmatch(one)]
    names: tuple[str, ...] = ()
    if rest or not heads:
        names = chosen(config, parameters if isinstance(parameters, str) else rest)
    cut = {piece for match in heads for piece in of_head(config, int(match[1]), int(match[2]))}
    found = {whole(config, name) for name in names} | {p for p in cut if p.name not in names}
    place = {name: i for i, name in enumerate(shapes(config))}
    return tuple(sorted(found, key=lambda piece: (place[piece.name], piece.start)))


def is_cut(config: LMConfig, kept: Sequence[Piece]) -> bool:
    """Whether any of these pieces is less than its parameter."""
    return any(piece != whole(config, piece.name) for piece in kept)


def taken(found: Mapping[str, Any], kept: Sequence[Piece], before: int = 0) -> dict[str, jax.Array]:
    """What the pieces have of arrays by name. Several pieces of one parameter lie side by side.

    Args:
        found: arrays, each with ``before`` axes in front of those of its parameter.
        kept: of ``pieces``.
        before: such as 1 for rows of samples.
    """
    parts: dict[str, list[jax.Array]] = {}
    for name, axis, start, stop in kept:
        part = jax.lax.slice_in_dim(found[name], start, stop, axis=axis + before)
        parts.setdefault(name, []).append(part)
    axes = {piece.name: piece.axis + before for piece in kept}
    return {
        name: own[0] if len(own) == 1 else jnp.concatenate(own, axes[name])
        for name, own in parts.items()
    }


def as_attribute(parameters: str | Sequence[str]) -> str | list[str]:
    """The choice as JSON has it."""
    return parameters if isinstance(parameters, str) else list(parameters)


def as_option(stored: str | Sequence[str]) -> str | tuple[str, ...]:
    """The choice that ``as_attribute`` stored."""
    return stored if isinstance(stored, str) else tuple(stored)


def count(config: LMConfig, names: Sequence[str]) -> int:
    """P: how many numbers the gradient with respect to these parameters has."""
    return numbers_in(shapes(config), [whole(config, name) for name in names])


def numbers_in(sizes: Mapping[str, tuple[int, ...]], kept: Sequence[Piece]) -> int:
    """How many numbers pieces of parameters of these shapes have together."""
    found = 0
    for name, axis, start, stop in kept:
        found += math.prod(sizes[name]) // sizes[name][axis] * (stop - start)
    return found


def columns(config: LMConfig, names: Sequence[str]) -> dict[str, slice]:
    """Where in a flat gradient each parameter lies."""
    ends = np.cumsum([0, *(count(config, [name]) for name in names)]).tolist()
    return {name: slice(*ends[i : i + 2]) for i, name in enumerate(names)}


def _search(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error as error:
        raise BadInput(f"parameters {pattern!r}: no regular expression ({error})") from None
