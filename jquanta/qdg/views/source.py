"""Arrays of many samples, batch by batch, computed on several cores where that is quicker."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from numpy.typing import NDArray

from jquanta.machine import cores
from jquanta.qdg.views.ways import Way, way_here


@runtime_checkable
class Source(Protocol):
    """Where arrays of samples come from. It may be asked several times for the same batch, and by
    several threads at once."""

    @property
    def batches(self) -> Sequence[NDArray[np.int64]]:
        """The samples of each batch: [q], numbers from 0 to Q - 1, each once."""

    @property
    def row(self) -> Any:
        """Shapes and dtypes of one sample's arrays."""

    def __call__(self, number: int) -> Any:
        """The arrays of a batch, in the order of its samples: a tree of [q, …]."""


def weights(source: Source) -> NDArray[np.float64]:
    """[batches] how much of all work each batch is, in any unit: its ``weights``, where the source
    tells them, since samples with long prefixes take longer; else its samples."""
    told = getattr(source, "weights", None)
    return np.array([len(own) for own in source.batches] if told is None else told, float)


def computed(
    source: Source, numbers: Iterable[int] | None = None
) -> Iterator[tuple[NDArray[np.int64], Any]]:
    """(samples, their arrays) of batches, in order; all batches by default.

    The next ones are computed while the last is used, ``at_once`` of them.
    """
    numbers = range(len(source.batches)) if numbers is None else numbers
    workers = at_once()
    if workers == 1:  # JAX computes in the background while the caller goes on
        yield from ((source.batches[number], source(number)) for number in numbers)
        return
    wide = is_wide()

    def ready(number: int) -> tuple[NDArray[np.int64], Any]:
        with jax.enable_x64(wide):
            return source.batches[number], jax.block_until_ready(source(number))

    waiting = deque[Any]()
    with ThreadPoolExecutor(workers) as pool:
        for number in numbers:
            waiting.append(pool.submit(ready, number))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def at_once() -> int:
    """How many batches are computed at once: one on accelerators, one on each core of a CPU.

    The matrix products of a single sample are too small to be shared between cores.
    """
    return at_once_by(way_here(), jax.local_device_count())


def at_once_by(way: Way, devices: int) -> int:
    """The same for a way of computing on so many devices."""
    return cores.count() if way.one_by_one and devices == 1 else 1


def is_wide() -> bool:
    """Whether float64 is enabled. JAX keeps this for each thread, so workers must be told."""
    return bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]
