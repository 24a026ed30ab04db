"""How many outer products hold the gradient of a kernel, as far as the network alone tells.

Of the last block only the prediction's position goes through queries, the attention's output and
the MLP. The gradients of these kernels, and of the unembedding, are outer products of two vectors.
"""

from collections.abc import Sequence

from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import shapes
from jquanta.qdg.views.parameters import count

WHOLE_ROWS = ("qkv", "key", "value")
"""Linear layers through which all positions go in the last block, too."""


def ranks_of(config: LMConfig, names: Sequence[str], rank: int) -> dict[str, int]:
    """The directions kept of each parameter that is kept as factors: ``rank``, or the 1 that there
    is. Not of those that take no less room so: rank · (n_in + n_out) numbers."""
    found, last = {}, f"layers.{config.layers - 1}."
    for name in names:
        shape = shapes(config)[name]
        if len(shape) != 2:
            continue
        inner = name.startswith(last) and name.split(".")[-2] not in WHOLE_ROWS
        own = 1 if inner or name.startswith("unembed.") else rank
        if own * sum(shape) < shape[0] * shape[1]:
            found[name] = own
    return found


def outer_products(config: LMConfig, names: Sequence[str]) -> dict[str, int]:
    """``ranks_of`` those parameters whose gradients are outer products of two vectors."""
    rank = 1 + max(min(shape) for shape in shapes(config).values() if len(shape) == 2)
    return {name: own for name, own in ranks_of(config, names, rank).items() if own == 1}


def row_of(config: LMConfig, names: Sequence[str]) -> int:
    """Numbers of a gradient of which outer products are held as two vectors each."""
    sides = shapes(config)
    outer = outer_products(config, names)
    whole = [name for name in names if name not in outer]
    return count(config, whole) + sum(sum(sides[name]) for name in outer)
