"""Programs and commands as processes of their own."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import jquanta as jq


def cpus(count: int, optimised: bool = False) -> dict[str, str]:
    """What is set in the environment of a process that has ``count`` CPU devices.

    Args:
        count: how many.
        optimised: whether XLA compiles as for users, and not as ``tests/conftest.py`` says.
    """
    flags = f"--xla_force_host_platform_device_count={count}"
    if not optimised:
        flags = f"{os.environ['XLA_FLAGS']} {flags}"
    return {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


def with_devices(count: int, program: str, *words: str, optimised: bool = False) -> str:
    """What a Python program prints, given ``words`` as arguments. Others are as for ``cpus``."""
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        env=os.environ | cpus(count, optimised),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


class Command:
    """A command as a process that a test can watch, interrupt and kill: it writes a byte to
    ``BEATS`` now and then.

    Args:
        script: Python that runs it.
        arguments: of the command.
        cache: of compiled programs, for all processes of a test. Not the one that all tests share:
            a process that is killed may leave half a program there.
    """

    def __init__(self, script: str, arguments: Sequence[str], cache: Path):
        self.beats, write = os.pipe()
        environment = {
            "PYTHONPATH": str(Path(jq.__file__).parents[1]),
            "BEATS": str(write),
            "JAX_COMPILATION_CACHE_DIR": str(cache),  # the second process compiles nothing
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            env=os.environ | environment,
            pass_fds=[write],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(write)

    def wait_for_beats(self, count: int) -> bool:
        """Whether the process lived to its ``count``-th beat."""
        return all(os.read(self.beats, 1) for _ in range(count))

    def end(self) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        out, err = self.process.communicate(timeout=120)
        os.close(self.beats)
        return self.process.returncode, out, err
