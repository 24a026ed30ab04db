import itertools
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from jquanta import streams
from jquanta.streams import Stream
from tests import chance

KEY = streams.key(Stream.SAMPLES, 0, 100)


def uint32(value: int) -> jax.Array:
    return jnp.asarray(np.uint32(value))


def bits_of(words: np.ndarray) -> np.ndarray:
    """[..., words] as [..., words * 32] bits."""
    return (words[..., None] >> np.arange(32, dtype=np.uint32) & 1).reshape(*words.shape[:-1], -1)


def test_shapes_are_enforced() -> None:
    with pytest.raises(TypeCheckError):
        streams.words(jnp.zeros(3, jnp.uint32), streams.at_index(KEY), 1)
    with pytest.raises(TypeCheckError):
        streams.words(KEY.astype(jnp.float32), streams.at_index(KEY), 1)


# Positions


@pytest.mark.parametrize("stride", [1, 20_000, 2**16 - 1, 2**16 + 1, 2**31, 2**32 - 1])
def test_positions_are_64_bit_numbers(stride: int) -> None:
    for start in (0, 1, 3, 2**16 - 1, 2**16, 214_748, 2**31 + 5, 2**32 - 1):
        high, low = (np.asarray(x, np.uint64) for x in streams.positions(uint32(start), stride, 5))
        expected = [start * stride + i for i in range(5)]
        assert (high << np.uint64(32) | low).tolist() == expected, f"{start} x {stride}"


def test_positions_carry_inside_a_batch() -> None:
    high, low = streams.positions(uint32(1), 2**32 - 2, 4)
    assert low.tolist() == [2**32 - 2, 2**32 - 1, 0, 1]
    assert high.tolist() == [0, 0, 1, 1]


# Words


def test_words_depend_on_the_position_alone() -> None:
    """Any batch, anywhere, reads the same list: prefixes, offsets, other strides."""
    whole = np.asarray(streams.words(KEY, streams.positions(uint32(0), 1, 64), 5))
    assert whole.shape == (64, 5)
    for start, count in [(0, 8), (5, 8), (56, 8), (63, 1)]:
        part = streams.words(KEY, streams.positions(uint32(1), start, count), 5)
        np.testing.assert_array_equal(part, whole[start : start + count])
    third_batch_of_8 = streams.words(KEY, streams.positions(uint32(3), 8, 8), 5)
    np.testing.assert_array_equal(third_batch_of_8, whole[24:32])
    shuffled = np.array([[9, 0], [3, 63]], np.uint32)
    picked = streams.words(KEY, streams.at_index(jnp.asarray(shuffled)), 5)
    np.testing.assert_array_equal(picked, whole[shuffled])


def test_fewer_words_are_the_first_words() -> None:
    position = streams.positions(uint32(0), 1, 8)
    five = np.asarray(streams.words(KEY, position, 5))
    for n_words in range(1, 5):
        np.testing.assert_array_equal(streams.words(KEY, position, n_words), five[:, :n_words])


def test_words_do_not_repeat_after_32_bits() -> None:
    across = np.asarray(streams.words(KEY, streams.positions(uint32(1), 2**32 - 4, 8), 2))
    begin = np.asarray(streams.words(KEY, streams.positions(uint32(0), 1, 4), 2))
    assert len(np.unique(np.vstack([across, begin]), axis=0)) == 12


def test_words_under_vmap_are_as_alone() -> None:
    """Over positions of one stream, over streams at one position, and over both."""
    keys = jnp.stack([streams.fold(KEY, i) for i in range(3)])
    index = jnp.arange(12, dtype=jnp.uint32).reshape(3, 4)

    def drawn(key: jax.Array, index: jax.Array) -> jax.Array:
        return streams.words(key, streams.at_index(index), 3)

    alone = np.array([[drawn(key, row) for row in index] for key in keys])
    np.testing.assert_array_equal(jax.vmap(drawn, (None, 0))(KEY, index), drawn(KEY, index))
    np.testing.assert_array_equal(jax.vmap(drawn, (0, None))(keys, index[0]), alone[:, 0])
    np.testing.assert_array_equal(jax.vmap(drawn)(keys, index), alone[range(3), range(3)])


def test_words_are_fair_independent_bits() -> None:
    words = np.asarray(streams.words(KEY, streams.positions(uint32(0), 1, 8192), 5))
    bits = bits_of(words)
    assert chance.fair(bits)
    assert chance.uncorrelated(bits)  # within a position, across its words
    neighbours = np.hstack([bits_of(words[:-1, :2]), bits_of(words[1:, :2])])
    assert chance.uncorrelated(neighbours)
    bytes_ = words.view(np.uint8).reshape(len(words), -1)
    counts = [np.bincount(column, minlength=256) for column in bytes_.T]
    assert chance.follows(counts, np.full(256, 1 / 256))


# Keys


def test_keys_depend_on_nothing_but_their_parts() -> None:
    def keys() -> np.ndarray:
        return np.stack([streams.key(s, seed, 7, 2**31) for s in Stream for seed in (0, 2**32 - 1)])

    first = keys()
    np.testing.assert_array_equal(keys()[::-1], first[::-1])
    with jax.enable_x64(True):
        np.testing.assert_array_equal(keys(), first)
    parts = streams.fold(streams.fold(streams.key(Stream.ORDER, 3), 7), uint32(2**31))
    np.testing.assert_array_equal(parts, streams.key(Stream.ORDER, 3, 7, 2**31))
    np.testing.assert_array_equal(jax.jit(streams.fold)(KEY, uint32(5)), streams.fold(KEY, 5))


