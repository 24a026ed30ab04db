"""Settings of allocators: of the C library, and of JAX on an accelerator. Imports no JAX: they are
made before JAX starts."""

import ctypes
import os
import sys

# Parameters of mallopt, from glibc's malloc.h.
TRIM_THRESHOLD = -1
MMAP_MAX = -4
ARENA_MAX = -8

ARENAS = 3
"""Number of malloc's arenas (separate heaps for threads). Those of threads hold at most 64 MB and
return the rest to the system, so there should be few: with glibc's default number the gradient
described below still causes 31,000 page faults. A single arena avoids them, too, but computing then
takes 5 to 20% longer."""


CARD_SHARE = 0.95
"""Share of an accelerator's memory that this process takes when JAX starts (0.75 by JAX's default).
The rest is the driver's."""

FRACTION = "XLA_CLIENT_MEM_FRACTION"
SAID = FRACTION, "XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_PREALLOCATE"
"""Environment variables by which a user says how JAX takes memory."""


def take_card() -> None:
    """Have JAX take most of an accelerator's memory, unless the user has said how much, or when.

    Arrays may then take 90% of it (``memory.usable``). Call this before JAX is imported.
    """
    if not any(name in os.environ for name in SAID):
        os.environ[FRACTION] = str(CARD_SHARE)


def keep_freed() -> bool:
    """Make malloc keep freed memory for later use, instead of returning it to the system.

    XLA on a CPU allocates its buffers anew in every call. By default glibc returns large buffers to
    the system each time, so that the next call causes thousands of page faults: 9,700 in a step of
    the 30 networks of Figure 2, and under 500 with this setting; 31,000 in a gradient of 1,024
    tokens with a model of the 14m shape, a fifth of its time, and almost none with this setting.

    Call this before other threads allocate memory.

    Returns:
        Whether the settings were made; they need Linux with glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl's C library has none
    if mallopt is None:
        return False
    # Never serve a request by mmap (which is unmapped when freed), and never shrink the heap.
    settings = (MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1), (ARENA_MAX, ARENAS)
    return all(bool(mallopt(*setting)) for setting in settings)
