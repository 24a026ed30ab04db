"""What a computer can do: its memory, and the rates that times of work follow from.

Rates of the local devices are measured within a second; those of a card that is elsewhere were
measured there once.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jquanta.machine.devices import kind, on_host
from jquanta.machine.malloc import CARD_SHARE
from jquanta.machine.memory import DEVICE_SHARE, usable
from jquanta.machine.prices import price

COMPILE = {True: 2.0, False: 15.0}
"""Seconds to compile a program on a CPU, and on accelerators, where it was not noted yet
(``prices``). An H200 took 13 for the losses of the 70m shape (docs/gpu.md)."""

SECONDS = 0.2
"""How long a rate is measured."""


@dataclass(frozen=True)
class Computer:
    """Devices of one kind, their memory and their rates, which are those of all together.

    Attributes:
        name: to be shown.
        kind: of the devices, as ``devices.kind`` names it.
        devices: how many.
        memory: bytes that arrays may take on each device.
        single: operations a second in large float32 products without TF32.
        triple: the same in float32 products by three TF32 products; ``single`` where there is no
            TF32.
        half: the same in bfloat16.
        copy: bytes a second, those read and those written added up.
        compile: seconds to compile a program.
        measured: where the rates are from, in words.
    """

    name: str
    kind: str
    devices: int
    memory: int
    single: float
    triple: float
    half: float
    copy: float
    compile: float
    measured: str

    @property
    def on_host(self) -> bool:
        """Whether the devices are cores of a CPU, in the machine's main memory."""
        return self.kind == "cpu"


H200 = Computer(
    name="NVIDIA H200",
    kind="gpu",
    devices=1,
    memory=int(CARD_SHARE * DEVICE_SHARE * 150.75e9),
    single=50e12,
    triple=107e12,
    half=767e12,
    copy=4.0e12,
    compile=COMPILE[False],
    measured="rates measured on one on 27 November 2026 (docs/gpu.md)",
)
"""By ``python -m benchmarks.gpu --parts rates``."""


def here() -> Computer:
    """The local devices, whose rates are measured now: about a second."""
    count, own = jax.local_device_count(), kind()
    # Several devices of a CPU (for tests) share its cores, and a single product uses all of them.
    times = 1 if on_host() else count
    side = 1024 if on_host() else 8192
    single = times * product_rate(side)
    gpu = own == "gpu"
    return Computer(
        name=device_name(),
        kind=own,
        devices=count,
        memory=usable(),
        single=single,
        triple=times * product_rate(side, precision="TF32_TF32_F32_X3") if gpu else single,
        half=times * product_rate(side, jnp.bfloat16),
        copy=times * copy_rate(2**24 if on_host() else 2**28),
        compile=price(COMPILE[on_host()]),
        measured="rates measured just now",
    )


def device_name() -> str:
    """Number and kind of the local devices, in words."""
    return f"{jax.local_device_count()} x {jax.local_devices()[0].device_kind}"


def product_rate(side: int = 1024, dtype: Any = jnp.float32, precision: str = "highest") -> float:
    """Floating-point operations a second of a square matrix product on the first device.

    Args:
        side: of the matrices.
        dtype: of the factors.
        precision: a name for ``jax.default_matmul_precision``.
    """
    with jax.default_matmul_precision(precision):
        product = jax.jit(lambda a: jnp.matmul(a, a) / side)
        # side³ multiplications and additions each.
        return 2 * side**3 * _rate(product, jnp.ones((side, side), dtype))


def copy_rate(size: int = 2**28) -> float:
    """Bytes a second of a copy on the first device, those read and those written added up."""
    array = jnp.ones(size, jnp.float32)
    return 2 * array.nbytes * _rate(jax.jit(lambda a: a + 1), array)


def _rate(program: Callable[[Any], Any], array: Any) -> float:
    """Calls a second of a program, each on the result of the one before."""
    # The first call compiles and is not timed.
    array = jax.block_until_ready(program(array))
    number, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        array = jax.block_until_ready(program(array))
        number += 1
    return number / (time.perf_counter() - began)
