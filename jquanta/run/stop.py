"""Work that stops early: on the user's signal, or because the disk or memory is full."""

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from jquanta.errors import Interrupted, RunFailed


class Interrupts:
    """A context in which Ctrl-C and SIGTERM stop the work between two steps, in ``check``.

    A second signal raises ``KeyboardInterrupt`` at once. A signal that came after the last
    ``check`` is answered at the end of the context.

    Args:
        message: of the error that ``check`` raises, such as where the checkpoint is.
    """

    def __init__(self, message: str):
        self.message, self.asked = message, False

    def __enter__(self) -> "Interrupts":
        self._before = {}
        with contextlib.suppress(ValueError):  # only the main thread may set handlers of signals
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is None:
            self.check()

    def check(self) -> None:
        """Raise ``Interrupted`` if the user asked to stop."""
        if self.asked:
            raise Interrupted(self.message)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


AGAIN = 0.05
"""Seconds after which an interrupt that was dropped is sent again."""


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """A context in which no interrupt is lost.

    Python cannot raise out of a callback of its garbage collector (JAX has one, and compiling
    collects a lot), nor out of a destructor: there it prints an error and goes on. Here a
    ``KeyboardInterrupt`` that came at such a moment is sent again shortly afterwards, until it
    comes at a better one.
    """
    before = sys.unraisablehook

    def hook(dropped: "sys.UnraisableHookArgs") -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            before(dropped)
        elif threading.current_thread() is threading.main_thread():
            timer = threading.Timer(AGAIN, os.kill, (os.getpid(), signal.SIGINT))
            timer.daemon = True
            timer.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def shortage(error: BaseException, memory_remedy: str) -> str | None:
    """Recognise a full disk or memory in an error.

    Args:
        error: as raised by the system, JAX, or a storage library.
        memory_remedy: advice for the message where memory has run out.

    Returns:
        A message of one line with a remedy; None for any other error.
    """
    text = str(error)
    # Tensorstore's errors for a full disk begin with RESOURCE_EXHAUSTED, as JAX's for full memory:
    # ask for the disk first.
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left on device" in text or "RESOURCE_EXHAUSTED: ENOSPC" in text:
        return "the disk is full: free some space; then the same command continues"
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text or "Out of memory" in text:
        return f"out of memory: {memory_remedy}"
    return None


@contextlib.contextmanager
def shortage_in_one_line(memory_remedy: str) -> Iterator[None]:
    """A context that turns errors of a full disk or memory into ``RunFailed``, with a remedy."""
    try:
        yield
    except Exception as error:
        reason = shortage(error, memory_remedy)
        if reason is None:
            raise
        raise RunFailed(reason) from error
