"""The cores of a CPU as devices of their own."""

import os

import jax


def count() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def as_devices() -> bool:
    """Have JAX see each core as a device of one thread; whether it will.

    By default a CPU is one device, whose threads wait for each other at every product. Work that
    falls into equal parts is done sooner by devices that never wait: the sweep of the embedded
    default takes a fifth to a quarter less time on 2 cores.

    To be called before JAX computes anything. Later, or where ``XLA_FLAGS`` already tells how to
    use the cores, nothing changes. GPUs are not touched.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "host_platform_device_count" in flags or "multi_thread_eigen" in flags:
        return False
    try:
        jax.config.update("jax_num_cpu_devices", count())
    except RuntimeError:  # JAX runs already
        return False
    os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    return True
