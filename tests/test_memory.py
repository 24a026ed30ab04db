"""Freed memory is kept: the second use of a large array costs no page faults."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from jquanta import memory

kept = "keep" in sys.argv and memory.keep_freed()
if "keep" in sys.argv and not kept:
    sys.exit("this malloc cannot be told")

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(64 << 20, np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""


def second_use(*words: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=False
    )
    if "cannot be told" in done.stderr:
        pytest.skip("no mallopt here")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_freed_array_is_used_again() -> None:
    # 64 MB are 16,384 pages of 4 kB, or 32 of 2 MB where the system has huge pages.
    kept = second_use("keep")
    assert kept < 16
    if (default := second_use()) <= kept:
        pytest.skip(f"the system keeps it by itself: {default} faults")
