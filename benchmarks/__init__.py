"""Benchmarks that compare this package with rivals, in one process and in turn.

``parity``, ``losses``, ``qdg``, ``sketch``, ``families`` and ``spectrum`` are commands; ``gpu``
collects what is measured on a GPU, and ``scale`` says how work grows. Each writes a record in JSON
with its hardware and versions.
"""

import os

# By default JAX allocates most of a GPU's memory at its first use, which would leave none to torch.
# The variable has to be set before jax is imported for the first time, so it is set here.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
