"""The cores of a CPU, each as a JAX device."""

import os

import jax


def count() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def as_devices() -> bool:
    """Make JAX treat each core of the CPU as a device with a single thread.

    By default the CPU is one device, whose threads synchronise at every matrix product. Work that
    splits into independent parts of equal size finishes sooner on devices that need not wait for
    each other: the embedded default sweep takes a fifth to a quarter less time on 2 cores.

    Call this before JAX computes anything. Later, or if ``XLA_FLAGS`` already sets how cores are
    used, nothing changes. GPUs are not affected.

    Returns:
        Whether each core is now a device.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "host_platform_device_count" in flags or "multi_thread_eigen" in flags:
        return False
    try:
        jax.config.update("jax_num_cpu_devices", count())
    except RuntimeError:  # JAX has already initialised its devices
        return False
    os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    return True
