"""Programs as they are lowered for an NVIDIA GPU, on a machine that needs none.

Lowering ends before XLA compiles: it shows that every operation has a rule for the GPU, that a
Pallas kernel's types are right, and which operations the program holds.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import pytest

H200 = jax.sharding.AbstractDevice("NVIDIA H200", num_cores=132, platform="gpu")


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Have the code choose what it chooses on a GPU.

    Traces made for the CPU are forgotten before, and those made here afterwards: JAX keeps them by
    function and shapes, and knows nothing of the choice.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: "gpu")
        jax.clear_caches()
        try:
            yield
        finally:
            jax.clear_caches()


def lowered_for_cuda(program: Any, *arguments: Any, **more: Any) -> str:
    """The StableHLO text of a jitted function, lowered for CUDA.

    Args:
        program: what ``jax.jit`` gives.
        arguments: arrays, ``jax.ShapeDtypeStruct`` or static values; ``more`` by keyword.
    """
    # JAX from 0.11 on asks which GPU a Pallas kernel is for, where there is none to be seen.
    mesh = jax.sharding.AbstractMesh((), (), abstract_device=H200)
    with jax.sharding.use_abstract_mesh(mesh):
        return program.trace(*arguments, **more).lower(lowering_platforms=("cuda",)).as_text()


def scatters(text: str) -> int:
    """Scatters in a lowered program. On a GPU their additions wait for one another."""
    return len(re.findall(r'"stablehlo\.scatter"', text))
