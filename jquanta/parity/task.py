"""The multitask sparse parity task: subsets, frequencies, and samples as packed bits.

A sample is a subtask i, drawn with probability p_i proportional to (i + offset)^-(alpha + 1), and
n fair bits; its label is the parity of the bits in the subtask's subset (paper, section 3). Of the
compositional task codes take the place of subtasks: sets of them, each with the union of its
members' subsets (``parity.codes``). Bits stay packed, 32 to a word, until a matrix product needs
them: a label is one masked popcount.

Arrays over what a sample is drawn from have the length C, the number of codes; it is the number of
subtasks S for the plain task.
"""

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float64, Int, Int8, Int16, Int32, UInt32

from jquanta import streams
from jquanta.parity.config import TaskConfig
from jquanta.powerlaw import zipf
from jquanta.streams import Key, Position, Stream

UNIFORM_RANGE = 2**32  # a sample's uniform number is one 32-bit word

DISJOINT = 2**32 - 1  # folds the draw of disjoint subsets apart from every attempt of the others


@dataclass(frozen=True, eq=False)
class Task:
    """One draw of the task, as arrays on the host.

    Attributes:
        config: what it was made from.
        subsets: [C, longest] bit positions of each code's parity, ascending, then -1.
        frequencies: [C] exact probabilities, summing to 1.
        codes: [C, S] 1 where an atomic subtask is a member of a code; None for the plain task.
    """

    config: TaskConfig
    subsets: Int16[np.ndarray, "C longest"]
    frequencies: Float64[np.ndarray, " C"]
    codes: Int8[np.ndarray, "C S"] | None

    @property
    def masks(self) -> UInt32[np.ndarray, "C words"]:
        """Each code's subset as packed bits."""
        masks = np.zeros((len(self.subsets), n_words(self.config.n_bits)), np.uint32)
        code, place = np.nonzero(self.subsets >= 0)
        position = self.subsets[code, place]
        np.bitwise_or.at(masks, (code, position // 32), np.uint32(1) << (position % 32))
        return masks

    @property
    def thresholds(self) -> UInt32[np.ndarray, " {self.config.n_codes}-1"]:
        """Where the uniform word passes from one code to the next.

        The cumulative frequencies in units of 2^-32, nudged so that even the rarest code keeps
        at least one unit: none is floored away.
        """
        steps = np.rint(np.cumsum(self.frequencies)[:-1] * UNIFORM_RANGE).astype(np.int64)
        rank = np.arange(1, len(steps) + 1)
        rising = np.maximum.accumulate(np.maximum(steps, rank) - rank) + rank
        ceiling = UNIFORM_RANGE - rank[::-1]  # leaves one unit to each that follows
        return np.minimum(rising, ceiling).astype(np.uint32)


def n_words(n_bits: int) -> int:
    """32-bit words that hold ``n_bits`` bits."""
    return -(-n_bits // 32)


@lru_cache(maxsize=64)
def make_task(config: TaskConfig, seed: int) -> Task:
    """Draw the subsets and compute the frequencies. Depends on the task's fields and the seed."""
    shape = seed, config.n_tasks, config.n_bits, config.k
    atomic = draw_disjoint(*shape) if config.composite else draw_subsets(*shape)
    if not config.code_list:
        return Task(config, atomic, frequencies_of(config), None)
    codes = np.zeros((config.n_codes, config.n_tasks), np.int8)
    subsets = np.full((config.n_codes, config.longest_subset), -1, np.int16)
    for place, code in enumerate(config.code_list):
        codes[place, list(code.members)] = 1
        union = np.sort(atomic[list(code.members)], axis=None)
        subsets[place, : len(union)] = union
    return Task(config, subsets, frequencies_of(config), codes)


def frequencies_of(config: TaskConfig) -> Float64[np.ndarray, " C"]:
    """The exact probability of each code: by its place, times its weight."""
    count = config.n_codes
    uniform = config.frequencies == "uniform"
    by_place = np.full(count, 1 / count) if uniform else zipf(count, config.alpha, config.offset)
    if not config.code_list:
        return by_place
    weights = np.array([code.weight for code in config.code_list])
    share = by_place * (weights / weights.max())
    return share / share.sum()


def draw_subsets(seed: int, n_tasks: int, n_bits: int, k: int) -> Int16[np.ndarray, "S k"]:
    """``n_tasks`` distinct subsets of ``k`` out of ``n_bits`` positions, uniformly at random."""
    key = streams.key(Stream.SUBSETS, seed, n_tasks, n_bits, k)
    if math.comb(n_bits, k) <= 4 * n_tasks:  # few to choose from: list them all and shuffle
        every = np.array(list(itertools.combinations(range(n_bits), k)), np.int16)
        order = np.argsort(streams.random_words(key, (len(every),)), kind="stable")
        return every[order[:n_tasks]]
    found: dict[tuple[int, ...], None] = {}  # a dict keeps the order of drawing
    for attempt in itertools.count():
        draws = streams.random_words(streams.fold(key, attempt), (n_tasks, n_bits))
        ranked = np.argsort(draws, axis=1, kind="stable")[:, :k]
        found |= dict.fromkeys(map(tuple, np.sort(ranked, axis=1).tolist()))
        if len(found) >= n_tasks:
            return np.array(list(found)[:n_tasks], np.int16)
    raise AssertionError("unreachable")


def draw_disjoint(seed: int, n_tasks: int, n_bits: int, k: int) -> Int16[np.ndarray, "S k"]:
    """``n_tasks`` disjoint subsets of ``k`` out of ``n_bits`` positions, uniformly at random."""
    key = streams.fold(streams.key(Stream.SUBSETS, seed, n_tasks, n_bits, k), DISJOINT)
    order = np.argsort(streams.random_words(key, (n_bits,)), kind="stable")
    return np.sort(order[: n_tasks * k].reshape(n_tasks, k), axis=1).astype(np.int16)


class Samples(NamedTuple):
    """Samples before a subtask is chosen: what runs with one seed share."""

    words: UInt32[Array, "B words"]
    uniform: UInt32[Array, " B"]


def draw(key: Key, position: Position, n_bits: int) -> Samples:
    """The bits and the uniform word of the samples at the given positions of a stream."""
    count = n_words(n_bits)
    drawn = streams.words(key, position, count + 1)
    kept = np.full(count, 0xFFFFFFFF, np.uint32)
    kept[-1] >>= np.uint32(32 * count - n_bits)  # bits beyond n_bits are zero
    return Samples(drawn[:, :count] & kept, drawn[:, count])


def subtask_of(
    thresholds: UInt32[Array, " C_minus_1"], uniform: UInt32[Array, " B"]
) -> Int32[Array, " B"]:
    """The inverse distribution function of the codes, exact in integers."""
    return jnp.searchsorted(thresholds, uniform, side="right").astype(jnp.int32)


def parity(
    words: UInt32[Array, "*B words"], mask: UInt32[Array, "*#B words"]
) -> Int32[Array, "*B"]:
    """The parity of the bits of ``words`` that are set in ``mask``."""
    return (jax.lax.population_count(words & mask).sum(-1) & 1).astype(jnp.int32)


def unpack(words: UInt32[Array, "B words"], n_bits: int, dtype: DTypeLike) -> Float[Array, "B N"]:
    """The bits as 0.0 and 1.0."""
    place = np.arange(n_bits)
    return ((words[:, place // 32] >> jnp.asarray(place % 32, jnp.uint32)) & 1).astype(dtype)


def whole_inputs(
    subtask: Int[Array, " B"], bits: Float[Array, "B N"], codes: Float[Array, "C S"]
) -> Float[Array, "B S+N"]:
    """The network's input as the paper defines it: control vector, then the task bits.

    ``codes`` are the control vectors to choose from: the rows of ``Task.codes``, or of an identity
    matrix for the one-hot vectors of the plain task.
    """
    return jnp.concatenate([codes[subtask], bits], axis=1)
