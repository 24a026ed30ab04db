"""How long work stops before its end: the user asks for it, or disk or memory run out."""

import contextlib
import errno
import signal
from collections.abc import Iterator
from types import FrameType

from jquanta.errors import Interrupted, RunFailed


class Interrupts:
    """Hear Ctrl-C and SIGTERM, and answer between two steps of the work; a second one stops at
    once.

    Args:
        message: of the error that ``check`` raises, such as where the checkpoint lies.
    """

    def __init__(self, message: str):
        self.message, self.asked = message, False

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
            raise Interrupted(self.message)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def shortage(error: BaseException, memory_remedy: str) -> str | None:
    """What has run out, with its remedy; None for any other error.

    Args:
        error: as the system, JAX or a storage library raises it.
        memory_remedy: what to do where memory has run out.
    """
    text = str(error)
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left on device" in text or "RESOURCE_EXHAUSTED: ENOSPC" in text:
        return "the disk is full: free some space; then the same command continues"
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text or "Out of memory" in text:
        return f"out of memory: {memory_remedy}"
    return None


@contextlib.contextmanager
def shortage_in_one_line(memory_remedy: str) -> Iterator[None]:
    """Turn what a full disk or memory raises into ``RunFailed``, one line with its remedy."""
    try:
        yield
    except Exception as error:
        reason = shortage(error, memory_remedy)
        if reason is None:
            raise
        raise RunFailed(reason) from error
