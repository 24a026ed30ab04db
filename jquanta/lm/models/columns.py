"""One sequence through a model, with a column for each position: what gradients are taken of.

The networks beside this module have a row for each position, which suits batches of documents. A
gradient of one position is sooner had with positions in columns: sums over a position's numbers,
rotations and heads are sums and slices of whole rows, and no product has to transpose anything, on
the way there or back. The numbers are the same. On a CPU one head after the other goes through
attention, so that its scores stay in the cache, and they are made again on the way back.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jquanta.errors import BadInput
from jquanta.lm.models.config import GPTNeoConfig, GPTNeoXConfig, LMConfig
from jquanta.lm.models.network import Params
from jquanta.lm.models.parts import TILE, gelu, gelu_new

Columns = Float[Array, "D T"]
Heads = Float[Array, "H head_dim T"]
Tap = Callable[[Columns], Columns]

_einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)  # as ``network.PRECISION``


def logits(
    config: LMConfig,
    params: Params,
    tokens: Int[Array, " T"],
    at: Int[Array, ""],
    taps: Mapping[str, Tap] | None = None,
) -> Float[Array, " V"]:
    """Logits of the token that follows ``tokens[: at + 1]``: ``network.forward`` for one position.

    Args:
        config: the model's shape (static under jit).
        params: arrays by name, float32 or float64.
        tokens: ids; one outside the vocabulary makes the logits NaN.
        at: the position. The last block works for it alone.
        taps: by a linear layer's name, such as ``layers.3.mlp.up``: what is made of the layer's
            input is added to its output.

    Raises:
        BadInput: if there are more tokens than the model's context.
    """
    if isinstance(config, GPTNeoXConfig):
        model: _Model = _GPTNeoX(config, params, taps or {})
    elif isinstance(config, GPTNeoConfig):
        model = _GPTNeo(config, params, taps or {})
    else:
        raise TypeError(f"{type(config).__name__}: give a GPTNeoXConfig or a GPTNeoConfig")
    if len(tokens) > config.context:
        raise BadInput(
            f"{len(tokens)} tokens: the model's context is {config.context}; truncate to it"
        )
    x = model.embedded(tokens)
    for layer in range(config.layers):
        last = layer == config.layers - 1
        x = model.block(layer, x, at if last else None)
    return _einsum("d,dv->v", model.norm("final_norm", x)[:, 0], model.unembedding)


class _Model(ABC):
    """Parameters by name, and what both architectures do alike."""

    def __init__(self, config: LMConfig, params: Params, taps: Mapping[str, Tap]):
        self.config, self.params, self.taps = config, params, taps

    def norm(self, name: str, x: Columns) -> Columns:
        """Each column less its mean over its deviation, then a scale and a bias."""
        centred = x - x.mean(0)
        normal = centred * jax.lax.rsqrt(jnp.square(centred).mean(0) + self.config.eps)
        scale, bias = self.params[f"{name}.scale"], self.params[f"{name}.bias"]
        return normal * scale[:, None] + bias[:, None]

    def linear(self, name: str, x: Columns) -> Columns:
        """A dense layer, and its tap."""
        y = _product(self.params[f"{name}.kernel"], x)
        if f"{name}.bias" in self.params:
            y = y + self.params[f"{name}.bias"][:, None]
        return y + self.taps[name](x) if name in self.taps else y

    def looked_up(self, name: str, index: Int[Array, " T"]) -> Columns:
        """Rows of a table; NaN for one that does not exist."""
        table = self.params[f"{name}.embedding"]
        return jnp.take(table, index, axis=0, mode="fill", fill_value=jnp.nan).T

    def heads(self, x: Columns) -> Heads:
        """Rows, head by head."""
        return x.reshape(self.config.heads, -1, x.shape[-1])

    def attended(
        self,
        name: str,
        query: Heads,
        key: Heads,
        value: Heads,
        at: Int[Array, ""] | None,
        window: int | None = None,
    ) -> Columns:
        """Attention of all positions or of one, after its last product."""
        if at is None:
            found = attend(query, key, value, window)
        else:
            found = attend_at(column(query, at), key, value, at, window)
        return self.linear(f"{name}.out", found.reshape(-1, found.shape[-1]))

    def mlp(self, name: str, activation: Callable[[Array], Array], x: Columns) -> Columns:
        """Up to four times the width, an activation, and down again."""
        return self.linear(f"{name}.down", activation(self.linear(f"{name}.up", x)))

    @abstractmethod
    def embedded(self, tokens: Int[Array, " T"]) -> Columns:
        """What enters the first block."""

    @abstractmethod
    def block(self, layer: int, x: Columns, at: Int[Array, ""] | None) -> Columns:
        """What leaves a block: of all positions or of one."""

    @property
    @abstractmethod
    def unembedding(self) -> Float[Array, "D V"]:
        """The matrix from features to logits."""


class _GPTNeoX(_Model):
    """As ``models.gpt_neox``."""

    config: GPTNeoXConfig

    def embedded(self, tokens: Int[Array, " T"]) -> Columns:
        return self.looked_up("embed", tokens)

    def block(self, layer: int, x: Columns, at: Int[Array, ""] | None) -> Columns:
        name = f"layers.{layer}"
        own = x if at is None else column(x, at)
        attention = self.attention(f"{name}.attention", self.norm(f"{name}.attention_norm", x), at)
        return own + attention + self.mlp(f"{name}.mlp", gelu, self.norm(f"{name}.mlp_norm", own))

    def attention(self, name: str, x: Columns, at: Int[Array, ""] | None) -> Columns:
        config = self.config
        query, key, value = jnp.split(self.heads(self.linear(f"{name}.qkv", x)), 3, axis=1)
        query, key = (rotate(h, config.rotary_dim, config.rotary_base) for h in (query, key))
        return self.attended(name, query / math.sqrt(config.head_dim), key, value, at)

    @property
    def unembedding(self) -> Float[Array, "D V"]:
        return self.params["unembed.kernel"]


class _GPTNeo(_Model):
    """As ``models.gpt_neo``."""

    config: GPTNeoConfig

    def embedded(self, tokens: Int[Array, " T"]) -> Columns:
        places = jnp.arange(len(tokens))
        return self.looked_up("embed", tokens) + self.looked_up("positions", places)

    def block(self, layer: int, x: Columns, at: Int[Array, ""] | None) -> Columns:
        name = f"layers.{layer}"
        own = x if at is None else column(x, at)
        x = own + self.attention(layer, self.norm(f"{name}.attention_norm", x), at)
        return x + self.mlp(f"{name}.mlp", gelu_new, self.norm(f"{name}.mlp_norm", x))

    def attention(self, layer: int, x: Columns, at: Int[Array, ""] | None) -> Columns:
        name = f"layers.{layer}.attention"
        window = self.config.window if self.config.reach[layer] == "local" else None
        query, key, value = (
            self.heads(self.linear(f"{name}.{part}", x)) for part in ("query", "key", "value")
        )
        return self.attended(name, query, key, value, at, window)

    @property
    def unembedding(self) -> Float[Array, "D V"]:
        return self.params["embed.embedding"].T


def column(x: Float[Array, "*rows T"], at: Int[Array, ""]) -> Float[Array, "*rows 1"]:
    """One position."""
    return jax.lax.dynamic_slice_in_dim(x, at, 1, axis=-1)


@jax.custom_vjp
def _product(kernel: Float[Array, "n_in n_out"], x: Columns) -> Columns:
    """kernelᵀ · x. Left to itself, JAX has what comes back to ``x`` lie in rows."""
    return _einsum("oi,it->ot", in_rows(kernel.T), x)


def _product_forward(kernel: Array, x: Array) -> tuple[Array, tuple[Array, Array]]:
    return _product(kernel, x), (kernel, x)


def _product_backward(kept: tuple[Array, Array], back: Array) -> tuple[Array, Array]:
    kernel, x = kept
    return _einsum("it,ot->io", x, back), _einsum("io,ot->it", kernel, back)


_product.defvjp(_product_forward, _product_backward)


def in_rows(x: Array) -> Array:
    """A transpose that is made, not left to the product that takes it as its left factor.

    XLA's CPU has fast products for left factors that lie in memory along the sum, and takes up to
    twice as long for others.
    """
    return jax.lax.optimization_barrier(x)


def rotate(x: Heads, n: int, base: float) -> Heads:
    """``parts.rotate``: the first ``n`` numbers of each head turn by angles that grow with T."""
    angles = base ** (-np.arange(0, n, 2) / n)[:, None] * np.arange(x.shape[2])
    cos, sin = (jnp.asarray(table, x.dtype) for table in (np.cos(angles), np.sin(angles)))
    first, second, rest = jnp.split(x, [n // 2, n], axis=1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=1)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def attend(query: Heads, key: Heads, value: Heads, window: int | None = None) -> Heads:
    """Causal attention: position t sees positions t - window + 1 … t, or all up to t.

    Scores are query · key without any scale. Not differentiable in forward mode.
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
    ahead = at - jnp.arange(key.shape[2])[:, None]
    seen = (ahead >= 0) & (window is None or ahead < window)
    scores = jnp.where(seen, _einsum("hks,hkt->hst", key, query), -jnp.inf)
    return _einsum("hks,hst->hkt", value, jax.nn.softmax(scores, axis=1))


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

