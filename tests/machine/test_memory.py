"""Freed memory is kept: the second use of a large array costs no page faults. And what the control
groups of a container leave."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jquanta.machine import malloc, memory

PROGRAM = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from jquanta.machine import malloc

kept = "keep" in sys.argv and malloc.keep_freed()
if "keep" in sys.argv and not kept:
    sys.exit("this malloc cannot be told")

def faults(megabytes):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(megabytes << 20, np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with ThreadPoolExecutor(1) as other:  # XLA computes in threads of its own
    here, there = lambda *call: call[0](*call[1:]), lambda *call: other.submit(*call).result()
    for thread, megabytes in (here, 64), (there, 16):
        thread(faults, megabytes)
        print(thread(faults, megabytes))
"""


def second_use(*words: str) -> list[int]:
    """Page faults in the first thread and in another."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=False
    )
    if "cannot be told" in done.stderr:
        pytest.skip("no mallopt here")
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


def test_a_freed_array_is_used_again() -> None:
    # 64 MB are 16,384 pages of 4 kB, or 32 of 2 MB where the system has huge pages; in another
    # thread 16 MB are a quarter of that.
    here, there = second_use("keep")
    assert here < 16
    assert there < 4
    if (default := second_use()[0]) < 16:
        pytest.skip(f"the system keeps it by itself: {default} faults")


GB = 10**9
V1_MOUNT = "35 31 0:32 {inner} /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"
V2_MOUNT = "42 31 0:38 {inner} /sys/fs/cgroup{place} rw,relatime - cgroup2 cgroup2 rw"
OTHER = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755"


def machine(root: Path, groups: str, *mounts: str, **files: str | int) -> int:
    """What is left on a machine whose files below ``/sys/fs/cgroup`` are planted."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    (root / "proc/self/mountinfo").write_text("\n".join([OTHER, *mounts]) + "\n")
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return memory._container(root)


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert memory._container(tmp_path) == sys.maxsize
    assert machine(tmp_path / "none", "0::/\n", V2_MOUNT.format(inner="/", place="")) == sys.maxsize


@pytest.mark.parametrize("place", ["", "/unified"])
def test_the_groups_above_count_in_version_2(tmp_path: Path, place: str) -> None:
    here = place.lstrip("/")
    files: dict[str, str | int] = {
        f"{here}/user/memory.max": 8 * GB,
        f"{here}/user/memory.current": 5 * GB,
        f"{here}/user/memory.stat": f"anon {4 * GB}\nfile {GB}\ninactive_file {GB}",
        f"{here}/user/job/memory.max": "max",
        f"{here}/user/job/memory.current": 3 * GB,
    }
    mount = V2_MOUNT.format(inner="/", place=place)
    assert machine(tmp_path / "above", "0::/user/job\n", mount, **files) == 4 * GB
    files[f"{here}/user/job/memory.high"] = 5 * GB
    assert machine(tmp_path / "both", "0::/user/job\n", mount, **files) == 2 * GB


def test_version_1_with_the_names_of_the_host(tmp_path: Path) -> None:
    """As in a Docker container: the group has its name on the host, and is itself mounted."""
    files: dict[str, str | int] = {
        "memory/memory.limit_in_bytes": 4 * GB,
        "memory/memory.usage_in_bytes": 3 * GB,
        "memory/memory.stat": f"inactive_file 5\ntotal_inactive_file {2 * GB}",
    }
    groups = "9:name=systemd:/docker/1f\n4:cpu,memory:/docker/1f\n0::/docker/1f\n"
    mount = V1_MOUNT.format(inner="/docker/1f")
    assert machine(tmp_path / "same", groups, mount, **files) == 3 * GB
    assert machine(tmp_path / "all", groups, V1_MOUNT.format(inner="/"), **files) == 3 * GB


def test_version_1_in_a_nested_group_beside_an_empty_version_2(tmp_path: Path) -> None:
    files: dict[str, str | int] = {
        "memory/memory.limit_in_bytes": 2**63 - 4096,  # none
        "memory/a/memory.limit_in_bytes": 6 * GB,
        "memory/a/memory.usage_in_bytes": 2 * GB,
        "memory/a/b/memory.limit_in_bytes": 5 * GB,
        "memory/a/b/memory.usage_in_bytes": 7 * GB,  # more than it may: nothing is left
        "unified/cgroup.procs": 1,
    }
    mounts = V1_MOUNT.format(inner="/"), V2_MOUNT.format(inner="/", place="/unified")
    assert machine(tmp_path / "one", "4:memory:/a\n0::/\n", *mounts, **files) == 4 * GB
    assert machine(tmp_path / "two", "4:memory:/a/b\n0::/\n", *mounts, **files) == 0


def test_damaged_files_are_no_limit(tmp_path: Path) -> None:
    files: dict[str, str | int] = {"memory.max": "lots", "memory.stat": "inactive_file"}
    mount = V2_MOUNT.format(inner="/", place="")
    assert machine(tmp_path / "a", "0::/\nnonsense\n", mount, "x - y", **files) == sys.maxsize


@pytest.mark.parametrize("said", [*malloc.SAID, ""])
def test_most_of_a_card_is_taken_unless_the_user_says_how_much(
    said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in malloc.SAID:
        monkeypatch.delenv(name, raising=False)
    if said:
        monkeypatch.setenv(said, "0.5")
    before = dict(os.environ)
    monkeypatch.setattr(os, "environ", dict(before))
    malloc.take_card()
    assert os.environ == (before if said else before | {malloc.FRACTION: "0.95"})
    # What arrays may take of a card is nine tenths of it.
    assert pytest.approx(0.9, abs=0.01) == malloc.CARD_SHARE * memory.DEVICE_SHARE
