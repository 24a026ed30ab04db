"""Named random streams: every random number of a sweep is a function of what it may depend on.

A stream's key is folded from the seed, the stream's name and the values listed here, and nothing
else, so that a run's numbers do not depend on its neighbours, its place in a sweep or the number
of devices:

=================  ==============================================================================
subsets            seed, n_tasks, n_bits, k, and whether codes need them to be disjoint
initial weights    seed, the network's own shape
samples            seed, n_bits, position (step * batch online, index in a finite dataset)
order              seed, train_size, batch_size, epoch
evaluation points  seed, n_bits, evaluation number
validation points  seed, n_bits
=================  ==============================================================================

Samples are *counter-based*: sample number p of a stream is a hash of (key, p). So a dataset needs
no memory, a prefix of a dataset is a dataset, and online batches of any size walk along the same
list.

Two runs with one seed therefore share bits and uniform numbers, whatever their width, alpha or
learning rate: their noise is correlated. Independent repeats come from ``train.seed``.
"""

import enum
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry2x32_p
from jaxtyping import Array, Bool, Float32, UInt32

_IMPL = "threefry2x32"  # whatever JAX's own default is: streams are part of every result

Word = UInt32[Array, "*shape"]
Key = UInt32[Array, "2"]


class Stream(enum.IntEnum):
    """The streams of the contract. The numbers are part of every result: never renumber."""

    SUBSETS = 1
    WEIGHTS = 2
    SAMPLES = 3
    ORDER = 4
    EVALUATION = 5
    VALIDATION = 6


def key(stream: Stream, seed: int, *parts: int) -> Key:
    """The key of ``stream`` for ``seed`` and the other values that the stream depends on."""
    folded = jax.random.key(seed, impl=_IMPL)
    for part in (int(stream), *parts):
        folded = jax.random.fold_in(folded, part)
    return jax.random.key_data(folded)


def _wrapped(key: Key) -> Array:
    return jax.random.wrap_key_data(key, impl=_IMPL)


def fold(key: Key, number: Array | int) -> Key:
    """The key of the stream's part ``number``: an epoch, an evaluation, a column of words."""
    return jax.random.key_data(jax.random.fold_in(_wrapped(key), number))


class Position(NamedTuple):
    """Positions in a stream as 64-bit counters: a step times a batch outgrows 32 bits."""

    high: Word
    low: Word


def positions(start: Array, stride: int, count: int) -> Position:
    """Positions start * stride + (0 … count - 1). ``start`` is uint32, the product 64-bit."""
    mask = jnp.uint32(0xFFFF)
    a, b = jnp.uint32(start), jnp.uint32(stride)
    a0, a1, b0, b1 = a & mask, a >> 16, b & mask, b >> 16  # schoolbook 32 x 32 -> 64 bits
    middle = a1 * b0 + ((a0 * b0) >> 16)
    middle_low = (middle & mask) + a0 * b1
    high = a1 * b1 + (middle >> 16) + (middle_low >> 16)
    first = a * b
    low = first + jnp.arange(count, dtype=jnp.uint32)
    return Position(high + (low < first).astype(jnp.uint32), low)


def at_index(index: Word) -> Position:
    """Positions below 2^32, given as they are."""
    # Zero as a function of the index: JAX's threefry needs equal batch axes under vmap.
    return Position(index ^ index, index)


def words(key: Key, position: Position, n_words: int) -> UInt32[Array, "*shape n_words"]:
    """``n_words`` independent uniform 32-bit words at each position of the stream."""
    pairs = [
        threefry2x32_p.bind(*_broadcast(fold(key, pair), position))
        for pair in range((n_words + 1) // 2)
    ]
    return jnp.stack([word for pair in pairs for word in pair][:n_words], axis=-1)


def _broadcast(key: Key, position: Position) -> tuple[Word, ...]:
    shape = position.low.shape
    return (*(jnp.broadcast_to(key[i], shape) for i in range(2)), position.high, position.low)


def random_words(key: Key, shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Independent uniform 32-bit words, where no position matters."""
    return jax.random.bits(_wrapped(key), shape, jnp.uint32)


def uniforms(key: Key, count: int) -> Float32[np.ndarray, " count"]:
    """``count`` uniform numbers in [0, 1), multiples of 2^-24, on the host."""
    pages = [_page(key, jnp.uint32(first)) for first in range(0, count, _PAGE)]
    return (np.concatenate(pages)[:count] >> 8).astype(np.float32) * np.float32(2**-24)


_PAGE = 2**16  # one compiled program serves every count


@jax.jit
def _page(key: Key, first: UInt32[Array, ""]) -> UInt32[Array, " page"]:
    return words(key, at_index(first + jnp.arange(_PAGE, dtype=jnp.uint32)), 1)[:, 0]


def permute(key: Key, index: UInt32[Array, " B"], size: UInt32[Array, ""]) -> UInt32[Array, " B"]:
    """The places of ``index`` (each below ``size``) under a keyed bijection of 0 … size - 1.

    An alternating Feistel network over a grid a x b that just covers ``size`` (Black & Rogaway,
    "Ciphers with arbitrary finite domains", 2002), walking the few values that fall outside along
    their cycle until they are inside. Nothing is stored, any batch of an epoch is found on its
    own, and under vmap every dataset has its own size and key at no extra cost.
    """
    size = jnp.uint32(size)
    b = jnp.maximum(jnp.ceil(jnp.sqrt(size.astype(jnp.float32))).astype(jnp.uint32), 1)
    a = (size + b - 1) // b  # a * b >= size > (a - 1) * b, so under 1/a of the grid lies outside
    rounds = random_words(key, (_ROUNDS, 2))

    def shuffle(place: UInt32[Array, " B"]) -> UInt32[Array, " B"]:
        left, right = place // b, place % b
        for i in range(_ROUNDS):
            if i % 2 == 0:
                left = (left + _mix(right, rounds[i]) % a) % a
            else:
                right = (right + _mix(left, rounds[i]) % b) % b
        return left * b + right

    def outside(place: UInt32[Array, " B"]) -> Bool[Array, ""]:
        return jnp.any(place >= size)

    def walk(place: UInt32[Array, " B"]) -> UInt32[Array, " B"]:
        return jnp.where(place >= size, shuffle(place), place)

    return jax.lax.while_loop(outside, walk, shuffle(index))


_ROUNDS = 12  # with 6, pairs of a dataset of 6 to 12 were up to 35% more or less frequent


def _mix(value: Word, keys: UInt32[Array, "2"]) -> Word:
    """A keyed 32-bit integer hash: multiply and shift, twice (constants of MurmurHash3's end)."""
    value = (value ^ keys[0]) * jnp.uint32(0x85EBCA6B)
    value = (value ^ (value >> 15) ^ keys[1]) * jnp.uint32(0xC2B2AE35)
    return value ^ (value >> 16)
