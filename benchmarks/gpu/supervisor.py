"""Run parts one after another, each in a process group of its own and with its own time limit."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.gpu.catalogue import PARTS, Part
from jquanta.run import environment
from jquanta.run.files import write_whole

OK, FAILED, TIMED_OUT, SKIPPED = "ok", "failed", "timed out", "skipped"

ROOT = Path(__file__).resolve().parents[2]
COLLECTED = "gpu.json"

LEAST = 0.5
"""A part is started only if at least this share of its time limit is left."""

GRACE = 10.0
"""Seconds to wait for a killed process to end: one that hangs in a driver may take that long."""

Command = Callable[[Part, Path, bool], list[str]]
"""From a part, its JSON file, and whether it is the quick test, to the command that measures it."""


def child(part: Part, out: Path, small: bool) -> list[str]:
    """The command that measures a part: ``python -m benchmarks.gpu.child``."""
    words = [sys.executable, "-m", "benchmarks.gpu.child", part.name]
    words += ["--out", str(out), "--debug"]  # the log holds the traceback of an error
    return [*words, "--small"] if small else words


@dataclass(frozen=True)
class Ending:
    """How a process ended.

    Attributes:
        outcome: ``OK``, ``FAILED``, ``TIMED_OUT`` or ``SKIPPED``.
        seconds: that it ran.
        reason: the last line of its standard error; empty if it ended well.
    """

    outcome: str
    seconds: float
    reason: str = ""


def run_parts(
    parts: Sequence[Part],
    seconds: float,
    out: Path,
    scratch: Path,
    small: bool,
    command: Command = child,
) -> list[dict[str, Any]]:
    """Measure parts within a time limit. A part that fails or hangs does not affect the others.

    Args:
        parts: in the order in which they are run.
        seconds: limit for all of them together.
        out: the folder for PART.json, PART.log (standard error), and ``gpu.json``, which collects
            all parts.
        scratch: a folder for compilation caches.
        small: whether to run the quick test.
        command: makes the command that measures a part.

    Returns:
        The records of these parts.
    """
    deadline = time.monotonic() + seconds
    records = []
    for place, part in enumerate(parts):
        file = out / f"{part.name}.json"
        file.unlink(
            missing_ok=True
        )  # of an earlier run, so that old numbers are not taken for new ones
        limit = limit_of(part, parts[place + 1 :], deadline - time.monotonic())
        missing = [library for library in part.needs if find_spec(library) is None]
        if missing:
            ending = Ending(SKIPPED, 0.0, f"{', '.join(missing)} is not installed")
        elif limit is None:
            ending = Ending(SKIPPED, 0.0, "no time is left for it: give more --minutes")
        else:
            print(f"{part.name}: {part.what}; at most {limit:.0f} s", flush=True)
            log, environment = out / f"{part.name}.log", _environment(part, scratch)
            ending = supervised(command(part, file, small), limit, log, environment)
        records.append(_close(file, part, ending, limit))
        reason = f" ({ending.reason})" if ending.reason else ""
        print(f"{part.name}: {ending.outcome}, {ending.seconds:.1f} s{reason}", flush=True)
        collect(out)
    return records


def limit_of(part: Part, later: Sequence[Part], left: float) -> float | None:
    """The time limit of a part in seconds; None if it is not to be started.

    The limit is the part's own, or in proportion more if there is more time than this part and the
    later ones need. The time of spare parts is not reserved while ordinary parts run.

    Args:
        part: to be started.
        later: the parts after it.
        left: seconds that are left for all of them.
    """
    if left < part.seconds * (1.0 if part.spare else LEAST):
        return None
    # Only parts of the same kind share the time: while ordinary parts run, spare ones do not count.
    needed = part.seconds + sum(p.seconds for p in later if p.spare == part.spare)
    return min(left, part.seconds * max(1.0, left / needed))


def supervised(
    words: Sequence[str], limit: float, log: Path, environment: Mapping[str, str]
) -> Ending:
    """Run a command for at most ``limit`` seconds, then kill it with all processes it started.

    Processes that it has left running are also killed if it ends by itself.

    Args:
        words: the command.
        limit: in seconds.
        log: the file for its standard error.
        environment: its environment variables.
    """
    began = time.monotonic()
    code: int | None = None
    with log.open("wb") as errors:
        process = subprocess.Popen(
            words,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # a process group that can be killed as a whole
        )
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(limit)
        finally:
            # The process is the leader of its group, so its id is that of the group. A group whose
            # processes have all ended raises ProcessLookupError.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
    seconds = time.monotonic() - began
    if code == 0:
        return Ending(OK, seconds)
    reason = last_line(log) or (f"exit code {code}, no message" if code else "no message")
    return Ending(TIMED_OUT if code is None else FAILED, seconds, reason)


def last_line(log: Path) -> str:
    """The last line of a file that is not blank, shortened."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def _environment(part: Part, scratch: Path) -> dict[str, str]:
    """The environment of a part: each has its own compilation cache, which is empty at first.

    Programs are stored in it however quickly they compile.
    """
    return os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(scratch / (part.cache or part.name)),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false" if part.shares else "true",
    }


def _close(file: Path, part: Part, ending: Ending, limit: float | None) -> dict[str, Any]:
    """Add to a part's record how its process ended, and write it.

    If the process has written no record, there is one without rows.
    """
    record: dict[str, Any] = {"benchmark": "gpu", "finished": environment.now(), "part": part.name}
    record["rows"] = []
    with contextlib.suppress(FileNotFoundError):
        record = json.loads(file.read_text(encoding="utf-8"))
    record |= {
        "outcome": ending.outcome,
        "reason": ending.reason,
        "limit_seconds": limit,
        "seconds": ending.seconds,
    }
    write_whole(file, json.dumps(record, indent=2) + "\n")
    return record


def collect(out: Path) -> None:
    """Collect the records of all parts in a folder, also those of earlier runs, in one file."""
    files = [out / f"{part.name}.json" for part in PARTS]
    parts = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
    record = {"benchmark": "gpu", "finished": environment.now(), "parts": parts}
    write_whole(out / COLLECTED, json.dumps(record, indent=2) + "\n")
