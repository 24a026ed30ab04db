"""The environment of a run, for its record: versions, commit, device and time."""

import datetime
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import flax
import jax
import optax

from jquanta.version import __version__


def now() -> str:
    """The current time in UTC, in ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def environment() -> dict[str, Any]:
    """Entries for a run's record: versions of libraries, commit of jquanta, devices and machine."""
    device = jax.devices()[0]
    return {
        "versions": {
            "jquanta": __version__,
            "python": platform.python_version(),
            "jax": jax.__version__,
            "flax": flax.__version__,
            "optax": optax.__version__,
        },
        "commit": commit(),
        "device": f"{jax.device_count()} x {device.device_kind}",
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "dtype": "float32",
    }


def commit() -> str | None:
    """The git commit of the running source tree; None if it is not a git checkout.

    ``+changes`` is appended if the package has changes that are not committed.
    """
    source = Path(__file__).resolve().parents[2]
    if not (source / ".git").exists():
        return None
    try:
        head, status = (
            subprocess.run(
                ["git", "-C", str(source), *command],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "jquanta"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+changes" if status else "")
