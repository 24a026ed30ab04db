"""Pallas kernels for NVIDIA GPUs, by way of Triton: whether there can be any, and their options."""

from typing import Any

from jquanta.machine.devices import on_host

plt: Any
try:
    from jax.experimental.pallas import triton as plt
except ImportError:  # JAX plans to drop its Triton backend one day
    plt = None

AVAILABLE = plt is not None

__all__ = ["AVAILABLE", "options", "plt"]


def options(warps: int, stages: int) -> dict[str, Any]:
    """Options of ``pallas_call``: warps and pipeline stages for Triton; where there is no
    accelerator, Pallas' interpret mode, which is slow and does the same arithmetic."""
    if on_host():
        return {"interpret": True}
    return {"compiler_params": plt.CompilerParams(num_warps=warps, num_stages=stages)}
