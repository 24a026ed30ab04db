"""Products of panels: inner products of long rows by several algorithms, whole and in chunks."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import DotAlgorithmPreset, Precision
from jaxtyping import Array

from benchmarks.gpu.drift import unit
from benchmarks.gpu.record import Row
from benchmarks.gpu.timing import UNSUPPORTED, median_row, seconds_each, unsupported
from jquanta.qdg.cosines import kernel
from jquanta.qdg.cosines.panels import in_float32

SAMPLES = 5

ALGORITHMS: dict[str, Any] = {
    "HIGHEST": Precision.HIGHEST,
    "BF16_BF16_F32_X6": DotAlgorithmPreset.BF16_BF16_F32_X6,
    "TF32_TF32_F32_X3": DotAlgorithmPreset.TF32_TF32_F32_X3,
}


def measure(small: bool) -> Iterator[Row]:
    """Time products of panels of 64, 128 and 256 rows, and tell the largest error of a cosine."""
    numbers = 2**12 if small else 2**20
    for rows in (4,) if small else (64, 128, 256):
        random = np.random.default_rng(0)
        x, other = (random.standard_normal((rows, numbers), np.float32) for _ in range(2))
        one = unit(x)
        for name, second in (("random", unit(other)), ("near", unit(x + 0.1 * other))):
            yield from _products(f"{rows} rows, {name}", one, second)


def _products(name: str, one: np.ndarray, other: np.ndarray) -> Iterator[Row]:
    """By each algorithm: whole, and in the chunks of the kernel."""
    # Those of partners alone: the cosines that are large where rows are near.
    exact = (one.astype(np.float64) * other).sum(1)
    panels = jax.device_put((one, other))
    for algorithm, precision in ALGORITHMS.items():
        highest = precision is Precision.HIGHEST
        ways: dict[str, Callable[..., Array]] = {
            "whole": in_float32 if highest else partial(_whole, precision)
        }
        if kernel.here() or highest:  # interpreted on a CPU
            ways["in chunks"] = partial(_chunks, precision)
        for way, product in ways.items():
            program = jax.jit(product)
            title = f"{name}, {algorithm} {way}"
            try:
                found = np.diagonal(np.asarray(program(*panels)))
            except UNSUPPORTED as error:
                yield unsupported(title, error)
                continue
            seconds = seconds_each(partial(program, *panels), 5, SAMPLES)
            rate = 2e-12 * len(one) * other.size / float(np.median(seconds))
            off = np.abs(found - exact).max()
            yield median_row(title, seconds, note=f"{rate:.4g} Tflop/s, error {off:.1e}")


def _whole(precision: Any, one: Array, other: Array) -> Array:
    return jax.lax.dot_general(
        one,
        other,
        (((1,), (1,)), ((), ())),
        precision=precision,
        preferred_element_type=jnp.float32,
    )


def _chunks(precision: Any, one: Array, other: Array) -> Array:
    return kernel.inner(one, other, precision)
