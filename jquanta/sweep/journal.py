"""The progress of a pack on disk: checkpoints of its state, and its evaluations so far.

Evaluations are written before the state, and each file gets its final name only when it is
complete. Whenever the process is killed, all evaluations up to the newest readable state are
therefore on disk. Evaluations made after that state are dropped and made again, bitwise equal.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jquanta.parity.solo import Metrics
from jquanta.run.checkpoint import Checkpoints
from jquanta.run.files import remove, whole

STATES = "states"
"""Name of the folder of the states, within the pack's folder."""


class Progress(NamedTuple):
    """How far a pack is trained.

    Attributes:
        state: of the trainer.
        updates: number of updates made.
        evaluations: number of evaluations made.
    """

    state: Any
    updates: int
    evaluations: int


class Journal:
    """Checkpoints and evaluations of one pack. A context manager.

    Args:
        path: the pack's folder, which must exist.
    """

    def __init__(self, path: Path):
        self.path = path.absolute()
        self.pending: list[Metrics] = []
        self.written = 0  # number of evaluations on disk
        self.checkpoints = Checkpoints(self.path / STATES)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.checkpoints.close()

    def record(self, metrics: Metrics) -> None:
        """Keep one evaluation in memory until the next ``save``; arrays begin with the axis R."""
        self.pending.append(Metrics(*map(np.array, metrics)))  # copies, to free device memory

    def save(self, state: Any, updates: int) -> None:
        """Write the evaluations recorded since the last call, then the state after ``updates``."""
        # In this order: a state must never be on disk without its evaluations.
        if self.pending:
            self._write_evaluations()
        self.checkpoints.save(updates, state, {"evaluations": self.written})

    def restore(self, template: Any) -> tuple[Progress | None, list[str]]:
        """Restore the newest checkpoint whose state and evaluations can be read.

        Args:
            template: a state of the same structure, shapes and dtypes.

        Returns:
            The progress, or None if there is none to continue from; and a message for each damaged
            checkpoint.
        """
        found, damaged = self.checkpoints.restore(template, self._return_to)
        if found is None:
            self._keep_evaluations(0)  # training starts again, and makes all of them again
            return None, damaged
        return Progress(found.tree, found.step, found.extra["evaluations"]), damaged

    def evaluations(self) -> Metrics:
        """All evaluations on disk, as arrays [evaluation, run, …]; losses in nats."""
        return read_evaluations(self.path)

    def _return_to(self, extra: dict[str, Any]) -> None:
        """Drop evaluations made after a checkpoint, given its ``extra``.

        Raises if one of the others is missing or damaged, so that the checkpoint is not used.
        """
        self._keep_evaluations(extra["evaluations"])
        self.evaluations()

    def _write_evaluations(self) -> None:
        """Write the pending evaluations to one file, named by the range of their numbers."""
        last = self.written + len(self.pending)
        stacked = Metrics(*(np.stack(column) for column in zip(*self.pending, strict=True)))
        name = f"evaluations-{self.written:07d}-{last:07d}.npz"
        with whole(self.path / name) as part, part.open("wb") as file:
            np.savez(file, **stacked._asdict())
        self.pending, self.written = [], last

    def _keep_evaluations(self, count: int) -> None:
        """Delete evaluations after the first ``count``.

        Raises:
            ValueError: if the files do not cover the first ``count`` without a gap.
        """
        # Files in order: each must begin where the one before ends. One that goes beyond ``count``
        # is from after the checkpoint, since a checkpoint never falls inside a file.
        end = 0
        for first, last, path in _parts(self.path):
            if last > count:
                remove(path)
            elif first != end:
                raise ValueError(f"evaluations {end} to {first} are missing")
            else:
                end = last
        if end != count:
            raise ValueError(f"evaluations {end} to {count} are missing")
        self.pending, self.written = [], count


def read_evaluations(path: Path) -> Metrics:
    """All evaluations in a pack's folder, as arrays [evaluation, run, …]; losses in nats."""
    columns: Sequence[Any] = [_load(part) for _, _, part in _parts(path)]
    return Metrics(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def _load(path: Path) -> list[np.ndarray]:
    """The arrays of one file, in the order of the fields of ``Metrics``."""
    with np.load(path) as arrays:
        return [arrays[name] for name in Metrics._fields]


def _parts(path: Path) -> list[tuple[int, int, Path]]:
    """First evaluation, end and path of each file of evaluations, in order."""
    found = (
        (re.fullmatch(r"evaluations-(\d+)-(\d+)\.npz", p.name), p) for p in sorted(path.iterdir())
    )
    return [(int(m[1]), int(m[2]), p) for m, p in found if m]
