"""How far a build is: what watches it, and a line on standard error."""

import sys
import time
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

LINE_SECONDS = 30.0
"""Between lines, where there is no terminal for a bar."""


class Monitor(Protocol):
    """What watches a build, such as a progress bar."""

    def work(self, stage: str, share: float, documents: int = 0, tokens: int = 0) -> None:
        """``share`` of ``stage`` is done, with the documents and tokens that are made."""

    def say(self, line: str) -> None:
        """Something a person should know."""


class Silence:
    """A monitor that keeps quiet."""

    def work(self, stage: str, share: float, documents: int = 0, tokens: int = 0) -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """Nothing."""


class ProgressLine:
    """Progress on standard error: a live bar in a terminal, else a line now and then."""

    def __init__(self) -> None:
        self.console = Console(file=sys.stderr)
        self.stage = ""
        self.first = (0.0, 0.0, 0)  # time, share and tokens when the stage was first heard of
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

    def __enter__(self) -> "ProgressLine":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def say(self, line: str) -> None:
        """See ``Monitor``."""
        self.console.print(line, markup=False, highlight=False)

    def work(self, stage: str, share: float, documents: int = 0, tokens: int = 0) -> None:
        """See ``Monitor``."""
        now = time.monotonic()
        if stage != self.stage:
            self.stage, self.first = stage, (now, share, tokens)
            self.task = self.bar.add_task(stage, total=1.0, told="")
        began, behind, made = self.first
        elapsed, told = now - began, []
        if documents:
            told += [f"{documents:,} documents"]
        if tokens > made and elapsed > 0:
            told += [f"{(tokens - made) / elapsed:,.0f} tokens/s"]
        if share > behind:
            left = elapsed * max(0.0, 1 - share) / (share - behind)
            told += [f"{duration(left)} left"]
        self.bar.update(self.task, completed=share, told="  ".join(told))
        if not self.console.is_terminal and now - self.last_line > LINE_SECONDS:
            self.last_line = now
            print("  ".join([stage, f"{share:.0%}", *told]), file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
