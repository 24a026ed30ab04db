"""Steps of stacked (not packed) networks, by several algorithms for float32 products."""

import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.lax import DotAlgorithmPreset

from benchmarks.gpu.rates import ALGORITHMS
from benchmarks.gpu.record import Row
from benchmarks.gpu.timing import median_row
from benchmarks.gpu.trainer import SMALL
from jquanta.parity import network, solo
from jquanta.sweep.config import load_config

NAMES = ("HIGHEST", "TF32_TF32_F32_X3", "BF16_BF16_F32_X3", "BF16_BF16_F32_X6")
STEPS, SAMPLES = 20, 5
WORKLOAD: dict[str, Any] = {
    "network.depth": 3,
    "network.width": 200,
    "network.activation": "tanh",
    "train.seed": "0, 1, 2, 3, 4, 5, 6, 7",
}


def measure(small: bool) -> Iterator[Row]:
    """Time a step of eight networks with two hidden layers of 200 tanh units each.

    Task and batch size are those of Figure 2.
    """
    runs = load_config({}, flags=WORKLOAD | (SMALL | {"network.width": 8} if small else {})).runs()
    expected = None
    for name in NAMES:
        algorithm = ALGORITHMS[name]
        if jax.default_backend() == "cpu" and isinstance(algorithm, DotAlgorithmPreset):
            yield Row(f"a step, {name}", None, note="not supported here", shown=False)
            continue
        # The algorithm is a constant of the module; clearing the caches compiles with the new one.
        network.PRECISION = algorithm
        jax.clear_caches()
        stack = solo.Stack(runs)
        # After one step, Adam's first moments are the gradients times a constant factor.
        state = stack.advance(stack.start(), 1)
        change = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.adam.mu)])
        expected = change if expected is None else expected
        off = np.linalg.norm(change - expected) / np.linalg.norm(expected)
        seconds = []
        for _ in range(SAMPLES):
            began = time.perf_counter()
            state = jax.block_until_ready(stack.advance(state, STEPS))
            seconds.append((time.perf_counter() - began) / STEPS)
        note = f"first gradients off by {off:.1e} from {NAMES[0]}"
        yield median_row(f"a step, {name}", tuple(seconds), note=note)
