"""What holds of every architecture, and so of one that is added: all its layouts agree with one
another, in float64, and with transformers.

A new entry of ``network.NETWORKS`` is tested here without further ado; its switches are to be
entered in ``switches``, for ``test_families``.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from transformers import AutoModelForCausalLM

from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.layout import TILE
from jquanta.lm.models.model import Model
from jquanta.lm.models.network import (
    NETWORKS,
    build,
    features,
    forward,
    init,
    logits_at,
    packed_features,
    shapes,
    stack,
)
from jquanta.lm.models.roles import role
from jquanta.lm.models.rows import Apart, Packed, Single
from jquanta.lm.weights.load import load_model
from jquanta.lm.weights.save import save_model
from jquanta.lm.weights.tables import ARCHITECTURES
from tests.lm.models import examples

torch = pytest.importorskip("torch")

LENGTH = TILE + 33  # the queries take two tiles

EXACT = 1e-11
"""Sums of some hundred float64 numbers near 1 in another order."""

STOCK = 5e-5
"""transformers computes softmaxes and rotary tables in float32: see ``test_parity``."""

pytestmark = pytest.mark.usefixtures("x64")


@pytest.fixture(params=NETWORKS, ids=lambda kind: kind.__name__)
def model(request: pytest.FixtureRequest, x64: None) -> Model:
    """Two layers of two heads in float64, no parameter at 0 or 1."""
    config = request.param(layers=2, width=32, heads=2, vocab=examples.VOCAB, context=LENGTH)
    params = init(config, jax.random.key(0), jnp.float64)
    noise = jax.random.split(jax.random.key(1), len(params))
    return Model(
        config,
        {
            name: 5 * x if x.ndim == 2 else x + 0.3 * jax.random.normal(key, x.shape, x.dtype)
            for key, (name, x) in zip(noise, params.items(), strict=True)
        },
    )


def close(found: Any, wanted: Any, tolerance: float = EXACT) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=0, atol=tolerance)


def test_transformers_computes_the_same(model: Model, tmp_path: Path) -> None:
    """By way of files, in rows and in columns; and what is loaded again is what was saved."""
    config, params = model.config, model.params
    save_model(tmp_path, config, params)
    tokens = examples.documents(2, LENGTH)
    stock = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    with torch.no_grad():
        wanted = stock(torch.tensor(tokens)).logits.numpy()
    assert 0.5 < np.std(wanted) < 10  # logits that say something
    close(examples.logits(config, params, tokens), wanted, STOCK)
    one = jax.jit(logits_at, static_argnums=0)
    for document, at in ((0, 0), (1, TILE), (1, LENGTH - 1)):
        close(one(config, params, tokens[document], at), wanted[document, at], STOCK)
    again = load_model(tmp_path, dtype=jnp.float64)
    assert again.config == config
    assert all(np.array_equal(again.params[name], x) for name, x in params.items())


@pytest.mark.thorough(keep=3)
def test_packed_documents_are_documents_apart(model: Model) -> None:
    """In a scan over the layers, with a second document behind the first."""
    config, params = model.config, model.params
    tokens, cut = jnp.asarray(examples.documents(1, LENGTH)), LENGTH - 50
    start = jnp.where(jnp.arange(LENGTH) < cut, 0, cut)[None]
    found = packed_features(config, stack(config, params), tokens, start)
    close(found[:, :cut], features(config, params, tokens[:, :cut]))
    close(found[:, cut:], features(config, params, tokens[:, cut:]))


def test_one_position_of_a_block(model: Model) -> None:
    """However it is taken from the others."""
    layer = build(model.config, model.params).layers[1]
    x = jax.random.normal(jax.random.key(2), (2, LENGTH, 32))
    whole, at = layer(x, Apart()), jnp.asarray(TILE + 3)
    close(layer(x, Single(at)), whole[:, TILE + 3 : TILE + 4])
    close(layer(x, Apart(at=jnp.full((2, 1), at))), whole[:, TILE + 3 : TILE + 4])
    close(layer(x, Packed(jnp.zeros((2, LENGTH), int))), whole)
    assert float(jnp.abs(whole - x).max()) > 0.1


@pytest.mark.thorough(keep=4)
def test_gradients_in_columns_are_those_in_rows(model: Model) -> None:
    """Of every parameter; attention's backward pass is written out in both."""
    config, tokens = model.config, jnp.asarray(examples.documents(1, LENGTH)[0])
    at, weights = jnp.asarray(LENGTH - 2), jnp.cos(jnp.arange(float(examples.VOCAB)))

    def in_columns(params: dict[str, Array]) -> Array:
        return logits_at(config, params, tokens, at) @ weights

    def in_rows(params: dict[str, Array]) -> Array:
        return forward(config, params, tokens[None], at[None, None])[0, 0] @ weights

    found, wanted = (jax.jit(jax.grad(f))(dict(model.params)) for f in (in_columns, in_rows))
    size = max(float(jnp.abs(x).max()) for x in wanted.values())
    assert size > 0.1
    for name, x in wanted.items():
        close(found[name], x, 1e-9 * size)


def test_names_tell_roles(model: Model) -> None:
    assert len({role(name) for name in model.params}) >= 4


def test_there_is_a_table_of_names_for_each() -> None:
    assert ARCHITECTURES.keys() == NETWORKS.keys()
    assert len({table.kind for table in ARCHITECTURES.values()}) == len(ARCHITECTURES)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_single_block_has_the_parameters_of_each(kind: type[LMConfig]) -> None:
    config = kind(layers=3, width=32, heads=2, vocab=50)
    one, all_ = shapes(config.of_one_block()), shapes(config)
    for name, shape in all_.items():
        _, number, rest = name.split(".", 2) if name.startswith("layers.") else ("", "0", "")
        assert one[f"layers.0.{rest}" if rest else name] == shape, number
    assert len(config.windows) == 3
