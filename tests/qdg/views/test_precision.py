"""On GPUs, JAX's products of float32 are TF32 unless they are asked to be exact: all are asked."""

import re
from typing import Any

import jax
import numpy as np
import pytest

from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import PRECISION
from jquanta.qdg.cosines.panels import inner
from jquanta.qdg.views.gradient import gradient
from jquanta.qdg.views.parameters import chosen
from jquanta.qdg.views.sketch import projections, sketch
from tests.lm.losses.examples import NEO, NEOX, parameters

PLACE = np.int32(3), np.int32(2)


def precisions(program: Any, *arguments: Any) -> list[str]:
    """Of every matrix product of a program, those of gradients too."""
    text = str(jax.make_jaxpr(program)(*arguments))
    found = re.findall(r"dot_general\[.*?precision=(\w+|\([^)]*\))", text, re.DOTALL)
    assert len(found) == text.count("dot_general[")
    return found


@pytest.mark.parametrize("config", [NEOX, NEO])
def test_every_product_of_a_gradient_is_exact(config: LMConfig) -> None:
    """The backward pass of attention is traced apart, when the caller's precision is not set."""
    names, params = chosen(config), parameters(config)
    tokens = np.zeros(64, np.int32)
    found = precisions(gradient(config, names), params, tokens, *PLACE)
    assert PRECISION == "highest"
    assert len(found) > 30
    assert set(found) == {"(Precision.HIGHEST, Precision.HIGHEST)"}
    around = projections(config, names, 4, jax.random.key(0))
    found = precisions(lambda *x: sketch(config, (), params, around, *x), tokens, *PLACE)
    assert set(found) == {"(Precision.HIGHEST, Precision.HIGHEST)"}


def test_inner_products_are_exact() -> None:
    rows = np.zeros((4, 9), np.float32)
    assert precisions(inner, rows, rows) == ["(Precision.HIGHEST, Precision.HIGHEST)"]
