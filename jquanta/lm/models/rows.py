"""Batches of sequences with a row for each position: [B, T, D].

What losses and pretraining compute in. Products have the dtype of the parameters; statistics of
layer norms and softmaxes are float32 or better.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64, Int

from jquanta.lm.models.layout import Layout, angles, tile_mask, tiles, visible

Stream = Float[Array, "B T D"]
Heads = Float[Array, "B T H head_dim"]
Queries = Float[Array, "B queries H head_dim"]
Keys = Float[Array, "B keys H head_dim"]


class Rows(Layout):
    """The primitives of which no position sees another one."""

    axis: ClassVar[int] = -1

    def places(self, tokens: Int[Array, "B T"]) -> Int[Array, " T"] | Int[Array, "B T"]:
        """Every row is a document from its first token on: 0, 1, 2, …"""
        return jnp.arange(tokens.shape[1])

    def look_up(
        self, table: Float[Array, "n D"], index: Int[Array, "*positions"]
    ) -> Float[Array, "*positions D"]:
        # Plain indexing would take the last row in place of one that does not exist.
        return jnp.take(table, index, axis=0, mode="fill", fill_value=jnp.nan)

    def linear(
        self,
        x: Float[Array, "B T n_in"],
        kernel: Float[Array, "n_in n_out"],
        bias: Float[Array, " n_out"] | None,
    ) -> Float[Array, "B T n_out"]:
        y = jnp.matmul(x, kernel)
        return y if bias is None else y + bias

    def norm(
        self, x: Stream, scale: Float[Array, " D"], bias: Float[Array, " D"], eps: float
    ) -> Stream:
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        centred = wide - wide.mean(-1, keepdims=True)
        # Not the mean of squares less the square of the mean: in float32 the difference cancels.
        variance = jnp.square(centred).mean(-1, keepdims=True)
        return (centred * jax.lax.rsqrt(variance + eps) * scale + bias).astype(x.dtype)

    def root_norm(
        self, x: Float[Array, "*positions n"], scale: Float[Array, " n"], eps: float
    ) -> Float[Array, "*positions n"]:
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        size = jnp.square(wide).mean(-1, keepdims=True)
        return (wide * jax.lax.rsqrt(size + eps) * scale).astype(x.dtype)

    def split_heads(self, x: Stream, heads: int) -> Heads:
        return x.reshape(*x.shape[:-1], heads, -1)

    def join_heads(self, x: Heads) -> Stream:
        return x.reshape(*x.shape[:-2], -1)

    def rotate(self, x: Heads, rates: Float64[np.ndarray, " half"]) -> Heads:
        return rotate(x, rates)


@dataclass(frozen=True, eq=False)
class Apart(Rows):
    """Each row of the batch is a document, from its first token on.

    Attributes:
        window: the most positions that a query sees, its own included; None for all up to its own.
        at: positions at which the output is wanted, T_out of each document; None for all.
    """

    window: int | None = None
    at: Int[Array, "B T_out"] | None = None

    def attend(self, query: Heads, key: Heads, value: Heads) -> Float[Array, "B T_out H head_dim"]:
        if self.at is None:
            return attend(query, key, value, self.window)
        return attend_at(query, key, value, self.at, self.window)

    def select(self, x: Stream) -> Float[Array, "B T_out D"]:
        return x if self.at is None else jnp.take_along_axis(x, self.at[..., None], axis=1)


@dataclass(frozen=True, eq=False)
class Packed(Rows):
    """Documents lie side by side in the rows of the batch.

    Attributes:
        start: where in its row the document of each position begins. A position of padding is a
            document of its own.
        window: the most positions that a query sees, its own included; None for all of its document
            up to its own. It may be a traced number, so that one program serves all blocks.
    """

    start: Int[Array, "B T"]
    window: int | Int[Array, ""] | None = None

    def places(self, tokens: Int[Array, "B T"]) -> Int[Array, "B T"]:
        """The position of each token in its document."""
        return jnp.arange(self.start.shape[1]) - self.start

    def rotate(self, x: Heads, rates: Float64[np.ndarray, " half"]) -> Heads:
        return rotate(x, rates, jnp.arange(self.start.shape[1]) - self.start)

    def attend(self, query: Heads, key: Heads, value: Heads) -> Heads:
        return attend_packed(query, key, value, self.start, self.window)

    def select(self, x: Stream) -> Stream:
        """All positions."""
        return x


@dataclass(frozen=True, eq=False)
class Single(Rows):
    """Each row of the batch is a document, and the output is wanted at one position.

    The same as ``Apart`` with ``at``, but the position is taken by a sum over all positions in
    which the others are zero. The gradient of such a sum is a product with a mask. That of indexing
    is a scatter, which a GPU would carry out one addition at a time.

    Attributes:
        at: the position wanted, the same in all rows.
        window: the most positions that its query sees, its own included; None for all.
    """

    at: Int[Array, ""]
    window: int | None = None

    def attend(self, query: Heads, key: Heads, value: Heads) -> Float[Array, "B 1 H head_dim"]:
        distance = self.at - jnp.arange(key.shape[1])
        seen = visible(distance, self.window)
        return _attend_masked(single(query, self.at), key, value, seen[None, None, None])

    def select(self, x: Stream) -> Float[Array, "B 1 D"]:
        return single(x, self.at)


def single(x: Float[Array, "B T *rest"], at: Int[Array, ""]) -> Float[Array, "B 1 *rest"]:
    """One position, as a sum over all of them in which the others are zero."""
    chosen = (jnp.arange(x.shape[1]) == at).reshape(-1, *(1,) * (x.ndim - 2))
    return jnp.where(chosen, x, 0).sum(1, keepdims=True)


def rotate(
    x: Heads, rates: Float64[np.ndarray, " half"], places: Int[Array, "B T"] | None = None
) -> Heads:
    """Rotary position embedding: see ``Layout.rotate``.

    The cosines and sines are exact to the dtype. transformers multiplies positions and rates in
    float32, and so its angles are off by up to 4e-5 at position 1000.

    Args:
        x: queries or keys.
        rates: by how much each pair turns from one position to the next, in radians.
        places: the position of each token in its document, less than T; None for 0, 1, 2, …
    """
    turned = angles(x.shape[1], rates)[:, None]  # an axis for the heads
    cos, sin = (jnp.asarray(table, x.dtype) for table in (np.cos(turned), np.sin(turned)))
    if places is not None:
        cos, sin = cos[places], sin[places]
    first, second, rest = jnp.split(x, [len(rates), 2 * len(rates)], axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)


def attend(query: Heads, key: Heads, value: Heads, window: int | None = None) -> Heads:
    """Causal attention: see ``Layout.attend``.

    A tile of queries is computed at once, from the scores of all keys that one of them sees, which
    are float32 or better. Not differentiable in forward mode.
    """
    found = []
    # The backward pass is traced later, when the caller's default precision is no longer set.
    precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    for own, seen in tiles(query.shape[1], window):
        ahead = own.start - seen.start
        found.append(_attend(query[:, own], key[:, seen], value[:, seen], ahead, window, precision))
    return jnp.concatenate(found, axis=1)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _attend(
    query: Queries, key: Keys, value: Keys, ahead: int, window: int | None, precision: str | None
) -> Queries:
    """Attention of queries, the first of which stands ``ahead`` positions after the first key.

    The backward pass is written out. XLA's own sums over all keys of each query, where a sum over
    the ``head_dim`` numbers of its output gives the same (Dao et al., 2022), and takes 1.2 times
    as long over a whole model on a CPU.
    """
    return _attend_forward(query, key, value, ahead, window, precision)[0]


def _attend_forward(
    query: Queries, key: Keys, value: Keys, ahead: int, window: int | None, precision: str | None
) -> tuple[Queries, tuple[Array, ...]]:
    places = slice(ahead, ahead + query.shape[1]), slice(0, key.shape[1])
    wide = jnp.promote_types(query.dtype, jnp.float32)
    scores = jnp.einsum("bthk,bshk->bhts", query, key, preferred_element_type=wide)
    scores = jnp.where(tile_mask(*places, window), scores, -jnp.inf)
    weights = jnp.exp(scores - scores.max(-1, keepdims=True))
    total = weights.sum(-1, keepdims=True)
    weights = weights.astype(value.dtype)
    # Divided by the total after the product: by head_dim numbers a query, not by one for each key.
    out = jnp.einsum("bhts,bshk->bhtk", weights, value, preferred_element_type=wide) / total
    return out.swapaxes(1, 2).astype(value.dtype), (query, key, value, weights, total, out)


def _attend_backward(
    ahead: int, window: int | None, precision: str | None, kept: tuple[Array, ...], back: Queries
) -> tuple[Queries, Keys, Keys]:
    """Cotangents of queries, keys and values, from that of the output.

    With p = softmax(scores) and out = p · value, the cotangent of a score is
    p · (back · value - back · out): the last term is what the softmax's normalisation subtracts.
    """
    query, key, value, weights, total, out = kept
    rows = back.swapaxes(1, 2) / total  # weights · rows is p · back
    with jax.default_matmul_precision(precision):
        to_value = jnp.einsum("bhts,bhtk->bshk", weights, rows)
        to_shares = jnp.einsum("bhtk,bshk->bhts", rows, value)
        to_scores = weights * (to_shares - (rows * out).sum(-1, keepdims=True))
        to_query = jnp.einsum("bhts,bshk->bthk", to_scores, key)
        to_key = jnp.einsum("bhts,bthk->bshk", to_scores, query)
    return to_query.astype(query.dtype), to_key.astype(key.dtype), to_value.astype(value.dtype)


_attend.defvjp(_attend_forward, _attend_backward)


def attend_at(
    query: Heads, key: Heads, value: Heads, at: Int[Array, "B T_out"], window: int | None = None
) -> Float[Array, "B T_out H head_dim"]:
    """``attend`` for the queries at some positions only."""
    query = jnp.take_along_axis(query, at[..., None, None], axis=1)
    distance = at[:, None, :, None] - jnp.arange(key.shape[1])
    return _attend_masked(query, key, value, visible(distance, window))


def attend_packed(
    query: Heads,
    key: Heads,
    value: Heads,
    start: Int[Array, "B T"],
    window: int | Int[Array, ""] | None = None,
) -> Heads:
    """``attend`` where documents lie side by side in a row, each seeing itself only.

    All scores of a row are computed at once: [B, H, T, T] numbers.

    Args:
        query, key, value: of every position.
        start: where in its row the document of each position begins.
        window: the most positions that a query sees, its own included; None for all. It may be
            traced.
    """
    place = jnp.arange(query.shape[1])
    first = start if window is None else jnp.maximum(start, place - window + 1)
    # Whatever lies between the start of the query's document and the query is of that document.
    seen = (first[:, :, None] <= place) & (place <= place[:, None])
    return _attend_masked(query, key, value, seen[:, None])


def _attend_masked(
    query: Float[Array, "B T_out H head_dim"],
    key: Heads,
    value: Heads,
    seen: Bool[Array, "#B #H T_out T"],
) -> Float[Array, "B T_out H head_dim"]:
    """Attention in one piece, under a mask of what each query sees. A GPU computes this softmax in
    one pass over the scores."""
    wide = jnp.promote_types(query.dtype, jnp.float32)
    scores = jnp.einsum("bthk,bshk->bhts", query, key, preferred_element_type=wide)
    shares = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=-1).astype(value.dtype)
    return jnp.einsum("bhts,bshk->bthk", shares, value)
