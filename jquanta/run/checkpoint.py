"""Checkpoints of pytrees of arrays (Orbax): when one is due, saving, and restoring the newest."""

import errno
import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.options import MultiprocessingOptions

KEPT = 2
"""Number of checkpoints kept: the newest, and the one before it in case the newest is damaged."""

LEAST_INTERVAL, COST_SHARE = 15.0, 0.01
"""Default of ``Due``: fewest seconds between two checkpoints, and the largest share of the time
that they may take."""

SPARE_ROOM = 2**18
"""Bytes that a checkpoint may take in addition to its arrays."""


class Due:
    """Tells when long work should be saved again. It is true when a checkpoint is due.

    Saving often means that a crash loses little work; a limit on the share of the time that saving
    takes keeps it cheap.

    Args:
        least: fewest seconds between two checkpoints.
        share: largest share of the time that saving may take.
    """

    def __init__(self, least: float, share: float):
        self.least, self.share = least, share
        self.last, self.cost = time.monotonic(), 0.0

    def __bool__(self) -> bool:
        # A checkpoint that took c seconds may be followed by another after c / share seconds.
        interval = max(self.least, self.cost / self.share)
        return time.monotonic() - self.last > interval

    def saved(self, began: float) -> None:
        """Call this after saving; ``began`` is the ``time.monotonic()`` at which it began."""
        self.last = time.monotonic()
        self.cost = self.last - began


class Restored(NamedTuple):
    """A restored checkpoint.

    Attributes:
        step: number of updates made.
        tree: the arrays, in the structure of the template.
        extra: further data, as given to ``save``.
    """

    step: int
    tree: Any
    extra: dict[str, Any]


class Checkpoints:
    """The checkpoints of one training in a folder, numbered by the updates made.

    A context manager. However the process ends, a checkpoint is complete or does not exist.

    Args:
        folder: of the checkpoints; it is made if necessary.
        due: when to save; the default values above if None.
    """

    def __init__(self, folder: Path, due: Due | None = None):
        # Orbax logs errors that it also raises.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        self.folder = folder.absolute()
        self.due = due or Due(LEAST_INTERVAL, COST_SHARE)
        self.folder.mkdir(parents=True, exist_ok=True)
        own = jax.process_index()
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=KEPT,
                enable_async_checkpointing=False,
                # Of several processes each keeps checkpoints of what it computes, by itself.
                multiprocessing_options=MultiprocessingOptions(own, {own}, f"process-{own}"),
                create=False,  # Orbax makes folders only where all processes take part
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the resources of Orbax."""
        self._manager.close()

    def save(self, step: int, tree: Any, extra: dict[str, Any] | None = None) -> None:
        """Write the state after ``step`` updates, unless that checkpoint exists.

        Args:
            step: number of updates made.
            tree: a pytree of arrays.
            extra: further data that can be written as JSON.

        Raises:
            OSError: if the disk is full.
        """
        began = time.monotonic()
        if step not in self._manager.all_steps():
            # Leaves are stored under their indices, without the structure: types such as optax's
            # states may then be renamed or moved, and old checkpoints can still be read.
            leaves = {str(i): _own(leaf) for i, leaf in enumerate(jax.tree.leaves(tree))}
            self._require_room(sum(leaf.nbytes for leaf in leaves.values()))
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(leaves), progress=ocp.args.JsonSave(extra or {})
                ),
            )
        self.due.saved(began)

    def restore(self, template: Any, check: Any = None) -> tuple[Restored | None, list[str]]:
        """Read the newest checkpoint that is not damaged. Damaged ones are deleted.

        Args:
            template: a pytree of arrays of the same structure, shapes and dtypes.
            check: called with ``extra``. If it raises, the checkpoint counts as damaged.

        Returns:
            The checkpoint, or None if there is none to continue from; and a message for each
            damaged one.
        """
        damaged = []
        leaves, structure = jax.tree.flatten(template)
        # Orbax needs shapes, dtypes and shardings of what it is to read.
        abstract = {
            str(i): ocp.utils.to_shape_dtype_struct(_own(leaf)) for i, leaf in enumerate(leaves)
        }
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
            except Exception as error:  # a damaged file can make Orbax raise almost anything
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                # Delete it and try the one before.
                damaged.append(f"checkpoint at {step:,} updates cannot be read ({reason[:120]})")
                self._manager.delete(step)
                continue
            restored = [found["state"][str(i)] for i in range(len(leaves))]
            return Restored(step, jax.tree.unflatten(structure, restored), extra), damaged
        return None, damaged

    def _require_room(self, size: int) -> None:
        """Raise ``OSError`` if the disk lacks ``size`` bytes.

        Orbax would raise, too, but only after its threads have printed long tracebacks.
        """
        if shutil.disk_usage(self.folder).free < size + SPARE_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))


def _own(leaf: Any) -> Any:
    """An array as Orbax takes it: one of several processes gives its own as NumPy's, for one of
    JAX's has to be known to all of them."""
    return np.asarray(leaf) if jax.process_count() > 1 else leaf
