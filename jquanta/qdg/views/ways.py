"""How functions of samples are computed, by the kind of device.

On a CPU, each core takes one sample after the other, with each layer written out and positions as
columns: the activations of one sample stay in the core's cache. Programs compile in seconds, so
there may be many padded lengths. An accelerator takes many samples at once. Programs compile
slowly for it, since XLA times several kernels for each shape of a matrix product: there are at most
two padded lengths, and the layers are in a loop (``scanned``).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax

from jquanta.lm.losses.batches import MOST_LENGTHS
from jquanta.lm.losses.packing import ALIGNMENT
from jquanta.lm.models.config import COPIED, CUT

CPU_TOKENS = 2**11
"""Tokens of a batch on a CPU, at most: the work that a core is given at a time."""

MOST_ROWS = 32
"""Samples of a batch on a CPU, at most: an eighth of a panel of rows (``blockwise.PANEL``), so that
whole batches fill a panel with little room left over."""

GPU_TOKENS = 2**16
"""Tokens of a batch on each device, at most. The program for a model of 6 layers runs about a
thousand kernels a batch; at a few µs to launch one, that is some ms. At the 14m shape a token is 7
million operations, so by ``GPU_RATE`` 2**14 tokens take 6 ms and 2**16 take 24 ms, of which the
launches are a small part. Larger models reach the limit of memory first."""

BATCH_SHARE = 1 / 8
"""The share of an accelerator's usable memory (``memory.usable``) that a batch of gradients may
take, with the activations that are kept for its backward pass. Panels of rows and two finished
batches share the rest; a larger batch would leave room for fewer panels, and each gradient would be
made more often."""

CPU_RATE, GPU_RATE = 9e10, 2e13
"""Operations a second. For a GPU: two fifths of the 5.1e13 that were measured on an H200 in large
float32 products without TF32, since not all products are large and not all of the time goes into
products."""

CPU_COMPILE, GPU_COMPILE = 3.0, 20.0
"""Seconds that a program takes to compile while others do: together with the rate they decide how
many padded lengths are worth their programs. The number for a GPU is an estimate: compiling for an
H200 took 8 s on two idle cores without timing kernels, and timing comes on top."""


@dataclass(frozen=True)
class Way:
    """How functions of samples are computed.

    Attributes:
        one_by_one: whether a device takes the samples of a batch one after the other.
        scanned: whether gradients and losses go through layers in a loop.
        lengths: padded ones, at most: programs a function.
        alignment: padded lengths are multiples of this.
        compile_seconds: of a program.
        rate: operations a second and device.
        cut: whether parameters are cut over the devices (``layered``).
        fit: of (length, bytes that a sample takes, bytes that may be used on each device): samples
            of a batch on each device. Pure.
    """

    one_by_one: bool
    scanned: bool
    lengths: int
    alignment: int
    compile_seconds: float
    rate: float
    fit: Callable[[int, float, int], float]
    cut: bool = False


def way_here(placement: str = COPIED) -> Way:
    """The way for JAX's default devices."""
    return way_of(jax.default_backend(), placement)


def way_of(kind: str, placement: str = COPIED) -> Way:
    """The way for a kind of device, by the name that JAX or ``devices.kind`` has for it, and for
    where parameters lie, one of ``config.PLACEMENTS``."""
    return CUT_WAY if placement == CUT else WAYS.get(kind, ACCELERATOR)


def _fit_cpu(length: int, size: float, memory: int) -> float:
    return min(MOST_ROWS, CPU_TOKENS / length)


def _fit_accelerator(length: int, size: float, memory: int) -> float:
    return min(GPU_TOKENS / length, BATCH_SHARE * memory / size)


CPU = Way(
    one_by_one=True,
    scanned=False,
    lengths=MOST_LENGTHS,
    alignment=1,
    compile_seconds=CPU_COMPILE,
    rate=CPU_RATE,
    fit=_fit_cpu,
)

ACCELERATOR = Way(
    one_by_one=False,
    scanned=True,
    lengths=2,
    alignment=ALIGNMENT,  # so that other samples often need the same programs
    compile_seconds=GPU_COMPILE,
    rate=GPU_RATE,
    fit=_fit_accelerator,
)

CUT_WAY = replace(ACCELERATOR, cut=True)
"""For parameters that are cut over the devices, of whatever kind."""

WAYS = {"cpu": CPU}
"""By JAX's name of the kind of device; ``ACCELERATOR`` for all others."""
