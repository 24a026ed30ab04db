"""How much memory the machine has free, and how this process keeps its own."""

import ctypes
import os
import re
import sys
from pathlib import Path

from jquanta.errors import BadInput

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


def parse_bytes(text: str, name: str = "--memory") -> int:
    """A number of bytes such as ``4 GB`` or ``500MB``. Raises ``BadInput``, which calls it
    ``name``."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(k|M|G|T)?i?B?\s*", text)
    if not found or float(found[1]) <= 0:
        raise BadInput(f"{name} {text!r}: give a size such as '4 GB' or '500 MB'")
    return int(float(found[1]) * 10 ** (3 * " kMGT".index(found[2] or " ")))


def free() -> int:
    """Bytes of free memory, with what the system would give back; a container's limit counts."""
    return min(_machine(), _container())


def _machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass  # not Linux
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _container() -> int:
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # none, or "max"
        return sys.maxsize
