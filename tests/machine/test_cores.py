"""The cores of a CPU as devices, in processes whose JAX has not begun."""

import json
import os
import subprocess
import sys

import pytest

from jquanta.machine import cores

PROGRAM = """
import json, os, sys
import jax
from jquanta.machine import cores
cores.count = lambda: 3
if "begun" in sys.argv:
    jax.devices()
done = cores.as_devices()
print(json.dumps([done, jax.local_device_count(), os.environ.get("XLA_FLAGS", "")]))
"""


def seen(*words: str, flags: str = "") -> list[object]:
    """Whether it was done, the devices, and the flags, after ``as_devices`` on three cores."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[object] = json.loads(done.stdout)
    return found


def test_each_core_is_a_device_of_one_thread() -> None:
    assert seen() == [True, 3, "--xla_cpu_multi_thread_eigen=false"]


def test_other_flags_are_kept() -> None:
    flag = "--xla_cpu_enable_fast_math=false"
    assert seen(flags=flag) == [True, 3, f"{flag} --xla_cpu_multi_thread_eigen=false"]


@pytest.mark.parametrize(
    ("flag", "devices"),
    [("--xla_force_host_platform_device_count=2", 2), ("--xla_cpu_multi_thread_eigen=true", 1)],
)
def test_what_the_user_says_of_the_cores_holds(flag: str, devices: int) -> None:
    assert seen(flags=flag) == [False, devices, flag]


def test_too_late_changes_nothing() -> None:
    assert seen("begun") == [False, 1, ""]


def test_cores_that_are_taken_away_do_not_count() -> None:
    assert 1 <= cores.count() <= (os.cpu_count() or 1)
