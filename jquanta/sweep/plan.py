"""From runs to packs: which runs train together, and what that will take.

A pack is trained by one compiled program. Networks of one hidden layer of ReLUs that see the same
bits become one wide layer (``parity.packed``); others are stacked where every shape is the same
(``parity.solo``). Packs are cut to fit the memory at hand.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jquanta import cores
from jquanta.memory import free
from jquanta.parity.config import RunConfig
from jquanta.parity.layout import CPU_TILE, distribution, packable, tiles
from jquanta.parity.packed import Packed
from jquanta.parity.solo import Program, Stack

BYTES = 4  # float32


@dataclass(frozen=True)
class Pack:
    """Runs that train together: ``members`` are their numbers on the run axis."""

    name: str
    members: tuple[int, ...]


def plan(
    runs: Sequence[RunConfig], memory: int, devices: int = 1, backend: str | None = None
) -> list[Pack]:
    """Group ``runs`` into packs of at most ``memory`` bytes each, or one run.

    With several devices a group of more than one device's share of the work falls into parts of
    about equal work. ``backend`` is ``cpu`` or ``gpu``, here and below; None is what JAX runs on.
    """
    share = sum(map(run_operations, runs)) / devices
    groups: dict[object, dict[object, list[int]]] = {}  # runs of one distribution are neighbours
    for number, run in enumerate(runs):
        group = groups.setdefault(_shared(run), {})
        group.setdefault(distribution(run), []).append(number)
    packs: list[Pack] = []
    for group in groups.values():
        members = [i for same in group.values() for i in same]
        work = [run_operations(runs[i]) for i in members]
        parts = math.ceil(sum(work) / share * (1 - 1e-9))  # rounding must not split a whole
        for part in dealt(work, parts):
            for piece in _cut([members[i] for i in part], runs, memory, backend):
                packs.append(Pack(f"pack-{len(packs):04d}", tuple(piece)))
    return packs


def dealt(work: Sequence[float], hands: int) -> list[list[int]]:
    """Pieces of ``work`` dealt out, the largest first, each to whoever has least; none is empty.

    The pieces of a hand are in their own order.
    """
    found: list[list[int]] = [[] for _ in range(hands)]
    total = [0.0] * hands
    for piece in sorted(range(len(work)), key=lambda i: -work[i]):
        least = total.index(min(total))
        found[least].append(piece)
        total[least] += work[piece]
    return [sorted(hand) for hand in found if hand]


BALANCE = 0.8
"""Least share of its time that a core must be busy to be a device of its own."""


def use_cores(runs: Sequence[RunConfig], memory: int | None = None) -> None:
    """Make each core of a CPU a device where the packs of ``runs`` would keep all of them busy.

    To be called before JAX computes anything. ``memory``: bytes that a pack may take, if limited.
    """
    count = cores.count()
    packs = plan(runs, memory or int(HOST_SHARE * free()) // count, count, "cpu")
    work = [pack_operations([runs[i] for i in pack.members]) for pack in packs]
    longest = max(sum(work[i] for i in hand) for hand in dealt(work, count))
    if sum(work) >= BALANCE * count * longest:
        cores.as_devices()


def trainer_of(runs: Sequence[RunConfig]) -> Packed | Stack:
    """What trains the runs of one pack."""
    return Packed(runs) if packable(runs[0]) else Stack(runs)


def _shared(run: RunConfig) -> object:
    """What the runs of one pack have in common."""
    schedule = (run.train.steps, run.eval.log_every)
    if not packable(run):
        return Program.of(run), schedule
    bits = (run.train.seed, run.task.n_bits, run.train.train_size, run.batch_size)
    rows = run.task.n_tasks, Program.of(run).n_codes  # plain runs do not mix with others
    return bits, rows, run.eval.points_per_task, schedule


def _cut(
    members: Sequence[int], runs: Sequence[RunConfig], memory: int, backend: str | None
) -> Iterator[list[int]]:
    """``members`` in pieces within the limit of bytes, or of one run."""
    piece: list[int] = []
    left = memory
    for member in members:
        need = run_bytes(runs[member], backend)
        if piece and need > left:
            yield piece
            piece, left = [], memory
        piece.append(member)
        left -= need
    yield piece


def run_bytes(run: RunConfig, backend: str | None = None) -> int:
    """Bytes that one run of a pack needs while it trains and is evaluated, about."""
    width, points = run.network.width, run.eval.points_per_task
    state = 6 * run.n_params  # weights, Adam's two moments, gradients, and one copy of each pass
    hidden = 3 * (run.network.depth - 1) * width + run.task.n_bits
    training = min(run.batch_size, _tile(run, backend) or run.batch_size) * hidden
    evaluation = 3 * points * width + points * run.task.n_bits + 4 * run.task.n_codes
    return BYTES * (state + max(training, evaluation))


def run_operations(run: RunConfig) -> float:
    """Floating-point operations of a whole run, evaluations included."""
    width, depth = run.network.width, run.network.depth
    inner = (depth - 2) * width * width
    a_sample = 2 * (run.task.n_bits * width + inner + 8 * width)
    training = 3.0 * run.train.steps * run.batch_size * a_sample
    points = run.eval.points_per_task
    a_point = 2 * run.task.n_bits * width + 2 * run.task.n_codes * (inner + 8 * width)
    evaluations = len(run.evaluation_steps) * (1 if run.online else 2)
    return training + evaluations * points * a_point


def useful_share(runs: Sequence[RunConfig]) -> float:
    """Samples that count, of those that training computes: the rest pads epochs and tiles."""
    useful = executed = 0.0
    for run in runs:
        count, size = tiles(run.batch_size, _tile(run))
        kept = float(run.batch_size)
        if not run.online:
            kept = run.train.train_size / -(-run.train.train_size // run.batch_size)
        work = run_operations(run)
        useful, executed = useful + work * kept / (count * size), executed + work
    return useful / executed


def _tile(run: RunConfig, backend: str | None = None) -> int | None:
    """Most samples that the run's trainer works through at once; None is the whole batch."""
    on_cpu = (backend or jax.default_backend()) == "cpu"
    return CPU_TILE if packable(run) and on_cpu else None


