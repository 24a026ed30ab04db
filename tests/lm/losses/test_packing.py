"""Rows hold every document once, whole, and hardly anything else."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from jquanta.lm.losses.packing import ALIGNMENT, SHORTEST_ROW, pack, plan_rows, row_length
from tests.lm.losses.test_batches import COUNTS, spread


def plainly(counts: NDArray[np.int64], length: int) -> list[tuple[int, int, int]]:
    """(row, start, document) of each: the longest first, each into the fullest row that takes it.

    Of rows that are equally full the one that was last made so full, as a stack gives it.
    """
    left: list[int] = []
    since: list[int] = []
    found = []
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda i: -counts[i])
    for time, document in enumerate(order):
        count = int(counts[document])
        fits = [row for row in range(len(left)) if left[row] >= count]
        if fits:
            row = min(fits, key=lambda row: (left[row], -since[row]))
        else:
            row = len(left)
            left.append(length)
            since.append(time)
        found.append((row, length - left[row], document))
        left[row] -= count
        since[row] = time
    return sorted(found)


@given(COUNTS, st.integers(300, 700))
def test_packing_is_what_a_plain_search_finds(counts: NDArray[np.int64], length: int) -> None:
    found = pack(counts, length)
    triples = zip(found.row, found.start, found.documents, strict=True)
    assert [tuple(map(int, triple)) for triple in triples] == plainly(counts, length)


@given(COUNTS, st.integers(1, 9), st.integers(1, 5))
def test_every_document_has_a_place_of_its_own(
    counts: NDArray[np.int64], most: int, devices: int
) -> None:
    length = row_length(counts)
    plan = plan_rows(counts, length, most, devices)
    seen = [number for batch in plan.batches for number in batch.documents]
    assert sorted(seen) == np.flatnonzero(counts).tolist()
    assert plan.documents == len(seen)
    assert plan.predictions == counts.sum()
    assert {(batch.rows, batch.length) for batch in plan.batches} <= {
        (batch.rows, length) for batch in plan.batches[:1]
    }
    done = 0
    for batch in plan.batches:
        done += len(batch.documents)
        assert batch.done == done
        assert batch.rows % devices == 0
        assert batch.rows <= most * devices
        taken = np.zeros((batch.rows, length), int)
        for document, row, start in zip(batch.documents, batch.row, batch.start, strict=True):
            assert start + counts[document] <= length
            taken[row, start : start + counts[document]] += 1
        assert taken.max() == 1
        assert taken.sum() == counts[batch.documents].sum()


@given(COUNTS, st.integers(1, 9), st.integers(1, 5))
def test_the_order_does_not_depend_on_batches(
    counts: NDArray[np.int64], most: int, devices: int
) -> None:
    """Interrupted columns rely on it."""
    one, other = plan_rows(counts, 512, most, devices), plan_rows(counts, 512, 3)
    assert one.order == other.order == "rows of 512"
    orders = ([d for batch in plan.batches for d in batch.documents] for plan in (one, other))
    assert next(orders) == next(orders)


def test_corpora_share_few_sizes_of_batches() -> None:
    """From eight batches on a single one. A quarter of the rows is empty at most."""
    plans = {rows: plan_rows(np.full(rows, 512), 512, 64, devices=2) for rows in range(1, 1500)}
    assert len({plan.batches[0].rows for plan in plans.values()}) == 20
    assert {plan.batches[0].rows for rows, plan in plans.items() if rows > 7 * 128} == {128}
    for rows, plan in plans.items():
        each = -(-rows // (2 * len(plan.batches)))
        assert each <= plan.batches[0].rows / 2 < each * 5 / 4


def test_a_small_corpus_makes_a_small_batch() -> None:
    assert plan_rows(np.full(3, 512), 512, 10**6).batches[0].rows == 3


def test_documents_as_long_as_the_row() -> None:
    found = pack(np.array([64, 1, 63, 0, 64, 2]), 64)
    assert found.documents.tolist() == [0, 4, 2, 1, 5]
    assert found.row.tolist() == [0, 1, 2, 2, 3]
    assert found.start.tolist() == [0, 0, 0, 63, 0]
    assert found.rows == 4


def test_rows_of_a_real_spread_are_full() -> None:
    counts = spread()
    length = row_length(counts)
    assert length == 1024
    plan = plan_rows(counts, length, 16)
    assert plan.padding < 0.02  # of which most is the last batch's empty rows
    assert plan.lengths == [1024]
    assert f"{plan.padding:.1%} of the positions are padding" in str(plan)


def test_rows_take_the_longest_document() -> None:
    assert row_length(np.array([3, 1])) == SHORTEST_ROW
    assert row_length(np.array([1023, 5])) == 1024
    assert row_length(np.array([1025])) == 1024 + ALIGNMENT
    assert row_length(np.zeros(0, np.int64)) == SHORTEST_ROW


def test_nothing_to_do() -> None:
    plan = plan_rows(np.zeros(3, np.int64), 512, 4)
    assert plan.batches == ()
    assert str(plan) == "no predictions"
