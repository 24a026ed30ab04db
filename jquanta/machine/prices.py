"""What compiling a program costs here: seconds, kept beside the compilation cache.

They are told (``--plan``), and decide nothing. How many padded lengths are worth their programs is
decided by constants: lengths decide on batches, and batches on the rounding of what is computed, so
that a price measured anew would have a run that is continued compute other bits than one that was
not interrupted.
"""

import json
import os
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, local
from typing import Any

import jax

from jquanta.machine import cache

FILE = "prices.json"

LEAST = 0.5
"""Seconds. Programs that compile sooner are small ones beside the work's own, and not counted."""

KEPT, ENOUGH = 50, 3
"""Prices that are kept for a kind of device, the newest; so many make a median."""

COMPILED = "/jax/core/compile/backend_compile_duration"
READ = "/jax/compilation_cache/cache_retrieval_time_sec"
"""JAX's events: of a program that was compiled or read from the cache, with the seconds that took;
and before it, in the same thread, of one that was read."""


class _Listener:
    """Collects prices from JAX's events, which come from the threads that compile."""

    def __init__(self) -> None:
        self.lock, self.prices, self.listens = Lock(), list[float](), False
        self.here = local()

    def start(self) -> None:
        """Listen, once in a process: JAX has no way to end it."""
        if not self.listens:
            self.listens = True
            jax.monitoring.register_event_duration_secs_listener(self)

    def __call__(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event == READ:
            self.here.read = True
        elif event == COMPILED:
            if duration_secs >= LEAST and not getattr(self.here, "read", False):
                with self.lock:
                    self.prices.append(duration_secs)
            self.here.read = False

    def taken(self) -> list[float]:
        """What was collected since the last time."""
        with self.lock:
            found, self.prices = self.prices, []
            return found


_LISTENER = _Listener()


@contextmanager
def noted() -> Iterator[None]:
    """Keep the prices of programs that are compiled meanwhile, if compiled programs are kept."""
    _LISTENER.start()
    _LISTENER.taken()
    try:
        yield
    finally:
        if (found := _LISTENER.taken()) and (path := _file()):
            _write(path, {**_read(path), _key(): [*prices(), *found][-KEPT:]})


def price(default: float) -> float:
    """Seconds that a program takes to compile here: the median of those noted, or the default."""
    found = prices()
    return statistics.median(found) if len(found) >= ENOUGH else default


def prices() -> list[float]:
    """All that are kept for this kind of device and version of JAX."""
    path = _file()
    found = _read(path).get(_key(), []) if path else []
    good = isinstance(found, list) and all(isinstance(x, int | float) and x > 0 for x in found)
    return found if good else []


def _key() -> str:
    return f"{jax.local_devices()[0].device_kind}, JAX {jax.__version__}"


def _file() -> Path | None:
    """Where prices are kept; None where programs are not."""
    with suppress(RuntimeError):  # no home folder
        if kept := cache.folder():
            return kept / FILE
    return None


def _read(path: Path) -> dict[str, Any]:
    """What is there; nothing if it is not there or damaged."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _write(path: Path, found: dict[str, Any]) -> None:
    """Write as a whole. Of two processes at a time one may be forgotten, and a full disk is no
    failure."""
    with suppress(OSError):
        if path.parent.is_dir():
            handle, part = tempfile.mkstemp(dir=path.parent, prefix=FILE)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(found, file)
            os.replace(part, path)
