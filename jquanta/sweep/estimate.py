"""Estimates of what a pack needs: memory, operations and time, here or on a GPU that is elsewhere.

In all functions, ``backend`` is a device kind, ``cpu`` or ``gpu``; None is the kind of the local
devices.
"""

from collections.abc import Sequence

import jax

from jquanta.machine import devices
from jquanta.machine.computer import H200, Computer
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
    """The implementation for a pack of such runs; None if they are stacked, not packed."""
    return way_of(run, backend or devices.kind())[0] if packable(run) else None


def _tiling(run: RunConfig) -> Tiling:
    """The GPU kernels' tiling for the run by itself.

    The tiling of a pack that it belongs to has as many columns, and at most as many segments.
    """
    tiling = tiling_of(Program.of(run), padded_units(run.network.width))
    assert tiling is not None
    return tiling


def pack_bytes(runs: Sequence[RunConfig], backend: str | None = None) -> int:
    """About how many bytes a pack needs for training and evaluation."""
    kinds = {distribution(run): run for run in runs}
    shared = sum(shared_bytes(run, backend) for run in kinds.values())
    return shared + sum(run_bytes(run, backend) for run in runs)


def shared_bytes(run: RunConfig, backend: str | None = None) -> int:
    """Bytes that the runs of one distribution in a pack share: batches that are drawn ahead."""
    way = way_here(run, backend)
    if way is None or way is Way.TILES:
        return 0
    if way is Way.KERNELS:
        tiling = _tiling(run)
        # The kernels' inputs in float16; while a batch is sorted, its keys and words twice.
        sample = 2 * tiling.columns + 2 * BYTES * (run.task.n_bits / 32 + 3)
        partial_sums = BYTES * PROGRAMS * UNITS * tiling.columns
        return int(ahead(way, run.batch_size) * tiling.padded * sample) + partial_sums
    return ahead(way, run.batch_size) * run.batch_size * BYTES * (run.task.n_bits + 8)


