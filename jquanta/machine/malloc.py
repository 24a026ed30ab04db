"""How this process takes memory from the system. Light: it is used before JAX is imported."""

import ctypes
import sys

# Of glibc's malloc.h.
TRIM_THRESHOLD = -1
MMAP_MAX = -4
ARENA_MAX = -8

ARENAS = 3
"""Those of threads hold 64 MB at most and send the rest back to the system, so there should be few:
with glibc's own number the gradient below costs 31,000 page faults still. With a single one they
are gone, too, but computing takes 5 to 20% longer."""


def keep_freed() -> bool:
    """Have malloc keep what is freed, where it can be told to; whether it could.

    XLA on a CPU takes its buffers anew at every call. By default glibc gives large ones back to the
    system each time, and the work then pays for thousands of page faults: 9,700 in a step of the 30
    networks of Figure 2, and under 500 with this; 31,000 in a gradient of 1,024 tokens at the 14m
    shape, a fifth of its time, and next to none with this.

    To be called before other threads take memory.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    settings = (MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1), (ARENA_MAX, ARENAS)
    return all(bool(mallopt(*setting)) for setting in settings)
