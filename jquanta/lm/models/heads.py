"""Which numbers of a block's parameters belong to one attention head."""

import re
from typing import NamedTuple

from jquanta.errors import BadInput
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import shapes


class Piece(NamedTuple):
    """Some rows or columns of a parameter.

    Attributes:
        name: of the parameter.
        axis: along which it is cut.
        start, stop: of what is taken along it.
    """

    name: str
    axis: int
    start: int
    stop: int


def whole(config: LMConfig, name: str) -> Piece:
    """A parameter with all its numbers."""
    return Piece(name, 0, 0, shapes(config)[name][0])


def of_head(config: LMConfig, layer: int, head: int) -> tuple[Piece, ...]:
    """What a head has of its block's kernels and biases.

    The columns of its queries, keys and values, with their biases, and the rows of the attention's
    last kernel. That kernel's bias, and norms of queries and keys, are of no head. Where queries
    are grouped (Ainslie et al., 2023), a head's keys and values are those of its group, which the
    other heads of the group have too; else all heads of a layer together are its kernels.

    Raises:
        BadInput: if there is no such layer or head.
    """
    if not (0 <= layer < config.layers and 0 <= head < config.heads):
        raise BadInput(
            f"layers.{layer}.head.{head}: there are layers 0 to {config.layers - 1} with heads 0 "
            f"to {config.heads - 1}; give one of them"
        )
    group = config.heads // getattr(config, "kv_heads", config.heads)
    size = config.head_dim
    found: list[Piece] = []

    def take(name: str, axis: int, first: int, heads: int = 1) -> None:
        found.append(Piece(name, axis, first * size, (first + heads) * size))

    for name, shape in shapes(config).items():
        match = re.fullmatch(rf"layers\.{layer}\.attention\.(\w+)\.(kernel|bias)", name)
        module, last = match[1] if match else "", len(shape) - 1
        if module == "query":
            take(name, last, head)
        elif module in ("key", "value"):
            take(name, last, head // group)
        elif module == "qkv" and config.head_by_head:
            take(name, last, 3 * head, 3)
        elif module == "qkv":
            for part in range(3):
                take(name, last, part * config.heads + head)
        elif module == "out" and len(shape) == 2:
            take(name, 0, head)
    return tuple(found)
