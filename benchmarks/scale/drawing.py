"""Scaling as it is measured on simulated devices and in shards, with its picture."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.command import Head, say
from benchmarks.memory import ROOT
from jquanta.errors import RunFailed

if TYPE_CHECKING:
    import numpy as np

NAME = "scaling"
"""Of the picture."""

COUNTS = (1, 2, 4, 8)
"""Devices, or shards."""

RUNS, WIDTH, STEPS = 16, 256, 600
"""The sweep of strong scaling; that of weak scaling has an eighth of the networks for each part."""

TOKENS = 2**20
"""Of strong scaling; of weak scaling an eighth for each part."""

AT_LEAST = 2
"""Times that each point of the line of costs is measured; the least counts."""

COSTS = (
    *((4, 256, 50), (4, 256, 500), (16, 256, 50), (4, 1024, 50), (64, 64, 50)),
    *((8, 512, 100), (16, 256, 200), (4, 1024, 500), (16, 512, 625)),
)
"""(runs, width, steps), a factor of 100 between the least and the greatest product."""

MEMORY_TOKENS = (3 * 10**4, 15 * 10**4, 6 * 10**5, 3 * 10**6)
MEMORY_STEPS = (100, 500, 2000, 10_000)
SMALL = {
    **{"runs": 4, "width": 32, "parts": 1, "eval.log_every": 10, "eval.points_per_task": 100},
    **{"task.n_tasks": 20, "task.n_bits": 20, "train.batch_size": 200},
}
"""A sweep with an evaluation every ten steps."""


class Scaled(NamedTuple):
    """Work on some devices, or in some shards.

    Attributes:
        what: sweep or losses.
        kind: strong, where all work is the same, or weak, where that of a part is.
        over: devices or shards.
        number: of them.
        seconds: of the processor: of all devices together; or of each shard, and last of joining.
    """

    what: str
    kind: str
    over: str
    number: int
    seconds: tuple[float, ...]

    @property
    def total(self) -> float:
        """Seconds of all together."""
        return sum(self.seconds)

    @property
    def longest(self) -> float:
        """Seconds of the longest shard, and of joining."""
        *shards, join = (*self.seconds, 0.0) if self.number == 1 else self.seconds
        return max(shards) + join


class Cost(NamedTuple):
    """Seconds of the processor for a sweep of so many runs, width and steps.

    Attributes:
        seconds: of all steps but the first.
        still: of a sweep of one step, which evaluates and stores as much.
    """

    runs: int
    width: int
    steps: int
    seconds: float
    still: float

    @property
    def work(self) -> int:
        """runs × width × steps, but for the first step."""
        return self.runs * self.width * (self.steps - 1)


class Peak(NamedTuple):
    """The most memory of a process, in bytes, for so many tokens of losses, or steps of a sweep."""

    what: str
    amount: int
    memory: float


@dataclass(frozen=True, kw_only=True)
class Record(Head):
    """One run of the benchmark."""

    scaled: tuple[Scaled, ...]
    costs: tuple[Cost, ...]
    peaks: tuple[Peak, ...]

    def summary(self) -> str:
        return f"exponent={exponent(self.costs):.3f}"


def read(path: Path) -> tuple[list[Scaled], list[Cost], list[Peak]]:
    """What a record holds."""
    found = json.loads(path.read_text(encoding="utf-8"))
    times = [Scaled(a, b, c, n, tuple(seconds)) for a, b, c, n, seconds in found["scaled"]]
    return times, [Cost(*row) for row in found["costs"]], [Peak(*row) for row in found["peaks"]]


def measure() -> Record:
    """Measure everything, one process at a time."""
    from benchmarks import machine

    begun = machine.start()
    return Record(
        benchmark="scale",
        mode="full",
        versions=machine.versions(),
        scaled=tuple(scaled()),
        costs=tuple(costs()),
        peaks=tuple(peaks()),
        hardware=machine.hardware(begun),
    )


def scaled() -> Iterator[Scaled]:
    """Strong and weak scaling, over devices and over shards."""
    for over in ("devices", "shards"):
        for kind in ("strong", "weak"):
            for count in COUNTS:
                share = 1 if kind == "strong" else count / max(COUNTS)
                for what, amounts in (
                    ("sweep", {"runs": round(RUNS * share), "width": WIDTH, "steps": STEPS}),
                    ("losses", {"tokens": round(TOKENS * share)}),
                ):
                    devices, parts = (count, 1) if over == "devices" else (1, count)
                    found = child(devices, what=what, parts=parts, **amounts)
                    say(f"{what}, {kind}, {count} {over}: {sum(found['seconds']):.1f} s")
                    yield Scaled(what, kind, over, count, tuple(found["seconds"]))


def costs() -> Iterator[Cost]:
    """Sweeps of several sizes."""
    found = child(1, what="costs", sizes=COSTS, repeats=AT_LEAST)["seconds"]
    for size, (seconds, still) in zip(COSTS, found, strict=True):
        say(f"{size[0]} networks of width {size[1]}, {size[2]} steps: {seconds:.1f} s")
        yield Cost(*size, seconds, still)


def peaks() -> Iterator[Peak]:
    """Losses of more and more tokens, and sweeps of more and more steps."""
    jobs: list[tuple[int, dict[str, Any]]] = [
        *((n, {"what": "losses", "tokens": n, "parts": 1}) for n in MEMORY_TOKENS),
        *((n, {"what": "sweep", "steps": n, **SMALL}) for n in MEMORY_STEPS),
    ]
    for amount, job in jobs:
        peak = child(1, **job)["peak"]
        say(f"{job['what']} of {amount:,}: {peak / 1e9:.2f} GB")
        yield Peak(job["what"], amount, peak)


def child(devices: int, **job: Any) -> dict[str, Any]:
    """A measurement in a process of its own, with so many devices of a thread each. The same one is
    made once.

    Raises:
        RunFailed: if the process fails.
    """
    return _child(devices, json.dumps(job))


@cache
def _child(devices: int, job: str) -> dict[str, Any]:
    flags = f"--xla_force_host_platform_device_count={devices} --xla_cpu_multi_thread_eigen=false"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale.child", job],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RunFailed(f"the measurement of {job} failed: {reason}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def exponent(found: Sequence[Cost]) -> float:
    """The slope of seconds against runs × width × steps on logarithmic axes, by least squares."""
    import numpy as np

    work, seconds = (np.log([getattr(c, name) for c in found]) for name in ("work", "seconds"))
    return float(np.polyfit(work, seconds, 1)[0])


def relative(found: Sequence[Scaled], what: str, kind: str, over: str) -> "np.ndarray":
    """[counts] the seconds of ``COUNTS`` over those of one: of all devices together, in weak
    scaling for the same work; of the longest shard, joining included."""
    import numpy as np

    own = {s.number: s for s in found if (s.what, s.kind, s.over) == (what, kind, over)}
    if over == "shards":
        return np.array([own[n].longest / own[1].longest for n in COUNTS])
    more = [n if kind == "weak" else 1 for n in COUNTS]
    return np.array([own[n].total / own[1].total / m for n, m in zip(COUNTS, more, strict=True)])


def draw(found: tuple[list[Scaled], list[Cost], list[Peak]], folder: Path) -> list[Path]:
    """Draw what a record holds, as PNG and PDF; returns their paths."""
    import numpy as np

    from jquanta.figures import style

    scaled, costs, peaks = found
    figure, axes = style.new_figure(style.PAGE, 5.0, 2, 2)
    colours = {"sweep": style.BLUE, "losses": style.ORANGE}
    marks = {"strong": "o-", "weak": "s--"}
    for panel, over in zip(axes[0], ("devices", "shards"), strict=True):
        for what, colour in colours.items():
            for kind, mark in marks.items():
                y = relative(scaled, what, kind, over)
                panel.plot(COUNTS, y, mark, color=colour, label=f"{what}, {kind}")
        panel.set_xscale("log", base=2)
        panel.set_xticks(COUNTS, [str(n) for n in COUNTS])
    devices, shards, line, memory = axes.ravel()
    devices.axhline(1, color=style.GREY, lw=0.8, ls=":", label="ideal")
    devices.set(
        xlabel="simulated devices",
        ylabel="processor time of all devices,\nover one device's for the same work",
        ylim=(0, None),
    )
    shards.plot(COUNTS, 1 / np.array(COUNTS), ":", color=style.GREY, lw=0.8, label="ideal")
    shards.axhline(1, color=style.GREY, lw=0.8, ls=":")
    shards.set_yscale("log", base=2)
    shards.set_yticks([1, 1 / 2, 1 / 4, 1 / 8], ["1", "1/2", "1/4", "1/8"])
    shards.set(
        xlabel="shards",
        ylabel="processor time of the longest shard\nand gather, over one command's",
    )
    work = np.array([c.work for c in costs])
    line.plot(work, [c.seconds for c in costs], "o", color=style.BLUE, label="measured")
    ends = np.array([work.min(), work.max()])
    middle = np.exp(np.mean([np.log(c.seconds / c.work) for c in costs]))
    line.plot(ends, middle * ends, ":", color=style.GREY, lw=0.8, label="slope 1")
    line.set(
        xscale="log",
        yscale="log",
        xlabel="networks × width × steps",
        ylabel="processor time of training, s",
        title=f"fitted slope {exponent(costs):.2f}",
    )
    units = {"sweep": "steps of a sweep", "losses": "tokens of losses"}
    for what, colour in colours.items():
        own = [p for p in peaks if p.what == what]
        amounts = [p.amount for p in own]
        gigabytes = [p.memory / 1e9 for p in own]
        memory.plot(amounts, gigabytes, "o-", color=colour, label=units[what])
    most = max(p.memory for p in peaks) / 1e9
    memory.set(xscale="log", xlabel="steps, or tokens", ylabel="peak memory, GB")
    memory.set_ylim(0, 1.2 * most)
    for panel, letter in zip(axes.ravel(), "abcd", strict=True):
        style.panel_letter(panel, letter)
        panel.legend(frameon=False, loc="upper left" if panel is line else "lower left")
    return style.save(figure, folder, NAME)