def run_bytes(run: RunConfig, backend: str | None = None) -> int:
    """About how many bytes one run adds to what its pack needs for training and evaluation."""
    way, batch = way_here(run, backend), run.batch_size
    width, points, codes = run.network.width, run.eval.points_per_task, run.task.n_codes
    if way is Way.KERNELS:
        tiling, units = _tiling(run), padded_units(width)
        state = 8 * BYTES * (run.task.n_tasks + run.task.n_bits + 3) * units
        # High and low parts of the first layer's weights, 2 bytes each.
        halves = BYTES * (run.task.n_bits + tiling.blocks * tiling.block) * units
        # Partial sums of each segment: one for each block, and the fewest that a batch is cut into.
        segments = tiling.blocks + LEAST_SEGMENTS
        partial_sums = BYTES * segments * tiling.columns * units
        samples = (units + 2 * BYTES * units // UNITS + 4 * BYTES) * batch
        evaluation = BYTES * (points + codes) * (units + 3)
        return state + max(halves + partial_sums + samples, evaluation)
    # Weights, Adam's two moments, gradients, and two temporary copies.
    state = 6 * run.n_params
    passes = 4 if way is Way.WHOLE else 3  # arrays of activations; the segmented scan is one more
    hidden = passes * (run.network.depth - 1) * width + run.task.n_bits
    training = (min(batch, CPU_TILE) if way is Way.TILES else batch) * hidden
    evaluation = 3 * points * width + points * run.task.n_bits + 4 * codes
    return BYTES * (state + max(training, evaluation))


def run_operations(run: RunConfig) -> float:
    """Floating-point operations of a whole run, evaluations included.

    The control vector needs a gather instead of a product. Together with the activation and the
    second layer it is counted as 8 multiplications and additions for each hidden unit.
    """
    width, depth = run.network.width, run.network.depth
    inner = (depth - 2) * width * width
    a_sample = 2 * (run.task.n_bits * width + inner + 8 * width)
    training = 3.0 * run.train.steps * run.batch_size * a_sample  # backward counts twice forward
    points = run.eval.points_per_task
    a_point = 2 * run.task.n_bits * width + 2 * run.task.n_codes * (inner + 8 * width)
    return training + _evaluations(run) * points * a_point


def _evaluations(run: RunConfig) -> int:
    """Number of blocks of test points; finite data are also evaluated on validation points."""
    return len(run.evaluation_steps) * (1 if run.online else 2)


SAMPLE_OPERATIONS = 80_000
"""Cost of drawing and sorting a sample, as the operations that a CPU does in the same time, 0.4
microseconds, in matrix products."""


def pack_operations(runs: Sequence[RunConfig]) -> float:
    """Operations of a pack. Its samples are drawn once; those of a stack for each of its runs."""
    drawn = runs[:1] if packable(runs[0]) else runs
    samples = sum(float(run.train.steps) * run.batch_size for run in drawn)
    return sum(map(run_operations, runs)) + SAMPLE_OPERATIONS * samples


def useful_share(runs: Sequence[RunConfig], backend: str | None = None) -> float:
    """Share of the operations of training that are not spent on padding.

    Padded are the last batch of an epoch and the tiles of samples; for the GPU kernels also hidden
    units and columns of the inputs.
    """
    useful = executed = 0.0
    for run in runs:
        # True samples in a batch, on average over an epoch.
        kept = float(run.batch_size)
        if not run.online:
            kept = run.train.train_size / -(-run.train.train_size // run.batch_size)
        work = run_operations(run)
        useful, executed = useful + work * kept, executed + work * _samples_executed(run, backend)
    return useful / executed


def _samples_executed(run: RunConfig, backend: str | None) -> float:
    """Samples of a step including padding; padding of units and columns counts as more samples."""
    way = way_here(run, backend)
    if way is Way.KERNELS:
        tiling, width = _tiling(run), run.network.width
        used = run.task.n_bits + min(tiling.block, run.task.n_codes)
        padding = padded_units(width) / width * tiling.columns / used
        return padding * _samples_with_padding(tiling)
    count, size = tiles(run.batch_size, CPU_TILE if way is Way.TILES else None)
    return count * size


def _samples_with_padding(tiling: Tiling) -> float:
    """Samples that the kernels compute in a step, including padding.

    Each block of codes ends within a tile: half a tile of padding on average, and here the average
    of the forward and the backward kernel's tiles.
    """
    half = (FORWARD_SAMPLES + BACKWARD_SAMPLES) / 4
    return tiling.batch + tiling.blocks * half


# Constants fitted to times measured on an H200: of the 30 networks of Figure 2, of 160 networks of
# the grid (``--parts step,grid``), and of single networks.
KERNEL_SHARE = 0.41  # share of the float16 rate that the forward and backward kernels reach
WEIGHT_BYTES = 60  # read and written for each weight in a step: Adam, splitting, sums
STEP_SECONDS = 30e-6  # of a step, outside the kernels
LEAST_SECONDS, LEAST_FINITE_SECONDS = 100e-6, 160e-6  # of a step, to launch it: online, finite data
HIDDEN_RATE = 0.055  # (test points x hidden units) per second, over the float32 rate
EVALUATION_SECONDS = 550e-6  # of an evaluation, besides the above
# With XLA: (samples x units) and (test points x units) per second, over the copy rate.
WHOLE_UNITS, WHOLE_HIDDEN = 0.0066, 0.029
# Of stacks, not measured: share of both rates; reads and writes of each activation.
STACK_SHARE, STACK_PASSES = 0.5, 12


def card_seconds(runs: Sequence[RunConfig], card: Computer = H200) -> float:
    """Estimated seconds of a pack on a GPU: those of an H200, scaled by the rates of the card."""
    first, way = runs[0], way_here(runs[0], "gpu")
    steps = max(run.train.steps for run in runs)
    units = sum(run.network.width for run in runs)
    points = _evaluations(first) * first.eval.points_per_task * first.task.n_codes
    if way is None:
        # A stack: time of the operations, and of moving activations through memory.
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
    # Factor 8: two float16 parts, forward and backward, a multiplication and an addition.
    products = (
        8 * tiling.columns * padded * _samples_with_padding(tiling) / (KERNEL_SHARE * card.half)
    )
    weights = WEIGHT_BYTES * padded * (first.task.n_tasks + first.task.n_bits + 3)
    partial_sums = 2 * BYTES * tiling.segments * tiling.columns * padded
    busy = products + (weights + partial_sums) / card.copy + STEP_SECONDS
    # A step cannot take less time than to launch its programs.
    step = max(busy, LEAST_SECONDS if first.online else LEAST_FINITE_SECONDS)
    evaluations = points * units / (HIDDEN_RATE * card.single)
    return steps * step + evaluations + _evaluations(first) * EVALUATION_SECONDS


def programs(packs: Sequence[Sequence[RunConfig]], backend: str | None = None) -> int:
    """Number of programs to compile for packs: for each layout one to train, one to evaluate."""
    layouts = set()
    for pack in packs:
        way = way_here(pack[0], backend)
        layouts.add((Program.of(pack[0]), len(pack)) if way is None else Layout.of(pack, way))
    return 2 * len(layouts)


EFFICIENCY = 0.8
"""About the share of a CPU's rate in matrix products that training a large pack reaches."""


def cpu_seconds(packs: Sequence[Sequence[RunConfig]], rate: float) -> float:
    """Estimated seconds of packs on the local CPU devices.

    Args:
        packs: runs of each pack.
        rate: operations per second of one device's matrix products (``product_rate``).
    """
    work = sum(map(pack_operations, packs))
    return work / (rate * EFFICIENCY) / jax.local_device_count()


def stored_bytes(runs: Sequence[RunConfig]) -> int:
    """Bytes of the results of ``runs`` on disk before compression, final weights included."""
    losses = sum(len(run.evaluation_steps) * 2 * run.task.n_codes for run in runs)
    return BYTES * (losses + sum(run.n_params for run in runs))
