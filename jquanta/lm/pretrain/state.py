"""The state of training on disk: one file a size, replaced when the next is whole."""

import json
import os
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jquanta.errors import BadInput
from jquanta.lm.pretrain.step import State


class Progress(NamedTuple):
    """Where a size stands: updates made, and the seconds that they took."""

    steps: int = 0
    seconds: float = 0.0


def save_state(path: Path, state: State, progress: Progress) -> None:
    """Write parameters and optimizer state, and only then give the file its name."""
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    leaves = {str(i): np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    part = path.with_name(path.name + ".part")
    save_file(leaves, part, metadata={"progress": json.dumps(progress)})
    with part.open("rb") as file:
        os.fsync(file.fileno())  # else a power cut could leave the name on an empty file
    part.replace(path)


def restore_state(path: Path, like: State) -> tuple[State, Progress]:
    """What ``save_state`` wrote, in the structure of ``like``.

    Raises:
        BadInput: if the file cannot be read, or is of another network.
    """
    from safetensors import SafetensorError, safe_open

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
