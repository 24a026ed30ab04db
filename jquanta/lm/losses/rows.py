"""Per-token cross-entropies of packed documents by a program of few, large products.

For GPUs and their like. XLA tries out candidates for every product that differs from the others, so
a program starts soon if it has few of them: all rows have one length, the blocks are one block in
a loop, attention is made in one piece, and so are the logits of each of many equal tiles.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import PRECISION, Params, count, packed_features, unembedding

FLOAT32 = "TF32_TF32_F32_X3"
"""The algorithm of float32 products on a recent NVIDIA GPU: one of ``jax.lax.DotAlgorithmPreset``'s
names, or of ``jax.default_matmul_precision``'s.

Three products on the matrix units for each, of the upper and lower halves of both factors. On an
H200 a large product is twice as fast as without matrix units (107 and 50 Tflop/s), and losses at
70m differ by 1.6e-5 nats at most (``python -m benchmarks.gpu``).
"""

TILE = 4096
"""Positions whose logits are made at once: 0.8 GB for 50,304 rows of the vocabulary."""

WIDE = 4
"""Bytes of scores and logits, which are float32 at least."""

MOST_POSITIONS = 2**16
"""Positions of a batch on each device at most: products are large enough to fill any device."""


def algorithm(dtype: DTypeLike, device: str) -> str:
    """The algorithm of products of a dtype on a kind of device (``devices.kind``).

    Only for float32, to which the presets round float64, too.
    """
    return FLOAT32 if jnp.dtype(dtype) == jnp.float32 and device == "gpu" else PRECISION


def packed_losses(
    config: LMConfig,
    stacked: Params,
    inputs: Int[Array, "B T"],
    targets: Int[Array, "B T"],
    start: Int[Array, "B T"],
    *,
    tile: int = TILE,
    precision: str = PRECISION,
) -> Float[Array, "B T"]:
    """Cross-entropy of each target, in nats: float32, or float64 where parameters are.

    A document's losses do not depend on its neighbours in the row, but for the order in which sums
    are taken: keys of other documents have weights of exactly 0. A neighbour with numbers that are
    not finite is the exception, for 0 · NaN is NaN.

    Pure, and works under jit and shard_map.

    Args:
        config: the model's shape (static under jit).
        stacked: what ``network.stack`` gives.
        inputs: token ids; at positions of padding, anything in the vocabulary.
        targets: the ids that follow; -1 where there is no prediction.
        start: where the document of each position begins in its row; at a position of padding,
            that position.
        tile: positions whose logits are made at once (static).
        precision: of products: see ``algorithm``.

    Returns:
        NaN where there is no prediction.
    """
    x = packed_features(config, stacked, inputs, start, precision=precision)
    x, flat = x.reshape(-1, x.shape[-1]), targets.reshape(-1)
    tiles = -(-len(x) // tile)
    each = -(-len(x) // tiles)  # equal tiles: there is one shape of product
    padding = tiles * each - len(x)
    x = jnp.pad(x, ((0, padding), (0, 0))).reshape(tiles, each, -1)
    flat = jnp.pad(flat, (0, padding)).reshape(tiles, each)
    table = unembedding(config.of_one_block(), stacked)
    wide = jnp.promote_types(table.dtype, jnp.float32)

    def of_tile(own: tuple[Array, Array]) -> Float[Array, " N"]:
        x, targets = own
        logits = jnp.matmul(x, table, preferred_element_type=wide)
        target = jnp.take_along_axis(logits, jnp.maximum(targets, 0)[:, None], axis=1)[:, 0]
        return jax.nn.logsumexp(logits, axis=1) - target

    with jax.default_matmul_precision(precision):
        found = jax.lax.map(of_tile, (x, flat)).reshape(-1)[: targets.size]
    return jnp.where(targets < 0, jnp.nan, found.reshape(targets.shape))


def rows_that_fit(config: LMConfig, dtype: DTypeLike, length: int, memory: float) -> int:
    """Rows of a batch for which a device's memory suffices, a power of 2 and at least 1.

    A power, so that a little more or less of free memory makes the same batches, and so losses with
    the same bits.

    Args:
        config: the model's shape.
        dtype: of parameters and products.
        length: of a row: T.
        memory: bytes that may be taken, by the parameters too.
    """
    left = memory - parameter_bytes(config, dtype) - logits_bytes(config)
    rows = min(left / batch_bytes(config, dtype, 1, length), MOST_POSITIONS / length)
    return 2 ** max(0, int(np.log2(max(rows, 1))))


def parameter_bytes(config: LMConfig, dtype: DTypeLike) -> int:
    """What the parameters take on a device."""
    return jnp.dtype(dtype).itemsize * count(config)[0]


def logits_bytes(config: LMConfig) -> int:
    """What the logits of a tile take."""
    return WIDE * TILE * config.vocab


def batch_bytes(config: LMConfig, dtype: DTypeLike, rows: int, length: int) -> int:
    """What a batch takes at its peak, in the blocks.

    Of each position and head, a score for each position of the row, and the share made of it. Of
    each position, ten times the stream's D numbers: queries, keys, values and norms beside the
    scores, or twice 4 D and the stream itself in the MLP. XLA plans 1 to 19% less for an H200, at
    14m, 70m, 1.4b and 12b and rows of 1,024 or 2,048; where the logits take more, as much as they.
    """
    size = jnp.dtype(dtype).itemsize
    scores, stream = config.heads * length * (WIDE + size), 10 * config.width * size
    return rows * length * (scores + stream)
