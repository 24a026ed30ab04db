"""Stacked networks, which are not packed: a step by several algorithms of float32 products."""

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
    """Eight networks of two hidden layers of 200 tanh units, Figure 2's task and batch."""
    runs = load_config({}, flags=WORKLOAD | (SMALL | {"network.width": 8} if small else {})).runs()
    expected = None
    for name in NAMES:
        algorithm = ALGORITHMS[name]
        if jax.default_backend() == "cpu" and isinstance(algorithm, DotAlgorithmPreset):
            yield Row(f"a step, {name}", None, note="not supported here", shown=False)
            continue
        network.PRECISION = algorithm
        jax.clear_caches()
        stack = solo.Stack(runs)
        # Adam's first moments after a step are the first gradients, but for a factor.
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
