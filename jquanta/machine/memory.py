"""How much memory the machine and its accelerators have free."""

import os
import sys
from pathlib import Path

import jax

from jquanta.machine import devices

HOST_SHARE, DEVICE_SHARE = 0.6, 0.75
"""Of the memory that is free on the machine or on an accelerator, what arrays may take. The rest is
for what is not counted: the program's own, other processes, buffers of the compiler."""


def usable() -> int:
    """Bytes that arrays may take on each local device: a share of what is free there.

    The devices of a CPU share the machine's memory. Where an accelerator does not tell, it is taken
    to have as much as the machine.
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
    """Bytes of free memory of the machine, with what the system would give back; a container's
    limit counts."""
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
