"""Programs for several shapes, compiled ahead of their use."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Generic, TypeVar

Program = TypeVar("Program")


class Programs(Generic[Program]):
    """A program for each shape, compiled when it is asked for, together with those that come next.

    Compiling a program keeps little more than one core busy. So as many are compiled at once as
    there are workers, the later ones while the earlier ones run. Several threads may ask.
    """

    def __init__(
        self,
        build: Callable[..., Program],
        shapes: Sequence[tuple[int, ...]],
        workers: int,
    ) -> None:
        """
        Args:
            build: makes the program for a shape. It is called once for each, in another thread.
            shapes: in the order in which they will be asked for; there may be repeats.
            workers: programs that are built at once.
        """
        self._build, self._shapes = build, list(dict.fromkeys(shapes))
        self._workers, self._pool = workers, ThreadPoolExecutor(workers)
        self._lock = Lock()
        self._built: dict[tuple[int, ...], Future[Program]] = {}

    def __call__(self, *shape: int) -> Program:
        """The program for a shape, waited for. Raises what ``build`` raises."""
        at = self._shapes.index(shape)
        with self._lock:
            for near in self._shapes[at : at + self._workers]:
                if near not in self._built:
                    self._built[near] = self._pool.submit(self._build, *near)
        return self._built[shape].result()
