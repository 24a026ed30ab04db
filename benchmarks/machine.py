"""The hardware and the versions of libraries on which a measurement depends."""

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
    """The machine, and how busy it was.

    Attributes:
        cpu: its model.
        cores: number of logical processors.
        gpu: its model; None where JAX computes on the CPU.
        gpu_gb: memory of the GPU in 10^9 bytes.
        driver: version of the GPU's driver.
        load_at_start: load average of the minute before: more than about 0 disturbs a measurement.
        load_at_end: the same after it.
        stolen: share of the processors' time that the host of a virtual machine gave to others.
    """

    cpu: str
    cores: int
    gpu: str | None
    gpu_gb: float | None
    driver: str | None
    load_at_start: float
    load_at_end: float
    stolen: float | None

    def __str__(self) -> str:
        return self.gpu or f"{self.cpu}, {self.cores} cores"

    def busy(self) -> str:
        """A description of how busy the machine was."""
        text = f"load {self.load_at_start:.1f} before, {self.load_at_end:.1f} after"
        return text if self.stolen is None else f"{text}; {self.stolen:.0%} stolen by the host"


@dataclass(frozen=True)
class Start:
    """How busy the machine is when a benchmark begins; ``hardware`` needs it at the end.

    Attributes:
        load: load average of the last minute.
        ticks: see ``_ticks``.
    """

    load: float
    ticks: tuple[int, int] | None


def start() -> Start:
    """Note how busy the machine is, before anything is measured."""
    return Start(os.getloadavg()[0], _ticks())


def _ticks() -> tuple[int, int] | None:
    """Clock ticks of all processors since boot: those stolen by the host, and all but idle ones.

    None where there is no /proc/stat. The order of its columns is fixed by Linux.
    """
    try:
        words = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    except FileNotFoundError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, words[1:9])
    return steal, user + nice + system + irq + softirq + steal


def _stolen(before: tuple[int, int] | None) -> float | None:
    """The stolen share of the processors' time since ``before``."""
    after = _ticks()
    if before is None or after is None:
        return None
    return (after[0] - before[0]) / max(1, after[1] - before[1])


def hardware(begun: Start) -> Hardware:
    """Describe this machine at the end of a benchmark that began at ``begun``."""
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
    """Memory of the first NVIDIA GPU in 10^9 bytes, and the driver's version, if known."""
    query = ["nvidia-smi", "--query-gpu=memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
        memory, driver = done.stdout.splitlines()[0].split(", ")
        return float(memory.removesuffix(" MiB")) * 2**20 / 1e9, driver
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return None, None


def versions(*others: str) -> dict[str, str]:
    """Versions of this package, Python, JAX, torch and ``others``, as far as they are installed."""
    from jquanta.version import __version__

    found = {"jquanta": __version__, "python": platform.python_version()}
    for name in ("jax", "jaxlib", "torch", *others):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def device_slug() -> str:
    """The name of the device for a file's name, such as ``cpu`` or ``nvidia-h200``."""
    import jax

    return re.sub(r"[^a-z0-9]+", "-", jax.devices()[0].device_kind.lower()).strip("-")


def _cpu() -> str:
    """The model of the CPU."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except FileNotFoundError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def torch_device() -> "torch.device":
    """The torch device that corresponds to JAX's. Raises ``BadInput`` if torch cannot use it."""
    import jax
    import torch

    backend = jax.default_backend()
    if backend not in ("cpu", "gpu"):
        raise BadInput(f"JAX_PLATFORMS: the rivals do not run on {backend}; set it to cpu")
    if backend == "gpu" and not torch.cuda.is_available():
        raise BadInput(
            "torch sees no GPU and JAX does: install torch with CUDA, or set JAX_PLATFORMS=cpu"
        )
    torch.set_float32_matmul_precision("highest")  # no TF32, so that both sides compute in float32
    return torch.device("cuda" if backend == "gpu" else "cpu")
