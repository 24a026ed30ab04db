"""Run parts one after another, each in a process group of its own with its own time limit."""

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

OK, FAILED, TIMED_OUT, SKIPPED = "ok", "failed", "timed out", "skipped"

ROOT = Path(__file__).resolve().parents[2]
COLLECTED = "gpu.json"

LEAST = 0.5
"""Of its seconds, what a part must still have to be begun."""

GRACE = 10.0
"""Seconds to wait for a process that was killed: one stuck in a driver may take that long."""

Command = Callable[[Part, Path, bool], list[str]]
"""(part, its JSON file, whether small) → the words that measure it."""


def child(part: Part, out: Path, small: bool) -> list[str]:
    """The process that measures a part."""
    words = [sys.executable, "-m", "benchmarks.gpu.child", part.name]
    words += ["--out", str(out), "--debug"]  # the log holds the traceback of an error
    return [*words, "--small"] if small else words


@dataclass(frozen=True)
class Ending:
    """How a process ended: outcome, seconds, and the last line that it wrote on standard error,
    empty where it ended well."""

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
    """Measure parts within so many seconds. What a part costs is its own: the others go on.

    Args:
        parts: in the order in which they are run.
        seconds: for all of them.
        out: the folder for PART.json, PART.log (standard error), and all that is there so far in
            ``gpu.json``.
        scratch: a folder for compilation caches.
        small: see ``child``.
        command: what runs a part.

    Returns:
        the records of these parts.
    """
    deadline = time.monotonic() + seconds
    records = []
    for place, part in enumerate(parts):
        file = out / f"{part.name}.json"
        file.unlink(missing_ok=True)  # of an earlier run: this one may not come so far
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
        told = f" ({ending.reason})" if ending.reason else ""
        print(f"{part.name}: {ending.outcome}, {ending.seconds:.1f} s{told}", flush=True)
        collect(out)
    return records


def limit_of(part: Part, later: Sequence[Part], left: float) -> float | None:
    """The seconds that a part is given; None if it is not to be begun.

    Its own, or more where more are left than this part and the later ones need. The spare ones
    count among each other only.
    """
    if left < part.seconds * (1.0 if part.spare else LEAST):
        return None
    needed = part.seconds + sum(p.seconds for p in later if p.spare == part.spare)
    return min(left, part.seconds * max(1.0, left / needed))


def supervised(
    words: Sequence[str], limit: float, log: Path, environment: Mapping[str, str]
) -> Ending:
    """Run a command for at most ``limit`` seconds; then, or when it ends, kill all that it began.

    Its standard error goes to the file ``log``.
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
    """The last line of a file that says something, shortened."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def _environment(part: Part, scratch: Path) -> dict[str, str]:
    """Programs are compiled anew for each part, and kept for its later processes."""
    return os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(scratch / (part.cache or part.name)),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false" if part.shares else "true",
    }


def _close(file: Path, part: Part, ending: Ending, limit: float | None) -> dict[str, Any]:
    """A part's record with how it ended, written; without rows if it wrote none."""
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
    folder.write_whole(file, json.dumps(record, indent=2) + "\n")
    return record


def collect(out: Path) -> None:
    """Write all parts' records that a folder holds, whenever they were made, into one file."""
    files = [out / f"{part.name}.json" for part in PARTS]
    parts = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
    record = {"benchmark": "gpu", "finished": environment.now(), "parts": parts}
    folder.write_whole(out / COLLECTED, json.dumps(record, indent=2) + "\n")
