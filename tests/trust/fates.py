"""What befalls a process before the n-th time that it changes the disk.

An audit hook of Python sees, before it happens, every file that is opened to be written and every
folder or name that is made, moved or removed. Here that moment is a place to die at, to hear
SIGTERM at, or to be told that the disk is full. What libraries write from C++ (arrays of
checkpoints) passes unseen, but the renames that make it valid do not.
"""

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_NAMES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
_MAKING = {"open", "os.mkdir"}


def _die(event: str, path: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_in_the_middle(event: str, path: str) -> None:
    """Killed when the file was just made, or emptied, and nothing written yet."""
    if event == "open":
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    _die(event, path)


def _terminate(event: str, path: str) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _pause(event: str, path: str) -> None:
    """Until somebody sends SIGCONT."""
    os.kill(os.getpid(), signal.SIGSTOP)


def _refuse(number: int) -> Callable[[str, str], None]:
    def refuse(event: str, path: str) -> None:
        if event in _MAKING:
            raise OSError(number, os.strerror(number), path)

    return refuse


FATES: dict[str, Callable[[str, str], None]] = {
    "killed": _die,
    "killed in the middle": _die_in_the_middle,
    "terminated": _terminate,
    "paused": _pause,
    "disk full": _refuse(errno.ENOSPC),
    "read-only": _refuse(errno.EROFS),
}
"""What happens, given the event and the path."""

LASTING = {"disk full", "read-only"}
"""Fates that stay: every later change meets them, too."""


def meet(fate: str | None, at: int, root: Path, counted: Path | None = None) -> None:
    """From now on this process meets a fate before its ``at``-th change of the disk (from 1).

    Args:
        fate: of ``FATES``; None for none.
        at: number of the change.
        root: only changes in this folder and of itself count.
        counted: a file that always holds the number of changes so far, one byte for each.
    """
    state = {"changes": 0, "busy": False}
    inside = str(root)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if state["busy"] or (event not in _NAMES and event != "open"):
            return
        path = arguments[0]
        if event == "open" and not (arguments[2] or 0) & _WRITING:
            return
        if not isinstance(path, str | bytes | os.PathLike):
            return  # a descriptor, which was opened before
        name = os.path.abspath(os.fsdecode(path))
        if name != inside and not name.startswith((inside + os.sep, inside + ".")):
            return
        state["changes"] += 1
        state["busy"] = True
        try:
            if counted is not None:
                with counted.open("ab") as file:
                    file.write(b".")
            due = state["changes"] == at or (fate in LASTING and state["changes"] > at)
            if fate is not None and due:
                FATES[fate](event, name)
        finally:
            state["busy"] = False

    sys.addaudithook(hook)
