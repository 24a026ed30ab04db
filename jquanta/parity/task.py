"""The multitask sparse parity task: subsets, frequencies, and samples as packed bits.

A sample is a subtask i, drawn with probability p_i proportional to (i + offset)^-(alpha + 1), and
N fair bits; its label is the parity of the bits in the subtask's subset (paper, section 3). In the
compositional task, codes take the place of subtasks: a code is a set of subtasks, and its subset
is the union of its members' subsets (``parity.codes``). Bits stay packed, 32 to a word, until a
matrix product needs them: a label is then the parity of one masked population count.

Letters of shapes: B samples, S atomic subtasks, C codes (C = S for the plain task), N task bits;
``words`` is the number of 32-bit words that hold N bits.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float64, Int, Int8, Int16, Int32, UInt32

from jquanta import streams
from jquanta.errors import BadInput
from jquanta.parity.config import TaskConfig
from jquanta.powerlaw import zipf
from jquanta.run.settings import MAX_SEED, require_count
from jquanta.streams import Key, Position, Stream

UNIFORM_RANGE = 2**32  # the uniform number that selects a sample's code is one 32-bit word

# Folded into the key of disjoint subsets. ``draw_subsets`` folds in its attempts 0, 1, …, and so
# uses other numbers.
DISJOINT = 2**32 - 1


DRAWN = 2**32 - 2
"""Folded into the key of ``Task.draw``: neither training nor its evaluations read these samples."""

MOST_NUMBERS = 2**30
"""Numbers of inputs that ``Task.draw`` makes at once: 4 GiB."""


class Drawn(NamedTuple):
    """Samples of a task, ready for its networks.

    Attributes:
        inputs: the control vector, then the task bits, 0.0 or 1.0.
        label: the parity to be learned, 0 or 1.
        subtask: which subtask, counted from 0; of a compositional task: which code.
    """

    inputs: Float[Array, "B S+N"]
    label: Int32[Array, " B"]
    subtask: Int32[Array, " B"]

    def __repr__(self) -> str:
        return f"Drawn({len(self.label):,} samples of {self.inputs.shape[1]} bits)"


class Evaluated(NamedTuple):
    """How well a network does each subtask (or code).

    Attributes:
        loss: mean cross-entropy, in nats.
        accuracy: share of right answers.
    """

    loss: Float64[np.ndarray, " C"]
    accuracy: Float64[np.ndarray, " C"]

    def __repr__(self) -> str:
        learned = int((self.accuracy > 0.9).sum())
        return (
            f"Evaluated({learned} of {len(self.loss)} subtasks right in more than 9 of 10 samples)"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Task:
    """A task with its subsets drawn, as NumPy arrays on the host.

    Attributes:
        config: the configuration that it was made from.
        subsets: [C, longest] bit positions of each code's parity, ascending, padded with -1.
        frequencies: [C] exact probabilities, summing to 1.
        codes: [C, S] 1 where an atomic subtask is a member of a code; None for the plain task.
    """

    config: TaskConfig
    subsets: Int16[np.ndarray, "C longest"]
    frequencies: Float64[np.ndarray, " C"]
    codes: Int8[np.ndarray, "C S"] | None

    def __repr__(self) -> str:
        own = self.config
        kind = f"{own.n_codes} codes of {own.n_tasks}" if own.composite else f"{own.n_tasks}"
        return (
            f"Task({kind} subtasks, each the parity of {own.k} of {own.n_bits} bits, "
            f"alpha {own.alpha:g})"
        )

    def draw(self, count: int, seed: int = 0, *, code: int | None = None) -> "Drawn":
        """Draw samples as training does, from a stream that no training uses.

        Args:
            count: how many, B.
            seed: of the samples.
            code: draw samples of this code (for the plain task: subtask) alone; by default each
                has one at random, by its frequency.

        Raises:
            BadInput: if there is no such code.
        """
        own = self.config
        require_count("count", count, MOST_NUMBERS // (own.n_tasks + own.n_bits))
        require_count("seed", seed, MAX_SEED, least=0)
        if code is not None:
            require_count("code", code, own.n_codes - 1, least=0)
        key = streams.fold(streams.key(Stream.VALIDATION, seed, own.n_bits), DRAWN)
        drawn = draw(key, streams.at_index(jnp.arange(count, dtype=jnp.uint32)), own.n_bits)
        subtask = subtask_of(jnp.asarray(self.thresholds), drawn.uniform)
        if code is not None:
            subtask = jnp.full_like(subtask, code)
        label = parity(drawn.words, jnp.asarray(self.masks)[subtask])
        bits = unpack(drawn.words, own.n_bits, jnp.float32)
        control = np.eye(own.n_tasks) if self.codes is None else self.codes
        inputs = whole_inputs(subtask, bits, jnp.asarray(control, jnp.float32))
        return Drawn(inputs, label, subtask)

    def evaluate(
        self,
        network: Callable[[Float[Array, "B S+N"]], Float[Array, "B 2"]],
        points: int = 1000,
        seed: int = 0,
    ) -> "Evaluated":
        """Test a network on fresh samples, the same number of each subtask.

        Args:
            network: from inputs to logits; any function will do.
            points: samples of each subtask.
            seed: of the samples.

        Raises:
            BadInput: if the network gives anything but two numbers for each sample.
        """
        loss, accuracy = [], []
        for code in range(self.config.n_codes):
            samples = self.draw(points, seed, code=code)
            logits = np.asarray(network(samples.inputs), np.float64)
            label = np.asarray(samples.label)
            if logits.shape != (points, 2):
                raise BadInput(
                    f"network: gives {list(logits.shape)} numbers for {points} samples; give one "
                    "with two logits a sample"
                )
            margin = (2 * label - 1) * (logits[:, 1] - logits[:, 0])
            loss.append(np.logaddexp(0, -margin).mean())
            accuracy.append((logits.argmax(1) == label).mean())
        return Evaluated(np.array(loss), np.array(accuracy))

    @property
    def masks(self) -> UInt32[np.ndarray, "C words"]:
        """[C, words] each code's subset as packed bits."""
        masks = np.zeros((len(self.subsets), n_words(self.config.n_bits)), np.uint32)
        code, place = np.nonzero(self.subsets >= 0)
        position = self.subsets[code, place]
        # ``at`` is unbuffered: several bits of one subset may fall into the same word.
        np.bitwise_or.at(masks, (code, position // 32), np.uint32(1) << (position % 32))
        return masks

    @property
    def thresholds(self) -> UInt32[np.ndarray, " {self.config.n_codes}-1"]:
        """[C - 1] the values of the uniform word at which one code gives way to the next.

        These are the cumulative frequencies in units of 2^-32, adjusted so that every code has at
        least one value of the word: no rare code is rounded to probability 0.
        """
        steps = np.rint(np.cumsum(self.frequencies)[:-1] * UNIFORM_RANGE).astype(np.int64)
        rank = np.arange(1, len(steps) + 1)
        # Strictly increasing, from at least 1: steps - rank must then not decrease, from 0.
        rising = np.maximum.accumulate(np.maximum(steps, rank) - rank) + rank
        ceiling = UNIFORM_RANGE - rank[::-1]  # leaves one value to each code that follows
        return np.minimum(rising, ceiling).astype(np.uint32)


def n_words(n_bits: int) -> int:
    """Number of 32-bit words that hold ``n_bits`` bits."""
    return -(-n_bits // 32)


@lru_cache(maxsize=64)
def make_task(config: TaskConfig, seed: int) -> Task:
    """Draw the task's subsets and compute its frequencies, given the configuration and seed."""
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
    """[C] the exact probability of each code.

    Zipf's law (or the uniform law) gives the code at each place of the list its frequency, which
    is multiplied by the code's weight; the products are normalised to sum to 1.
    """
    count = config.n_codes
    uniform = config.frequencies == "uniform"
    by_place = np.full(count, 1 / count) if uniform else zipf(count, config.alpha, config.offset)
    if not config.code_list:
        return by_place
    weights = np.array([code.weight for code in config.code_list])
    share = by_place * (weights / weights.max())  # relative weights: no overflow
    return share / share.sum()


def draw_subsets(seed: int, n_tasks: int, n_bits: int, k: int) -> Int16[np.ndarray, "S k"]:
    """``n_tasks`` distinct subsets of ``k`` out of ``n_bits`` positions, uniformly at random."""
    key = streams.key(Stream.SUBSETS, seed, n_tasks, n_bits, k)
    # Where at least a quarter of all subsets are needed, list all of them, in random order.
    if math.comb(n_bits, k) <= 4 * n_tasks:
        every = np.array(list(itertools.combinations(range(n_bits), k)), np.int16)
        order = np.argsort(streams.random_words(key, (len(every),)), kind="stable")
        return every[order[:n_tasks]]
    # Otherwise draw subsets and drop repeated ones until there are enough. A dict is a set that
    # keeps the order of drawing. The first k places of a random order of the bits are a subset.
    found: dict[tuple[int, ...], None] = {}
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
    """Samples before a subtask is chosen: all runs of one seed share these.

    Attributes:
        words: task bits, packed.
        uniform: the uniform word that selects the subtask (or code).
    """

    words: UInt32[Array, "B words"]
    uniform: UInt32[Array, " B"]


def draw(key: Key, position: Position, n_bits: int) -> Samples:
    """The samples at the given positions of a stream: N fair bits and a uniform word each."""
    count = n_words(n_bits)
    drawn = streams.words(key, position, count + 1)
    kept = np.full(count, 0xFFFFFFFF, np.uint32)
    kept[-1] >>= np.uint32(32 * count - n_bits)  # bits beyond n_bits are zero
    return Samples(drawn[:, :count] & kept, drawn[:, count])


def subtask_of(
    thresholds: UInt32[Array, " C_minus_1"], uniform: UInt32[Array, " B"]
) -> Int32[Array, " B"]:
    """Each sample's code from its uniform word, by inverse transform sampling.

    Exact, since the distribution function (``Task.thresholds``) is in integers.
    """
    return jnp.searchsorted(thresholds, uniform, side="right").astype(jnp.int32)


def parity(
    words: UInt32[Array, "*B words"], mask: UInt32[Array, "*#B words"]
) -> Int32[Array, "*B"]:
    """The parity (0 or 1) of the bits of ``words`` that are selected by ``mask``."""
    return (jax.lax.population_count(words & mask).sum(-1) & 1).astype(jnp.int32)


def unpack(words: UInt32[Array, "B words"], n_bits: int, dtype: DTypeLike) -> Float[Array, "B N"]:
    """Packed bits as an array of 0.0 and 1.0."""
    place = np.arange(n_bits)
    return ((words[:, place // 32] >> jnp.asarray(place % 32, jnp.uint32)) & 1).astype(dtype)


def whole_inputs(
    subtask: Int[Array, " B"], bits: Float[Array, "B N"], codes: Float[Array, "C S"]
) -> Float[Array, "B S+N"]:
    """The network's input as the paper defines it: the control vector, then the task bits.

    Args:
        subtask: [B] each sample's code.
        bits: [B, N] task bits as 0.0 and 1.0.
        codes: [C, S] control vector of each code: ``Task.codes``, or for the plain task an
            identity matrix.
    """
    return jnp.concatenate([codes[subtask], bits], axis=1)
