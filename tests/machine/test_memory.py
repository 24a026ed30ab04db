"""Freed memory is kept: the second use of a large array costs no page faults."""

import subprocess
import sys

import pytest

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
