"""Figure 2 as a user would make it: by the command of the sweep, in a separate process."""

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
"""Training steps of the first two runs, and of the third."""

FULL = 200_000
"""Training steps of the paper, for which the time is extrapolated."""

FAST = 25.0
"""If the second run takes more seconds than this, the longer third one is left out."""

SMALL = (
    *("--network.width", "log(3, 30, 4)", "--task.n_tasks", "20"),
    *("--train.batch_size", "200", "--eval.points_per_task", "50"),
)


class Sweep(NamedTuple):
    """Seconds of one run of the command.

    Attributes:
        wall: from the start of Python to the finished figure.
        training: the part of it that the run's record calls training: compiling, steps,
            evaluations and storing.
    """

    wall: float
    training: float


def measure(small: bool) -> Iterator[Row]:
    """Wall-clock times of three runs.

    The first begins with an empty compilation cache, the second uses the cache that the first one
    filled, and the third makes more steps. From the difference of the last two follows the time of
    a step.
    """
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
    # Both runs load compiled programs from the cache, so their training times differ by the time of
    # the additional steps.
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
    """Run the command. Raises ``RunFailed`` with the last line of its standard error."""
    words = [sys.executable, "-m", "jquanta.sweep", str(ROOT / "configs" / "fig2-width.toml")]
    words += ["--train.steps", str(steps), "--eval.log_every", "100", *(SMALL if small else ())]
    # This package switches JAX's preallocation off (see benchmarks/__init__.py); a user's process
    # has JAX's default.
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
