"""Progress of long work: a live bar on a terminal, elsewhere a line every half minute."""

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
"""Seconds between two lines where there is no terminal for a bar."""

STEADY_SECONDS, STEADY_SHARE = 2.0, 0.002
"""Shortest time and smallest share of the work from which the time left is estimated."""


@runtime_checkable  # the tests check annotations as they run
class Monitor(Protocol):
    """Receives the progress of long work, such as a progress bar does. Must be thread-safe."""

    def work(self, stage: str, share: float, detail: str = "", *, measured: bool = True) -> None:
        """Called whenever progress was made.

        Args:
            stage: what is being done, in words for the user.
            share: how much of the stage is done, 0 to 1. A smaller share than in the last call
                starts a new bar.
            detail: text to show beside the bar, such as a rate or a loss.
            measured: whether the work was done just now. False if it was restored from disk, which
                says nothing about the speed.
        """

    def say(self, line: str) -> None:
        """Called with a message for the user."""


class Silence:
    """A monitor that shows nothing."""

    def work(self, stage: str, share: float, detail: str = "", *, measured: bool = True) -> None:
        """Do nothing."""

    def say(self, line: str) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Part:
    """A monitor for one part of longer work, which reports shares of the whole.

    Attributes:
        whole: the monitor of the whole work.
        before: share of the whole that comes before this part.
        own: share of the whole that this part makes up.
        stage: name to show in place of the part's stages; empty to show theirs.
        quiet: drop the messages of the part.
    """

    whole: Monitor
    before: float
    own: float
    stage: str = ""
    quiet: bool = False

    def work(self, stage: str, share: float, detail: str = "", *, measured: bool = True) -> None:
        """See ``Monitor``."""
        # Rounded, so that the end of a part and the start of the next are the same number: a share
        # that is smaller by a rounding error would begin a new bar.
        whole = round(self.before + self.own * share, 9)
        self.whole.work(self.stage or stage, whole, detail, measured=measured)

    def say(self, line: str) -> None:
        """See ``Monitor``."""
        if not self.quiet:
            self.whole.say(line)


@dataclass
class Speed:
    """A rate in things per second, measured from the first call on.

    Attributes:
        things: what is counted, in the plural.
    """

    things: str
    began: float | None = field(default=None, init=False)
    first: int = field(default=0, init=False)

    def __call__(self, count: int) -> str:
        """The rate in words, such as ``12,345 tokens/s``; empty as long as it is not known.

        Args:
            count: number of things done so far.
        """
        now = time.monotonic()
        if self.began is None:
            self.began, self.first = now, count
        if count <= self.first or now <= self.began:
            return ""
        return f"{(count - self.first) / (now - self.began):,.0f} {self.things}/s"


class Bar:
    """A ``Monitor`` that shows a progress bar and the time left on standard error.

    Args:
        stage: shown from the start; if empty, the bar appears with the first progress.
        waiting: shown in place of the time left until the first progress.
        shown: False to show nothing, as all but the first of several processes do.
    """

    def __init__(self, stage: str = "", waiting: str = "", *, shown: bool = True) -> None:
        self.stage, self.waiting, self.shown = stage, waiting, shown
        self.console = Console(file=sys.stderr, quiet=not shown)
        self.lock = threading.Lock()
        self.share = 0.0
        self.anchor: tuple[float, float] | None = None  # time and share of the first progress
        self.last_line = time.monotonic()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}"),
            console=self.console,
            disable=not (shown and self.console.is_terminal),
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
            if share < self.share:  # another stage: a new bar, and the rate starts afresh
                self.stage, self.anchor = stage, None
                self.task = self._task()
            self.stage, self.share = stage, share
            now = time.monotonic()
            if measured and share > 0:
                # The rate is measured from the first progress on, whose time includes compiling.
                self.anchor = self.anchor or (now, share)
            words = "  ".join(filter(None, [self.left(), detail]))
            self.bar.update(
                self.task, description=stage, completed=share, detail=words, visible=True
            )
            lines = self.shown and not self.console.is_terminal
            if lines and now - self.last_line > LINE_SECONDS:
                self.last_line = now
                print(f"{share:.0%}  {stage}  {words}".rstrip(), file=sys.stderr, flush=True)

    def _task(self) -> TaskID:
        """Add a bar below the earlier ones."""
        return self.bar.add_task(
            self.stage, total=1.0, detail=self.waiting, visible=bool(self.stage)
        )

    def left(self) -> str:
        """Estimated time left in words, at the rate since the first progress."""
        if self.anchor is None:
            return self.waiting
        # Work done since the anchor, and the time it took; the rest is assumed to go as fast.
        elapsed, done = time.monotonic() - self.anchor[0], self.share - self.anchor[1]
        if elapsed < STEADY_SECONDS or done < STEADY_SHARE:
            return "… left"
        return f"{duration(elapsed * max(0.0, 1 - self.share) / done)} left"


def duration(seconds: float) -> str:
    """A duration in words, such as ``45 s``, ``12 min``, ``3.5 h`` or ``4 days``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:,.0f} days"
