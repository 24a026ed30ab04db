"""How functions of samples are computed on the devices at hand: decided here.

A core of a CPU takes one sample after the other, with each layer written out and positions in
columns: its products stay in the cache, and programs compile in seconds, so that there may be many
padded lengths. An accelerator takes many samples at once and compiles slowly, since XLA tries
candidates for every product that differs from the others: there are at most two lengths, and
gradients go through layers in a loop.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax

from jquanta.lm.losses.batches import MOST_LENGTHS
from jquanta.lm.losses.packing import ALIGNMENT
from jquanta.machine.memory import usable

CPU_TOKENS = 2**11
"""Of a batch: what a core does before it asks for more. It takes one sample after the other."""

MOST_ROWS = 32
"""Samples of a batch on a CPU: an eighth of a panel, so that batches fill panels well."""

GPU_TOKENS = 2**16
"""Of a batch on each device at most. The program for a model of 6 layers is about a thousand
kernels a batch; at a few µs to start one, that is some ms. At 14m a token is 7 million operations,
so that by ``GPU_RATE`` 2**14 tokens take 6 ms, and 2**16 take 24, of which the starts are little.
Larger models come to the bound of memory first."""

BATCH_SHARE = 1 / 8
"""Of an accelerator's free memory, what a batch of gradients may take with all that is kept for
its backward pass. Panels take 0.7 (``memory.SHARE``) together with two batches that are done, and a
larger batch leaves fewer panels in memory, so that each gradient is made more often."""

CPU_RATE, GPU_RATE = 9e10, 2e13
"""Operations a second. For a GPU it is two fifths of what an H200 was measured to do in large
products of float32 without TF32, 5.1e13: not all products are large, and not all is products."""

CPU_COMPILE, GPU_COMPILE = 3.0, 20.0
"""Seconds that a program takes to compile beside others: with the rate, they set how many padded
lengths are worth it. A GPU's are an estimate until they are measured on one: compiling for an H200
without trying candidates took 8 s on two idle cores, and trying them comes on top."""


@dataclass(frozen=True)
class Way:
    """How functions of samples are computed.

    Attributes:
        one_by_one: whether a device takes the samples of a batch one after the other.
        scanned: whether gradients and losses go through layers in a loop.
        lengths: padded ones, at most: programs a function.
        alignment: they are multiples of this.
        compile_seconds: of a program.
        rate: operations a second and device.
        fit: of (length, bytes that a sample takes): samples of a batch on each device.
    """

    one_by_one: bool
    scanned: bool
    lengths: int
    alignment: int
    compile_seconds: float
    rate: float
    fit: Callable[[int, float], float]


def way_here() -> Way:
    """The way for the devices that compute."""
    return WAYS.get(jax.default_backend(), ACCELERATOR)


def _fit_accelerator(length: int, size: float) -> float:
    return min(GPU_TOKENS / length, BATCH_SHARE * usable() / size)


CPU = Way(
    one_by_one=True,
    scanned=False,
    lengths=MOST_LENGTHS,
    alignment=1,
    compile_seconds=CPU_COMPILE,
    rate=CPU_RATE,
    fit=lambda length, size: min(MOST_ROWS, CPU_TOKENS / length),
)

ACCELERATOR = Way(
    one_by_one=False,
    scanned=True,
    lengths=2,
    alignment=ALIGNMENT,  # so that like selections share what is compiled
    compile_seconds=GPU_COMPILE,
    rate=GPU_RATE,
    fit=_fit_accelerator,
)

WAYS = {"cpu": CPU}
"""By JAX's name of the kind of device; ``ACCELERATOR`` for all others."""
