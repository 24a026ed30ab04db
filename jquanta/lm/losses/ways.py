"""Which batches and which program give a model's losses on the devices at hand: decided here.

Two ways give the same losses, to rounding. On a CPU each document has a row, padded to one of a few
lengths: attention works for hardly any pair of positions that do not see each other, and a program
compiles in seconds. On other devices documents are packed into rows of one length, for there every
product that differs from the others costs seconds before the first loss.
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
from jquanta.machine.memory import usable

CPU_TOKENS = 2**9
"""Positions of a batch. Measured at 14m and 70m, more make no token faster, and so few that a long
document goes alone leave no rows of a batch empty."""

Put = Callable[[Any], Any]


@dataclass(frozen=True)
class Way:
    """How losses are computed.

    Attributes:
        plan: of (predictions of each document, config, dtype, positions of a batch on each device
            or None, devices): the batches.
        prepare: of (config, params, put): parameters as ``losses`` takes them, where ``put``
            brings arrays.
        losses: of (config, prepared parameters, inputs [B, T], targets [B, T] with -1 where there
            is no prediction, start [B, T] of each position's document): losses [B, T] in nats.
            Pure.
    """

    plan: Callable[[NDArray[np.int64], LMConfig, DTypeLike, int | None, int], Plan]
    prepare: Callable[[LMConfig, Params, Put], Any]
    losses: Callable[..., Array]


def way_here() -> Way:
    """The way for the devices that compute."""
    return WAYS.get(jax.default_backend(), ROWS)


def _plan_lengths(
    predictions: NDArray[np.int64],
    config: LMConfig,
    dtype: DTypeLike,
    tokens: int | None,
    devices: int,
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
    counts = (targets >= 0).sum(1)
    return losses(config, model, inputs, jnp.maximum(targets, 0), counts)


def _plan_rows(
    predictions: NDArray[np.int64],
    config: LMConfig,
    dtype: DTypeLike,
    tokens: int | None,
    devices: int,
) -> Plan:
    length = row_length(predictions)
    if tokens is None:
        most = rows_that_fit(config, dtype, length, usable())
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
"""Documents of like length together, each a row."""

ROWS = Way(_plan_rows, stack, _losses_of_rows)
"""Documents packed into rows of one length."""

WAYS = {"cpu": LENGTHS}
"""By JAX's name of the kind of device; ``ROWS`` for all others."""
