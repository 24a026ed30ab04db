"""What kind of device computes here: some ways and algorithms are for one kind only."""

import re

import jax


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
