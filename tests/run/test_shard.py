"""Cutting work into parts that know nothing of each other."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jquanta.errors import BadInput
from jquanta.run.shard import Shard, parse, require_one_whole, shards_in


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=40), st.data())
def test_every_piece_belongs_to_one_part_and_none_is_empty(
    work: list[int], data: st.DataObject
) -> None:
    of = data.draw(st.integers(1, len(work)))
    parts = [shard.places(work).tolist() for shard in Shard(of, 1).all()]
    assert all(parts)
    assert list(chain(*parts)) == list(range(len(work)))


@given(st.lists(st.integers(1, 100), min_size=1, max_size=200), st.data())
def test_parts_get_equal_work_within_a_piece(work: list[int], data: st.DataObject) -> None:
    """A part ends within half a piece of where equal parts would, at both of its ends; where every
    part is longer than the largest piece, none has to be given one besides."""
    of = data.draw(st.integers(1, max(1, sum(work) // (2 * max(work)))))
    parts = [sum(work[i] for i in shard.places(work)) for shard in Shard(of, 1).all()]
    assert max(abs(part - sum(work) / of) for part in parts) <= max(work)


def test_equal_pieces_are_dealt_evenly() -> None:
    assert [len(shard.places(np.ones(1000))) for shard in Shard(5, 1).all()] == [200] * 5
    assert Shard(3, 2).places([0, 0, 0]).tolist() == [1]


def test_what_users_write_is_read() -> None:
    assert parse("2/5") == Shard(of=5, number=2)
    assert str(parse(" 5/5 ")) == "5/5"
    assert Shard(of=5, number=2).folder(Path("runs")) == Path("runs/shards/2-of-5")


@pytest.mark.parametrize(
    "text", ["0/5", "6/5", "5", "2/0", "-1/5", "a/b", "2/5/7", "1.5/2", "", "9" * 30]
)
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="--shard") as error:
        parse(text)
    assert "\n" not in str(error.value)


def test_folders_are_found_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("10-of-12", "9-of-12", "1-of-2", "notes"):
        (tmp_path / "shards" / name).mkdir(parents=True)
    assert [path.name for path in shards_in(tmp_path)] == ["1-of-2", "9-of-12", "10-of-12"]


def test_parts_of_two_cuts_and_the_same_twice_are_named() -> None:
    one = (Shard(3, 1), Path("a")), (Shard(3, 2), Path("b"))
    require_one_whole(one)
    with pytest.raises(BadInput, match="c: shard 1/2, and a is shard 1/3"):
        require_one_whole((*one, (Shard(2, 1), Path("c"))))
    with pytest.raises(BadInput, match="c: shard 2/3, as is b"):
        require_one_whole((*one, (Shard(3, 2), Path("c"))))
