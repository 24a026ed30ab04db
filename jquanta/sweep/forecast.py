"""What a sweep, or a shard of it, takes on a GPU that is elsewhere: its packs there, in numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from jquanta.machine.computer import H200, Computer
from jquanta.parity.config import RunConfig
from jquanta.run.shard import Shard
from jquanta.sweep.estimate import (
    card_seconds,
    pack_bytes,
    pack_operations,
    programs,
    stored_bytes,
)
from jquanta.sweep.plan import members, plan


@dataclass(frozen=True)
class Forecast:
    """What some runs take on one GPU.

    Attributes:
        packs: number of runs of each pack.
        operations: floating-point operations of all packs.
        seconds: of training and evaluation, without compiling.
        memory: bytes of arrays in the largest pack.
        disk: bytes of the results before compression.
        programs: to be compiled.
    """

    packs: tuple[int, ...]
    operations: float
    seconds: float
    memory: int
    disk: int
    programs: int


def forecast(
    runs: Sequence[RunConfig], card: Computer = H200, shard: Shard | None = None
) -> Forecast:
    """What a sweep takes on one GPU.

    Args:
        runs: all runs of the sweep.
        card: the GPU.
        shard: the part of the runs that is trained there; all of them if None.
    """
    own = [runs[number] for number in members(runs, shard)]
    packs = [[own[i] for i in p.members] for p in plan(own, card.memory, backend="gpu")]
    return Forecast(
        packs=tuple(map(len, packs)),
        operations=sum(map(pack_operations, packs)),
        seconds=sum(card_seconds(pack, card) for pack in packs),
        memory=max(pack_bytes(pack, "gpu") for pack in packs),
        disk=stored_bytes(own),
        programs=programs(packs, "gpu"),
    )


def forecasts(runs: Sequence[RunConfig], parts: int, card: Computer = H200) -> tuple[Forecast, ...]:
    """The same of every shard, where each has a GPU of its own.

    Args:
        runs: all runs of the sweep.
        parts: number of shards; as many as there are runs if that is less.
        card: each of the GPUs.
    """
    cut = Shard(min(parts, len(runs)), 1)
    return tuple(forecast(runs, card, shard) for shard in cut.all())
