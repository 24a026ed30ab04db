"""What both architectures are made of: rotation by position, causal attention, the MLP, norms."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from jquanta.lm.models.config import LMConfig

TILE = 128
"""Queries attended at once: their scores stay in a CPU's cache, and later keys are left out."""

Heads = Float[Array, "B T H head_dim"]
Stream = Float[Array, "B T D"]


def parameter(*shape: int) -> nnx.Param[Array]:
    """A parameter without numbers yet: ``network.build`` puts them in, in their own dtype."""
    nothing: Any = jax.ShapeDtypeStruct(shape, jnp.float32)
    return nnx.Param(nothing)


class Linear(nnx.Module):
    """A dense layer."""

    def __init__(self, n_in: int, n_out: int, *, bias: bool = True):
        self.kernel = parameter(n_in, n_out)
        self.bias = parameter(n_out) if bias else None

    def __call__(self, x: Float[Array, "*batch n_in"]) -> Float[Array, "*batch n_out"]:
        y = jnp.matmul(x, self.kernel[...])
        return y if self.bias is None else y + self.bias[...]


class LayerNorm(nnx.Module):
    """Each position less its mean over its deviation, then a scale and a bias."""

    def __init__(self, config: LMConfig):
        self.eps = config.eps
        self.scale = parameter(config.width)
        self.bias = parameter(config.width)

    def __call__(self, x: Stream) -> Stream:
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        centred = wide - wide.mean(-1, keepdims=True)
        # Not the mean of squares less the square of the mean: in float32 that cancels.
        variance = jnp.square(centred).mean(-1, keepdims=True)
        normal = centred * jax.lax.rsqrt(variance + self.eps)
        return (normal * self.scale[...] + self.bias[...]).astype(x.dtype)


class Embedding(nnx.Module):
    """A lookup of rows."""

    def __init__(self, rows: int, width: int):
        self.embedding = parameter(rows, width)

    def __call__(self, index: Int[Array, "*shape"]) -> Float[Array, "*shape D"]:
        """The rows; NaN for one that does not exist, where indexing would take the last."""
        return jnp.take(self.embedding[...], index, axis=0, mode="fill", fill_value=jnp.nan)


class MLP(nnx.Module):
    """Up to four times the width, an activation, and down again."""

    def __init__(self, width: int, activation: Callable[[Array], Array]):
        self.activation = activation
        self.up = Linear(width, 4 * width)
        self.down = Linear(4 * width, width)

    def __call__(self, x: Stream) -> Stream:
        return self.down(self.activation(self.up(x)))


