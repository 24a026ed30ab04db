"""Save and restore the training state of one size: parameters and optimizer state."""

import json
from pathlib import Path
from typing import NamedTuple

import jax
from safetensors import SafetensorError, safe_open

from jquanta.errors import BadInput
from jquanta.lm.pretrain.step import State
from jquanta.run.checkpoint import Checkpoints


class Progress(NamedTuple):
    """How far the training of a size is: number of updates made, and the seconds they took."""

    steps: int = 0
    seconds: float = 0.0


def save_state(checkpoints: Checkpoints, state: State, progress: Progress) -> None:
    """Write the state after ``progress.steps`` updates as a new checkpoint."""
    checkpoints.save(progress.steps, state, {"seconds": progress.seconds})


def restore_state(checkpoints: Checkpoints, first: State) -> tuple[State, Progress, list[str]]:
    """Read the newest checkpoint that is not damaged.

    Args:
        checkpoints: of the size.
        first: the initial state, which also gives the structure of the tree.

    Returns:
        The state, or ``first`` if there is no checkpoint; its progress; and one line of text for
        each damaged checkpoint.

    Raises:
        BadInput: if a file of version 0.1 is damaged, or of another network.
    """
    found, damaged = checkpoints.restore(first)
    if found:
        return found.tree, Progress(found.step, found.extra["seconds"]), damaged
    old = checkpoints.folder.with_name(f"{checkpoints.folder.name}.safetensors")
    if old.exists() and not damaged:
        return (*_read_file(old, first), [])
    return first, Progress(), damaged


def _read_file(path: Path, like: State) -> tuple[State, Progress]:
    """Read the state from a safetensors file, as version 0.1 stored it: leaves by number."""
    leaves, structure = jax.tree.flatten(like)
    try:
        with safe_open(path, framework="numpy") as file:
            progress = Progress(*json.loads(file.metadata()["progress"]))
            found = [file.get_tensor(str(i)) for i in range(len(leaves))]
    except (SafetensorError, OSError, ValueError, TypeError, KeyError):
        found = []
    if [x.shape for x in found] != [x.shape for x in leaves]:
        raise BadInput(f"{path}: damaged; delete it, and the same command begins this size anew")
    return jax.tree.unflatten(structure, found), progress
