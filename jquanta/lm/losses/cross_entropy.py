"""Per-token cross-entropies without storing the logits of a batch (streaming log-sum-exp).

For small models the unembedding is most of the work, and writing the 50,304 logits of each token to
memory takes longer than computing them. So the logits are computed in tiles of tokens × vocabulary
that stay in a CPU's cache, and each tile is reduced at once to one number for each token: its part
of the sum of exponentials.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import PRECISION, Params, features, unembedding

Carry = TypeVar("Carry")


class Tile(NamedTuple):
    """The size of a tile of logits: how many tokens, times how many rows of the vocabulary."""

    tokens: int
    rows: int


CPU_TILE = Tile(512, 4096)
"""512 · 4096 · 4 bytes = 8 MB of logits in float32. XLA does not fuse the sum into the product on a
CPU, so a tile is written and read once. The fastest size at the shapes of Pythia 14m and 70m."""

GPU_TILE = Tile(4096, 8192)
"""4096 · 8192 · 4 bytes = 128 MB of logits in float32: enough work to fill a GPU, and a small part
of its memory."""


def default_tile() -> Tile:
    """The tile for the default device of JAX."""
    return CPU_TILE if jax.default_backend() == "cpu" else GPU_TILE


class Model(NamedTuple):
    """Parameters in the layout that ``losses`` uses.

    Attributes:
        params: by name, as ``jquanta.load_model`` returns them.
        table: [V, D] the unembedding, transposed so that the vocabulary's rows are contiguous and a
            tile of it is one piece of memory.
    """

    params: Params
    table: Float[Array, "V D"]


def prepare(config: LMConfig, params: Params) -> Model:
    """Bring parameters into the layout that ``losses`` uses, once for a model.

    Args:
        config: the model's shape.
        params: by name.
    """
    return Model(params, jnp.asarray(unembedding(config, params).T))


def losses(
    config: LMConfig,
    model: Model,
    inputs: Int[Array, "B T"],
    targets: Int[Array, "B T"],
    counts: Int[Array, " B"],
    *,
    tile: Tile | None = None,
    precision: str = PRECISION,
) -> Float[Array, "B T"]:
    """Cross-entropy of each target token, -log p(target | tokens before it), in nats.

    Each row holds one document. The losses of a document do not depend on the other rows or on
    padding, except for rounding where the order of float32 sums changes: attention is causal, and
    rows do not attend to each other.

    Pure; works under jit and shard_map. Reverse-mode differentiation is not possible, because the
    number of loop iterations depends on data (the number of predictions).

    Args:
        config: the model's shape (static under jit).
        model: of ``prepare``.
        inputs: [B, T] token ids; behind the end of a document, any ids of the vocabulary.
        targets: [B, T] ``targets[b, t]`` is the id that follows ``inputs[b, t]``.
        counts: [B] number of predictions of each document, 0 to T.
        tile: size of a tile of logits (static); by default chosen for the device.
        precision: of float32 products, one of the names of ``jax.default_matmul_precision``.

    Returns:
        [B, T] in nats, NaN from each document's count on; float64 if the parameters are float64,
        otherwise float32.

    Raises:
        BadInput: if T is more than the model's context.
    """
    wide = jnp.promote_types(model.table.dtype, jnp.float32)
    x = features(config, model.params, inputs, precision=precision)
    x, flat_targets = x.reshape(-1, x.shape[-1]), targets.reshape(-1)
    size = tile or default_tile()
    tiles = -(-len(x) // size.tokens)
    tokens = -(-len(x) // tiles)  # equal tiles: a last one that is nearly empty would cost as much
    # Gather the numbers of all positions that are predictions to the front, so that padding is not
    # multiplied with the vocabulary. jit needs static shapes: the list is filled up with len(x).
    wanted = (jnp.arange(inputs.shape[1]) < counts[:, None]).reshape(-1)
    (rows,) = jnp.nonzero(wanted, size=tiles * tokens, fill_value=len(x))

    def work(i: Int[Array, ""], out: Float[Array, " tokens"]) -> Float[Array, " tokens"]:
        here = jax.lax.dynamic_slice_in_dim(rows, i * tokens, tokens)
        found = _of_tokens(
            x.at[here].get(mode="clip"),  # a filler reads the last row ...
            flat_targets.at[here].get(mode="clip"),
            model.table,
            size.rows,
        )
        return out.at[here].set(found, mode="drop")  # ... and is not written

    with jax.default_matmul_precision(precision):
        busy = -(-counts.sum() // tokens)  # tiles that hold at least one prediction
        out = jax.lax.fori_loop(0, busy, work, jnp.full(len(x), jnp.nan, wide))
    return out.reshape(inputs.shape)


def _of_tokens(
    x: Float[Array, "tokens D"],
    targets: Int[Array, " tokens"],
    table: Float[Array, "V D"],
    rows: int,
) -> Float[Array, " tokens"]:
    """Losses in nats from the features of tokens: log Σ_v exp(logit_v - logit_target).

    Softmax usually subtracts the largest logit first, against overflow. Here the target's logit is
    subtracted instead, which saves a pass over the logits (a quarter of the time of the product).
    The sum cannot underflow, for the target's own term is exp(0) = 1. It overflows in float32 only
    if a loss is beyond log(3.4e38) = 88 nats; then the sum is computed again, with the largest
    logit subtracted (online softmax: a running maximum, and the sum is rescaled when it rises).
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    own = jnp.sum(x.astype(wide) * table[targets].astype(wide), axis=-1)

    # The fast sum: one exponential and one addition for each logit.
    def add(
        total: Float[Array, " tokens"], logits: Float[Array, "rows tokens"]
    ) -> Float[Array, " tokens"]:
        return total + jnp.exp(logits - own).sum(0)

    # The safe sum, relative to the largest logit so far: when that rises from ``before`` to
    # ``most``, what was summed is multiplied by exp(before - most).
    def add_safely(
        carry: tuple[Float[Array, " tokens"], Float[Array, " tokens"]],
        logits: Float[Array, "rows tokens"],
    ) -> tuple[Float[Array, " tokens"], Float[Array, " tokens"]]:
        before, total = carry
        most = jnp.maximum(before, logits.max(0))
        return most, total * jnp.exp(before - most) + jnp.exp(logits - most).sum(0)

    def safely() -> Float[Array, " tokens"]:
        nothing = jnp.full(len(x), -jnp.inf, wide), jnp.zeros(len(x), wide)
        most, total = _over_vocabulary(add_safely, nothing, x, table, rows)
        return most - own + jnp.log(total)

    total = _over_vocabulary(add, jnp.zeros(len(x), wide), x, table, rows)
    found = jax.lax.cond(jnp.isfinite(total).all(), lambda: jnp.log(total), safely)
    # A cross-entropy is not negative, but ``own`` and the same logit within the product are rounded
    # differently, which can leave a sum a little below 1.
    return jnp.maximum(found, 0.0)


