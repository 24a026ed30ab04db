"""Time left, by a clock of the test's own."""

import pytest

from jquanta.run import progress


class Clock:
    """Stands until it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_the_first_share_is_no_measure_of_speed(clock: Clock) -> None:
    """It takes the compiling with it."""
    line = progress.Bar()
    assert line.left() == ""
    clock.now += 100
    line.work("work", 0.1)
    assert line.left() == "… left"
    clock.now += 10
    line.work("work", 0.2)
    assert line.left() == "80 s left"
    clock.now += 10
    line.work("work", 0.9)
    assert line.left() == "2 s left"  # 20 s for 0.8


def test_what_is_too_little_tells_nothing(clock: Clock) -> None:
    line = progress.Bar()
    line.work("work", 0.001)
    clock.now += 60
    line.work("work", 0.0015)  # by this the work would take 33 hours
    assert line.left() == "… left"


def test_a_line_now_and_then(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no terminal: not at every call, and each stage by its own rate."""
    line, speed = progress.Bar(), progress.Speed("tokens")
    line.work("reading", 0.5, f"1,000 documents  {speed(0)}")
    clock.now += progress.LINE_SECONDS + 1
    line.work("reading", 0.75, f"1,500 documents  {speed(31_000)}")
    line.work("reading", 0.76, f"1,520 documents  {speed(31_400)}")
    assert capsys.readouterr().err == "75%  reading  31 s left  1,500 documents  1,000 tokens/s\n"
    clock.now += progress.LINE_SECONDS + 1
    line.work("writing", 0.25)
    assert capsys.readouterr().err == "25%  writing  … left\n"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (5400, "1.5 h"), (172_800, "2 days")],
)
def test_durations(seconds: float, told: str) -> None:
    assert progress.duration(seconds) == told
