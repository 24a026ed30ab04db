"""Free memory of the machine and its accelerators."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax

from jquanta.machine import devices

HOST_SHARE, DEVICE_SHARE = 0.6, 0.95
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
    """Bytes of memory that the machine, and the container around this process, could still provide.

    Caches that the system would release count as free.
    """
    return min(_machine(), _container(Path("/")))


def _machine() -> int:
    """Bytes that are available on the machine; outside Linux, half of its memory."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass  # not Linux
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


class _Hierarchy(NamedTuple):
    """Where control groups of a version keep a limit, what is used of it, and how much of that is
    file cache that the system would release."""

    limits: tuple[str, ...]
    used: str
    cache: str


_V1 = _Hierarchy(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Hierarchy(("memory.max", "memory.high"), "memory.current", "inactive_file")

_NO_LIMIT = 2**62
"""From here on a limit of version 1 stands for none."""


def _container(root: Path) -> int:
    """Bytes that the control groups of this process leave it; a very large number if there are no
    limits.

    A process is in one group of each hierarchy, and a limit of any group above holds, too. Machines
    have version 1, version 2, or both beside each other.

    Args:
        root: of the file system; another one in tests.
    """
    left = [sys.maxsize]
    for hierarchy, mounted, own in _groups(root):
        # From the group of the process up to where the hierarchy is mounted.
        for group in (own, *own.parents):
            left.append(_left(group, hierarchy))
            if group == mounted:
                break
    return min(left)


def _groups(root: Path) -> Iterator[tuple[_Hierarchy, Path, Path]]:
    """For each hierarchy that limits memory: its version, where it is mounted, and the folder of
    this process's group."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return  # not Linux
    # A line such as 4:memory:/user.slice, or 0::/user.slice for version 2.
    own = {fields[1]: fields[2] for line in groups if len(fields := line.split(":", 2)) == 3}
    for line in mounts:
        # 35 31 0:32 /docker/1f /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
        before, _, after = line.partition(" - ")
        fields = after.split() or [""]
        kind, options = fields[0], fields[-1]
        hierarchy, controller = (_V2, "") if kind == "cgroup2" else (_V1, "memory")
        named = next((name for name in own if controller in name.split(",")), None)
        if named is None or (kind != "cgroup2" and "memory" not in options.split(",")):
            continue
        if kind not in ("cgroup", "cgroup2"):
            continue
        # Which part of the hierarchy is mounted, and where.
        inner, place = (*before.split()[3:5], "/", "/")[:2]
        mounted = root / place.lstrip("/")
        # Where a container has the host's names, its own part of the hierarchy is mounted.
        below = own[named].removeprefix(inner.rstrip("/")).lstrip("/")
        group = mounted / below
        yield hierarchy, mounted, group if group.is_dir() and ".." not in below else mounted


def _left(group: Path, hierarchy: _Hierarchy) -> int:
    """Bytes that one group leaves: its limit, less what is used and would not be released."""
    limit = min(_number(group / name) for name in hierarchy.limits)
    if limit >= _NO_LIMIT:
        return sys.maxsize
    used = _number(group / hierarchy.used, 0)
    try:
        lines = (group / "memory.stat").read_text().split("\n")
        cache = next(
            int(line.split()[1]) for line in lines if line.startswith(f"{hierarchy.cache} ")
        )
    except (OSError, ValueError, StopIteration):
        cache = 0
    return max(0, limit - max(0, used - cache))


def _number(path: Path, missing: int = sys.maxsize) -> int:
    """The number in a file; ``missing`` if there is no file, or its text is "max": no limit."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return missing
