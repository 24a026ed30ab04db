"""From runs to packs: which runs train together, and what that will take.

A pack is trained by one compiled program. Networks of one hidden layer of ReLUs that see the same
bits become one wide layer (``parity.packed``); others are stacked where every shape is the same
(``parity.solo``). Packs are cut to fit the memory at hand.
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
        name: of its checkpoints' folder.
        members: numbers of the runs on the run axis.
        way: name of the ``Way`` in which they are computed, if they are packed and it is known.
    """

    name: str
    members: tuple[int, ...]
    way: str | None = None


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
        for part in shared_out(work, parts):
            for piece in _cut([members[i] for i in part], runs, memory, backend):
                way = way_here(runs[piece[0]], backend)
                name = f"pack-{len(packs):04d}"
                packs.append(Pack(name, tuple(piece), way and way.name))
    return packs


def shared_out(work: Sequence[float], workers: int) -> list[list[int]]:
    """Share out pieces of work: the largest first, each to the worker who has least so far.

    Args:
        work: of each piece.
        workers: how many there are.

    Returns:
        The numbers of each worker's pieces, ascending; a worker without any is left out.
    """
    found: list[list[int]] = [[] for _ in range(workers)]
    total = [0.0] * workers
    for piece in sorted(range(len(work)), key=lambda i: -work[i]):
        least = total.index(min(total))
        found[least].append(piece)
        total[least] += work[piece]
    return [sorted(pieces) for pieces in found if pieces]


BALANCE = 0.8
"""Least share of its time that a core must be busy to be a device of its own."""


def use_cores(runs: Sequence[RunConfig], memory: int | None = None) -> None:
    """Make each core of a CPU a device where the packs of ``runs`` would keep all of them busy.

    To be called before JAX computes anything. ``memory``: bytes that a pack may take, if limited.
    """
    count = cores.count()
    packs = plan(runs, memory or int(HOST_SHARE * free()) // count, count, "cpu")
    work = [pack_operations([runs[i] for i in pack.members]) for pack in packs]
    longest = max(sum(work[i] for i in pieces) for pieces in shared_out(work, count))
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
    kinds: set[object] = set()
    left = memory
    for member in members:
        run = runs[member]
        kind, own = distribution(run), run_bytes(run, backend)
        # Runs of one distribution share their batches.
        need = own if kind in kinds else own + shared_bytes(run, backend)
        if piece and need > left:
            yield piece
            piece, kinds, left = [], set(), memory
            need = own + shared_bytes(run, backend)
        piece.append(member)
        kinds.add(kind)
        left -= need
    yield piece
