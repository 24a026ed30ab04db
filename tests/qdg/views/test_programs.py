"""Programs that are compiled ahead of their use."""

import threading

import pytest

from jquanta.qdg.views.programs import Programs

SHAPES = [(4, 30), (4, 30), (8, 20), (16, 10), (32, 5)]


def test_each_is_built_once_and_only_what_comes_next() -> None:
    built: list[tuple[int, int]] = []

    def build(rows: int, length: int) -> str:
        built.append((rows, length))
        return f"{rows} × {length}"

    programs = Programs(build, SHAPES, workers=2)
    assert programs(4, 30) == programs(4, 30) == "4 × 30"
    assert programs(8, 20) == "8 × 20"  # so both that were begun at first are there
    programs._pool.shutdown()
    assert sorted(built) == [(4, 30), (8, 20), (16, 10)]


def test_as_many_at_once_as_there_are_workers() -> None:
    """Each waits until all that may be built at once are: fewer would wait in vain."""
    together = threading.Barrier(3)

    def build(rows: int, length: int) -> int:
        return together.wait(timeout=60)

    programs = Programs(build, SHAPES[1:4], workers=3)
    assert sorted(programs(*shape) for shape in SHAPES[1:4]) == [0, 1, 2]


def test_threads_that_ask_for_the_same_share_it() -> None:
    asking, built = threading.Barrier(4), []

    def build(rows: int, length: int) -> int:
        built.append(rows)
        return rows

    programs = Programs(build, SHAPES, workers=1)

    def ask() -> None:
        asking.wait(timeout=60)
        assert programs(4, 30) == 4

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built == [4]


def test_an_error_reaches_whoever_asks_for_that_shape() -> None:
    def build(rows: int, length: int) -> int:
        if rows == 8:
            raise MemoryError("too large")
        return rows

    programs = Programs(build, SHAPES, workers=2)
    assert programs(4, 30) == 4
    with pytest.raises(MemoryError, match="too large"):
        programs(8, 20)
    assert programs(16, 10) == 16
