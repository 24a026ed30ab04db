"""The mean cross-entropy and its gradients in one pass over the logits (a custom VJP).

In a small model the unembedding is most of the work, and its logits are most of the memory traffic:
plain automatic differentiation writes the logits of all tokens, reads them for the softmax, and
does both again in the backward pass. Here the logits are computed for one tile of tokens at a time,
and the loss and both gradients are computed from them while they are in the cache. (Measured on 2
cores with 4,096 tokens and a vocabulary of 2,048: a training step takes 0.7 of the time of the
plain implementation at widths 32 and 48, and 0.9 at width 128.)
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

TOKENS = 512
"""Largest number of tokens in a tile: 512 · 2,048 · 4 bytes = 4 MB for a vocabulary of 2,048."""


@jax.custom_vjp
def mean_cross_entropy(
    x: Float[Array, "tokens D"], table: Float[Array, "D V"], targets: Int[Array, " tokens"]
) -> Float[Array, ""]:
    """Mean over all tokens of -log softmax(x @ table)[target], in nats.

    Differentiable once, in reverse mode, with respect to ``x`` and ``table``. Works under jit and
    vmap.

    Args:
        x: [tokens, D] features: the outputs of the final layer norm.
        table: [D, V] the unembedding.
        targets: [tokens] the id of the next token.
    """
    return _forward(x, table, targets)[0]


def _forward(
    x: Float[Array, "tokens D"], table: Float[Array, "D V"], targets: Int[Array, " tokens"]
) -> tuple[Float[Array, ""], tuple[Any, Any]]:
    """The forward pass: the mean loss, and as residuals its gradients with respect to x and table.

    The gradient of the sum over tokens of -log softmax(logits)[target] with respect to the logits
    is softmax(logits) - onehot(target).
    """
    count = len(x)
    # The largest divisor of their number that is at most TOKENS, so that all tiles are equal.
    size = next(n for n in range(min(TOKENS, count), 0, -1) if count % n == 0)

    # One step of the scan. The loss and the gradient of the table [D, V] are added up in the carry;
    # the gradients of each tile's features [size, D] are stacked by the scan.
    def add(carry: tuple[Any, Any], tile: tuple[Any, Any]) -> tuple[tuple[Any, Any], Any]:
        total, to_table = carry
        here, wanted = tile
        logits = here @ table
        # The softmax, with the largest logit subtracted against overflow.
        shifted = logits - logits.max(-1, keepdims=True)
        powers = jnp.exp(shifted)
        sums = powers.sum(-1, keepdims=True)
        own = jnp.take_along_axis(shifted, wanted[:, None], axis=1)
        slope = powers / sums - (jnp.arange(table.shape[1]) == wanted[:, None])
        total += (jnp.log(sums) - own).sum()
        return (total, to_table + here.T @ slope), slope @ table.T

    start = jnp.zeros((), x.dtype), jnp.zeros_like(table)
    tiles = x.reshape(-1, size, x.shape[1]), targets.reshape(-1, size)
    (total, to_table), to_x = jax.lax.scan(add, start, tiles)
    return total / count, (to_x.reshape(x.shape) / count, to_table / count)


def _backward(gradients: tuple[Any, Any], slope: Float[Array, ""]) -> tuple[Any, Any, None]:
    """The backward pass: the gradients times the cotangent of the mean; integers have none."""
    to_x, to_table = gradients
    return slope * to_x, slope * to_table, None


mean_cross_entropy.defvjp(_forward, _backward)
