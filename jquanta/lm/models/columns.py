"""One sequence with a column for each position: [D, T].

What the gradients of single predictions are computed in on a CPU. With positions in columns, sums
over a position's numbers, rotations and heads are sums and slices of whole rows of memory, and no
product has to transpose its input, neither in the forward pass nor in the backward pass. The
numbers are those of ``rows``. On a CPU heads go through attention one by one, so that the scores of
one stay in the cache, and the backward pass computes the scores again instead of storing them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int

from jquanta.lm.models.layout import Layout, angles, tile_mask, tiles, visible

Stream = Float[Array, "D T"]
Heads = Float[Array, "H head_dim T"]
Head = Float[Array, "head_dim T"]

# Products that the backward pass makes are traced when a default precision set by the caller is
# gone, so each states its own: that of ``network.PRECISION``.
einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


@dataclass(frozen=True, eq=False)
class Columns(Layout):
    """One sequence, from its first token on, in float32 or float64.

    Attributes:
        window: the most positions that a query sees, its own included; None for all up to its own.
        at: the position at which the output is wanted; None for all.
    """

    axis: ClassVar[int] = -2

    window: int | None = None
    at: Int[Array, ""] | None = None

    def places(self, tokens: Int[Array, " T"]) -> Int[Array, " T"]:
        return jnp.arange(len(tokens))

    def look_up(self, table: Float[Array, "n D"], index: Int[Array, " T"]) -> Stream:
        # Plain indexing would take the last row in place of one that does not exist.
        return jnp.take(table, index, axis=0, mode="fill", fill_value=jnp.nan).T

    def linear(
        self,
        x: Float[Array, "n_in T"],
        kernel: Float[Array, "n_in n_out"],
        bias: Float[Array, " n_out"] | None,
    ) -> Float[Array, "n_out T"]:
        y = product(kernel, x)
        return y if bias is None else y + bias[:, None]

    def norm(
        self, x: Stream, scale: Float[Array, " D"], bias: Float[Array, " D"], eps: float
    ) -> Stream:
        centred = x - x.mean(0)
        normal = centred * jax.lax.rsqrt(jnp.square(centred).mean(0) + eps)
        return normal * scale[:, None] + bias[:, None]

    def root_norm(
        self, x: Float[Array, "*heads n T"], scale: Float[Array, " n"], eps: float
    ) -> Float[Array, "*heads n T"]:
        size = jnp.square(x).mean(-2, keepdims=True)
        return x * jax.lax.rsqrt(size + eps) * scale[:, None]

    def split_heads(self, x: Stream, heads: int) -> Heads:
        return x.reshape(heads, -1, x.shape[-1])

    def join_heads(self, x: Heads) -> Stream:
        return x.reshape(-1, x.shape[-1])

    def rotate(self, x: Heads, rates: Float64[np.ndarray, " half"]) -> Heads:
        return rotate(x, rates)

    def attend(self, query: Heads, key: Heads, value: Heads) -> Float[Array, "H head_dim T_out"]:
        if self.at is None:
            return attend(query, key, value, self.window)
        return attend_at(column(query, self.at), key, value, self.at, self.window)

    def select(self, x: Stream) -> Float[Array, "D T_out"]:
        return x if self.at is None else column(x, self.at)


def column(x: Float[Array, "*rows T"], at: Int[Array, ""]) -> Float[Array, "*rows 1"]:
    """One position."""
    return jax.lax.dynamic_slice_in_dim(x, at, 1, axis=-1)


@jax.custom_vjp
def product(
    kernel: Float[Array, "n_in n_out"], x: Float[Array, "n_in T"]
) -> Float[Array, "n_out T"]:
    """kernelᵀ · x. The backward pass is written out: JAX's own would lay the cotangent of ``x`` in
    rows, [T, n_in]."""
    return einsum("oi,it->ot", transposed(kernel), x)


def _product_forward(kernel: Array, x: Array) -> tuple[Array, tuple[Array, Array]]:
    return product(kernel, x), (kernel, x)


def _product_backward(kept: tuple[Array, Array], back: Array) -> tuple[Array, Array]:
    """Cotangents of the kernel and of ``x``, from that of the product."""
    kernel, x = kept
    return einsum("it,ot->io", x, back), einsum("io,ot->it", kernel, back)


product.defvjp(_product_forward, _product_backward)


def transposed(x: Float[Array, "n m"]) -> Float[Array, "m n"]:
    """A transpose that is written to memory before a product takes it as its left factor.

    XLA's CPU products are fast where the left factor lies in memory along the sum; for others they
    take up to twice as long. The barrier keeps XLA from merging transpose and product.
    """
    return jax.lax.optimization_barrier(x.T)


def rotate(x: Heads, rates: Float64[np.ndarray, " half"]) -> Heads:
    """Rotary position embedding: see ``Layout.rotate``; tables are exact to the dtype."""
    turned = angles(x.shape[2], rates).T
    cos, sin = (jnp.asarray(table, x.dtype) for table in (np.cos(turned), np.sin(turned)))
    first, second, rest = jnp.split(x, [len(rates), 2 * len(rates)], axis=1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=1)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def attend(query: Heads, key: Heads, value: Heads, window: int | None = None) -> Heads:
    """Causal attention: see ``Layout.attend``. Not differentiable in forward mode.

    Of the forward pass only the output and the logarithm of each softmax's sum are kept for the
    backward pass, which makes the scores again (Dao et al., 2022).
    """
    return _each_head(partial(_attend, window), query, key, value)[0]


def attend_at(
    query: Float[Array, "H head_dim 1"],
    key: Heads,
    value: Heads,
    at: Int[Array, ""],
    window: int | None = None,
) -> Float[Array, "H head_dim 1"]:
    """``attend`` for the query of one position."""
    seen = visible(at - jnp.arange(key.shape[2])[:, None], window)
    scores = jnp.where(seen, einsum("hks,hkt->hst", key, query), -jnp.inf)
    shares = jax.nn.softmax(scores, axis=1)
    return einsum("hks,hst->hkt", value, shares)


def _attend_forward(
    query: Heads, key: Heads, value: Heads, window: int | None
) -> tuple[Heads, tuple[Array, ...]]:
    out, size = _each_head(partial(_attend, window), query, key, value)
    return out, (query, key, value, out, size)


def _attend_backward(
    window: int | None, kept: tuple[Array, ...], back: Heads
) -> tuple[Heads, Heads, Heads]:
    return _each_head(partial(_attend_back, window), *kept, back)


attend.defvjp(_attend_forward, _attend_backward)


def _attend(
    window: int | None, query: Head, key: Head, value: Head
) -> tuple[Head, Float[Array, "1 T"]]:
    """Attention of one head, and log Σ exp(score) of each query."""
    outs, sizes = [], []
    keys = transposed(key)
    for own, seen in tiles(query.shape[1], window):
        scores = _scores(query, keys, own, seen, window)
        largest = scores.max(0, keepdims=True)
        weights = jnp.exp(scores - largest)
        total = weights.sum(0, keepdims=True)
        # Divided by the total after the product: head_dim divisions a query, not one for each key.
        outs.append(einsum("ks,st->kt", value[:, seen], weights) / total)
        sizes.append(largest + jnp.log(total))
    return jnp.concatenate(outs, 1), jnp.concatenate(sizes, 1)


def _attend_back(
    window: int | None,
    query: Head,
    key: Head,
    value: Head,
    out: Head,
    size: Float[Array, "1 T"],
    back: Head,
) -> tuple[Head, Head, Head]:
    """Cotangents of one head's queries, keys and values, from that of its output.

    With p = exp(score - size) and out = Σ p · value, the cotangent of a score is
    p · (back · value - back · out): the last term is what the softmax's normalisation subtracts.
    """
    to_queries, to_key, to_value = [], jnp.zeros_like(key), jnp.zeros_like(value)
    mean = (back * out).sum(0, keepdims=True)
    keys, values = transposed(key), transposed(value)
    for own, seen in tiles(query.shape[1], window):
        shares = jnp.exp(_scores(query, keys, own, seen, window) - size[:, own])
        to_value = to_value.at[:, seen].add(einsum("kt,st->ks", back[:, own], shares))
        to_shares = einsum("sk,kt->st", values[seen], back[:, own])
        to_scores = shares * (to_shares - mean[:, own])
        to_queries.append(einsum("ks,st->kt", key[:, seen], to_scores))
        to_key = to_key.at[:, seen].add(einsum("kt,st->ks", query[:, own], to_scores))
    return jnp.concatenate(to_queries, 1), to_key, to_value


def _scores(
    query: Head, keys: Float[Array, "T head_dim"], own: slice, seen: slice, window: int | None
) -> Float[Array, "keys queries"]:
    """Scores of a tile's queries and the keys that they may see; -∞ where one does not."""
    scores = einsum("sk,kt->st", keys[seen], query[:, own])
    return jnp.where(tile_mask(own, seen, window).T, scores, -jnp.inf)


def _each_head(one: Callable[..., tuple[Any, ...]], *heads: Array) -> Any:
    """``one`` for each head: one after another on a CPU, all at once elsewhere."""
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda own: one(*own), heads)
    return jax.vmap(one)(*heads)
