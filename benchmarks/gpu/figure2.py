"""Figure 2 as a user runs it: the sweep's own command in a process of its own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.gpu.record import Row
from benchmarks.stopwatch import timed
from jquanta.errors import RunFailed
from jquanta.sweep.folder import SweepFolder

ROOT = Path(__file__).resolve().parents[2]
STEPS, MORE = 2_000, 12_000
FULL = 200_000
FAST = 25.0
"""Seconds of the second run, above which a longer third would take too long."""

SMALL = (
    *("--network.width", "log(3, 30, 4)", "--task.n_tasks", "20"),
    *("--train.batch_size", "200", "--eval.points_per_task", "50"),
)


class Sweep(NamedTuple):
    """Seconds of one run of the command.

    Attributes:
        wall: from Python's start to the drawn figure.
        training: of them, what its record calls so: compiling, steps, evaluations, storing.
    """

    wall: float
    training: float


def measure(small: bool) -> Iterator[Row]:
    """Seconds on the wall: with nothing compiled before, again with the compilation cache that the
    first run left, and with more steps."""
    steps, more = (200, 400) if small else (STEPS, MORE)
    first = _sweep(steps, small)
    yield _row(f"{steps:,} steps, nothing in the cache", first)
    second = _sweep(steps, small)
    yield _row(f"{steps:,} steps, with the cache", second)
    if second.wall > FAST:
        bound = second.wall * FULL / steps / 60
        yield Row(f"{FULL:,} steps, at most", bound, "min", note=f"second run × {FULL // steps}")
        return
    third = _sweep(more, small)
    yield _row(f"{more:,} steps, with the cache", third)
    each = (third.training - second.training) / (more - steps)
    yield Row(
        "a step with its share of evaluations",
        1e3 * each,
        "ms",
        note=f"{more - steps:,} more steps took {third.training - second.training:.1f} s more",
    )
    if each > 0:
        yield Row(
            f"{FULL:,} steps",
            (first.wall + each * (FULL - steps)) / 60,
            "min",
            note=f"first run + {FULL - steps:,} × such a step",
        )


def _row(name: str, sweep: Sweep) -> Row:
    note = f"Python's start to figure; training {sweep.training:.1f} s"
    return Row(name, sweep.wall, "s", note=note)


def _sweep(steps: int, small: bool) -> Sweep:
    """Run the command. Raises ``RunFailed`` with its last line."""
    words = [sys.executable, "-m", "jquanta.sweep", str(ROOT / "configs" / "fig2-width.toml")]
    words += ["--train.steps", str(steps), "--eval.log_every", "100", *(SMALL if small else ())]
    alone = {k: v for k, v in os.environ.items() if k != "XLA_PYTHON_CLIENT_PREALLOCATE"}
    with tempfile.TemporaryDirectory(prefix="jquanta-") as scratch:
        out = Path(scratch) / "run"
        words += ["--out", str(out)]
        wall, done = timed(
            lambda: subprocess.run(words, cwd=ROOT, env=alone, capture_output=True, text=True)
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RunFailed(f"the sweep of {steps} steps failed: {reason}")
        return Sweep(wall, SweepFolder(out).read_record()["seconds"])
