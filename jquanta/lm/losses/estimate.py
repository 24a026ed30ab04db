"""Estimate time, memory and disk space of a column of losses, from one measured rate."""

import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jquanta.lm.losses.batches import Plan
from jquanta.lm.losses.column import CHUNK, NUMBER
from jquanta.lm.losses.rows import algorithm, batch_bytes, logits_bytes, parameter_bytes
from jquanta.lm.losses.ways import ROWS, way_here
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import count
from jquanta.machine import devices

SHARES = {"cpu": 0.6}
"""The rate that a whole forward pass reaches, as a share of the rate of one large matrix product:
benchmarks.losses measured 0.57 at 14m and 0.70 at 70m on 2 CPU cores, padding not counted."""

OTHER_SHARE = 0.4
"""The same on other devices: on an H200 0.41 at 70m in float32, 0.48 at 1.4b in bfloat16."""


@dataclass(frozen=True)
class Estimate:
    """Resources that a column needs.

    Attributes:
        seconds: of computing, without reading weights and compiling.
        memory: bytes on all local devices together, for the parameters and one batch.
        disk: bytes of the stored losses.
    """

    seconds: float
    memory: int
    disk: int

    def __str__(self) -> str:
        if self.seconds < 120:
            duration = f"{max(1, round(self.seconds))} s"
        elif self.seconds < 7200:
            duration = f"{self.seconds / 60:.0f} min"
        else:
            duration = f"{self.seconds / 3600:,.1f} h"
        return (
            f"about {duration} of computing, {self.memory / 1e9:,.1f} GB of memory, "
            f"{self.disk / 1e6:,.0f} MB of disk"
        )


def estimate(config: LMConfig, plan: Plan, dtype: DTypeLike, rate: float) -> Estimate:
    """Estimate what a column needs on the local devices.

    Args:
        config: the model's shape.
        plan: the batches, of ``plan_for``.
        dtype: of parameters and of the factors of matrix products.
        rate: floating-point operations per second of a large matrix product, of all devices
            together (``product_rate``).
    """
    share = SHARES.get(jax.default_backend(), OTHER_SHARE)
    devices = jax.local_device_count()
    own = parameter_bytes(config, dtype)
    if way_here() is ROWS:
        own += logits_bytes(config)  # on a CPU their tiles are small
    shapes = [(batch.rows, batch.length) for batch in plan.batches]
    largest = max((batch_bytes(config, dtype, *shape) for shape in set(shapes)), default=0)
    return Estimate(
        seconds=sum(operations(config, *shape) for shape in shapes) / (share * rate),
        memory=devices * own + largest,
        # Chunks are written whole, the last one too.
        disk=-(-plan.predictions // CHUNK) * CHUNK * NUMBER.itemsize,
    )


def operations(config: LMConfig, rows: int, length: int) -> float:
    """Floating-point operations of a batch's matrix products, padding included.

    Each multiplication counts as two operations, for it is followed by an addition.

    Args:
        config: the model's shape.
        rows: B, of the batch.
        length: T, positions of a row.
    """
    # Multiplications at each position: the kernels and the unembedding, and in each layer, for each
    # of T positions, the numbers of all heads for the scores and again for the weighted values.
    kernels = count(config)[1] + config.vocab * config.width
    pairs = 2 * config.layers * config.attended * length
    return 2.0 * rows * length * (kernels + pairs)


def product_rate(dtype: DTypeLike, seconds: float = 0.2) -> float:
    """Measure the rate of a large matrix product, in floating-point operations per second.

    One device is measured; the result is for all local devices together.

    Args:
        dtype: of the factors.
        seconds: how long to measure.
    """
    backend = jax.default_backend()
    size = 1024 if backend == "cpu" else 8192
    with jax.default_matmul_precision(algorithm(dtype, devices.kind())):
        product = jax.jit(lambda a: jnp.matmul(a, a) / size)
        matrix = jax.block_until_ready(product(jnp.ones((size, size), dtype)))  # compiles
        number, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            matrix = jax.block_until_ready(product(matrix))
            number += 1
    took = time.perf_counter() - began
    # Several devices of a CPU (for tests) share its cores, and a single product uses all of them.
    count = 1 if backend == "cpu" else jax.local_device_count()
    return count * 2 * size**3 * number / took  # size³ multiplications and additions each
