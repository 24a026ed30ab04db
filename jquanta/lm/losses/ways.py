"""The two methods of computing losses, and the choice between them by the kind of device.

Both give the same losses up to rounding. ``LENGTHS``, for CPUs: each document has a row of its own,
padded to one of a few lengths. Little attention is wasted on pairs of positions of different
documents, and a program for one more length compiles within seconds. ``ROWS``, for other devices:
documents are packed into rows of one length, because on a GPU each matrix product of a new shape
costs seconds of compiling and autotuning before the first loss is there. ``CUT_ROWS``, for models
larger than a device: as ``ROWS``, by parameters that are cut over the devices.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int
from numpy.typing import NDArray

from jquanta.lm.losses.batches import Plan, plan_batches
from jquanta.lm.losses.cross_entropy import Model, losses, prepare
from jquanta.lm.losses.packing import plan_rows, row_length
from jquanta.lm.losses.rows import (
    algorithm,
    batch_bytes,
    cut_bytes,
    cut_losses,
    logits_bytes,
    packed_losses,
    parameter_bytes,
    rows_that_fit,
)
from jquanta.lm.models import cut
from jquanta.lm.models.config import COPIED, CUT, LMConfig
from jquanta.lm.models.network import Params, stack
from jquanta.machine import devices

CPU_TOKENS = 2**9
"""Positions of a batch on a CPU. At the shapes of Pythia 14m and 70m, larger batches do not compute
more tokens per second. And so small a batch wastes no rows: a long document is one by itself."""


@dataclass(frozen=True)
class Way:
    """A method of computing losses.

    Attributes:
        plan: takes (number of predictions of each document, config, dtype, positions of a batch
            on each device or None, number of devices, bytes that may be used on each of them);
            returns the batches. Pure.
        prepare: takes (config, params, mesh); returns the parameters in the layout that ``losses``
            takes, on the devices of the mesh.
        losses: takes (config, prepared parameters, inputs [B, T], targets [B, T] with -1 where
            there is no prediction, start [B, T] of each position's document in its row); returns
            the losses [B, T] in nats. Pure.
        held: takes (config, dtype, number of devices); returns the bytes of parameters on each.
        spec: how prepared parameters lie on the devices.
    """

    plan: Callable[[NDArray[np.int64], LMConfig, DTypeLike, int | None, int, int], Plan]
    prepare: Callable[[LMConfig, Params, Mesh], Any]
    losses: Callable[..., Array]
    held: Callable[[LMConfig, DTypeLike, int], int]
    spec: P


def way_here(placement: str = COPIED) -> Way:
    """The method for JAX's default kind of device."""
    return way_of(jax.default_backend(), placement)


def way_of(kind: str, placement: str = COPIED) -> Way:
    """The method for a kind of device, by the name that JAX or ``devices.kind`` has for it, and for
    where parameters lie, one of ``config.PLACEMENTS``."""
    return CUT_ROWS if placement == CUT else WAYS.get(kind, ROWS)


def placement_for(
    config: LMConfig, dtype: DTypeLike, longest: int, kind: str, memory: int, devices: int
) -> str:
    """Where a model's parameters are to lie: copied, unless that does not fit.

    Args:
        config: the model's shape.
        dtype: of parameters and of the factors of matrix products.
        longest: predictions of the longest document.
        kind: of the devices.
        memory: bytes that may be used on each device.
        devices: how many.
    """
    beside = batch_bytes(config, dtype, 1, row_length(np.array([longest])))
    if way_of(kind) is not LENGTHS:  # whose tiles of logits are small
        beside += logits_bytes(config)
    return CUT if cut.needed(config, dtype, beside, memory, devices) else COPIED


def _plan_lengths(
    predictions: NDArray[np.int64],
    config: LMConfig,
    dtype: DTypeLike,
    tokens: int | None,
    devices: int,
    memory: int,
) -> Plan:
    return plan_batches(predictions, config.context, tokens or CPU_TOKENS, devices)


def _prepare_lengths(config: LMConfig, params: Params, mesh: Mesh) -> Model:
    model: Model = jax.device_put(prepare(config, params), devices.copied(mesh))
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
    held: Callable[[LMConfig, DTypeLike, int], int],
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
        most = rows_that_fit(config, dtype, length, memory, held(config, dtype, devices))
    else:
        most = max(1, tokens // length)
    return plan_rows(predictions, length, most, devices)


def _prepare_rows(config: LMConfig, params: Params, mesh: Mesh) -> Params:
    return stack(config, params, partial(jax.device_put, device=devices.copied(mesh)))


def _losses_of_rows(
    method: Callable[..., Array],
    config: LMConfig,
    stacked: Params,
    inputs: Int[Array, "B T"],
    targets: Int[Array, "B T"],
    start: Int[Array, "B T"],
) -> Float[Array, "B T"]:
    dtype = next(iter(stacked.values())).dtype
    precision = algorithm(dtype, devices.kind())
    return method(config, stacked, inputs, targets, start, precision=precision)


def _copy_bytes(config: LMConfig, dtype: DTypeLike, devices: int) -> int:
    return parameter_bytes(config, dtype)


LENGTHS = Way(_plan_lengths, _prepare_lengths, _losses_of_lengths, _copy_bytes, P())
"""One document in each row, documents of similar length in a batch."""

ROWS = Way(
    partial(_plan_rows, _copy_bytes),
    _prepare_rows,
    partial(_losses_of_rows, packed_losses),
    _copy_bytes,
    P(),
)
"""Documents packed into rows of one length."""

CUT_ROWS = Way(
    partial(_plan_rows, cut_bytes),
    cut.shares,
    partial(_losses_of_rows, cut_losses),
    cut_bytes,
    P(None, devices.DEVICES),
)
"""The same by parameters that are cut over the devices."""

WAYS = {"cpu": LENGTHS}
"""The method for each kind of device, by JAX's name of the backend; ``ROWS`` for all others."""
