"""Shards of a whole, computed by the processes of a program and joined; or by one, in turn."""

from collections.abc import Callable
from pathlib import Path

from jquanta.machine import hosts
from jquanta.run.progress import Monitor, Part
from jquanta.run.shard import Shard, cut_of
from jquanta.run.stop import Interrupts


def in_shards(whole: Path) -> bool:
    """Whether a whole is computed in shards: some are there already, or there are several processes
    to compute it."""
    return cut_of(whole) is not None or hosts.here()[1] > 1


def compute(
    whole: Path,
    pieces: int,
    one: Callable[[Shard, Monitor], object],
    join: Callable[[Monitor], object],
    monitor: Monitor,
) -> None:
    """Compute the shards that are missing of a whole, each by one process, and join them.

    The shards that are there say into how many the whole is cut, however many processes began them;
    else there is one for each process. What is finished is only looked at, so that the same call
    continues, by one process or by any number.

    Args:
        whole: its folder, which all processes see.
        pieces: shards that it can be cut into, at most.
        one: computes a shard, or what is missing of it.
        join: puts the whole together; the first process calls it when all shards are finished.
        monitor: sees the progress.

    Raises:
        Interrupted: on Ctrl-C while waiting for others; and what ``one`` and ``join`` raise.
    """
    index, count = hosts.here()
    of = cut_of(whole) or min(count, pieces)
    wait(whole)  # before any process makes a folder, all have looked at those that are there
    own = Shard(of, 1).all()[index::count]
    for number, shard in enumerate(own):
        one(shard, Part(monitor, number / len(own), 1 / len(own)))
    by_first(whole, lambda: join(monitor))


def by_first(whole: Path, do: Callable[[], object]) -> None:
    """When all processes have come here, the first one does something, and the others wait."""
    wait(whole)
    if hosts.here()[0] == 0:
        do()
    wait(whole)


def wait(whole: Path) -> None:
    """Wait until all processes have come here. Raises ``Interrupted`` on Ctrl-C."""
    with Interrupts(f"interrupted; {whole}: the same command continues") as interrupts:
        hosts.wait(interrupts.check)
