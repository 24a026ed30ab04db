"""What a result depends on besides its configuration: versions, commit, device, time."""

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
    """The time in UTC as ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def environment() -> dict[str, Any]:
    """Versions of the libraries, commit of this source, devices and machine, as a record."""
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
    """The commit of the source tree that runs, with ``+changes`` if it was edited; None where the
    package was installed without one."""
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
