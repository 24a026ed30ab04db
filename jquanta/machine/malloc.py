"""Settings of glibc's malloc for this process. Imports no JAX: they are made before it starts."""

import ctypes
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
