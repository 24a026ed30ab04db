"""How much may be held at once."""

import os
import sys
from pathlib import Path

import jax

from jquanta.errors import BadInput
from jquanta.sweep.plan import parse_bytes

SHARE = 0.7
"""Of what is free: the rest is for what is not counted."""


def available() -> int:
    """Bytes that may be taken on all local devices together."""
    if on_host():
        return int(SHARE * _free())
    devices = jax.local_devices()
    stats = [device.memory_stats() or {} for device in devices]
    if not all("bytes_limit" in found for found in stats):
        raise BadInput("memory: this device does not tell; give a size such as memory='8 GB'")
    free = min(found["bytes_limit"] - found.get("bytes_in_use", 0) for found in stats)
    return int(SHARE * free * len(devices))


def on_host() -> bool:
    """Whether the devices' memory is the machine's own."""
    return jax.default_backend() == "cpu"


def size(memory: int | str) -> int:
    """Bytes, of a number or of text such as ``8 GB``. Raises ``BadInput``."""
    if isinstance(memory, str):
        return parse_bytes(memory)
    if memory < 1:
        raise BadInput(f"memory = {memory}: give bytes, or a size such as '8 GB'")
    return memory


def _free() -> int:
    """Free memory, with what the system would give back from its caches; a container's limit."""
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