def test_no_two_keys_are_equal() -> None:
    """64 bits: 756 random keys coincide with probability 2e-14."""
    seeds = (0, 1, 2, 3, 2**16, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
    parts = [(), (1,), (2,), (1, 1), (1, 2), (2, 1)]
    keys = {
        tuple(np.asarray(streams.key(stream, seed, *part)).tolist())
        for stream, seed, part in itertools.product(Stream, seeds, parts)
    }
    folded = {tuple(np.asarray(streams.fold(KEY, i)).tolist()) for i in range(100)}
    assert len(keys) == len(Stream) * len(seeds) * len(parts)
    assert len(keys | folded) == len(keys) + 100


def test_two_seeds_and_two_streams_share_nothing() -> None:
    position = streams.positions(uint32(0), 1, 4096)
    keys = [streams.key(stream, seed, 100) for stream in list(Stream)[2:5] for seed in (0, 1)]
    words = np.stack([streams.words(key, position, 2) for key in keys])
    pairs = words.reshape(-1, 2)
    # 24,576 random pairs of words, 64 bits each, coincide with probability 2e-11.
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    side_by_side = np.moveaxis(bits_of(words), 0, 1).reshape(4096, -1)
    assert chance.uncorrelated(side_by_side)


# Permutations


@partial(jax.jit, static_argnums=2)
def padded_order(key: jax.Array, size: jax.Array, longest: int) -> jax.Array:
    """One program for every size up to ``longest``; places from ``size`` on repeat the last."""
    index = jnp.arange(longest, dtype=jnp.uint32)
    return streams.permute(key, jnp.minimum(index, size - 1), size)


def order(key: jax.Array, size: int) -> np.ndarray:
    return np.asarray(padded_order(key, uint32(size), 65_537))[:size]


@pytest.mark.parametrize("size", [1, 2, 3, 10, 100, 9_999, 65_537])
def test_permute_is_a_bijection(size: int) -> None:
    for number in range(3):
        placed = order(streams.fold(KEY, number), size)
        np.testing.assert_array_equal(np.sort(placed), np.arange(size))


@pytest.mark.parametrize("size", [2**31, 2**31 - 1, 46_340**2 + 1])
def test_permute_at_the_largest_sizes(size: int) -> None:
    """At a dataset's largest size nothing overflows: distinct places inside, in every region."""
    index = np.unique(np.linspace(0, size - 1, 40_000).astype(np.uint32))
    placed = np.asarray(streams.permute(KEY, jnp.asarray(index), uint32(size)))
    assert placed.max() < size
    assert len(np.unique(placed)) == len(index)
    counts = np.bincount((placed.astype(np.int64) * 50 // size), minlength=50)
    assert chance.follows(counts, np.full(50, 0.02))  # floors make cells differ by 1e-8 at most


def test_epochs_differ() -> None:
    """Two random orders of 9,999 agree in about 1 place: more than 20 has probability 1e-20."""
    orders = [order(streams.fold(KEY, epoch), 9_999) for epoch in range(4)]
    orders.append(np.arange(9_999))
    for one, other in itertools.combinations(orders, 2):
        assert (one == other).sum() <= 20
        assert (np.diff(one[np.argsort(other)].astype(int)) == 1).sum() <= 20  # nor neighbours


@cache
def many_keys(count: int) -> jax.Array:
    return jax.vmap(streams.fold, (None, 0))(KEY, jnp.arange(count, dtype=jnp.uint32))


@jax.jit
def many_orders(keys: jax.Array, size: jax.Array) -> jax.Array:
    return jax.vmap(lambda key: padded_order(key, size, 30))(keys)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6, 7, 10, 12, 30])
def test_an_index_lands_anywhere_equally_often(size: int) -> None:
    """Alone, and two together: half as many rounds of the network would fail here."""
    keys = many_keys(12_000)
    placed = np.asarray(many_orders(keys, uint32(size)))[:, :size]
    counts = [np.bincount(column, minlength=size) for column in placed.T]
    assert chance.follows(counts, np.full(size, 1 / size))
    if size > 2:  # where the first two land, together
        pair = placed[:, 0].astype(int) * size + placed[:, 1]
        apart = [i * size + j for i in range(size) for j in range(size) if i != j]
        assert chance.follows(np.bincount(pair, minlength=size**2)[apart], 1 / len(apart))


def test_sizes_under_vmap_are_as_alone() -> None:
    sizes = np.array([1, 2, 3, 10, 97, 100, 1000], np.uint32)
    keys = jnp.stack([streams.fold(KEY, i) for i in range(len(sizes))])
    index = np.arange(64, dtype=np.uint32) % sizes[:, None]
    together = jax.vmap(streams.permute)(keys, jnp.asarray(index), jnp.asarray(sizes))
    for row, size in enumerate(sizes.tolist()):
        np.testing.assert_array_equal(together[row], order(keys[row], size)[index[row]])
