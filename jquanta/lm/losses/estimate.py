"""Estimate time, memory and disk space of a column of losses, here or on a card that is elsewhere.

The batches are those that would be computed, and the time follows from the rate of a large product.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from numpy.typing import NDArray

from jquanta.lm.losses.batches import Plan
from jquanta.lm.losses.column import CHUNK, NUMBER
from jquanta.lm.losses.rows import FLOAT32, algorithm, batch_bytes, logits_bytes
from jquanta.lm.losses.ways import LENGTHS, placement_for, way_of
from jquanta.lm.models.config import COPIED, LMConfig
from jquanta.lm.models.network import count
from jquanta.machine.computer import Computer
from jquanta.run.progress import duration

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
        memory: bytes on all devices together, for the parameters and one batch.
        disk: bytes of the stored losses.
        programs: to be compiled.
        operations: floating-point operations, padding included.
    """

    seconds: float
    memory: int
    disk: int
    programs: int
    operations: float = 0.0

    def __str__(self) -> str:
        programs = f"{self.programs} program{'s' * (self.programs != 1)}"
        return (
            f"about {duration(max(1, self.seconds))} of computing, {programs} to compile, "
            f"{self.memory / 1e9:,.1f} GB of memory, {self.disk / 1e6:,.0f} MB of disk"
        )


def plan_on(
    computer: Computer,
    predictions: NDArray[np.int64],
    config: LMConfig,
    dtype: DTypeLike,
    tokens: int | None = None,
    placement: str = COPIED,
) -> Plan:
    """The batches in which a computer would take documents.

    Args:
        computer: whose kind and memory decide.
        predictions: [documents] number of predictions of each document.
        config: the model's shape.
        dtype: of parameters and of the factors of matrix products.
        tokens: positions of a batch on each device; what suits the devices if None.
        placement: of the parameters.
    """
    way = way_of(computer.kind, placement)
    return way.plan(predictions, config, dtype, tokens, computer.devices, computer.memory)


def placement_on(
    computer: Computer, predictions: NDArray[np.int64], config: LMConfig, dtype: DTypeLike
) -> str:
    """Where a computer would have the parameters lie, unless it is told; see ``plan_on``."""
    longest = int(predictions.max(initial=0))
    return placement_for(config, dtype, longest, computer.kind, computer.memory, computer.devices)


def estimate(
    config: LMConfig,
    plan: Plan,
    dtype: DTypeLike,
    computer: Computer,
    placement: str = COPIED,
) -> Estimate:
    """Estimate what a column needs.

    Args:
        config: the model's shape.
        plan: the batches, of ``plan_on`` this computer.
        dtype: of parameters and of the factors of matrix products.
        computer: the devices.
        placement: of the parameters.
    """
    way = way_of(computer.kind, placement)
    own = way.held(config, dtype, computer.devices)
    if way is not LENGTHS:
        own += logits_bytes(config)  # on a CPU their tiles are small
    shapes = [(batch.rows, batch.length) for batch in plan.batches]
    largest = max((batch_bytes(config, dtype, *shape) for shape in set(shapes)), default=0)
    work = sum(operations(config, *shape) for shape in shapes)
    share = SHARES.get(computer.kind, OTHER_SHARE)
    return Estimate(
        seconds=work / (share * rate(computer, dtype)),
        memory=computer.devices * own + largest,
        # Chunks are written whole, the last one too.
        disk=-(-plan.predictions // CHUNK) * CHUNK * NUMBER.itemsize,
        programs=len(set(shapes)),
        operations=work,
    )


def rate(computer: Computer, dtype: DTypeLike) -> float:
    """Operations a second of large products as losses take them."""
    if jnp.dtype(dtype) == jnp.bfloat16:
        return computer.half
    return computer.triple if algorithm(dtype, computer.kind) == FLOAT32 else computer.single


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
