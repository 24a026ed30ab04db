"""What a column of losses will take: time, memory and disk, by arithmetic and one measured rate."""

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
"""Of the rate of a large product, what a whole pass reaches: benchmarks.losses found 0.57 at 14m
and 0.70 at 70m on 2 CPU cores, padding not counted."""

OTHER_SHARE = 0.4
"""The same on other devices: on an H200 0.41 at 70m in float32, 0.48 at 1.4b in bfloat16."""


@dataclass(frozen=True)
class Estimate:
    """What a column takes.

    Attributes:
        seconds: of computing; reading weights and compiling are not counted.
        memory: bytes on all local devices, parameters and one batch.
        disk: bytes of the losses.
    """

    seconds: float
    memory: int
    disk: int

    def __str__(self) -> str:
        if self.seconds < 120:
            told = f"{max(1, round(self.seconds))} s"
        elif self.seconds < 7200:
            told = f"{self.seconds / 60:.0f} min"
        else:
            told = f"{self.seconds / 3600:,.1f} h"
        return (
            f"about {told} of computing, {self.memory / 1e9:,.1f} GB of memory, "
            f"{self.disk / 1e6:,.0f} MB of disk"
        )


def estimate(config: LMConfig, plan: Plan, dtype: DTypeLike, rate: float) -> Estimate:
    """What a column takes on the local devices.

    Args:
        config: the model's shape.
        plan: of ``plan_for``.
        dtype: of parameters and products.
        rate: floating-point operations a second of a large product, on all devices together.
    """
    share = SHARES.get(jax.default_backend(), OTHER_SHARE)
    devices = jax.local_device_count()
    own = parameter_bytes(config, dtype)
    if way_here() is ROWS:
        own += logits_bytes(config)  # a CPU's tiles of them are small
    shapes = [(batch.rows, batch.length) for batch in plan.batches]
    largest = max((batch_bytes(config, dtype, *shape) for shape in set(shapes)), default=0)
    return Estimate(
        seconds=sum(operations(config, *shape) for shape in shapes) / (share * rate),
        memory=devices * own + largest,
        disk=-(-plan.predictions // CHUNK) * CHUNK * NUMBER.itemsize,
    )


def operations(config: LMConfig, rows: int, length: int) -> float:
    """Of a batch's matrix products, padding included: two for each multiplication."""
    # Kernels and unembedding at each position; scores and mixed values of each pair in a row.
    kernels = count(config)[1] + config.vocab * config.width
    pairs = 2 * config.layers * config.width * length
    return 2.0 * rows * length * (kernels + pairs)


def product_rate(dtype: DTypeLike, seconds: float = 0.2) -> float:
    """Operations a second of a large product on all local devices, one of them measured."""
    backend = jax.default_backend()
    size = 1024 if backend == "cpu" else 8192
    with jax.default_matmul_precision(algorithm(dtype, devices.kind())):
        product = jax.jit(lambda a: jnp.matmul(a, a) / size)
        matrix = jax.block_until_ready(product(jnp.ones((size, size), dtype)))
        number, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            matrix = jax.block_until_ready(product(matrix))
            number += 1
    took = time.perf_counter() - began
    # The devices of a CPU share its cores, which a single product already has.
    count = 1 if backend == "cpu" else jax.local_device_count()
    return count * 2 * size**3 * number / took
