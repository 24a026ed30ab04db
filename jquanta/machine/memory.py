"""Free memory of the machine and its accelerators."""

import os
import sys
from pathlib import Path

import jax

from jquanta.machine import devices

HOST_SHARE, DEVICE_SHARE = 0.6, 0.75
"""Share of the free memory, of the machine or of an accelerator, that arrays may take. The rest is
left for what estimates do not count: the program itself, other processes, the compiler's buffers.
"""


def usable() -> int:
    """Bytes that arrays may take on each local device: a share of what is free there.

    The devices of a CPU divide the machine's memory among them. So do accelerators that do not
    report their memory: they are assumed to have as much as the machine.
    """
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    if not devices.on_host() and all("bytes_limit" in found for found in stats):
        left = min(found["bytes_limit"] - found.get("bytes_in_use", 0) for found in stats)
        return int(DEVICE_SHARE * left)
    return int(HOST_SHARE * free()) // len(stats)


def usable_together() -> int:
    """Bytes that arrays may take on all local devices together."""
    return usable() * jax.local_device_count()


def free() -> int:
    """Bytes of memory that the machine could still provide, at most the limit of a container.

    Caches that the system would release count as free.
    """
    return min(_machine(), _container())


def _machine() -> int:
    """Bytes that are available on the machine; outside Linux, half of its memory."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass  # not Linux
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _container() -> int:
    """The memory limit of the container (cgroup v2) in bytes; without one, a very large number."""
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # no such file, or its text is "max": no limit
        return sys.maxsize
