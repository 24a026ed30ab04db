"""Figure 2 as a user runs it: the sweep's own command in a process of its own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu.record import Row
from benchmarks.stopwatch import timed
from jquanta.errors import RunFailed

ROOT = Path(__file__).resolve().parents[2]
STEPS, MORE = 2_000, 12_000
FULL = 200_000
FAST = 25.0
"""Seconds of the second run, above which a longer third would take too long."""

SMALL = (
    *("--network.width", "log(3, 30, 4)", "--task.n_tasks", "20"),
    *("--train.batch_size", "200", "--eval.points_per_task", "50"),
)


def measure(small: bool) -> Iterator[Row]:
    """Seconds on the wall, starting Python and drawing the figure included: with nothing compiled
    before, again with the compilation cache that the first run left, and with more steps."""
    steps, more = (200, 400) if small else (STEPS, MORE)
    first = _sweep(steps, small)
    yield Row(f"{steps:,} steps, nothing in the cache", first, "s", note="Python's start to figure")
    second = _sweep(steps, small)
    yield Row(f"{steps:,} steps, again", second, "s", note="with the first run's compilation cache")
    if second > FAST:
        yield Row(
            f"{FULL:,} steps, at most", second * FULL / steps / 60, "min", note="second run × steps"
        )
        return
    third = _sweep(more, small)
    yield Row(f"{more:,} steps", third, "s", note="with the same cache")
    each = (third - second) / (more - steps)
    yield Row("a step with its share of evaluations", 1e3 * each, "ms", note="third less second")
    if each <= 0:
        yield Row(f"{FULL:,} steps", None, note="starting takes longer than these steps")
        return
    yield Row(
        f"{FULL:,} steps",
        (first + each * (FULL - steps)) / 60,
        "min",
        note=f"first run + {FULL - steps:,} × such a step",
    )


def _sweep(steps: int, small: bool) -> float:
    """Seconds of the command. Raises ``RunFailed`` with its last line."""
    words = [sys.executable, "-m", "jquanta.sweep", str(ROOT / "configs" / "fig2-width.toml")]
    words += ["--train.steps", str(steps), "--eval.log_every", "100", *(SMALL if small else ())]
    alone = {k: v for k, v in os.environ.items() if k != "XLA_PYTHON_CLIENT_PREALLOCATE"}
    with tempfile.TemporaryDirectory(prefix="jquanta-") as scratch:
        words += ["--out", str(Path(scratch) / "run")]
        seconds, done = timed(
            lambda: subprocess.run(words, cwd=ROOT, env=alone, capture_output=True, text=True)
        )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RunFailed(f"the sweep of {steps} steps failed: {reason}")
    return seconds
