"""Per-token cross-entropies of packed documents, as a program of few, large matrix products.

This is the method for GPUs and other accelerators. When XLA compiles for a GPU, it times several
kernels for every matrix product of a new shape (autotuning), so a program with few different shapes
starts sooner. Therefore all rows have the same length, the transformer blocks are a loop over one
compiled block, attention is computed for a whole row at once, and the logits are computed in tiles
of equal size.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jquanta.lm.models import cut
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import PRECISION, Params, count, packed_features, unembedding
from jquanta.lm.models.rows import Stream

FLOAT32 = "TF32_TF32_F32_X3"
"""The algorithm of float32 matrix products on a recent NVIDIA GPU, called TF32x3: a name of
``jax.lax.DotAlgorithmPreset``, which ``jax.default_matmul_precision`` accepts, too.

A float32 number is split into a TF32 number and a TF32 remainder. The product is the sum of three
products on tensor cores: upper · upper, upper · lower and lower · upper. On an H200 a large product
is twice as fast as in float32 without tensor cores (107 and 50 Tflop/s), and the losses of Pythia
70m differ by at most 1.6e-5 nats (``python -m benchmarks.gpu``).
"""

TILE = 4096
"""Positions in a tile of logits: 4096 · 50,304 · 4 bytes = 0.8 GB for the vocabulary of Pythia."""

WIDE = 4
"""Bytes of an attention score or a logit, computed in float32 even for bfloat16."""

MOST_POSITIONS = 2**16
"""Largest number of positions of a batch on each device: enough to keep any device busy."""


def algorithm(dtype: DTypeLike, device: str) -> str:
    """The precision, or algorithm, of matrix products for a dtype on a kind of device.

    TF32x3 is chosen for float32 only: it would round the factors of float64 products to float32.

    Args:
        dtype: of the factors.
        device: kind of device, as ``devices.kind`` names it.

    Returns:
        A name for ``jax.default_matmul_precision``.
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
    """Cross-entropy of each target token, -log p(target | tokens before it), in nats.

    Rows hold several documents. The losses of a document do not depend on its neighbours in the
    row, except for rounding where the order of sums changes: the attention mask gives the keys of
    other documents weights of exactly 0. The exception is a neighbour whose activations are not
    finite, for 0 · NaN is NaN.

    Pure; works under jit and shard_map.

    Args:
        config: the model's shape (static under jit).
        stacked: the parameters, of ``network.stack``.
        inputs: [B, T] token ids; at positions of padding, any ids of the vocabulary.
        targets: [B, T] the ids that follow; -1 where there is no prediction.
        start: [B, T] the position in its row at which the document of each position begins; at a
            position of padding, the position itself.
        tile: positions in a tile of logits (static).
        precision: of matrix products: see ``algorithm``.

    Returns:
        [B, T] in nats, NaN where there is no prediction; float64 if the parameters are float64,
        otherwise float32.
    """
    x = packed_features(config, stacked, inputs, start, precision=precision)
    table = unembedding(config.of_one_block(), stacked)
    return _of_features(x, table, targets, tile, precision)


def cut_losses(
    config: LMConfig,
    shares: Params,
    inputs: Int[Array, "B T"],
    targets: Int[Array, "B T"],
    start: Int[Array, "B T"],
    *,
    tile: int = TILE,
    precision: str = PRECISION,
) -> Float[Array, "B T"]:
    """``packed_losses`` by this device's share of the parameters; to be called under ``shard_map``.

    Args:
        config, inputs, targets, start, tile, precision: as there.
        shares: of ``cut.shares``, this device's.
    """
    x, table = cut.features(config, shares, inputs, start, precision=precision)
    return _of_features(x, table, targets, tile, precision)


