"""Folders that are expensive to make, made once for all workers of a test session."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first worker to ask makes, and the others wait for.

    Tests only read it: one that writes takes a copy.

    Args:
        factory: the worker's temporary folder lies in one of the whole session.
        name: of the folder, the same for all workers.
        make: makes the folder at the path it is given.

    Returns:
        The path of the finished folder.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    path, done = root / "shared" / name, root / "shared" / f"{name}.done"
    path.parent.mkdir(exist_ok=True)
    # The lock is let go when the file is closed, also if making fails or the worker is killed; the
    # next worker then makes the folder anew.
    with (root / "shared" / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(path, ignore_errors=True)
            make(path)
            done.touch()
    return path
