"""A pack's progress on disk: orbax checkpoints of its state, and the evaluations so far.

Evaluations are written first and the state after them, both under their final names only when
whole. So at any kill the newest readable state has all its evaluations beside it, and what lies
beyond it is written again, bit for bit.
"""

import errno
import logging
import os
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from jquanta.parity.solo import Metrics
from jquanta.sweep.folder import remove

KEPT = 2
"""States kept: the newest, and the one before in case the newest is damaged."""

COST_SHARE = 0.01
"""Checkpoints take at most this share of the time."""

LEAST_INTERVAL = 15.0
"""Seconds between checkpoints, however cheap they are."""


SPARE_ROOM = 2**18
"""Bytes that a checkpoint may take beyond its numbers."""


class Progress(NamedTuple):
    """Where a pack stands: its state, the updates behind it, and the evaluations made."""

    state: Any
    updates: int
    evaluations: int


class Journal:
    """Checkpoints and evaluations of one pack."""

    def __init__(self, path: Path):
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax raises its errors, too
        self.path = path.absolute()
        self.pending: list[Metrics] = []
        self.written = 0  # evaluations on disk
        self._last_save = time.monotonic()
        self._cost = 0.0
        self._states = ocp.CheckpointManager(
            self.path / "states",
            options=ocp.CheckpointManagerOptions(
                max_to_keep=KEPT, enable_async_checkpointing=False, create=True
            ),
        )

    def record(self, metrics: Metrics) -> None:
        """Take in one evaluation, runs first."""
        self.pending.append(Metrics(*map(np.array, metrics)))  # copies: device memory is let go

    @property
    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        interval = max(LEAST_INTERVAL, self._cost / COST_SHARE)
        return time.monotonic() - self._last_save > interval

    def save(self, state: Any, updates: int) -> None:
        """Write the evaluations taken in, then the state after ``updates`` updates."""
        began = time.monotonic()
        if self.pending:
            self._write_evaluations()
        if updates not in self._states.all_steps():
            leaves = {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(state))}
            self._require_room(sum(leaf.nbytes for leaf in leaves.values()))
            extra = {"evaluations": self.written}
            self._states.save(
                updates,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(leaves), progress=ocp.args.JsonSave(extra)
                ),
            )
        self._last_save = time.monotonic()
        self._cost = self._last_save - began

    def restore(self, template: Any) -> tuple[Progress | None, list[str]]:
        """The newest state that can be read, in the structure of ``template``.

        Returns:
            The progress, or None to begin afresh, and a line for each damaged checkpoint.
        """
        damaged = []
        leaves, structure = jax.tree.flatten(template)
        abstract = {str(i): ocp.utils.to_shape_dtype_struct(leaf) for i, leaf in enumerate(leaves)}
        for updates in sorted(self._states.all_steps(), reverse=True):
            try:
                found = self._states.restore(
                    updates,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardRestore(abstract), progress=ocp.args.JsonRestore()
                    ),
                )
                evaluations = found["progress"]["evaluations"]
                self._keep_evaluations(evaluations)
                self.evaluations()  # readable, too
            except Exception as error:  # whatever a damaged file makes orbax raise
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                damaged.append(f"checkpoint at {updates:,} updates cannot be read ({reason[:120]})")
                self._states.delete(updates)
                continue
            restored = [found["state"][str(i)] for i in range(len(leaves))]
            return Progress(jax.tree.unflatten(structure, restored), updates, evaluations), damaged
        self._keep_evaluations(0)
        return None, damaged

    def evaluations(self) -> Metrics:
        """All evaluations on disk: [evaluation, run, …]."""
        return read_evaluations(self.path)

    def close(self) -> None:
        """Let go of orbax's resources."""
        self._states.close()

    def _require_room(self, size: int) -> None:
        """Raise on a full disk before orbax does: what its threads print then is no help."""
        if shutil.disk_usage(self.path).free < size + SPARE_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def _write_evaluations(self) -> None:
        last = self.written + len(self.pending)
        stacked = Metrics(*(np.stack(column) for column in zip(*self.pending, strict=True)))
        part = self.path / "evaluations.part"
        with part.open("wb") as file:
            np.savez(file, **stacked._asdict())
        part.replace(self.path / f"evaluations-{self.written:07d}-{last:07d}.npz")
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