def _of_features(
    x: Stream,
    table: Float[Array, "D V"],
    targets: Int[Array, "B T"],
    tile: int,
    precision: str,
) -> Float[Array, "B T"]:
    """Losses in nats of the last norm's output, by the unembedding."""
    x, flat = x.reshape(-1, x.shape[-1]), targets.reshape(-1)
    tiles = -(-len(x) // tile)
    each = -(-len(x) // tiles)  # all tiles equal: one shape to compile
    padding = tiles * each - len(x)
    x = jnp.pad(x, ((0, padding), (0, 0))).reshape(tiles, each, -1)
    flat = jnp.pad(flat, (0, padding)).reshape(tiles, each)
    wide = jnp.promote_types(table.dtype, jnp.float32)

    # The [tokens, V] logits of a tile exist only inside this function; lax.map computes the tiles
    # one after another. Positions of padding take token 0 as target; their losses become NaN below.
    def of_tile(own: tuple[Array, Array]) -> Float[Array, " tokens"]:
        x, targets = own
        logits = jnp.matmul(x, table, preferred_element_type=wide)
        target = jnp.take_along_axis(logits, jnp.maximum(targets, 0)[:, None], axis=1)[:, 0]
        return jax.nn.logsumexp(logits, axis=1) - target

    with jax.default_matmul_precision(precision):
        found = jax.lax.map(of_tile, (x, flat)).reshape(-1)[: targets.size]
    return jnp.where(targets < 0, jnp.nan, found.reshape(targets.shape))


def rows_that_fit(
    config: LMConfig, dtype: DTypeLike, length: int, memory: float, held: int | None = None
) -> int:
    """The largest batch that fits into a device's memory: number of rows, a power of 2, at least 1.

    A power of 2, so that a small change of the free memory does not change the batches, and with
    them the rounding of the losses.

    Args:
        config: the model's shape.
        dtype: of parameters and of the factors of matrix products.
        length: T, positions of a row.
        memory: bytes that may be used on the device, including those of the parameters.
        held: bytes of the parameters on a device; those of a copy by default.
    """
    own = parameter_bytes(config, dtype) if held is None else held
    left = memory - own - logits_bytes(config)
    rows = min(left / batch_bytes(config, dtype, 1, length), MOST_POSITIONS / length)
    return 2 ** max(0, int(np.log2(max(rows, 1))))


def parameter_bytes(config: LMConfig, dtype: DTypeLike) -> int:
    """Bytes of the parameters on a device."""
    return jnp.dtype(dtype).itemsize * count(config)[0]


def cut_bytes(config: LMConfig, dtype: DTypeLike, devices: int) -> int:
    """Bytes of the parameters on each of the devices that they are cut over, those that are
    gathered included."""
    return cut.bytes_of_share(config, dtype, devices) + cut.bytes_gathered(config, dtype)


def logits_bytes(config: LMConfig) -> int:
    """Bytes of the logits of one tile."""
    return WIDE * TILE * config.vocab


def batch_bytes(config: LMConfig, dtype: DTypeLike, rows: int, length: int) -> int:
    """Bytes of a batch's activations at the peak of memory, which is within a transformer block.

    For each position and head: an attention score for each of the T positions of the row, in
    float32, and the softmax of it, in ``dtype``. For each position, beside these, in ``dtype``: the
    MLP's hidden layer before and after the activation function, and 2 · D numbers for the residual
    stream. That covers queries, keys, values and norms in attention, too.

    Compared with the memory that XLA plans for an H200 (Pythia 14m, 70m, 1.4b and 12b, rows of
    1,024 and 2,048), the estimate is 1 to 19% too large. Where the logits need more than the
    blocks, XLA plans as much as the logits need.

    Args:
        config: the model's shape.
        dtype: of parameters and of the factors of matrix products.
        rows: B, rows of the batch on the device.
        length: T, positions of a row.
    """
    size = jnp.dtype(dtype).itemsize
    scores = config.heads * length * (WIDE + size)
    numbers = config.hidden_layers * config.hidden + 2 * config.width
    return rows * length * (scores + numbers * size)
