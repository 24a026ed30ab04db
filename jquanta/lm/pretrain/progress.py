"""What watches a suite, and one bar for all of it."""

import sys
import time
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from jquanta.lm.corpus.progress import LINE_SECONDS, duration


class Watch(Protocol):
    """What watches a suite, such as a progress bar."""

    def work(self, stage: str, share: float, told: str = "") -> None:
        """``share`` of the whole suite is done, and ``stage`` is what is being done."""

    def say(self, line: str) -> None:
        """Something a person should know."""


class Silence:
    """A watch that keeps quiet."""

    def work(self, stage: str, share: float, told: str = "") -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """Nothing."""


class Within:
    """What watches a part of a suite that is itself long: a corpus or a column of losses."""

    def __init__(self, watch: Watch, stage: str, before: float, own: float):
        self.watch, self.stage, self.before, self.own = watch, stage, before, own

    def work(self, stage: str, share: float, documents: int = 0, tokens: int = 0) -> None:
        """See ``jquanta.lm.corpus.progress.Monitor``."""
        told = f"{documents:,} documents" if documents else ""
        self.watch.work(self.stage or stage, self.before + self.own * share, told)

    def say(self, line: str) -> None:
        """Nothing: what a suite continues with is its own affair."""


class SuiteLine:
    """Progress on standard error: a live bar in a terminal, else a line now and then."""

    def __init__(self) -> None:
        self.console = Console(file=sys.stderr)
        self.last_line = time.monotonic()
        self.first: tuple[float, float] | None = None  # time and share when the work began
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[told]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("", total=1.0, told="")

    def __enter__(self) -> "SuiteLine":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def say(self, line: str) -> None:
        """See ``Watch``."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def work(self, stage: str, share: float, told: str = "") -> None:
        """See ``Watch``."""
        now = time.monotonic()
        self.first = self.first or (now, share)
        words = [told, self._left(now, share)]
        text = "  ".join(filter(None, words))
        self.bar.update(self.task, description=stage, completed=share, told=text)
        if not self.console.is_terminal and now - self.last_line > LINE_SECONDS:
            self.last_line = now
            print(f"{share:.0%}  {stage}  {text}".rstrip(), file=sys.stderr, flush=True)

    def _left(self, now: float, share: float) -> str:
        assert self.first is not None
        began, behind = self.first
        if share <= behind or now - began < 2:
            return ""
        return f"{duration((now - began) * max(0.0, 1 - share) / (share - behind))} left"
