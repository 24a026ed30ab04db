"""How this process keeps its memory."""

import ctypes
import sys

# Of glibc's malloc.h.
TRIM_THRESHOLD = -1
MMAP_MAX = -4


def keep_freed() -> bool:
    """Have malloc keep what is freed, where it can be told to; whether it could.

    XLA on a CPU takes its buffers anew at every call. By default glibc gives large ones back to the
    system each time, and a training step then pays for thousands of page faults: 9,700 of them for
    the 30 networks of Figure 2, and 460 with this, which makes the step some 8% shorter.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, 2**31 - 1))
