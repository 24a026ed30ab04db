"""Progress of long work: a live bar on a terminal, otherwise a line now and then."""

import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

LINE_SECONDS = 30.0
"""Between lines, where there is no terminal for a bar."""

STEADY_SECONDS, STEADY_SHARE = 2.0, 0.002
"""Least time and share of the work from which a rate can be told."""


@runtime_checkable  # the tests check annotations as they run
class Monitor(Protocol):
    """What watches long work, such as a progress bar. It may be called from several threads."""

    def work(self, stage: str, share: float, detail: str = "", *, measured: bool = True) -> None:
        """Progress was made.

        Args:
            stage: what is being done, for a person.
            share: how much of it is done, 0 to 1. A share below the last one begins a new bar.
            detail: some words to show beside the bar, such as a rate or a loss.
            measured: whether the share took its time now; False for what was restored from disk
                and tells nothing of the speed.
        """

    def say(self, line: str) -> None:
        """Something a person should know."""


class Silence:
    """A monitor that keeps quiet."""

    def work(self, stage: str, share: float, detail: str = "", *, measured: bool = True) -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Part:
    """A monitor of one part of a longer work: it passes on the share of the whole.

    Attributes:
        whole: the monitor of the whole.
        before: share of the whole that lies before this part.
        own: share of the whole that this part is.
        stage: name to show in place of the part's own stages; empty to show those.
        quiet: whether lines of the part are dropped.
    """

    whole: Monitor
    before: float
    own: float
    stage: str = ""
    quiet: bool = False

    def work(self, stage: str, share: float, detail: str = "", *, measured: bool = True) -> None:
        """See ``Monitor``."""
        self.whole.work(
            self.stage or stage, self.before + self.own * share, detail, measured=measured
        )

    def say(self, line: str) -> None:
        """See ``Monitor``."""
        if not self.quiet:
            self.whole.say(line)


@dataclass
class Speed:
    """How many things a second are done, since the first time it was asked."""

    things: str
    began: float | None = field(default=None, init=False)
    first: int = field(default=0, init=False)

    def __call__(self, count: int) -> str:
        """In words such as ``12,345 tokens/s``; empty until there is something to compare with.

        Args:
            count: things that are done by now.
        """
        now = time.monotonic()
        if self.began is None:
            self.began, self.first = now, count
        if count <= self.first or now <= self.began:
            return ""
        return f"{(count - self.first) / (now - self.began):,.0f} {self.things}/s"


class Bar:
    """A bar on standard error with the time that is left: a ``Monitor`` for people.

    Args:
        stage: shown from the start; without one there is no bar until there is work.
        waiting: shown in place of the time left until the first share is done.
    """

    def __init__(self, stage: str = "", waiting: str = "") -> None:
        self.stage, self.waiting = stage, waiting
        self.console = Console(file=sys.stderr)
        self.lock = threading.Lock()
        self.share = 0.0
        self.anchor: tuple[float, float] | None = None  # time and share at the first share done
        self.last_line = time.monotonic()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self._task()

    def __enter__(self) -> "Bar":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def say(self, line: str) -> None:
        """See ``Monitor``."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def work(self, stage: str, share: float, detail: str = "", *, measured: bool = True) -> None:
        """See ``Monitor``."""
        with self.lock:
            if share < self.share:  # another stage: a bar of its own, and a rate of its own
                self.stage, self.anchor = stage, None
                self.task = self._task()
            self.stage, self.share = stage, share
            now = time.monotonic()
            if measured and share > 0:
                # The first share is left out of the rate, since it includes compiling.
                self.anchor = self.anchor or (now, share)
            words = "  ".join(filter(None, [self.left(), detail]))
            self.bar.update(
                self.task, description=stage, completed=share, detail=words, visible=True
            )
            if not self.console.is_terminal and now - self.last_line > LINE_SECONDS:
                self.last_line = now
                print(f"{share:.0%}  {stage}  {words}".rstrip(), file=sys.stderr, flush=True)

    def _task(self) -> TaskID:
        """A new bar, below those that are there."""
        return self.bar.add_task(
            self.stage, total=1.0, detail=self.waiting, visible=bool(self.stage)
        )

    def left(self) -> str:
        """How long it may still take, at the rate since the first share was done."""
        if self.anchor is None:
            return self.waiting
        elapsed, done = time.monotonic() - self.anchor[0], self.share - self.anchor[1]
        if elapsed < STEADY_SECONDS or done < STEADY_SHARE:
            return "… left"
        return f"{duration(elapsed * max(0.0, 1 - self.share) / done)} left"


def duration(seconds: float) -> str:
    """A time in words, such as ``45 s``, ``12 min``, ``3.5 h`` or ``4 days``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:,.0f} days"
