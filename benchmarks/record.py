"""What a benchmark leaves behind: typed, with the hardware and versions it depends on."""

import dataclasses
import json
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from jquanta.errors import BadInput
from jquanta.sweep import folder


@dataclass(frozen=True)
class Hardware:
    """The machine."""

    cpu: str
    cores: int
    gpu: str | None
    load_at_start: float  # runnable processes, mean of a minute: above 0 others disturb
    load_at_end: float
    stolen: float | None  # share of the processors' time that a host gave to other machines

    def busy(self) -> str:
        """In words, how much of the machine others had."""
        text = f"load {self.load_at_start:.1f} before, {self.load_at_end:.1f} after"
        return text if self.stolen is None else f"{text}; {self.stolen:.0%} stolen by the host"


@dataclass(frozen=True)
class Timing:
    """Medians of one contestant, or of one of its networks, in seconds.

    Attributes:
        widths: of the networks that were trained.
        variant: how it is written, where there was a choice.
        step: a training step, from ``step_samples``.
        evaluation: one evaluation, from ``evaluation_samples``.
        first_calls: compiling and all else that only a first step and evaluation need.
    """

    widths: tuple[int, ...]
    variant: str
    step: float
    step_samples: tuple[float, ...]
    evaluation: float
    evaluation_samples: tuple[float, ...]
    first_calls: float


@dataclass(frozen=True)
class Score:
    """One contestant on the whole sweep, in seconds.

    Attributes:
        name: ours, reference, tuned or packed.
        step: all networks' training step.
        evaluation: all networks' evaluation.
        total: a step with its share of an evaluation.
        timings: what was measured.
    """

    name: str
    step: float
    evaluation: float
    total: float
    timings: tuple[Timing, ...]


@dataclass(frozen=True)
class Bound:
    """What no implementation of the step can beat on this machine.

    Attributes:
        operations: of the two products with the task bits, 4·batch·n_bits·ΣW.
        bytes: least traffic, weights and Adam's two moments read and written once.
        operations_per_second: of a 2048³ float32 product.
        bytes_per_second: of an array read, and one written.
        seconds: the longer of the two.
        matmul_fraction: the operations' seconds over our step's.
    """

    operations: float
    bytes: float
    operations_per_second: float
    bytes_per_second: float
    seconds: float
    matmul_fraction: float


@dataclass(frozen=True)
class Record:
    """One run of the benchmark."""

    benchmark: str
    mode: str
    notes: tuple[str, ...]
    finished: str
    commit: str | None
    versions: dict[str, str]
    hardware: Hardware
    dtype: str
    workload: dict[str, object]
    scores: tuple[Score, ...]
    ratios: dict[str, float]  # a rival's seconds over ours
    bound: Bound
    peak_gb: float

    def summary(self) -> str:
        """The line for whoever greps."""
        ratios = " ".join(f"{name}_ratio={value:.2f}" for name, value in self.ratios.items())
        fraction = f"matmul_fraction={self.bound.matmul_fraction:.3f}"
        return f"{ratios} {fraction} peak_gb={self.peak_gb:.3f}"

    def write(self, path: Path) -> None:
        """As JSON. Raises ``BadInput`` where it cannot be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            folder.write_whole(path, json.dumps(dataclasses.asdict(self), indent=2) + "\n")
        except OSError as error:
            raise unwritable(path, error.strerror) from None


def unwritable(path: Path, reason: str | None) -> BadInput:
    """The error of a record that has no place."""
    return BadInput(f"--out {path}: cannot be written ({reason}); give another file")


def check_writable(path: Path) -> None:
    """Raise ``BadInput`` now, not after minutes, where a record cannot be written."""
    nearest = next(p for p in path.absolute().parents if p.exists())
    if path.is_dir():
        raise unwritable(path, "it is a folder")
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise unwritable(path, f"{nearest} is not a writable folder")


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
    gpu = None if device.platform == "cpu" else device.device_kind
    end = os.getloadavg()[0]
    return Hardware(_cpu(), os.cpu_count() or 1, gpu, begun.load, end, _stolen(begun.ticks))


def versions() -> dict[str, str]:
    """Of what is compared."""
    import jax
    import torch

    from jquanta import __version__

    return {
        "jquanta": __version__,
        "jax": jax.__version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


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
