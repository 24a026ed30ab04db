"""A pack's progress on disk: checkpoints of its state, and the evaluations so far.

Evaluations are written first and the state after them, both under their final names only when
whole. So at any kill the newest readable state has all its evaluations beside it, and what lies
beyond it is written again, bit for bit.
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
"""The folder of the checkpoints, within the pack's."""


class Progress(NamedTuple):
    """Where a pack stands: its state, the updates behind it, and the evaluations made."""

    state: Any
    updates: int
    evaluations: int


class Journal:
    """Checkpoints and evaluations of one pack, in a folder."""

    def __init__(self, path: Path):
        self.path = path.absolute()
        self.pending: list[Metrics] = []
        self.written = 0  # evaluations on disk
        self.checkpoints = Checkpoints(self.path / STATES)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.checkpoints.close()

    def record(self, metrics: Metrics) -> None:
        """Take in one evaluation, runs first."""
        self.pending.append(Metrics(*map(np.array, metrics)))  # copies: device memory is let go

    def save(self, state: Any, updates: int) -> None:
        """Write the evaluations taken in, then the state after ``updates`` updates."""
        if self.pending:
            self._write_evaluations()
        self.checkpoints.save(updates, state, {"evaluations": self.written})

    def restore(self, template: Any) -> tuple[Progress | None, list[str]]:
        """The newest state that can be read, in the structure of ``template``.

        Returns:
            The progress, or None to begin afresh, and a line for each damaged checkpoint.
        """
        found, damaged = self.checkpoints.restore(template, self._go_back)
        if found is None:
            self._keep_evaluations(0)
            return None, damaged
        return Progress(found.tree, found.step, found.extra["evaluations"]), damaged

    def evaluations(self) -> Metrics:
        """All evaluations on disk: [evaluation, run, …]."""
        return read_evaluations(self.path)

    def _go_back(self, extra: dict[str, Any]) -> None:
        """Keep just the evaluations that belong to a checkpoint. Raises if one is missing or
        cannot be read."""
        self._keep_evaluations(extra["evaluations"])
        self.evaluations()

    def _write_evaluations(self) -> None:
        last = self.written + len(self.pending)
        stacked = Metrics(*(np.stack(column) for column in zip(*self.pending, strict=True)))
        name = f"evaluations-{self.written:07d}-{last:07d}.npz"
        with whole(self.path / name) as part, part.open("wb") as file:
            np.savez(file, **stacked._asdict())
        self.pending, self.written = [], last

    def _keep_evaluations(self, count: int) -> None:
        """Drop what was written beyond the first ``count`` evaluations; check that they exist."""
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
    """All evaluations that a pack's journal holds: [evaluation, run, …]."""
    columns: Sequence[Any] = [_load(part) for _, _, part in _parts(path)]
    return Metrics(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def _load(path: Path) -> list[np.ndarray]:
    with np.load(path) as arrays:
        return [arrays[name] for name in Metrics._fields]


def _parts(path: Path) -> list[tuple[int, int, Path]]:
    found = (
        (re.fullmatch(r"evaluations-(\d+)-(\d+)\.npz", p.name), p) for p in sorted(path.iterdir())
    )
    return [(int(m[1]), int(m[2]), p) for m, p in found if m]
