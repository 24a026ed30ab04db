"""How documents lie in a batch, which is all that a block has to know of other positions.

A block asks its layout for the position of each token in its document, for attention, and for the
positions at which its output is wanted. So the same blocks serve documents that have a row each and
documents that are packed into rows.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jquanta.lm.models.parts import (
    Heads,
    Stream,
    attend,
    attend_at,
    attend_packed,
    attend_single,
    rows_at,
    single,
)


class Apart(NamedTuple):
    """Each row of the batch is a document, from its first token on.

    Attributes:
        window: tokens that a position sees, itself included; None for all up to itself.
        at: positions at which the block's output is wanted, T_out a document; None for all.
    """

    window: int | None = None
    at: Int[Array, "B T_out"] | None = None

    @property
    def places(self) -> None:
        """Positions are 0, 1, 2, … in every row."""
        return None

    def attend(self, query: Heads, key: Heads, value: Heads) -> Float[Array, "B T_out H head_dim"]:
        """Causal attention of the positions wanted."""
        if self.at is None:
            return attend(query, key, value, self.window)
        return attend_at(query, key, value, self.at, self.window)

    def wanted(self, x: Stream) -> Float[Array, "B T_out D"]:
        """The stream at the positions wanted."""
        return rows_at(x, self.at)


class Packed(NamedTuple):
    """Documents lie side by side in rows.

    Attributes:
        start: where the document of each position begins in its row. A position of padding is a
            document of its own.
        window: tokens that a position sees, itself included; None for all of its document up to
            itself. A traced number, so that one program serves blocks of different windows.
    """

    start: Int[Array, "B T"]
    window: Int[Array, ""] | None = None

    @property
    def places(self) -> Int[Array, "B T"]:
        """The position of each token in its document."""
        return jnp.arange(self.start.shape[1]) - self.start

    def attend(self, query: Heads, key: Heads, value: Heads) -> Heads:
        """Causal attention within documents."""
        return attend_packed(query, key, value, self.start, self.window)

    def wanted(self, x: Stream) -> Stream:
        """All positions."""
        return x


class Single(NamedTuple):
    """Each row of the batch is a document, of which one position is wanted.

    As ``Apart``, but a position is taken by a sum in which all others are zero, not by its index:
    what comes back to it is then no scatter, which a GPU would make one by one.

    Attributes:
        at: the position wanted, the same in all rows.
        window: tokens that it sees, itself included; None for all up to itself.
    """

    at: Int[Array, ""]
    window: int | None = None

    @property
    def places(self) -> None:
        """Positions are 0, 1, 2, … in every row."""
        return None

    def attend(self, query: Heads, key: Heads, value: Heads) -> Float[Array, "B 1 H head_dim"]:
        """Causal attention of the position wanted."""
        return attend_single(query, key, value, self.at, self.window)

    def wanted(self, x: Stream) -> Float[Array, "B 1 D"]:
        """The stream at the position wanted."""
        return single(x, self.at)


Layout = Apart | Packed | Single
