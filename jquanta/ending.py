"""How long work ends before its time: asked to, or for want of disk or memory."""

import contextlib
import errno
import signal
from types import FrameType

from jquanta.errors import Interrupted


class Interrupts:
    """Ctrl-C and SIGTERM as a question to ask between steps; a second one stops at once.

    Args:
        told: what ``check`` says, such as where the checkpoint lies.
    """

    def __init__(self, told: str):
        self.told, self.asked = told, False

    def __enter__(self) -> "Interrupts":
        self._before = {}
        with contextlib.suppress(ValueError):  # not the main thread: signals are not ours
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise ``Interrupted`` if the user asked to stop."""
        if self.asked:
            raise Interrupted(self.told)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def shortage(error: BaseException, memory: str) -> str | None:
    """What has run out, with its remedy, or None: the error is another one.

    Args:
        error: as the system, JAX or a storage library raises it.
        memory: what to do where memory has run out.
    """
    text = str(error)
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left on device" in text or "RESOURCE_EXHAUSTED: ENOSPC" in text:
        return "the disk is full: free some space; then the same command continues"
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text or "Out of memory" in text:
        return f"out of memory: {memory}"
    return None
