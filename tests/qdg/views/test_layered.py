"""Views by parameters that are cut over the devices, against those by copies.

In float64 both are the same sums in another order: 1e-11 of a view's size, as in test_scanned. In
float32 numbers pass through three blocks and back, 1e-6 in another order; 1e-5 is asked.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jquanta import qdg
from jquanta.errors import Interrupted
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.model import Model
from jquanta.lm.models.network import init
from jquanta.lm.models.pythia import pythia
from jquanta.machine.computer import H200
from jquanta.machine.devices import mesh
from jquanta.qdg import estimate
from jquanta.qdg.cosines.features import features
from jquanta.qdg.views.activations import Activations
from jquanta.qdg.views.factors import Factors
from jquanta.qdg.views.gradient import Gradients
from jquanta.qdg.views.lowrank import dense, is_low
from jquanta.qdg.views.per_sample import _program
from jquanta.qdg.views.sketch import Sketch
from jquanta.qdg.views.view import Function
from tests.cuda import lowered_for_cuda, scatters
from tests.lm.losses.examples import LLAMA, NEO, NEOX
from tests.monitors import Watch
from tests.qdg import examples

EXACT, ROUNDING = 1e-11, 1e-5

DEEP = replace(NEOX, layers=3)
WINDOWS = replace(NEO, layers=4, reach=("global", "local", "local", "global"), window=7)


def apart(tree: Any) -> dict[str, np.ndarray]:
    """Arrays by their place in the tree, factors multiplied out."""
    whole = jax.tree.map(lambda x: dense(x) if is_low(x) else x, tree, is_leaf=is_low)
    found, _ = jax.tree_util.tree_flatten_with_path(whole)
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in found}


def computed(function: Function, *samples: Any) -> dict[str, np.ndarray]:
    """Of two samples, side by side; gradients by the names of parameters."""
    program = _program(function.one, mesh(), False, function.cut)
    found = program(function.constants, *samples)
    return apart(found if not isinstance(found, dict) else function.by_name(found))


CASES: list[tuple[LMConfig, Any]] = [
    (DEEP, Gradients(".")),  # norms, the embedding and the unembedding, too
    (WINDOWS, Gradients(".")),  # tied: both ends of the network add to one gradient
    (DEEP, Gradients([r"layers\.1\.mlp", r"layers\.2\.attention\.out"])),  # none of the first block
    (replace(NEOX, layers=1), Gradients()),
    (replace(LLAMA, layers=3, local_from=1), Gradients("reference")),
    (DEEP, Sketch("reference", size=6)),
    (WINDOWS, Sketch([r"mlp", r"layers\.2\.attention_norm"], size=6)),
    (replace(LLAMA, layers=3, local_from=1), Sketch(size=4)),
    (DEEP, Activations(1)),
    (WINDOWS, Activations()),
    (DEEP, Factors(rank=4)),
]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("config", "view"), CASES)
def test_blocks_one_by_one_give_what_all_give(config: LMConfig, view: Any) -> None:
    """An odd length, with tokens after the position, of samples side by side."""
    chance = np.random.default_rng(0)
    params = init(config, jax.random.key(1), jnp.float64)
    params = {name: x + 0.1 * chance.normal(size=x.shape) for name, x in params.items()}
    model = Model(config, params)
    samples = (
        chance.integers(0, config.vocab, (2, 37)).astype(np.int32),
        np.array([36, 20], np.int32),
        np.array([5, 0], np.int32),
    )
    make = view.measured if isinstance(view, Factors) else view.function
    whole = make(model)
    if isinstance(view, Factors):  # named by loops on a CPU, too
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("jquanta.qdg.views.gradient.way_here", lambda: replace_way())
            whole = make(model)
    wanted = computed(whole, *samples)
    found = computed(make(replace(model, placement="cut")), *samples)
    assert found.keys() == wanted.keys()
    for name, x in wanted.items():
        size = max(float(np.abs(x).max()), 1.0)
        assert found[name].shape == x.shape
        np.testing.assert_allclose(found[name], x, rtol=0, atol=EXACT * size, err_msg=name)


def replace_way() -> Any:
    """An accelerator's."""
    from jquanta.qdg.views.ways import ACCELERATOR

    return ACCELERATOR
