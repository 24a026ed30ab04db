"""A monitor for tests: it remembers what it is told, and ends the work where a test wants it to."""

import signal
from collections.abc import Callable


class Watch:
    """Remembers all reports and lines; at a given report something may happen.

    Args:
        stop_at: the number of that report, from 1.
        error: what is raised there. ``KeyboardInterrupt`` is sent as the signal that Ctrl-C sends.
        counts: which reports are counted, by their stage; all by default.
        happen: called there in place of an error.
    """

    def __init__(
        self,
        stop_at: int | None = None,
        error: type[BaseException] = KeyboardInterrupt,
        *,
        counts: Callable[[str], bool] = lambda stage: True,
        happen: Callable[[], None] | None = None,
    ):
        self.lines: list[str] = []
        self.reports: list[tuple[str, float, str]] = []
        self.stop_at, self.error, self.counts, self.happen = stop_at, error, counts, happen
        self.seen = 0

    @property
    def shares(self) -> list[float]:
        """Of all reports."""
        return [share for _, share, _ in self.reports]

    def work(self, stage: str, share: float, detail: str = "", *, measured: bool = True) -> None:
        self.reports.append((stage, share, detail))
        if not self.counts(stage):
            return
        self.seen += 1
        if self.seen != self.stop_at:
            return
        if self.happen:
            self.happen()
        elif self.error is KeyboardInterrupt:
            signal.raise_signal(signal.SIGINT)
        else:
            raise self.error

    def say(self, line: str) -> None:
        self.lines.append(line)
