"""What a pack takes: memory, operations and seconds, here or on a GPU that is not at hand."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from jquanta.machine import devices
from jquanta.parity.config import RunConfig
from jquanta.parity.layout import (
    CPU_TILE,
    Layout,
    Way,
    ahead,
    distribution,
    packable,
    tiles,
    tiling_of,
    way_of,
)
from jquanta.parity.solo import Program
from jquanta.parity.tiling import (
    BACKWARD_SAMPLES,
    FORWARD_SAMPLES,
    LEAST_SEGMENTS,
    PROGRAMS,
    UNITS,
    Tiling,
    padded_units,
)

BYTES = 4  # float32


def way_here(run: RunConfig, backend: str | None = None) -> Way | None:
    """How a pack of such runs is computed; None for a stack, which is not packed."""
    return way_of(run, backend or devices.kind())[0] if packable(run) else None


def _tiling(run: RunConfig) -> Tiling:
    """Of the run by itself: that of its pack has as many columns, and fewer segments."""
    tiling = tiling_of(Program.of(run), padded_units(run.network.width))
    assert tiling is not None
    return tiling


def pack_bytes(runs: Sequence[RunConfig], backend: str | None = None) -> int:
    """Bytes that a pack needs while it trains and is evaluated, about."""
    kinds = {distribution(run): run for run in runs}
    shared = sum(shared_bytes(run, backend) for run in kinds.values())
    return shared + sum(run_bytes(run, backend) for run in runs)


def shared_bytes(run: RunConfig, backend: str | None = None) -> int:
    """Bytes of what the runs of a pack and one distribution share: batches drawn ahead."""
    way = way_here(run, backend)
    if way is None or way is Way.TILES:
        return 0
    if way is Way.KERNELS:
        tiling = _tiling(run)
        # Inputs in float16; while a batch is sorted, keys and words twice.
        sample = 2 * tiling.columns + 2 * BYTES * (run.task.n_bits / 32 + 3)
        partial_sums = BYTES * PROGRAMS * UNITS * tiling.columns
        return int(ahead(way, run.batch_size) * tiling.padded * sample) + partial_sums
    return ahead(way, run.batch_size) * run.batch_size * BYTES * (run.task.n_bits + 8)


def run_bytes(run: RunConfig, backend: str | None = None) -> int:
    """Bytes that one run adds to its pack while it trains and is evaluated, about."""
    way, batch = way_here(run, backend), run.batch_size
    width, points, codes = run.network.width, run.eval.points_per_task, run.task.n_codes
    if way is Way.KERNELS:
        tiling, units = _tiling(run), padded_units(width)
        state = 8 * BYTES * (run.task.n_tasks + run.task.n_bits + 3) * units
        halves = BYTES * (run.task.n_bits + tiling.blocks * tiling.block) * units
        # Of a segment for each block, and of those that a batch is cut into at least.
        segments = tiling.blocks + LEAST_SEGMENTS
        partial_sums = BYTES * segments * tiling.columns * units
        samples = (units + 2 * BYTES * units // UNITS + 4 * BYTES) * batch
        evaluation = BYTES * (points + codes) * (units + 3)
        return state + max(halves + partial_sums + samples, evaluation)
    state = 6 * run.n_params  # weights, Adam's two moments, gradients, and one copy of each pass
    passes = 4 if way is Way.WHOLE else 3  # a running sum over the batch is one more
    hidden = passes * (run.network.depth - 1) * width + run.task.n_bits
    training = (min(batch, CPU_TILE) if way is Way.TILES else batch) * hidden
    evaluation = 3 * points * width + points * run.task.n_bits + 4 * codes
    return BYTES * (state + max(training, evaluation))


def run_operations(run: RunConfig) -> float:
    """Floating-point operations of a whole run, evaluations included."""
    width, depth = run.network.width, run.network.depth
    inner = (depth - 2) * width * width
    a_sample = 2 * (run.task.n_bits * width + inner + 8 * width)
    training = 3.0 * run.train.steps * run.batch_size * a_sample
    points = run.eval.points_per_task
    a_point = 2 * run.task.n_bits * width + 2 * run.task.n_codes * (inner + 8 * width)
    return training + _evaluations(run) * points * a_point


def _evaluations(run: RunConfig) -> int:
    """Test blocks that the run is evaluated on: finite data are validated, too."""
    return len(run.evaluation_steps) * (1 if run.online else 2)


SAMPLE_OPERATIONS = 80_000
"""What drawing and sorting a sample takes: 0.4 microseconds at a CPU's matrix rate."""