def rotate(x: Heads, n: int, base: float, places: Int[Array, "B T"] | None = None) -> Heads:
    """Rotate the first ``n`` numbers of each head by an angle that grows with the position.

    Number i pairs with number i + n/2; the pair turns by position · base^(-2i/n). The tables are
    exact to the dtype: transformers multiplies positions and rates in float32, and so is off by
    up to 4e-5 at position 1000.

    Args:
        x: queries or keys.
        n: how many of a head's numbers are rotated.
        base: of the rates.
        places: the position of each token in its document, less than T; None for 0, 1, 2, …
    """
    angles = np.arange(x.shape[1])[:, None] * base ** (-np.arange(0, n, 2) / n)
    cos, sin = (jnp.asarray(table[:, None], x.dtype) for table in (np.cos(angles), np.sin(angles)))
    if places is not None:
        cos, sin = cos[places], sin[places]
    first, second, rest = jnp.split(x, [n // 2, n], axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)


def attend(query: Heads, key: Heads, value: Heads, window: int | None = None) -> Heads:
    """Causal attention: position t sees positions t - window + 1 … t, or all up to t.

    Scores are query · key without any scale, in float32 or better. Exact: a tile of queries sees
    all its keys at once. Not differentiable in forward mode.
    """
    length, tiles = query.shape[1], []
    # The backward pass is traced when the caller's precision is no longer set.
    precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    for start in range(0, length, TILE):
        stop = min(start + TILE, length)
        first = 0 if window is None else max(0, start - window + 1)
        some = query[:, start:stop], key[:, first:stop], value[:, first:stop]
        tiles.append(_attend(*some, start - first, window, precision))
    return jnp.concatenate(tiles, axis=1)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _attend(
    query: Heads, key: Heads, value: Heads, ahead: int, window: int | None, precision: str | None
) -> Heads:
    """Attention of queries of which the first is ``ahead`` positions after the first key.

    Its gradient is written out: XLA's own takes a sum over all keys for each query where one over
    a head's numbers does (Dao et al., 2022), and 1.2 times as long over a whole model on a CPU.
    """
    return _attend_forward(query, key, value, ahead, window, precision)[0]


def _attend_forward(
    query: Heads, key: Heads, value: Heads, ahead: int, window: int | None, precision: str | None
) -> tuple[Heads, tuple[Array, ...]]:
    distance = ahead + np.arange(query.shape[1])[:, None] - np.arange(key.shape[1])
    seen = (distance >= 0) & (window is None or distance < window)
    wide = jnp.promote_types(query.dtype, jnp.float32)
    scores = jnp.einsum("bthk,bshk->bhts", query, key, preferred_element_type=wide)
    scores = jnp.where(seen, scores, -jnp.inf)
    weights = jnp.exp(scores - scores.max(-1, keepdims=True))
    total = weights.sum(-1, keepdims=True)
    weights = weights.astype(value.dtype)
    out = jnp.einsum("bhts,bshk->bhtk", weights, value, preferred_element_type=wide) / total
    return out.swapaxes(1, 2).astype(value.dtype), (query, key, value, weights, total, out)


def _attend_backward(
    ahead: int, window: int | None, precision: str | None, kept: tuple[Array, ...], back: Heads
) -> tuple[Heads, Heads, Heads]:
    """What comes back to queries, keys and values: shares are weights over their total."""
    query, key, value, weights, total, out = kept
    rows = back.swapaxes(1, 2) / total
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
    """``attend`` for the queries of some positions only."""
    query = jnp.take_along_axis(query, at[..., None, None], axis=1)
    ahead = at[:, None, :, None] - jnp.arange(key.shape[1])
    return _mixed(query, key, value, (ahead >= 0) & (window is None or ahead < window))


def attend_packed(
    query: Heads,
    key: Heads,
    value: Heads,
    start: Int[Array, "B T"],
    window: int | Int[Array, ""] | None = None,
) -> Heads:
    """``attend`` where documents lie side by side in a row, each seeing itself only.

    All scores of a row are made at once: [B, H, T, T] numbers.

    Args:
        query, key, value: of every position.
        start: where the document of each position begins in its row.
        window: tokens that a position sees, itself included; None for all. It may be traced.
    """
    place = jnp.arange(query.shape[1])
    first = start if window is None else jnp.maximum(start, place - window + 1)
    # What lies from the document's start to the position itself is of the same document.
    seen = (first[:, :, None] <= place) & (place <= place[:, None])
    return _mixed(query, key, value, seen[:, None])


def attend_single(
    query: Heads, key: Heads, value: Heads, at: Int[Array, ""], window: int | None = None
) -> Float[Array, "B 1 H head_dim"]:
    """``attend`` for the query of one position, without looking anything up."""
    ahead = at - jnp.arange(key.shape[1])
    seen = (ahead >= 0) & (window is None or ahead < window)
    return _mixed(single(query, at), key, value, seen[None, None, None])


def _mixed(
    query: Float[Array, "B T_out H head_dim"],
    key: Heads,
    value: Heads,
    seen: Bool[Array, "B #H T_out T"],
) -> Float[Array, "B T_out H head_dim"]:
    """Each query's mean of the values whose keys it sees. A GPU makes the softmax in one pass."""
    wide = jnp.promote_types(query.dtype, jnp.float32)
    scores = jnp.einsum("bthk,bshk->bhts", query, key, preferred_element_type=wide)
    shares = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=-1).astype(value.dtype)
    return jnp.einsum("bhts,bshk->bthk", shares, value)


def rows_at(x: Stream, at: Int[Array, "B T_out"] | None) -> Float[Array, "B T_out D"]:
    """Some positions of the stream; all of them for None."""
    return x if at is None else jnp.take_along_axis(x, at[..., None], axis=1)


def single(x: Float[Array, "B T *rest"], at: Int[Array, ""]) -> Float[Array, "B 1 *rest"]:
    """One position, as a sum over all: its gradient is a selection, not a scatter."""
    chosen = (jnp.arange(x.shape[1]) == at).reshape(-1, *(1,) * (x.ndim - 2))
    return jnp.where(chosen, x, 0).sum(1, keepdims=True)


def split_heads(x: Stream, heads: int) -> Heads:
    """Each position's numbers, head by head."""
    return x.reshape(*x.shape[:-1], heads, -1)


def join_heads(x: Heads) -> Stream:
    """The inverse of ``split_heads``."""
    return x.reshape(*x.shape[:-2], -1)


def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """x · Φ(x), exactly. ``jax.nn.gelu`` goes through erfc, 2.5 times slower on a CPU."""
    return 0.5 * x * (1 + jax.lax.erf(x * np.sqrt(0.5).astype(x.dtype)))


def gelu_new(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """GPT-2's approximation of ``gelu`` by a tanh."""
    return jax.nn.gelu(x, approximate=True)
