"""Checkpoints: a tree of arrays to disk and back, the newest two kept, when one is due."""

import errno
import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

KEPT = 2
"""Checkpoints kept: the newest, and the one before in case the newest is damaged."""

LEAST_INTERVAL, COST_SHARE = 15.0, 0.01
"""Seconds between two checkpoints, however cheap they are, and the share of the time that they may
take, where nothing else is asked for."""

SPARE_ROOM = 2**18
"""Bytes that a checkpoint may take beyond its numbers."""


class Due:
    """When long work should be saved again: often enough that a crash costs little, and so seldom
    that saving takes a small share of the time.

    Args:
        least: seconds between two savings, however cheap they are.
        share: of the time, what saving may take at most.
    """

    def __init__(self, least: float, share: float):
        self.least, self.share = least, share
        self.last, self.cost = time.monotonic(), 0.0

    def __bool__(self) -> bool:
        interval = max(self.least, self.cost / self.share)
        return time.monotonic() - self.last > interval

    def saved(self, began: float) -> None:
        """Something was saved just now, which began at this ``time.monotonic()``."""
        self.last = time.monotonic()
        self.cost = self.last - began


class Restored(NamedTuple):
    """A checkpoint that was read.

    Attributes:
        step: its number.
        tree: the arrays, in the structure of the template.
        extra: what was stored beside them.
    """

    step: int
    tree: Any
    extra: dict[str, Any]


class Checkpoints:
    """Checkpoints of one training in a folder, by the number of updates made (orbax).

    Whatever ends the process, a checkpoint is there whole or not at all.
    """

    def __init__(self, folder: Path, due: Due | None = None):
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax raises its errors, too
        self.folder = folder.absolute()
        self.due = due or Due(LEAST_INTERVAL, COST_SHARE)
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=KEPT, enable_async_checkpointing=False, create=True
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of orbax's resources."""
        self._manager.close()

    def save(self, step: int, tree: Any, extra: dict[str, Any] | None = None) -> None:
        """Write the state after ``step`` updates, unless it is there.

        Args:
            step: updates made.
            tree: of arrays.
            extra: what else to remember, as JSON.

        Raises:
            OSError: if the disk is full.
        """
        began = time.monotonic()
        if step not in self._manager.all_steps():
            leaves = {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(tree))}
            self._require_room(sum(leaf.nbytes for leaf in leaves.values()))
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(leaves), progress=ocp.args.JsonSave(extra or {})
                ),
            )
        self.due.saved(began)

    def restore(self, template: Any, check: Any = None) -> tuple[Restored | None, list[str]]:
        """The newest checkpoint that can be read.

        Args:
            template: a tree of arrays of the same structure and shapes.
            check: called with ``extra``; whatever it raises says that the checkpoint is of no use.

        Returns:
            The checkpoint, or None to begin afresh, and a line for each one that is damaged. Those
            are deleted.
        """
        damaged = []
        leaves, structure = jax.tree.flatten(template)
        abstract = {str(i): ocp.utils.to_shape_dtype_struct(leaf) for i, leaf in enumerate(leaves)}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                found = self._manager.restore(
                    step,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardRestore(abstract), progress=ocp.args.JsonRestore()
                    ),
                )
                extra = dict(found["progress"] or {})
                if check:
                    check(extra)
            except Exception as error:  # whatever a damaged file makes orbax raise
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                damaged.append(f"checkpoint at {step:,} updates cannot be read ({reason[:120]})")
                self._manager.delete(step)
                continue
            restored = [found["state"][str(i)] for i in range(len(leaves))]
            return Restored(step, jax.tree.unflatten(structure, restored), extra), damaged
        return None, damaged

    def _require_room(self, size: int) -> None:
        """Raise on a full disk before orbax does, whose threads print much that is no help."""
        if shutil.disk_usage(self.folder).free < size + SPARE_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))
