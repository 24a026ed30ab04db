"""Named random streams: a sweep's random numbers are pure functions of a few listed values.

The key of a stream is folded from the seed, the stream's number and the values listed here, and
from nothing else. A run's numbers therefore do not depend on the other runs of the sweep, on its
position among them, or on the number of devices:

=================  ==============================================================================
subsets            seed, n_tasks, n_bits, k, and whether codes need them to be disjoint
initial weights    seed, the network's own shape
samples            seed, n_bits, position (step * batch online, index in a finite dataset)
order              seed, train_size, batch_size, epoch
evaluation points  seed, n_bits, evaluation number
validation points  seed, n_bits
=================  ==============================================================================

Samples are *counter-based*: sample number p of a stream is the hash of p under the stream's key
(Threefry-2x32; Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011). A dataset is
thus never stored, a smaller dataset is a prefix of a larger one, and online batches of every size
read the same sequence of samples.

Two runs with the same seed share their task bits and uniform numbers, whatever their widths, alphas
or learning rates, so that their noise is correlated. For independent repeats, vary ``train.seed``.

Letters of shapes: B places of a batch; ``*shape`` any shape.
"""

import enum
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry2x32_p
from jaxtyping import Array, Bool, Float32, UInt32

_IMPL = "threefry2x32"  # fixed here, since a change of JAX's default would change every result

Word = UInt32[Array, "*shape"]
Key = UInt32[Array, "2"]


class Stream(enum.IntEnum):
    """The random streams. Every result depends on these numbers: they must never change."""

    SUBSETS = 1
    WEIGHTS = 2
    SAMPLES = 3
    ORDER = 4
    EVALUATION = 5
    VALIDATION = 6


def key(stream: Stream, seed: int, *parts: int) -> Key:
    """The key of a stream.

    Args:
        stream: which stream.
        seed: the run's seed.
        parts: the other values that the stream depends on, in the order of the table above.
    """
    folded = jax.random.key(seed, impl=_IMPL)
    for part in (int(stream), *parts):
        folded = jax.random.fold_in(folded, part)
    return jax.random.key_data(folded)


def _wrapped(key: Key) -> Array:
    """The words of a key as one of JAX's typed keys."""
    return jax.random.wrap_key_data(key, impl=_IMPL)


def fold(key: Key, number: Array | int) -> Key:
    """The key of part ``number`` of a stream, such as an epoch or an evaluation."""
    return jax.random.key_data(jax.random.fold_in(_wrapped(key), number))


class Position(NamedTuple):
    """Positions in a stream as 64-bit counters in two words; 32 bits are too few for long runs."""

    high: Word
    low: Word


def positions(start: Array, stride: int, count: int) -> Position:
    """The ``count`` consecutive positions from start * stride on.

    ``start`` and ``stride`` fit 32 bits; their product is computed in 64 bits.
    """
    # JAX has no uint64 unless x64 is enabled: long multiplication of 32 x 32 to 64 bits, with
    # digits of 16 bits.
    mask = jnp.uint32(0xFFFF)
    a, b = jnp.uint32(start), jnp.uint32(stride)
    a0, a1, b0, b1 = a & mask, a >> 16, b & mask, b >> 16
    middle = a1 * b0 + ((a0 * b0) >> 16)
    middle_low = (middle & mask) + a0 * b1
    high = a1 * b1 + (middle >> 16) + (middle_low >> 16)
    first = a * b  # the low word: unsigned integers wrap around
    low = first + jnp.arange(count, dtype=jnp.uint32)
    return Position(high + (low < first).astype(jnp.uint32), low)  # low < first: a carry


def at_index(index: Word) -> Position:
    """The positions with the given numbers, below 2^32."""
    # The high word is 0, but computed from the index: under vmap, JAX's Threefry primitive needs
    # both words to have the batch axis.
    return Position(index ^ index, index)


def words(key: Key, position: Position, n_words: int) -> UInt32[Array, "*shape n_words"]:
    """``n_words`` independent uniform 32-bit words at each position of the stream."""
    # Threefry hashes the two words of a position to two words; each further pair has its own key.
    pairs = [
        threefry2x32_p.bind(*_broadcast(fold(key, pair), position))
        for pair in range((n_words + 1) // 2)
    ]
    return jnp.stack([word for pair in pairs for word in pair][:n_words], axis=-1)


def _broadcast(key: Key, position: Position) -> tuple[Word, ...]:
    """The four operands of the Threefry primitive, all in the shape of the positions."""
    shape = position.low.shape
    return (*(jnp.broadcast_to(key[i], shape) for i in range(2)), position.high, position.low)


def random_words(key: Key, shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Independent uniform 32-bit words that depend on the key and the shape."""
    return jax.random.bits(_wrapped(key), shape, jnp.uint32)


def uniforms(key: Key, count: int) -> Float32[np.ndarray, " count"]:
    """``count`` uniform numbers in [0, 1), multiples of 2^-24, as a NumPy array."""
    # A float32 holds 24 bits: all of these numbers are exact.
    pages = [_page(key, jnp.uint32(first)) for first in range(0, count, _PAGE)]
    return (np.concatenate(pages)[:count] >> 8).astype(np.float32) * np.float32(2**-24)


_PAGE = 2**16  # numbers drawn by one call: a fixed size, so that JAX compiles a single program


@jax.jit
def _page(key: Key, first: UInt32[Array, ""]) -> UInt32[Array, " page"]:
    return words(key, at_index(first + jnp.arange(_PAGE, dtype=jnp.uint32)), 1)[:, 0]


def permute(key: Key, index: UInt32[Array, " B"], size: UInt32[Array, ""]) -> UInt32[Array, " B"]:
    """Apply a keyed pseudorandom permutation of 0 … size - 1 to each of ``index``.

    This shuffles a dataset without storing an order: a format-preserving permutation, made of an
    alternating Feistel network over a grid of a x b cells with a · b just above ``size``, and cycle
    walking: results outside are permuted again until they are inside (Black & Rogaway, "Ciphers
    with arbitrary finite domains", 2002). Any batch of an epoch is found directly, and under vmap
    datasets may differ in size and key.

    Args:
        key: selects the permutation.
        index: each below ``size``.
        size: number of elements, from 1 to 2^31.
    """
    size = jnp.uint32(size)
    b = jnp.maximum(jnp.ceil(jnp.sqrt(size.astype(jnp.float32))).astype(jnp.uint32), 1)
    a = (size + b - 1) // b  # a * b >= size > (a - 1) * b, so under 1/a of the grid lies outside
    rounds = random_words(key, (_ROUNDS, 2))  # the round keys

    def shuffle(place: UInt32[Array, " B"]) -> UInt32[Array, " B"]:
        # Each round adds a hash of one half to the other, modulo its range, which is invertible.
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

    # Cycle walking. Following a cycle of the grid's permutation from a place inside must come back
    # inside, and different places cannot meet: the result is a permutation of the inside.
    return jax.lax.while_loop(outside, walk, shuffle(index))


# Rounds of the Feistel network. With 6, the frequencies of pairs in datasets of 6 to 12 samples
# were off by up to 35%.
_ROUNDS = 12


def _mix(value: Word, keys: UInt32[Array, "2"]) -> Word:
    """A keyed hash of 32-bit integers: multiply and shift, twice, as MurmurHash3's finaliser."""
    value = (value ^ keys[0]) * jnp.uint32(0x85EBCA6B)
    value = (value ^ (value >> 15) ^ keys[1]) * jnp.uint32(0xC2B2AE35)
    return value ^ (value >> 16)
