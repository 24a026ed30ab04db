"""The state of a size's training on disk."""

import json
from pathlib import Path
from typing import NamedTuple

import jax
from safetensors import SafetensorError, safe_open

from jquanta.errors import BadInput
from jquanta.lm.pretrain.step import State
from jquanta.run.checkpoint import Checkpoints


class Progress(NamedTuple):
    """Where a size stands: updates made, and the seconds that they took."""

    steps: int = 0
    seconds: float = 0.0


def save_state(checkpoints: Checkpoints, state: State, progress: Progress) -> None:
    """Write parameters and optimizer state after ``progress.steps`` updates."""
    checkpoints.save(progress.steps, state, {"seconds": progress.seconds})


def restore_state(checkpoints: Checkpoints, first: State) -> tuple[State, Progress, list[str]]:
    """The newest state on disk, in the structure of ``first``.

    Returns:
        The state, ``first`` where there is none; its progress; and a line for each damaged
        checkpoint.

    Raises:
        BadInput: if a file of version 0.1 cannot be read, or is of another network.
    """
    found, damaged = checkpoints.restore(first)
    if found:
        return found.tree, Progress(found.step, found.extra["seconds"]), damaged
    old = checkpoints.folder.with_name(f"{checkpoints.folder.name}.safetensors")
    if old.exists() and not damaged:
        return (*_read_file(old, first), [])
    return first, Progress(), damaged


def _read_file(path: Path, like: State) -> tuple[State, Progress]:
    """The state in a file of safetensors, as version 0.1 wrote it."""
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
