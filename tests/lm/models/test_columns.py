"""One position's logits with positions in columns: the networks are the slow twin, in float64."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from jquanta.errors import BadInput
from jquanta.lm.models import columns
from jquanta.lm.models.config import GPTNeoXConfig, LMConfig
from jquanta.lm.models.gpt_neo import GPTNeoConfig
from jquanta.lm.models.layout import TILE
from jquanta.lm.models.llama import LlamaConfig
from jquanta.lm.models.network import forward, init, logits_at, shapes

SIZES: dict[str, Any] = {"layers": 3, "width": 32, "heads": 2, "vocab": 50, "context": 300}
MODELS: dict[str, LMConfig] = {
    "GPTNeoXConfig": GPTNeoXConfig(**SIZES),
    "GPTNeoConfig": GPTNeoConfig(**SIZES, window=7),
    "wide window": LlamaConfig(**SIZES, kv_heads=1, window=TILE + 5),  # over two tiles of keys
}
LINEARS: dict[type[LMConfig], int] = {GPTNeoXConfig: 4, GPTNeoConfig: 6, LlamaConfig: 7}
"""Linear layers of a block."""

PLACES = {9: (0, 4, 8), TILE: (TILE - 1,), 2 * TILE + 3: (TILE - 1, TILE, 200, 2 * TILE + 2)}
"""Positions to look at, by the number of tokens: below a tile, one, and more."""

EXACT = 1e-11
"""Sums of some hundred float64 numbers near 1 in another order."""


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest, x64: None) -> tuple[LMConfig, dict[str, Array]]:
    config = MODELS[request.param]
    noise = jax.random.key(1)
    params = init(config, jax.random.key(0), jnp.float64)
    return config, {
        name: 5 * x if x.ndim == 2 else x + 0.3 * jax.random.normal(noise, x.shape, x.dtype)
        for name, x in params.items()
    }


def tokens_of(length: int) -> Array:
    return jnp.asarray(np.random.default_rng(length).integers(0, 50, length))


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("length", PLACES)
def test_logits_are_the_networks(model: tuple[LMConfig, dict[str, Array]], length: int) -> None:
    config, params = model
    tokens = tokens_of(length)
    wanted = forward(config, params, tokens[None])[0]
    one = jax.jit(logits_at, static_argnums=0)
    for at in PLACES[length]:
        found = one(config, params, tokens, jnp.asarray(at))
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, wanted[at], rtol=0, atol=EXACT)


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("length", PLACES)
def test_gradients_are_the_networks(model: tuple[LMConfig, dict[str, Array]], length: int) -> None:
    """Of every parameter; what comes back through attention is written out in both."""
    config, params = model
    tokens, weights = tokens_of(length), jnp.cos(jnp.arange(50.0))
    at = jnp.asarray(PLACES[length][-1])

    def mine(params: dict[str, Array]) -> Array:
        return logits_at(config, params, tokens, at) @ weights

    def theirs(params: dict[str, Array]) -> Array:
        return forward(config, params, tokens[None], at[None, None])[0, 0] @ weights

    found, wanted = jax.jit(jax.grad(mine))(params), jax.jit(jax.grad(theirs))(params)
    assert set(found) == set(shapes(config))
    for name, x in wanted.items():
        size = float(jnp.abs(x).max())
        if name.endswith(("key.bias", "qkv.bias")):
            size = max(size, 1.0)  # that of keys is 0 but for rounding
        assert size > 0
        np.testing.assert_allclose(found[name], x, rtol=0, atol=1e-9 * size, err_msg=name)


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("window", [None, 7, TILE + 5])
def test_heads_together_are_heads_one_by_one(
    x64: None, monkeypatch: pytest.MonkeyPatch, window: int | None
) -> None:
    """What accelerators do instead of a core, there and back."""
    chance = np.random.default_rng(0)
    query, key, value, back = (jnp.asarray(x) for x in chance.normal(size=(4, 2, 16, TILE + 20)))

    def found() -> Any:
        out, pull = jax.vjp(partial(columns.attend, window=window), query, key, value)
        return out, *pull(back)

    wanted = found()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for x, y in zip(found(), wanted, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=EXACT)


def test_what_stands_after_the_position_changes_nothing(
    model: tuple[LMConfig, dict[str, Array]],
) -> None:
    config, params = model
    tokens = tokens_of(40)
    one = jax.jit(lambda tokens: logits_at(config, params, tokens, jnp.asarray(20)))
    found = one(tokens)
    np.testing.assert_array_equal(one(tokens.at[21:].set(0)), found)
    before = one(tokens.at[20].set(0))
    assert float(jnp.abs(found - before).max()) > 1e-3


@pytest.mark.thorough(keep=1)
def test_a_tap_adds_to_its_layer(model: tuple[LMConfig, dict[str, Array]]) -> None:
    """A product with the layer's input is the same as more kernel, for every linear layer."""
    config, params = model
    tokens, at = tokens_of(9), jnp.asarray(6)
    one = jax.jit(lambda params: logits_at(config, params, tokens, at))
    plain = one(params)
    kernels = [n for n in shapes(config) if n.endswith(".kernel") and n.startswith("layers.1.")]
    assert len(kernels) == LINEARS[type(config)]
    for number, name in enumerate(kernels):
        more = 0.1 * jax.random.normal(jax.random.key(number), params[name].shape)
        taps = {name.removesuffix(".kernel"): lambda x, more=more: more.T @ x}
        tapped = jax.jit(lambda params, taps=taps: logits_at(config, params, tokens, at, taps))
        found, wanted = tapped(params), one(params | {name: params[name] + more})
        np.testing.assert_allclose(found, wanted, rtol=0, atol=EXACT, err_msg=name)
        assert float(jnp.abs(found - plain).max()) > 1e-3


@pytest.mark.parametrize("name", ["embed", "final_norm", "layers.0.mlp", "layers.9.mlp.up", "none"])
def test_a_tap_of_what_is_no_linear_layer(
    model: tuple[LMConfig, dict[str, Array]], name: str
) -> None:
    config, params = model
    with pytest.raises(BadInput, match=f"taps: {name} is no linear layer; give one such as"):
        logits_at(config, params, tokens_of(3), jnp.asarray(1), {name: lambda x: x})


@pytest.mark.thorough(keep=1)
def test_bad_input(model: tuple[LMConfig, dict[str, Array]]) -> None:
    config, params = model
    with pytest.raises(BadInput, match="301 tokens: the model's context is 300; truncate to it"):
        logits_at(config, params, tokens_of(301), jnp.asarray(0))
    foreign = logits_at(config, params, jnp.array([1, 50, 2]), jnp.asarray(2))
    assert bool(jnp.isnan(foreign).all())  # not the last row of the embedding
    with pytest.raises(TypeError, match="give a GPTNeoXConfig or a GPTNeoConfig or"):
        logits_at(LMConfig(2, 32, 2, 50), params, tokens_of(3), jnp.asarray(0))
