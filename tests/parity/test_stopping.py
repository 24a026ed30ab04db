import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jquanta.parity.config import RunConfig
from jquanta.parity.stopping import Endings
from tests.parity.twins import small_run

# Evaluations at 0, 500, ..., 20,000: numbers 0 ... 40, and number 9 is the first past 4,000.
FIRST = 9
LAST = 40


def run(early_stop: bool = True, steps: int = 20_000, log_every: int = 500) -> RunConfig:
    return small_run(train__early_stop=early_stop, train__steps=steps, eval__log_every=log_every)


def end(losses: Sequence[float], **fields: Any) -> int:
    """The last evaluation of one run that sees these losses, then ever lower ones."""
    endings = Endings([run(**fields)])
    rest = len(endings.steps) - len(losses)
    for loss in [*losses, *(-1 - i for i in range(rest))]:
        endings.see(np.array([loss]))
    return int(endings.last[0])


def rising(count: int, start: float = 1.0) -> list[float]:
    return [start + i / 100 for i in range(count)]


def falling(count: int, start: float = 5.0) -> list[float]:
    return [start - i / 100 for i in range(count)]


def test_ten_rises_past_step_4000_stop_a_run() -> None:
    """Evaluation 9 (step 4,500) is the first that counts, so 10 is the first rise."""
    assert end(rising(LAST + 1)) == FIRST + 10
    assert end([*falling(FIRST + 1), *rising(11, 5.0)]) == FIRST + 10
    assert end([*falling(15), *rising(11, 5.0)]) == 15 + 9  # from number 14 to 15 is a rise, too


def test_rises_before_do_not_count() -> None:
    """Nor does the one across step 4,000; nine after it are not enough."""
    assert end(rising(FIRST + 10)) == LAST
    assert end(rising(FIRST + 11)) == FIRST + 10


def test_step_4000_itself_does_not_count() -> None:
    """With evaluations every 1,000, number 5 (step 5,000) is the first past step 4,000."""
    assert end(rising(21), log_every=1000) == 15


def test_the_tenth_rise_stops_and_no_ninth() -> None:
    assert end([*falling(20), *rising(9, 5.0), *falling(3, 0.0), *rising(9, 5.0)]) == LAST
    assert end([*falling(20), *rising(10, 5.0)]) == 20 + 9


def test_an_equal_loss_or_nan_breaks_the_chain() -> None:
    assert end([*falling(20), *rising(6, 5.0), *rising(6, 5.05)]) == LAST  # 5.05 twice
    assert end([*falling(20), *rising(6, 5.0), math.nan, *rising(6, 5.06)]) == LAST


def test_only_where_asked_for() -> None:
    assert end(rising(LAST + 1), early_stop=False) == LAST


def test_a_short_run_ends_at_its_last_evaluation() -> None:
    assert end(rising(3), steps=7, log_every=3) == 3  # at 0, 3, 6 and 7
    assert end(rising(2), steps=4, log_every=100) == 1


def test_the_first_stop_stays() -> None:
    """A stopped run goes on in its stack: later chains of rises change nothing."""
    assert end([*falling(12), *rising(11, 5.0), *falling(2), *rising(12, 6.0)]) == 12 + 9


def test_runs_of_one_stack_end_on_their_own() -> None:
    endings = Endings([run(), run(early_stop=False), run(), run()])
    diverged = [math.nan] * (LAST + 1)
    losses = [rising(LAST + 1), rising(LAST + 1), falling(LAST + 1), diverged]
    ended: dict[int, list[int]] = {}
    for number, loss in enumerate(np.array(losses).T):
        assert not endings.all_reached
        assert endings.evaluations == number
        endings.see(loss)
        assert endings.latest == np.mean(loss[:3])  # over those that are finite
        if len(endings.ending_now):
            ended[number] = endings.ending_now.tolist()
    assert ended == {FIRST + 10: [0], LAST: [1, 2, 3]}
    assert endings.last.tolist() == [FIRST + 10, LAST, LAST, LAST]
    assert endings.all_reached


def test_all_reached_as_soon_as_all_have_stopped() -> None:
    endings = Endings([run(), run()])
    falls_once = [*rising(FIRST + 1), *rising(11, 0.5)]
    for losses in zip(rising(FIRST + 12), falls_once, strict=True):
        assert not endings.all_reached
        endings.see(np.array(losses))
    assert endings.last.tolist() == [FIRST + 10, FIRST + 11]
    assert endings.all_reached
    assert endings.ending_now.tolist() == [1]


def test_no_latest_loss_before_the_first_or_when_all_diverged() -> None:
    endings = Endings([run(), run()])
    assert endings.latest is None
    endings.see(np.array([math.nan, math.inf]))
    assert endings.latest is None