DEVICE_SHARE, HOST_SHARE = 0.8, 0.5
"""Of the free memory, what packs may take: the rest is for what is not counted."""


def device_memory() -> int:
    """Bytes that a pack may take on each device: most of what is free there."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return int(DEVICE_SHARE * (stats["bytes_limit"] - stats.get("bytes_in_use", 0)))
    return int(HOST_SHARE * free()) // jax.local_device_count()


EFFICIENCY = 0.8
"""Operations counted here over those that the matrix rate would allow, about, in a large pack."""

SAMPLE_OPERATIONS = 80_000
"""What drawing and sorting a sample takes, as operations at the matrix rate: 0.4 microseconds."""


def pack_operations(runs: Sequence[RunConfig]) -> float:
    """Operations of all runs of a pack, its samples drawn once, or for each run of a stack."""
    drawn = runs[:1] if packable(runs[0]) else runs
    samples = sum(float(run.train.steps) * run.batch_size for run in drawn)
    return sum(map(run_operations, runs)) + SAMPLE_OPERATIONS * samples


@dataclass(frozen=True)
class Gpu:
    """A GPU that is not at hand, by its data sheet."""

    name: str
    memory: int  # bytes
    rate: float  # float32 operations a second, without tensor cores
    bandwidth: float  # bytes a second


H200 = Gpu("NVIDIA H200 SXM", 141 * 10**9, 67e12, 4.8e12)

# Assumptions, not measurements: this project has not run on a GPU yet.
GPU_SHARE = 0.5  # of the rate and of the bandwidth that a pack reaches
GPU_STEP_SECONDS = 200e-6  # some 50 kernels a step, 4 microseconds to launch each
GPU_TRAINING_PASSES = 12  # reads and writes of a batch's activations in packed._block_gradients
GPU_EVALUATION_PASSES = 3  # reads and writes of the activations of each test point and subtask


def gpu_seconds(runs: Sequence[RunConfig], gpu: Gpu = H200) -> float:
    """What the runs of a pack would take on ``gpu``, under the assumptions above.

    Products and elementwise passes after one another: the first wait for arithmetic, the second
    for memory.
    """
    computing = pack_operations(runs) / (GPU_SHARE * gpu.rate)
    moving = sum(map(_activations_moved, runs)) * BYTES / (GPU_SHARE * gpu.bandwidth)
    return computing + moving + max(run.train.steps for run in runs) * GPU_STEP_SECONDS


def _activations_moved(run: RunConfig) -> float:
    """Reads and writes of activations in a whole run."""
    evaluations = len(run.evaluation_steps) * (1 if run.online else 2)
    test_points = float(evaluations) * run.eval.points_per_task * run.task.n_codes
    samples = float(run.train.steps) * run.batch_size
    passes = GPU_TRAINING_PASSES * samples + GPU_EVALUATION_PASSES * test_points
    return (run.network.depth - 1) * run.network.width * passes


def device_rate(size: int = 1024, seconds: float = 0.2) -> float:
    """Floating-point operations a second of a float32 matrix product here, measured."""
    matrix = jnp.ones((size, size), jnp.float32)
    product = jax.jit(lambda a: jnp.matmul(a, a, precision=jax.lax.Precision.HIGHEST) / size)
    jax.block_until_ready(product(matrix))
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        matrix = jax.block_until_ready(product(matrix))
        count += 1
    return 2 * size**3 * count / (time.perf_counter() - began)


def device_name() -> str:
    """The devices that a sweep would train on."""
    return f"{jax.local_device_count()} x {jax.local_devices()[0].device_kind}"


def stored_bytes(runs: Sequence[RunConfig]) -> int:
    """Bytes of the results of ``runs`` before compression, weights included."""
    losses = sum(len(run.evaluation_steps) * 2 * run.task.n_codes for run in runs)
    return BYTES * (losses + sum(run.n_params for run in runs))
