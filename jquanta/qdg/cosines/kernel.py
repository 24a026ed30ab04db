"""Inner products of long rows on a GPU's matrix units, as exact as in float32.

A matrix unit cuts off what does not fit when it adds, always towards zero, so that a sum drifts: by
2 to 6 parts in 10^6 over 2,560 terms of one sign, and a cosine near 1 is such a sum over millions.
Here the unit adds ``CHUNK`` terms at a time, from zero; what it gives is added up in ordinary
float32, which rounds to nearest. Each float32 number is the sum of three bfloat16 numbers,
and of their nine products the six largest are added, the small ones first (BF16_BF16_F32_X6).

``python -m benchmarks.gpu.drift`` emulates the units: of a cosine over 2^20 numbers the error is
1.2e-7 with these chunks, and 9.5e-7 where a unit adds 512 terms.

On a CPU the kernel runs in Pallas' interpret mode.
"""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.lax import DotAlgorithmPreset
from jaxtyping import Array, Float, Float32

from jquanta.machine import devices
from jquanta.machine.triton import AVAILABLE, options, plt

CHUNK = 64
"""Terms that a matrix unit adds up by itself."""

TILES = 16, 32, 64, 128
"""Rows and columns of inner products that a program computes: the least that takes all, or 128.
Of few rows memory is the limit, and a larger tile would be computed in vain."""

PROGRAMS = 264
"""Programs that keep any card busy: two for each of 132 multiprocessors. Long rows are cut into so
many segments that there are about as many."""

SPLIT = DotAlgorithmPreset.BF16_BF16_F32_X6
"""The algorithm of products of float32 numbers."""


TRIED = 32, 2**12
"""Rows and numbers of the products by which the kernel is tried."""

ALLOWED = 1e-6
"""Error of a cosine from which on the kernel is not taken."""


def here() -> bool:
    """Whether products are the kernel's: on a GPU on which it was tried, once in a process."""
    return AVAILABLE and devices.kind() == "gpu" and not _trouble()


def note() -> str:
    """In a line, why a GPU does not take the kernel; empty where all is well."""
    if not AVAILABLE or devices.kind() != "gpu" or not _trouble():
        return ""
    return f"products in float32, without matrix units, at half the speed: {_trouble()}"


@cache
def _trouble() -> str:
    """What is wrong with the kernel on this device, by its cosines of rows that are alike."""
    rows = np.random.default_rng(0).standard_normal(TRIED) + np.linspace(0, 4, TRIED[0])[:, None]
    unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    try:
        found = np.asarray(jax.jit(inner)(unit, unit), np.float64)
    except Exception as error:  # whatever compiler and driver say: there is another way
        return f"the kernel fails here ({type(error).__name__})"
    exact = unit.astype(np.float64)
    off = float(np.abs(found - exact @ exact.T).max())
    return "" if off <= ALLOWED else f"the kernel's cosines are off by {off:.1g} here"


def inner(
    one: Float[Array, "rows numbers"],
    other: Float[Array, "others numbers"],
    algorithm: Any = None,
) -> Float32[Array, "rows others"]:
    """Inner products of all rows of two matrices, in float32.

    Args:
        one, other: float32 or bfloat16.
        algorithm: of products of float32 numbers; ``SPLIT`` by default. Those of bfloat16 numbers
            need none.
    """
    rows, others, numbers = len(one), len(other), one.shape[1]
    tile = _tile(rows), _tile(others)
    grid = -(-rows // tile[0]), -(-others // tile[1])
    chunks = -(-numbers // CHUNK)
    segments = max(1, min(chunks, PROGRAMS // (grid[0] * grid[1])))
    each = -(-chunks // segments)
    algorithm = (algorithm or SPLIT) if one.dtype == jnp.float32 else None
    parts = pl.pallas_call(
        partial(_program, each, algorithm, tile),
        grid=(*grid, segments),
        out_shape=jax.ShapeDtypeStruct((segments, rows, others), jnp.float32),
        **options(warps=8 if min(tile) == TILES[-1] else 4, stages=2),
    )(one, other)
    return parts.sum(0)


def _tile(rows: int) -> int:
    return next((tile for tile in TILES if tile >= rows), TILES[-1])


def _program(
    each: int, algorithm: Any, tile: tuple[int, int], one: Any, other: Any, out: Any
) -> None:
    """Body of the kernel: a program computes a tile of inner products over one segment of so many
    chunks."""
    i, j, segment = (pl.program_id(axis) for axis in range(3))
    row, column = (at * size + jnp.arange(size) for at, size in zip((i, j), tile, strict=True))

    def half(first: Array) -> Array:
        place = first + jnp.arange(CHUNK // 2)
        return _dot(_rows(one, row, place), _rows(other, column, place), algorithm)

    def step(chunk: Array, total: Array) -> Array:
        first = (segment * each + chunk) * CHUNK
        # Triton has the matrix unit do an addition to a product that begins at zero. So a chunk is
        # the sum of two products, of which it may join the second to the first; the sum does not
        # begin at zero, and is added to the total outside of the unit.
        return total + (half(first) + half(first + CHUNK // 2))

    zero = jnp.zeros(tile, jnp.float32)
    total = jax.lax.fori_loop(0, each, step, zero)
    inside = (row < one.shape[0])[:, None] & (column < other.shape[0])[None, :]
    plt.store(out.at[segment, row[:, None], column[None, :]], total, mask=inside)


def _rows(of: Any, row: Array, place: Array) -> Array:
    """Some numbers of some rows; zeros beyond the last ones."""
    inside = (row < of.shape[0])[:, None] & (place < of.shape[1])[None, :]
    return plt.load(of.at[row[:, None], place[None, :]], mask=inside, other=0.0)


def _dot(a: Array, b: Array, algorithm: Any) -> Array:
    both = (((1,), (1,)), ((), ()))
    return jax.lax.dot_general(a, b, both, precision=algorithm, preferred_element_type=jnp.float32)
