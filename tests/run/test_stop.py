"""Interrupts that come at a bad moment are answered all the same."""

import gc
import os
import signal
import time
from collections.abc import Callable

import pytest

from jquanta.errors import Interrupted
from jquanta.run.stop import Interrupts, heard


def signalled(number: int) -> None:
    """The user asks to stop, and nobody looks."""
    with Interrupts("stopped"):
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_last_check_is_answered_at_the_end(number: int) -> None:
    with pytest.raises(Interrupted, match="stopped"):
        signalled(number)


def failed() -> None:
    with Interrupts("stopped") as interrupts:
        interrupts.asked = True
        raise ZeroDivisionError


def test_an_error_is_not_replaced_by_an_interrupt() -> None:
    with pytest.raises(ZeroDivisionError):
        failed()


def interrupted_collection() -> None:
    """Ctrl-C arrives in a callback of the garbage collector."""

    def callback(phase: str, info: dict[str, int]) -> None:
        gc.callbacks.remove(callback)
        raise KeyboardInterrupt

    gc.callbacks.append(callback)
    gc.collect()


def interrupted_destructor() -> None:
    """Ctrl-C arrives in a destructor."""

    class Ends:
        def __del__(self) -> None:
            raise KeyboardInterrupt

    Ends()


def work(begin: Callable[[], None]) -> None:
    """Goes on until the interrupt comes again, or for ten seconds."""
    with heard():
        begin()
        for _ in range(100):
            time.sleep(0.1)


@pytest.mark.parametrize("begin", [interrupted_collection, interrupted_destructor])
def test_an_interrupt_where_nothing_can_be_raised_is_not_lost(
    begin: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Python prints it and goes on, as JAX's callback made it do while it compiled."""
    with pytest.raises(KeyboardInterrupt):
        work(begin)
    assert capsys.readouterr().err == ""