Head = Float[Array, "head_dim T"]


def _attend(
    window: int | None, query: Head, key: Head, value: Head
) -> tuple[Head, Float[Array, "1 T"]]:
    """Attention of one head; and the logarithm of each position's sum of exponentials."""
    outs, sizes = [], []
    keys = in_rows(key.T)
    for own, seen in _tiles(query.shape[1], window):
        scores = _scores(query, keys, own, seen, window)
        largest = scores.max(0, keepdims=True)
        weights = jnp.exp(scores - largest)
        total = weights.sum(0, keepdims=True)
        outs.append(_einsum("ks,st->kt", value[:, seen], weights) / total)
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
    """What comes back to one head's queries, keys and values (Dao et al., 2022)."""
    to_queries, to_key, to_value = [], jnp.zeros_like(key), jnp.zeros_like(value)
    mean = (back * out).sum(0, keepdims=True)
    keys, values = in_rows(key.T), in_rows(value.T)
    for own, seen in _tiles(query.shape[1], window):
        shares = jnp.exp(_scores(query, keys, own, seen, window) - size[:, own])
        to_value = to_value.at[:, seen].add(_einsum("kt,st->ks", back[:, own], shares))
        to_shares = _einsum("sk,kt->st", values[seen], back[:, own])
        to_scores = shares * (to_shares - mean[:, own])
        to_queries.append(_einsum("ks,st->kt", key[:, seen], to_scores))
        to_key = to_key.at[:, seen].add(_einsum("kt,st->ks", query[:, own], to_scores))
    return jnp.concatenate(to_queries, 1), to_key, to_value


def _scores(
    query: Head, keys: Float[Array, "T head_dim"], own: slice, seen: slice, window: int | None
) -> Float[Array, "keys queries"]:
    """Of some queries with the keys that they may see, -∞ where one does not."""
    ahead = np.arange(own.start, own.stop) - np.arange(seen.start, seen.stop)[:, None]
    allowed = (ahead >= 0) & (window is None or ahead < window)
    return jnp.where(allowed, _einsum("sk,kt->st", keys[seen], query[:, own]), -jnp.inf)


def _tiles(length: int, window: int | None) -> list[tuple[slice, slice]]:
    """Queries that are attended at once, and the keys that one of them sees."""
    tiles = []
    for start in range(0, length, TILE):
        stop = min(start + TILE, length)
        first = 0 if window is None else max(0, start - window + 1)
        tiles.append((slice(start, stop), slice(first, stop)))
    return tiles


def _each_head(one: Callable[..., tuple[Any, ...]], *heads: Array) -> Any:
    """``one`` of each head: one after the other on a CPU, together elsewhere."""
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda own: one(*own), heads)
    return jax.vmap(one)(*heads)
