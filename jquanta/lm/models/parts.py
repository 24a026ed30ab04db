"""What both architectures are made of: rotation by position, causal attention, the MLP, norms."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

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
        product = jnp.matmul(x, self.kernel[...])
        return product if self.bias is None else product + self.bias[...]


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


def rotate(x: Heads, n: int, base: float) -> Heads:
    """Rotate the first ``n`` numbers of each head by an angle that grows with the position.

    Number i pairs with number i + n/2; the pair turns by position · base^(-2i/n). The tables are
    exact to the dtype: transformers multiplies positions and rates in float32, and so is off by
    up to 4e-5 at position 1000.
    """
    angles = np.arange(x.shape[1])[:, None] * base ** (-np.arange(0, n, 2) / n)
    cos, sin = (jnp.asarray(table[:, None], x.dtype) for table in (np.cos(angles), np.sin(angles)))
    first, second, rest = jnp.split(x, [n // 2, n], axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)


def attend(query: Heads, key: Heads, value: Heads, window: int | None = None) -> Heads:
    """Causal attention: position t sees positions t - window + 1 … t, or all up to t.

    Scores are query · key without any scale, in float32 or better. Exact: a tile of queries sees
    all its keys at once.
    """
    length, wide = query.shape[1], jnp.promote_types(query.dtype, jnp.float32)
    tiles = []
    for start in range(0, length, TILE):
        stop = min(start + TILE, length)
        first = 0 if window is None else max(0, start - window + 1)
        scores = jnp.einsum(
            "bthk,bshk->bhts",
            query[:, start:stop],
            key[:, first:stop],
            preferred_element_type=wide,
        )
        ahead = np.arange(start, stop)[:, None] - np.arange(first, stop)
        seen = (ahead >= 0) & (window is None or ahead < window)
        shares = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=-1).astype(value.dtype)
        tiles.append(jnp.einsum("bhts,bshk->bthk", shares, value[:, first:stop]))
    return jnp.concatenate(tiles, axis=1)


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
