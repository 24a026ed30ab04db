"""Progress on standard error: a live bar in a terminal, else a line now and then."""

import sys
import threading
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

LINE_SECONDS = 30.0
"""Between lines, where there is no terminal for a bar."""

STEADY_SECONDS, STEADY_SHARE = 2.0, 0.002
"""A rate measured over less tells nothing."""


class Line:
    """A bar, or a line now and then: how far the work is, what is left, and a word on it."""

    stage = ""
    """Shown from the start; without one there is no bar until there is work."""

    waiting = ""
    """Said until the first share is done, in place of the time left."""

    def __init__(self) -> None:
        self.console = Console(file=sys.stderr)
        self.lock = threading.Lock()  # several devices report from several threads
        self.last_line = time.monotonic()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[told]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.begin()

    def __enter__(self) -> "Line":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def say(self, line: str) -> None:
        """Something a person should know."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def begin(self) -> None:
        """What follows is a stage of its own, with a bar of its own."""
        self.share = 0.0
        self.anchor: tuple[float, float] | None = None  # time and share at the first share done
        self.task = self.bar.add_task(
            self.stage, total=1.0, told=self.waiting, visible=bool(self.stage)
        )

    def show(self, stage: str, share: float, told: str = "", *, measured: bool = True) -> None:
        """``share`` of the work is done; not ``measured``: no measure of speed, as of restored."""
        now = time.monotonic()
        self.share = share
        if measured and share > 0:
            # The first share is left out of the rate: it took the compiling with it.
            self.anchor = self.anchor or (now, share)
        words = "  ".join(filter(None, [self.left(), told]))
        self.bar.update(self.task, description=stage, completed=share, told=words, visible=True)
        if not self.console.is_terminal and now - self.last_line > LINE_SECONDS:
            self.last_line = now
            print(f"{share:.0%}  {stage}  {words}".rstrip(), file=sys.stderr, flush=True)

    def left(self) -> str:
        """How long it may still take, at the rate since the first share was done."""
        if self.anchor is None:
            return self.waiting
        elapsed, done = time.monotonic() - self.anchor[0], self.share - self.anchor[1]
        if elapsed < STEADY_SECONDS or done < STEADY_SHARE:
            return "… left"
        return f"{duration(elapsed * max(0.0, 1 - self.share) / done)} left"


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:,.0f} days"