def _over_vocabulary(
    add: Callable[[Carry, Float[Array, "rows tokens"]], Carry],
    start: Carry,
    x: Float[Array, "tokens D"],
    table: Float[Array, "V D"],
    rows: int,
) -> Carry:
    """Fold ``add`` over the logits, one part of the vocabulary after another.

    The logits of a part are [rows, tokens], with tokens as columns: a sum over the vocabulary then
    adds whole rows, which are vector operations, where a sum along a row would be a horizontal one.

    Args:
        add: takes the carry and the logits [rows, tokens] of a part; returns the next carry.
        start: the first carry.
        x: [tokens, D] features.
        table: [V, D] unembedding.
        rows: of the vocabulary in a part; the last part may have fewer.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    rows = min(rows, len(table))
    whole, rest = divmod(len(table), rows)
    columns = x.T

    def logits(part: Float[Array, "rows D"]) -> Float[Array, "rows tokens"]:
        return jnp.matmul(part, columns, preferred_element_type=wide)

    def step(i: Int[Array, ""], carry: Carry) -> Carry:
        return add(carry, logits(jax.lax.dynamic_slice_in_dim(table, i * rows, rows)))

    carry = jax.lax.fori_loop(0, whole, step, start)
    return add(carry, logits(table[whole * rows :])) if rest else carry
