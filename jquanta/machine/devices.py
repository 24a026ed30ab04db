"""The local devices: of what kind they are, and how work is spread over them."""

import math
import re

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

DEVICES = "devices"
"""Name of the only axis of ``mesh``."""


def kind() -> str:
    """``cpu`` or ``tpu``; ``gpu`` for an NVIDIA GPU of the last years, ``other`` for anything else.

    The kernels and the products by several TF32 ones need compute capability 8.0 (Ampere) or newer.
    """
    backend = jax.default_backend()
    return "other" if backend == "gpu" and capability() < 8 else backend


def capability() -> float:
    """The compute capability of the NVIDIA GPU at hand, such as 9.0; 0 for any other device."""
    found = str(getattr(jax.local_devices()[0], "compute_capability", ""))
    return float(found) if re.fullmatch(r"\d+\.\d+", found) else 0.0


def on_host() -> bool:
    """Whether the devices' memory is the machine's own."""
    return jax.default_backend() == "cpu"


def mesh(pieces: int | None = None) -> Mesh:
    """The local devices in a line.

    Args:
        pieces: of the work; as many devices are taken as cut it into equal shares. All if None.
    """
    devices = jax.local_devices()
    count = len(devices) if pieces is None else math.gcd(pieces, len(devices))
    return Mesh(np.array(devices[:count]), (DEVICES,), axis_types=(AxisType.Auto,))


def copied(mesh: Mesh) -> NamedSharding:
    """A copy of an array on every device of the mesh."""
    return NamedSharding(mesh, P())


def cut(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """An array cut along an axis, an equal share for each device of the mesh."""
    return NamedSharding(mesh, P(*(None,) * axis, DEVICES))
