"""Rates of the GPU: matrix products by several algorithms, with their errors, and a copy."""

from collections.abc import Iterator, Set
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import DotAlgorithmPreset, Precision
from jaxtyping import Array, Float

from benchmarks.gpu.record import Row
from benchmarks.gpu.timing import UNSUPPORTED, median_row, seconds_each, unsupported

SAMPLES = 5
CHECKED = 16  # rows and columns of a product whose error is measured

ALGORITHMS: dict[str, Any] = {
    "HIGHEST": Precision.HIGHEST,
    "F32_F32_F32": DotAlgorithmPreset.F32_F32_F32,
    "TF32_TF32_F32": DotAlgorithmPreset.TF32_TF32_F32,
    "TF32_TF32_F32_X3": DotAlgorithmPreset.TF32_TF32_F32_X3,
    "BF16_BF16_F32_X3": DotAlgorithmPreset.BF16_BF16_F32_X3,
    "BF16_BF16_F32_X6": DotAlgorithmPreset.BF16_BF16_F32_X6,
    "BF16_BF16_F32": DotAlgorithmPreset.BF16_BF16_F32,
}
# Algorithms that are shown in the table at the end, for square and for narrow matrices.
SQUARE = {*ALGORITHMS} - {"F32_F32_F32"}
SKINNY = {"HIGHEST", "TF32_TF32_F32_X3", "BF16_BF16_F32_X3"}


class Factors(NamedTuple):
    """The factors of a matrix product.

    Attributes:
        name: of the product.
        left, right: the factors.
        repeats: products in a sample.
    """

    name: str
    left: Float[np.ndarray, "m k"]
    right: Float[np.ndarray, "k n"]
    repeats: int


def measure(small: bool) -> Iterator[Row]:
    """Time a copy, large products in float32 and bfloat16, and the products of Figure 2's step."""
    yield _copy(2**22 if small else 2**28)
    square, *skinny = _factors(small)
    yield from _products(square, SQUARE)
    yield _bfloat16(512 if small else 8192)
    for factors in skinny:
        yield from _products(factors, SKINNY)


def _factors(small: bool) -> list[Factors]:
    """The factors of a square product, and of the three products of a training step of Figure 2.

    These are the preactivations of the hidden units (x·W), the gradients of the kernel (xᵀ·G), and
    the gradients of the control bits' rows as a product with one-hot vectors.
    """
    random = np.random.default_rng(0)
    side, batch, bits, units, subtasks = (
        (256, 500, 20, 130, 50) if small else (4096, 20_000, 100, 3893, 500)
    )

    def normal(*shape: int) -> Float[np.ndarray, "m n"]:
        return random.standard_normal(shape, np.float32)

    x = random.integers(0, 2, (batch, bits)).astype(np.float32)
    gradients = normal(batch, units)
    one_hot = np.zeros((subtasks, batch), np.float32)
    # Column b is the one-hot vector of sample b; samples are sorted by subtask, as in training.
    one_hot[np.sort(random.integers(0, subtasks, batch)), np.arange(batch)] = 1
    # The transposed matrix is stored as such, so that all products have row-major factors.
    transposed = np.ascontiguousarray(x.T)
    return [
        Factors(f"{side}³", normal(side, side), normal(side, side), 10),
        Factors("x·W", x, normal(bits, units), 20),
        Factors("xᵀ·G", transposed, gradients, 20),
        Factors("one-hot·G", one_hot, gradients, 10),
    ]


def _products(factors: Factors, shown: Set[str]) -> Iterator[Row]:
    """Time a product by each algorithm, in milliseconds; rate and error are in the notes."""
    left, right = jax.device_put((factors.left, factors.right))
    # Float64 on the host, for a corner of the result only.
    exact = factors.left[:CHECKED].astype(np.float64) @ factors.right[:, :CHECKED]
    for algorithm, precision in ALGORITHMS.items():
        name, product = f"{factors.name} {algorithm}", _product(precision)
        try:
            found = np.asarray(product(left, right)[:CHECKED, :CHECKED])
        except UNSUPPORTED as error:
            yield unsupported(name, error)
            continue
        seconds = seconds_each(partial(product, left, right), factors.repeats, SAMPLES)
        off = np.linalg.norm(found - exact) / np.linalg.norm(exact)
        note = f"{_rate(left.size, right, seconds)}, error {off:.1e}"
        yield median_row(name, seconds, note=note, shown=algorithm in shown)


def _product(precision: Any) -> Any:
    return jax.jit(
        lambda a, b: jax.lax.dot(a, b, precision=precision, preferred_element_type=jnp.float32)
    )


def _rate(numbers: int, right: Array, seconds: tuple[float, ...]) -> str:
    """The median rate of a product, in words.

    A product [m, k] · [k, n] has 2 · m · k · n floating-point operations.

    Args:
        numbers: m · k, the size of the left factor.
        right: the right factor.
        seconds: of each sample.
    """
    return f"{2e-12 * numbers * right.shape[1] / float(np.median(seconds)):.4g} Tflop/s"


def _bfloat16(side: int) -> Row:
    """The rate of a large bfloat16 product, which the hardware accumulates in float32."""
    a = jax.random.normal(jax.random.key(0), (side, side), jnp.bfloat16)
    product = jax.jit(lambda x: jax.lax.dot(x, x, preferred_element_type=jnp.bfloat16))
    seconds = seconds_each(lambda: product(a), 5, SAMPLES)
    return median_row(f"{side}³ bfloat16 in and out", seconds, note=_rate(a.size, a, seconds))


def _copy(numbers: int) -> Row:
    """Bytes per second, read plus written, when 1 is added to a large array."""
    a = jnp.ones(numbers, jnp.float32)
    change = jax.jit(lambda x: x + 1)
    seconds = seconds_each(lambda: change(a), 10, SAMPLES)
    rates = tuple(2e-9 * a.nbytes / x for x in seconds)
    return Row("copy, read and written", float(np.median(rates)), "GB/s", samples=rates)
