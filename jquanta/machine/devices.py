"""The local devices: what kind they are, and how arrays are sharded over them."""

import math
import re

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

DEVICES = "devices"
"""Name of the only axis of ``mesh``."""


def kind() -> str:
    """The kind of JAX's default device: ``cpu``, ``tpu``, ``gpu`` or ``other``.

    ``gpu`` is an NVIDIA GPU of compute capability 8.0 (Ampere) or newer, as the kernels and the
    float32 products made of several TF32 products need it; older GPUs and those of other makers are
    ``other``.
    """
    backend = jax.default_backend()
    return "other" if backend == "gpu" and capability() < 8 else backend


def capability() -> float:
    """Compute capability of the local NVIDIA GPU, such as 9.0; 0 for any other device."""
    found = str(getattr(jax.local_devices()[0], "compute_capability", ""))
    return float(found) if re.fullmatch(r"\d+\.\d+", found) else 0.0


def on_host() -> bool:
    """Whether the devices use the machine's main memory, as CPUs do."""
    return jax.default_backend() == "cpu"


def mesh(pieces: int | None = None) -> Mesh:
    """A mesh of one axis over the local devices.

    Args:
        pieces: length of the axis that will be sharded. The mesh has the greatest number of
            devices that divides both this and the number of local devices. None takes all devices.
    """
    devices = jax.local_devices()
    count = len(devices) if pieces is None else math.gcd(pieces, len(devices))
    return Mesh(np.array(devices[:count]), (DEVICES,), axis_types=(AxisType.Auto,))


def copied(mesh: Mesh) -> NamedSharding:
    """The sharding of an array that is replicated on every device of the mesh."""
    return NamedSharding(mesh, P())


def cut(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """The sharding of an array that is cut along ``axis`` into equal parts, one for each device."""
    return NamedSharding(mesh, P(*(None,) * axis, DEVICES))
