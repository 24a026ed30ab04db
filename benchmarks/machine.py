"""The machine and the versions that a measurement depends on."""

import contextlib
import importlib.metadata
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jquanta.errors import BadInput

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Hardware:
    """The machine."""

    cpu: str
    cores: int
    gpu: str | None
    gpu_gb: float | None  # its memory, 10^9 bytes
    driver: str | None  # of the GPU
    load_at_start: float  # runnable processes, mean of a minute: above 0 others disturb
    load_at_end: float
    stolen: float | None  # share of the processors' time that a host gave to other machines

    def __str__(self) -> str:
        return self.gpu or f"{self.cpu}, {self.cores} cores"

    def busy(self) -> str:
        """In words, how much of the machine others had."""
        text = f"load {self.load_at_start:.1f} before, {self.load_at_end:.1f} after"
        return text if self.stolen is None else f"{text}; {self.stolen:.0%} stolen by the host"


@dataclass(frozen=True)
class Start:
    """The machine when a benchmark begins, for ``hardware`` at its end."""

    load: float
    ticks: tuple[int, int] | None


def start() -> Start:
    """How busy the machine is before anything is measured."""
    return Start(os.getloadavg()[0], _ticks())


def _ticks() -> tuple[int, int] | None:
    """Clock ticks of all processors since boot: stolen by the host, and used or stolen."""
    try:
        words = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    except FileNotFoundError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, words[1:9])
    return steal, user + nice + system + irq + softirq + steal


def _stolen(before: tuple[int, int] | None) -> float | None:
    after = _ticks()
    if before is None or after is None:
        return None
    return (after[0] - before[0]) / max(1, after[1] - before[1])


def hardware(begun: Start) -> Hardware:
    """This machine, at the end of a benchmark."""
    import jax

    device = jax.devices()[0]
    on_gpu = device.platform != "cpu"
    gpu = device.device_kind if on_gpu else None
    memory, driver = _nvidia() if on_gpu else (None, None)
    end = os.getloadavg()[0]
    return Hardware(
        _cpu(),
        os.cpu_count() or 1,
        gpu,
        memory,
        driver,
        begun.load,
        end,
        _stolen(begun.ticks),
    )


@cache
def _nvidia() -> tuple[float | None, str | None]:
    """Memory of the first NVIDIA GPU (10^9 bytes) and the driver's version, where they are told."""
    query = ["nvidia-smi", "--query-gpu=memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
        memory, driver = done.stdout.splitlines()[0].split(", ")
        return float(memory.removesuffix(" MiB")) * 2**20 / 1e9, driver
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return None, None


def versions(*others: str) -> dict[str, str]:
    """Of what is compared: Python, JAX, torch where there is one, and ``others``."""
    from jquanta.version import __version__

    found = {"jquanta": __version__, "python": platform.python_version()}
    for name in ("jax", "jaxlib", "torch", *others):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def device_slug() -> str:
    """The device in a file's name, such as ``cpu`` or ``nvidia-h200``."""
    import jax

    return re.sub(r"[^a-z0-9]+", "-", jax.devices()[0].device_kind.lower()).strip("-")


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except FileNotFoundError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def torch_device() -> "torch.device":
    """Where torch computes: where JAX does. Raises ``BadInput`` where it cannot."""
    import jax
    import torch

    backend = jax.default_backend()
    if backend not in ("cpu", "gpu"):
        raise BadInput(f"JAX_PLATFORMS: the rivals do not run on {backend}; set it to cpu")
    if backend == "gpu" and not torch.cuda.is_available():
        raise BadInput(
            "torch sees no GPU and JAX does: install torch with CUDA, or set JAX_PLATFORMS=cpu"
        )
    torch.set_float32_matmul_precision("highest")  # float32 on both sides: no TF32
    return torch.device("cuda" if backend == "gpu" else "cpu")
