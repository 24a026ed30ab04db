"""What kind of device computes here: some ways and algorithms are for one kind only."""

import re

import jax


def kind() -> str:
    """``cpu`` or ``tpu``; ``gpu`` for an NVIDIA GPU of the last years, ``other`` for anything else.

    The kernels and the products by several TF32 ones need compute capability 8.0 (Ampere) or newer.
    """
    backend = jax.default_backend()
    if backend != "gpu":
        return backend
    capability = str(getattr(jax.local_devices()[0], "compute_capability", ""))
    modern = re.fullmatch(r"\d+\.\d+", capability) and float(capability) >= 8
    return "gpu" if modern else "other"
