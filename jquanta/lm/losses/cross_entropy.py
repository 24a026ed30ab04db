"""Per-token cross-entropies without the logits of a batch ever being in memory.

For small models the unembedding is most of the work, and writing 50,304 logits a token to memory
takes longer than multiplying them. So logits are made in tiles of tokens × vocabulary that stay
in a CPU's cache, and of each only a sum a token is kept.
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
    """How many tokens and rows of the vocabulary are multiplied at once."""

    tokens: int
    rows: int


CPU_TILE = Tile(512, 4096)
"""8 MB of logits, where XLA does not sum them as it multiplies. Measured at 14m and 70m shapes."""

GPU_TILE = Tile(4096, 8192)
"""128 MB of logits: products large enough to fill a GPU, a small part of its memory."""


def default_tile() -> Tile:
    """The tile for the device that computes."""
    return CPU_TILE if jax.default_backend() == "cpu" else GPU_TILE


class Model(NamedTuple):
    """Parameters as the losses use them.

    Attributes:
        params: by name, as ``jquanta.load_model`` gives them.
        table: [V, D] the unembedding with the vocabulary's rows one after the other, so that a
            tile of it is one piece of memory.
    """

    params: Params
    table: Float[Array, "V D"]


def prepare(config: LMConfig, params: Params) -> Model:
    """Parameters in the layout that the losses use: once a model, not once a batch."""
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
    """Cross-entropy of each target, in nats: float32, or float64 where parameters are.

    A document's losses do not depend on its neighbours or on padding, but for the order in which
    float32 sums are taken: no position sees a later one, and no document another.

    Pure, and works under jit and shard_map. Not differentiable in reverse: the number of tiles
    worked through is the number of predictions, which is data.

    Args:
        config: the model's shape (static under jit).
        model: what ``prepare`` gives.
        inputs: token ids; after a document's own, anything in the vocabulary.
        targets: the ids that follow: ``targets[b, t]`` comes after ``inputs[b, t]``.
        counts: predictions of each document, 0 to T.
        tile: tokens and vocabulary rows multiplied at once (static).
        precision: of float32 products, one of ``jax.default_matmul_precision``'s names.

    Returns:
        NaN from each document's count on.

    Raises:
        BadInput: if T is more than the model's context.
    """
    wide = jnp.promote_types(model.table.dtype, jnp.float32)
    x = features(config, model.params, inputs, precision=precision)
    x, flat_targets = x.reshape(-1, x.shape[-1]), targets.reshape(-1)
    size = tile or default_tile()
    tiles = -(-len(x) // size.tokens)
    tokens = -(-len(x) // tiles)  # equal tiles: a last one that is nearly empty would cost as much
    # Padding takes no part from here on: only the rows that are predictions are multiplied.
    wanted = (jnp.arange(inputs.shape[1]) < counts[:, None]).reshape(-1)
    (rows,) = jnp.nonzero(wanted, size=tiles * tokens, fill_value=len(x))

    def work(i: Int[Array, ""], out: Float[Array, " N"]) -> Float[Array, " N"]:
        here = jax.lax.dynamic_slice_in_dim(rows, i * tokens, tokens)
        found = _of_tokens(
            x.at[here].get(mode="clip"),
            flat_targets.at[here].get(mode="clip"),
            model.table,
            size.rows,
        )
        return out.at[here].set(found, mode="drop")

    with jax.default_matmul_precision(precision):
        busy = -(-counts.sum() // tokens)
        out = jax.lax.fori_loop(0, busy, work, jnp.full(len(x), jnp.nan, wide))
    return out.reshape(inputs.shape)


def _of_tokens(
    x: Float[Array, "N D"], targets: Int[Array, " N"], table: Float[Array, "V D"], rows: int
) -> Float[Array, " N"]:
    """Losses from features: log Σ exp(logit - target's logit).

    The target's own term keeps the sum at 1 or above, so taking the largest logit out first, a
    quarter of the time beside the product, is needed only where a sum overflows: where a loss is
    beyond 88 nats.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    own = jnp.sum(x.astype(wide) * table[targets].astype(wide), axis=-1)

    def add(total: Float[Array, " N"], logits: Float[Array, "rows N"]) -> Float[Array, " N"]:
        return total + jnp.exp(logits - own).sum(0)

    def add_safely(
        carry: tuple[Float[Array, " N"], Float[Array, " N"]], logits: Float[Array, "rows N"]
    ) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
        before, total = carry
        most = jnp.maximum(before, logits.max(0))
        return most, total * jnp.exp(before - most) + jnp.exp(logits - most).sum(0)

    def safely() -> Float[Array, " N"]:
        nothing = jnp.full(len(x), -jnp.inf, wide), jnp.zeros(len(x), wide)
        most, total = _over_vocabulary(add_safely, nothing, x, table, rows)
        return most - own + jnp.log(total)

    total = _over_vocabulary(add, jnp.zeros(len(x), wide), x, table, rows)
    found = jax.lax.cond(jnp.isfinite(total).all(), lambda: jnp.log(total), safely)
    return jnp.maximum(found, 0.0)  # the target's logit is rounded apart from the sum's


def _over_vocabulary(
    add: Callable[[Carry, Float[Array, "rows N"]], Carry],
    start: Carry,
    x: Float[Array, "N D"],
    table: Float[Array, "V D"],
    rows: int,
) -> Carry:
    """Fold ``add`` over logits [rows, N] of one part of the vocabulary after another.

    Tokens are the columns: sums down the rows are vector operations, sums along them are not.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    rows = min(rows, len(table))
    whole, rest = divmod(len(table), rows)
    columns = x.T

    def logits(part: Float[Array, "rows D"]) -> Float[Array, "rows N"]:
        return jnp.matmul(part, columns, preferred_element_type=wide)

    def step(i: Int[Array, ""], carry: Carry) -> Carry:
        return add(carry, logits(jax.lax.dynamic_slice_in_dim(table, i * rows, rows)))

    carry = jax.lax.fori_loop(0, whole, step, start)
    return add(carry, logits(table[whole * rows :])) if rest else carry
