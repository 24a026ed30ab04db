"""How this process keeps its memory."""

import ctypes
import sys

# Of glibc's malloc.h.
TRIM_THRESHOLD = -1
MMAP_MAX = -4
ARENA_MAX = -8


def keep_freed() -> bool:
    """Have malloc keep what is freed, where it can be told to; whether it could.

    XLA on a CPU takes its buffers anew at every call. By default glibc gives large ones back to the
    system each time, and the work then pays for thousands of page faults: 9,700 in a step of the 30
    networks of Figure 2, and 460 with this, which makes the step some 8% shorter; 31,000 in a
    gradient of 1,024 tokens at the 14m shape, a third of its processor time, and none with this.
    One arena, because those of other threads hold 64 MB at most and send the rest to the system.

    To be called before other threads take memory.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    settings = (MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1), (ARENA_MAX, 1)
    return all(bool(mallopt(*setting)) for setting in settings)
