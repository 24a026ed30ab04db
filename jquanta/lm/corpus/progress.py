"""What watches long work on language models, stage by stage."""

import time
from typing import Protocol

from jquanta.progress import Line


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


class ProgressLine(Line):
    """A bar for each stage, with its documents and tokens a second."""

    def __enter__(self) -> "ProgressLine":
        super().__enter__()
        return self

    def work(self, stage: str, share: float, documents: int = 0, tokens: int = 0) -> None:
        """See ``Monitor``."""
        now = time.monotonic()
        if stage != self.stage:
            if self.stage:
                self.begin()
            self.stage, self.heard = stage, (now, tokens)
        began, made = self.heard
        told = [f"{documents:,} documents"] if documents else []
        if tokens > made and now > began:
            told += [f"{(tokens - made) / (now - began):,.0f} tokens/s"]
        self.show(stage, share, "  ".join(told))
