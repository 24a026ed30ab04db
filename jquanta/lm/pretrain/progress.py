"""What watches a suite, and one bar for all of it."""

from typing import Protocol

from jquanta.progress import Line


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


class SuiteLine(Line):
    """One bar for the whole suite, with what is being done."""

    def __enter__(self) -> "SuiteLine":
        super().__enter__()
        return self

    def work(self, stage: str, share: float, told: str = "") -> None:
        """See ``Watch``."""
        self.show(stage, share, told)
