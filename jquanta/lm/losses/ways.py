"""The two methods of computing losses, and the choice between them by the kind of device.

Both give the same losses up to rounding. ``LENGTHS``, for CPUs: each document has a row of its own,
padded to one of a few lengths. Little attention is wasted on pairs of positions of different
documents, and a program for one more length compiles within seconds. ``ROWS``, for other devices:
documents are packed into rows of one length, because on a GPU each matrix product of a new shape
costs seconds of compiling and autotuning before the first loss is there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int
from numpy.typing import NDArray

from jquanta.lm.losses.batches import Plan, plan_batches
from jquanta.lm.losses.cross_entropy import Model, losses, prepare
from jquanta.lm.losses.packing import plan_rows, row_length
from jquanta.lm.losses.rows import algorithm, packed_losses, rows_that_fit
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import Params, stack
from jquanta.machine import devices

CPU_TOKENS = 2**9
"""Positions of a batch on a CPU. At the shapes of Pythia 14m and 70m, larger batches do not compute
more tokens per second. And so small a batch wastes no rows: a long document is one by itself."""

Put = Callable[[Any], Any]
"""Copies arrays, or a tree of them, to the devices that compute."""


@dataclass(frozen=True)
class Way:
    """A method of computing losses, as three functions.

    Attributes:
        plan: takes (number of predictions of each document, config, dtype, positions of a batch
            on each device or None, number of devices, bytes that may be used on each of them);
            returns the batches. Pure.
        prepare: takes (config, params, put); returns the parameters in the layout that ``losses``
            takes, copied to the devices by ``put``.
        losses: takes (config, prepared parameters, inputs [B, T], targets [B, T] with -1 where
            there is no prediction, start [B, T] of each position's document in its row); returns
            the losses [B, T] in nats. Pure.
    """

    plan: Callable[[NDArray[np.int64], LMConfig, DTypeLike, int | None, int, int], Plan]
    prepare: Callable[[LMConfig, Params, Put], Any]
    losses: Callable[..., Array]


def way_here() -> Way:
    """The method for JAX's default kind of device."""
    return way_of(jax.default_backend())


def way_of(kind: str) -> Way:
    """The method for a kind of device, by the name that JAX or ``devices.kind`` has for it."""
    return WAYS.get(kind, ROWS)


def _plan_lengths(
    predictions: NDArray[np.int64],
    config: LMConfig,
    dtype: DTypeLike,
    tokens: int | None,
    devices: int,
    memory: int,
) -> Plan:
    return plan_batches(predictions, config.context, tokens or CPU_TOKENS, devices)


def _prepare_lengths(config: LMConfig, params: Params, put: Put) -> Model:
    model: Model = put(prepare(config, params))
    return model


def _losses_of_lengths(
    config: LMConfig,
    model: Model,
    inputs: Int[Array, "B T"],
    targets: Int[Array, "B T"],
    start: Int[Array, "B T"],
) -> Float[Array, "B T"]:
    # Each row holds one document from its first position on, so ``start`` is not needed.
    counts = (targets >= 0).sum(1)
    return losses(config, model, inputs, jnp.maximum(targets, 0), counts)


def _plan_rows(
    predictions: NDArray[np.int64],
    config: LMConfig,
    dtype: DTypeLike,
    tokens: int | None,
    devices: int,
    memory: int,
) -> Plan:
    length = row_length(predictions)
    # Without a wish of the user's, the batch is as large as the device's free memory allows.
    if tokens is None:
        most = rows_that_fit(config, dtype, length, memory)
    else:
        most = max(1, tokens // length)
    return plan_rows(predictions, length, most, devices)


def _losses_of_rows(
    config: LMConfig,
    stacked: Params,
    inputs: Int[Array, "B T"],
    targets: Int[Array, "B T"],
    start: Int[Array, "B T"],
) -> Float[Array, "B T"]:
    dtype = next(iter(stacked.values())).dtype
    precision = algorithm(dtype, devices.kind())
    return packed_losses(config, stacked, inputs, targets, start, precision=precision)


LENGTHS = Way(_plan_lengths, _prepare_lengths, _losses_of_lengths)
"""One document in each row, documents of similar length in a batch."""

ROWS = Way(_plan_rows, stack, _losses_of_rows)
"""Documents packed into rows of one length."""

WAYS = {"cpu": LENGTHS}
"""The method for each kind of device, by JAX's name of the backend; ``ROWS`` for all others."""
