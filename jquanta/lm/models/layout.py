"""The primitives of a decoder, whatever the way in which its positions lie in memory.

An architecture (``gpt_neox``, ``gpt_neo``) says which layers, rotations and attention its blocks
are made of. A layout says how each of these is computed, and at which positions. Every layer is
called with its input and the layout, so that an architecture is written once and serves all of:

``rows.Apart``
    A batch of documents, one a row of the batch: [B, T, D]. Losses on a CPU, pretraining.
``rows.Packed``
    Several documents side by side in each row: [B, T, D]. Losses on a GPU.
``rows.Single``
    As ``Apart``, but the output is wanted at one position. Per-sample gradients on a GPU.
``columns.Columns``
    One sequence with a column for each position: [D, T]. Per-sample gradients on a CPU.

Letters of shapes, here and in the modules beside; ``head_dim`` is D / H, the numbers of a head's
query, key or value:

====== ==========================================================================================
B      rows of a batch
T      positions of a sequence; T_out: those at which an output is wanted
D      width of the residual stream
H      attention heads
V      rows of the embedding: the vocabulary and its padding
L      layers, that is blocks
====== ==========================================================================================
"""

from abc import ABC, abstractmethod
from typing import ClassVar, TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64, Int

TILE = 128
"""Queries for which attention is computed at once on a CPU: their scores stay in its cache, and
keys that come after the tile are left out altogether."""

Stream = Float[Array, "..."]
"""A vector for each position, such as the residual stream: [B, T, D] in rows, [D, T] in columns."""

Heads = Float[Array, "..."]
"""Queries, keys or values, head by head: [B, T, H, head_dim] in rows, [H, head_dim, T] in
columns."""

Distances = TypeVar("Distances", Array, np.ndarray)


class Layout(ABC):
    """How positions lie in memory, which other positions each of them sees, and which are wanted.

    A subclass computes the primitives that blocks are made of. Where the output is wanted at some
    positions only (in a model's last block), ``attend`` and ``select`` return these alone.
    """

    axis: ClassVar[int]
    """The axis of a position's own numbers, in a ``Stream`` as in ``Heads``."""

    @abstractmethod
    def places(self, tokens: Int[Array, "*positions"]) -> Int[Array, "*places"]:
        """The position of each token in its document, counted from 0."""

    @abstractmethod
    def look_up(self, table: Float[Array, "n D"], index: Int[Array, "*positions"]) -> Stream:
        """A row of the table for each position; NaN where there is no such row."""

    @abstractmethod
    def linear(
        self, x: Stream, kernel: Float[Array, "n_in n_out"], bias: Float[Array, " n_out"] | None
    ) -> Stream:
        """Each position's vector times the kernel, plus the bias if there is one."""

    @abstractmethod
    def norm(
        self, x: Stream, scale: Float[Array, " D"], bias: Float[Array, " D"], eps: float
    ) -> Stream:
        """Layer norm: (x - mean) / √(variance + eps) · scale + bias, at each position."""

    @abstractmethod
    def root_norm(self, x: Stream, scale: Float[Array, " n"], eps: float) -> Stream:
        """RMSNorm: x / √(mean of squares + eps) · scale, at each position (Zhang and Sennrich,
        2019). Also of ``Heads``: of each head by itself, with ``scale`` [head_dim]."""

    @abstractmethod
    def split_heads(self, x: Stream, heads: int) -> Heads:
        """Cut each position's vector into the parts of its heads, which lie one after another."""

    @abstractmethod
    def join_heads(self, x: Heads) -> Stream:
        """The inverse of ``split_heads``."""

    def split(self, x: Stream, parts: int) -> list[Array]:
        """Cut each vector into equal parts: the whole one of a ``Stream``, each head's in
        ``Heads``."""
        return jnp.split(x, parts, axis=self.axis)

    def shared(self, x: Heads, times: int) -> Heads:
        """Each head of keys or values ``times`` times in a row: once for each query that it serves
        (grouped queries; Ainslie et al., 2023)."""
        heads = x.ndim + self.axis - 1  # heads lie before a head's numbers
        shape = (*x.shape[: heads + 1], times, *x.shape[heads + 1 :])
        # A broadcast, whose derivative is a sum over the group.
        wide = jnp.broadcast_to(jnp.expand_dims(x, heads + 1), shape)
        return wide.reshape(*x.shape[:heads], -1, *x.shape[heads + 1 :])

    @abstractmethod
    def rotate(self, x: Heads, rates: Float64[np.ndarray, " half"]) -> Heads:
        """Rotary position embedding of queries or keys (Su et al., 2021).

        With n = 2 · half, number i < n/2 of a head pairs with number i + n/2, and at position t the
        pair turns by the angle t · rates[i], in radians. Numbers from n on stay as they are.
        """

    @abstractmethod
    def attend(self, query: Heads, key: Heads, value: Heads) -> Heads:
        """Causal attention: for each query, the mean of the values that it sees, weighted by the
        softmax of query · key.

        Scores are not scaled: an architecture that divides them by √head_dim divides the queries.
        Of queries only those at positions wanted are taken.
        """

    @abstractmethod
    def select(self, x: Stream) -> Stream:
        """The vectors at the positions wanted."""


def angles(length: int, rates: Float64[np.ndarray, " half"]) -> Float64[np.ndarray, "T half"]:
    """Angles of rotary position embedding, in radians."""
    return np.arange(length)[:, None] * rates


def visible(distance: Int[Distances, "*shape"], window: int | None) -> Bool[Distances, "*shape"]:
    """The causal mask: whether a query sees a key that stands ``distance`` positions before it.

    It sees itself (distance 0) and what stands before, but no more than ``window`` positions.
    """
    return (distance >= 0) & (window is None or distance < window)


def tiles(length: int, window: int | None) -> list[tuple[slice, slice]]:
    """Queries that are computed together, and the keys that at least one of them sees."""
    found = []
    for start in range(0, length, TILE):
        stop = min(start + TILE, length)
        first = 0 if window is None else max(0, start - window + 1)
        found.append((slice(start, stop), slice(first, stop)))
    return found


def tile_mask(queries: slice, keys: slice, window: int | None) -> Bool[np.ndarray, "queries keys"]:
    """``visible`` for the queries and keys of a tile: [queries, keys]."""
    own, others = np.arange(queries.start, queries.stop), np.arange(keys.start, keys.stop)
    return visible(own[:, None] - others, window)
