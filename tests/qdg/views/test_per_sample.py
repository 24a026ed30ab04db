"""Batches that several cores compute at once."""

import threading
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jquanta.machine import cores
from jquanta.qdg.cosines.blockwise import Rows, exact
from jquanta.qdg.views.source import at_once, computed

STOPS = range(2, 21, 2)
"""Of batches of two rows."""


@pytest.fixture(params=[1, 3])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(cores, "count", lambda: request.param)
    return int(request.param)


def test_as_many_as_there_are_cores_and_in_order(workers: int) -> None:
    """Each waits until all that may work at once do: fewer would wait in vain."""
    assert at_once() == workers
    together = threading.Barrier(workers)

    def source(start: int, stop: int) -> np.ndarray:
        if stop <= 2 * workers:
            together.wait(timeout=60)
        return np.arange(start, stop)

    rows = Rows(source, STOPS)
    vars(rows)["row"] = None  # known already: to ask for it would take part in the waiting
    found = list(computed(rows))
    for numbers in zip(*found, strict=True):  # of the samples, and what was computed of them
        np.testing.assert_array_equal(np.concatenate(numbers), np.arange(20))


def test_cores_that_are_devices_take_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "local_device_count", lambda: 2)
    assert at_once() == 1


def failing_at(number: int, asked: list[int]) -> Callable[[int, int], np.ndarray]:
    def source(start: int, stop: int) -> np.ndarray:
        asked.append(start)
        if start == number:
            raise OSError("gone")
        return np.arange(start, stop)

    return source


def test_an_error_comes_in_its_turn_and_ends_the_work(workers: int) -> None:
    asked: list[int] = []
    found = computed(Rows(failing_at(6, asked), STOPS))
    assert [int(next(found)[1][0]) for _ in range(3)] == [0, 2, 4]
    with pytest.raises(OSError, match="gone"):
        next(found)
    assert max(asked) <= 6 + 2 * (workers + 1)  # not all the rest


def test_who_stops_early_leaves_nothing_running(workers: int) -> None:
    asked: list[int] = []
    before = threading.active_count()
    found = computed(Rows(failing_at(-1, asked), STOPS))
    next(found)
    assert threading.active_count() > before or workers == 1
    found.close()
    assert threading.active_count() == before
    assert max(asked) <= 2 * (workers + 1)


def test_float64_reaches_the_workers(workers: int, x64: None) -> None:
    """JAX keeps this setting a thread; without it numbers were float32."""
    found = computed(Rows(lambda start, stop: jnp.arange(start, stop) / 3.0, STOPS))
    assert {batch.dtype for _, batch in found} == {np.dtype("float64")}


def test_cosines_do_not_depend_on_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)

    def found(count: int) -> np.ndarray:
        monkeypatch.setattr(cores, "count", lambda: count)
        return exact(lambda start, stop: numbers[start:stop], 40, batch=3, panel=8)["cosine"]

    np.testing.assert_array_equal(found(1), found(4))
