"""Benchmarks: rivals, records, and the commands that measure them in one process."""

import os

# JAX would take most of a GPU's memory at its first use and leave torch none. Here, because it
# must be said before anything imports jax.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