def pack_operations(runs: Sequence[RunConfig]) -> float:
    """Operations of all runs of a pack, its samples drawn once, or for each run of a stack."""
    drawn = runs[:1] if packable(runs[0]) else runs
    samples = sum(float(run.train.steps) * run.batch_size for run in drawn)
    return sum(map(run_operations, runs)) + SAMPLE_OPERATIONS * samples


def useful_share(runs: Sequence[RunConfig], backend: str | None = None) -> float:
    """Of the operations that training executes, the share that counts. The rest is padding: of
    epochs and of tiles of samples; in the kernels of hidden units and input columns, too."""
    useful = executed = 0.0
    for run in runs:
        kept = float(run.batch_size)
        if not run.online:
            kept = run.train.train_size / -(-run.train.train_size // run.batch_size)
        work = run_operations(run)
        useful, executed = useful + work * kept, executed + work * _executed(run, backend)
    return useful / executed


def _executed(run: RunConfig, backend: str | None) -> float:
    """Samples that a step computes for each hidden unit that counts, padding of units and columns
    included."""
    way = way_here(run, backend)
    if way is Way.KERNELS:
        tiling, width = _tiling(run), run.network.width
        used = run.task.n_bits + min(tiling.block, run.task.n_codes)
        padding = padded_units(width) / width * tiling.columns / used
        return padding * _samples(tiling)
    count, size = tiles(run.batch_size, CPU_TILE if way is Way.TILES else None)
    return count * size


def _samples(tiling: Tiling) -> float:
    """Samples that the kernels compute, on average: each block of codes ends within a tile."""
    half = (FORWARD_SAMPLES + BACKWARD_SAMPLES) / 4
    return tiling.batch + tiling.blocks * half


@dataclass(frozen=True)
class Card:
    """What a GPU can do.

    Attributes:
        name: for people.
        memory: bytes.
        half: operations a second of large float16 or bfloat16 products.
        single: the same of float32 ones, without matrix units.
        copy: bytes a second, read and written.
    """

    name: str
    memory: int
    half: float
    single: float
    copy: float


H200 = Card("NVIDIA H200", 141 * 10**9, 767e12, 50e12, 4.0e12)
"""Measured by ``python -m benchmarks.gpu --parts rates``."""

# Shares of those rates, from the times of Figure 2's 30 networks and of 160 of the grid on it
# (``--parts step,grid``), and of single networks.
KERNEL_SHARE = 0.41  # of the float16 rate: both kernels
WEIGHT_BYTES = 60  # moved for each weight in a step: Adam, splitting, sums
STEP_SECONDS = 30e-6  # between the kernels
LEAST_SECONDS, LEAST_FINITE_SECONDS = 100e-6, 160e-6  # to launch a step's programs; finite data
HIDDEN_RATE = 0.055  # hidden units of test points a second, of the float32 rate
EVALUATION_SECONDS = 550e-6
WHOLE_UNITS, WHOLE_HIDDEN = 0.0066, 0.029  # by XLA: units of samples and points, of the copy rate
STACK_SHARE, STACK_PASSES = 0.5, 12  # not measured: of both rates; reads and writes of activations


def card_seconds(runs: Sequence[RunConfig], card: Card = H200) -> float:
    """What the runs of a pack take on a GPU: the times of an H200, scaled by the card's rates."""
    first, way = runs[0], way_here(runs[0], "gpu")
    steps = max(run.train.steps for run in runs)
    units = sum(run.network.width for run in runs)
    points = _evaluations(first) * first.eval.points_per_task * first.task.n_codes
    if way is None:
        moved = sum(float(run.train.steps) * run.batch_size * run.network.width for run in runs)
        moved *= STACK_PASSES * BYTES * (first.network.depth - 1)
        computing = pack_operations(runs) / card.single + moved / card.copy
        return computing / STACK_SHARE + steps * STEP_SECONDS
    if way is Way.WHOLE:
        samples = float(steps) * first.batch_size / WHOLE_UNITS + points / WHOLE_HIDDEN
        return samples * units / card.copy + steps * STEP_SECONDS
    padded = sum(padded_units(run.network.width) for run in runs)
    tiling = tiling_of(Program.of(first), padded)
    assert tiling is not None
    # Two float16 parts, forward and backward, a multiplication and an addition each.
    products = 8 * tiling.columns * padded * _samples(tiling) / (KERNEL_SHARE * card.half)
    weights = WEIGHT_BYTES * padded * (first.task.n_tasks + first.task.n_bits + 3)
    partial_sums = 2 * BYTES * tiling.segments * tiling.columns * padded
    busy = products + (weights + partial_sums) / card.copy + STEP_SECONDS
    step = max(busy, LEAST_SECONDS if first.online else LEAST_FINITE_SECONDS)
    evaluations = points * units / (HIDDEN_RATE * card.single)
    return steps * step + evaluations + _evaluations(first) * EVALUATION_SECONDS


def programs(packs: Sequence[Sequence[RunConfig]], backend: str | None = None) -> int:
    """Different programs that packs need: for each layout one that trains, one that evaluates."""
    layouts = set()
    for pack in packs:
        way = way_here(pack[0], backend)
        layouts.add((Program.of(pack[0]), len(pack)) if way is None else Layout.of(pack, way))
    return 2 * len(layouts)


def this_card() -> Card:
    """The GPU at hand, its rates measured: a few seconds."""
    device = jax.local_devices()[0]
    memory = int((device.memory_stats() or {}).get("bytes_limit", H200.memory))
    return replace(
        H200,
        name=device.device_kind,
        memory=memory,
        half=product_rate(8192, jnp.bfloat16),
        single=product_rate(4096),
        copy=_copy_rate(),
    )


def product_rate(size: int = 1024, dtype: Any = jnp.float32, seconds: float = 0.2) -> float:
    """Floating-point operations a second of a square matrix product here, measured."""
    precision = jax.lax.Precision.HIGHEST
    product = jax.jit(lambda a: jnp.matmul(a, a, precision=precision) / size)
    return 2 * size**3 * _rate(product, jnp.ones((size, size), dtype), seconds)


def _copy_rate(size: int = 2**28, seconds: float = 0.2) -> float:
    """Bytes a second, read and written."""
    return 2 * BYTES * size * _rate(jax.jit(lambda a: a + 1), jnp.ones(size, jnp.float32), seconds)


def _rate(program: Callable[[Any], Any], array: Any, seconds: float) -> float:
    """Calls a second of a program on its own result."""
    array = jax.block_until_ready(program(array))
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        array = jax.block_until_ready(program(array))
        count += 1
    return count / (time.perf_counter() - began)


EFFICIENCY = 0.8
"""Operations counted here over those that a CPU's matrix rate allows, about, in a large pack."""


def cpu_seconds(packs: Sequence[Sequence[RunConfig]], rate: float) -> float:
    """What packs take on the CPU devices at hand, whose products reach ``rate``."""
    work = sum(map(pack_operations, packs))
    return work / (rate * EFFICIENCY) / jax.local_device_count()


def device_name() -> str:
    """The devices that a sweep would train on."""
    return f"{jax.local_device_count()} x {jax.local_devices()[0].device_kind}"


def stored_bytes(runs: Sequence[RunConfig]) -> int:
    """Bytes of the results of ``runs`` before compression, weights included."""
    losses = sum(len(run.evaluation_steps) * 2 * run.task.n_codes for run in runs)
    return BYTES * (losses + sum(run.n_params for run in runs))
