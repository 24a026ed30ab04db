"""From runs to packs: which runs train together.

A pack is trained by one compiled program. Networks with one hidden layer of ReLUs that see the same
bits become one wide layer (``parity.packed``). Other networks are stacked if all their shapes are
equal (``parity.solo``). Packs are split so that they fit into memory.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jquanta.machine import cores
from jquanta.machine.memory import HOST_SHARE, free
from jquanta.parity.config import RunConfig
from jquanta.parity.layout import distribution, packable
from jquanta.parity.packed import Packed
from jquanta.parity.solo import Program, Stack
from jquanta.run.shard import Shard
from jquanta.sweep.estimate import (
    pack_operations,
    run_bytes,
    run_operations,
    shared_bytes,
    way_here,
)


@dataclass(frozen=True)
class Pack:
    """Runs that train together.

    Attributes:
        name: of the folder of its checkpoints.
        members: indices of the runs on the run axis.
        way: name of the ``Way`` that computes them; None if they are stacked, or if the record of
            an older version does not contain it.
    """

    name: str
    members: tuple[int, ...]
    way: str | None = None


def plan(
    runs: Sequence[RunConfig], memory: int, devices: int = 1, backend: str | None = None
) -> list[Pack]:
    """Group runs into packs.

    Args:
        runs: all runs of a sweep.
        memory: bytes that a pack may take. A single run is a pack even if it needs more.
        devices: number of devices. Groups that need more than one device's share of the work are
            split into parts of about equal work.
        backend: device kind to plan for, ``cpu`` or ``gpu``; None is the kind that JAX runs on.
            So in all functions below.
    """
    share = sum(map(run_operations, runs)) / devices
    packs: list[Pack] = []
    for members in _groups(runs):
        work = [run_operations(runs[i]) for i in members]
        parts = math.ceil(sum(work) / share * (1 - 1e-9))  # a rounding error must not add a part
        for part in shared_out(work, parts):
            for piece in _split([members[i] for i in part], runs, memory, backend):
                way = way_here(runs[piece[0]], backend)
                name = f"pack-{len(packs):04d}"
                packs.append(Pack(name, tuple(piece), way and way.name))
    return packs


def members(runs: Sequence[RunConfig], shard: Shard | None) -> list[int]:
    """The runs of a part of a sweep, ascending: all of them where it is not cut.

    They follow from the runs and the number of parts alone, so that processes on different machines
    agree. Runs that can train together stay together as far as equal work allows.
    """
    if shard is None:
        return list(range(len(runs)))
    order = [number for group in _groups(runs) for number in group]
    places = shard.places([run_operations(runs[number]) for number in order])
    return sorted(order[place] for place in places)


def shared_out(work: Sequence[float], workers: int) -> list[list[int]]:
    """Distribute pieces of work by the greedy longest-processing-time rule.

    The largest piece goes first; each goes to the worker with the least work so far.

    Args:
        work: amount of work of each piece, in any unit.
        workers: number of workers.

    Returns:
        The indices of each worker's pieces, ascending; workers without pieces are left out.
    """
    found: list[list[int]] = [[] for _ in range(workers)]
    total = [0.0] * workers
    for piece in sorted(range(len(work)), key=lambda i: -work[i]):
        least = total.index(min(total))
        found[least].append(piece)
        total[least] += work[piece]
    return [sorted(pieces) for pieces in found if pieces]


BALANCE = 0.8
"""Smallest share of the time, on average, that cores must be busy if each is to be a device."""


def use_cores(runs: Sequence[RunConfig], memory: int | None = None) -> None:
    """Make each core of the CPU a JAX device if the packs of ``runs`` would keep all cores busy.

    Call this before JAX computes anything.

    Args:
        runs: all runs of a sweep.
        memory: bytes that a pack may take; if None, each core's part of the usable memory.
    """
    count = cores.count()
    packs = plan(runs, memory or int(HOST_SHARE * free()) // count, count, "cpu")
    work = [pack_operations([runs[i] for i in pack.members]) for pack in packs]
    # The sweep takes as long as the core with the most work. Busy share: mean work over most work.
    longest = max(sum(work[i] for i in pieces) for pieces in shared_out(work, count))
    if sum(work) >= BALANCE * count * longest:
        cores.as_devices()


def trainer_of(runs: Sequence[RunConfig]) -> Packed | Stack:
    """The trainer for the runs of one pack: ``Packed`` if their networks allow it."""
    return Packed(runs) if packable(runs[0]) else Stack(runs)


def _groups(runs: Sequence[RunConfig]) -> list[list[int]]:
    """The numbers of the runs that may train in one program, group by group.

    Within a group, runs of one distribution are neighbours.
    """
    groups: dict[object, dict[object, list[int]]] = {}
    for number, run in enumerate(runs):
        group = groups.setdefault(_in_common(run), {})
        group.setdefault(distribution(run), []).append(number)
    return [[i for same in group.values() for i in same] for group in groups.values()]


def _in_common(run: RunConfig) -> object:
    """The fields that all runs of a pack must have in common, as a key for grouping."""
    schedule = (run.train.steps, run.eval.log_every)
    if not packable(run):
        return Program.of(run), schedule
    bits = (run.train.seed, run.task.n_bits, run.train.train_size, run.batch_size)
    # n_codes is None for plain runs: they are not mixed with runs that have codes.
    rows = run.task.n_tasks, Program.of(run).n_codes
    return bits, rows, run.eval.points_per_task, schedule


def _split(
    members: Sequence[int], runs: Sequence[RunConfig], memory: int, backend: str | None
) -> Iterator[list[int]]:
    """Split a group into consecutive pieces of at most ``memory`` bytes, or of one run."""
    piece: list[int] = []
    kinds: set[object] = set()
    left = memory
    for member in members:
        run = runs[member]
        kind, own = distribution(run), run_bytes(run, backend)
        # The first run of a distribution also pays for the batches that its runs share.
        need = own if kind in kinds else own + shared_bytes(run, backend)
        if piece and need > left:
            yield piece
            piece, kinds, left = [], set(), memory
            need = own + shared_bytes(run, backend)
        piece.append(member)
        kinds.add(kind)
        left -= need
    yield piece
