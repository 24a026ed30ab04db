"""What holds of all architectures as pure functions of their parameters."""

import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from jquanta.errors import BadInput
from jquanta.lm.models import rows
from jquanta.lm.models.config import GPTNeoXConfig, LMConfig
from jquanta.lm.models.gpt_neo import GPTNeoConfig
from jquanta.lm.models.layout import TILE
from jquanta.lm.models.llama import LlamaConfig
from jquanta.lm.models.network import (
    build,
    count,
    features,
    forward,
    init,
    named,
    residuals,
    shapes,
    unembedding,
)
from jquanta.lm.models.pythia import PYTHIA, pythia
from jquanta.lm.models.roles import Role, role
from jquanta.lm.models.rows import Apart
from tests.lm.models import examples

SIZES: dict[str, Any] = {"layers": 2, "width": 64, "heads": 2, "vocab": 50, "context": 256}
MODELS: dict[str, LMConfig] = {
    "GPTNeoXConfig": GPTNeoXConfig(**SIZES),
    "GPTNeoConfig": GPTNeoConfig(**SIZES, window=5),  # far below the length of TOKENS
    "LlamaConfig": LlamaConfig(**SIZES, kv_heads=1, window=5, local_from=1),
}
TOKENS = np.random.default_rng(0).integers(0, 50, (3, 150))
SHORT = jnp.asarray(TOKENS[:, :9])

# XLA may order sums differently for another shape: 1e-7 of numbers near 1, a few times over.
ROUNDING = 1e-5


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[LMConfig, dict[str, Array]]:
    config = MODELS[request.param]
    noise = jax.random.key(1)
    params = {
        name: 5 * x if x.ndim == 2 else x + 0.3 * jax.random.normal(noise, x.shape)
        for name, x in init(config, jax.random.key(0)).items()
    }
    return config, params


def close(one: Any, other: Any, atol: float = ROUNDING) -> None:
    np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=0, atol=atol)


@pytest.mark.parametrize("size", PYTHIA)
def test_counts_are_those_of_the_paper(size: str) -> None:
    assert count(pythia(size)) == (PYTHIA[size].total, PYTHIA[size].non_embedding)


def test_gpt_neo_counts_its_tied_embedding_once() -> None:
    config = GPTNeoConfig(layers=4, width=768, heads=16, vocab=50257)  # TinyStories-33M
    block = 4 * 768**2 + 768 + 8 * 768**2 + 5 * 768 + 4 * 768  # attention, MLP, norms
    assert count(config) == ((50257 + 2048) * 768 + 4 * block + 2 * 768, 4 * block + 2 * 768)


def test_chosen_positions_are_rows_of_all_logits(model: Any) -> None:
    at = np.array([[0, 149, 3], [70, 70, 1], [128, 127, 129]])
    whole, rows = examples.logits(*model, TOKENS), jax.jit(forward, static_argnums=0)
    close(rows(*model, TOKENS, at), np.take_along_axis(np.asarray(whole), at[..., None], axis=1))


def test_logits_are_features_times_unembedding(model: Any) -> None:
    config, params = model
    by_hand = np.asarray(features(config, params, SHORT)) @ np.asarray(unembedding(config, params))
    close(forward(config, params, SHORT), by_hand)


def test_residuals_are_the_stream_around_each_block(model: Any) -> None:
    config, params = model
    stream = residuals(config, params, SHORT)
    assert [x.shape for x in stream] == [(3, 9, 64)] * 3
    module = build(config, params)
    close(stream[1], module.layers[0](stream[0], Apart()))
    close(features(config, params, SHORT), module.final_norm(stream[2], Apart()))


def test_the_future_changes_nothing(model: Any) -> None:
    whole = examples.logits(*model, TOKENS)
    for cut in (1, 40, 128, 149):
        changed = TOKENS.copy()
        changed[:, cut:] = (changed[:, cut:] + 1) % 50
        other = examples.logits(*model, changed)
        close(other[:, :cut], whole[:, :cut])
        assert np.abs(other[:, cut:] - whole[:, cut:]).max() > 0.1


def test_padding_changes_nothing(model: Any) -> None:
    padded = np.pad(TOKENS[:, :60], ((0, 0), (0, 90)))
    short = examples.logits(*model, TOKENS[:, :60])
    close(examples.logits(*model, padded)[:, :60], short)


def test_neighbours_change_nothing(model: Any) -> None:
    together = examples.logits(*model, TOKENS)
    for i in range(3):
        close(examples.logits(*model, TOKENS[i : i + 1])[0], together[i])


def test_earlier_tokens_matter_as_far_as_attention_reaches(model: Any) -> None:
    config, params = model
    # Local attention sees 5 tokens, but global attention below it sees all: the first counts.
    changed = TOKENS.copy()
    changed[:, 0] = (changed[:, 0] + 1) % 50
    difference = examples.logits(config, params, changed) - examples.logits(config, params, TOKENS)
    assert np.abs(difference[:, -1]).max() > 100 * ROUNDING


@pytest.mark.parametrize("window", [None, 1, 7, 128, 140, 1000])
def test_tiled_attention_is_attention(window: int | None) -> None:
    query, key, value = np.random.default_rng(0).normal(size=(3, 2, 2 * TILE + 9, 2, 8))
    scores = np.einsum("bthk,bshk->bhts", query, key)
    ahead = np.arange(scores.shape[2])[:, None] - np.arange(scores.shape[3])
    seen = (ahead >= 0) & (ahead < (window or np.inf))
    shares = np.where(seen, np.exp(scores), 0)
    shares /= shares.sum(-1, keepdims=True)
    expected = np.einsum("bhts,bshk->bthk", shares, value)
    with jax.enable_x64(True):
        mine = rows.attend(*map(jnp.asarray, (query, key, value)), window)
    np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-12)


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("chosen", [(Role.ATTENTION, Role.MLP), (Role.LAYER_NORM,)])
def test_gradients_of_samples_with_respect_to_a_part(model: Any, chosen: tuple[Role, ...]) -> None:
    """vmap(grad) over samples equals one whole gradient at a time."""
    config, params = model
    part = {name: x for name, x in params.items() if role(name) in chosen}

    def loss(part: dict[str, Array], tokens: Array, place: Array) -> Array:
        logits = forward(config, params | part, tokens[None], place[None, None])[0, 0]
        return jax.nn.logsumexp(logits) - logits[tokens[place + 1]]

    tokens, places = jnp.asarray(TOKENS[:, :20]), jnp.array([3, 18, 0])
    together = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0)))(part, tokens, places)
    assert together.keys() == part.keys()
    for i in range(3):
        alone = jax.jit(jax.grad(loss))(params, tokens[i], places[i])
        for name in part:
            # A gradient is a sum over 20 positions, and so is its rounding.
            close(together[name][i], alone[name], ROUNDING * math.sqrt(20))
    assert any(np.abs(x).max() > 0.1 for x in together.values())


def test_every_product_has_the_precision_asked_for(model: Any) -> None:
    config, params = model

    def precisions(**options: str) -> set[str]:
        loss = lambda params: forward(config, params, SHORT, **options).sum()  # noqa: E731
        return set(re.findall(r"precision=(.*)", str(jax.make_jaxpr(jax.grad(loss))(params))))

    assert precisions() == {"(Precision.HIGHEST, Precision.HIGHEST)"}
    assert precisions(precision="default") == {"(Precision.DEFAULT, Precision.DEFAULT)"}


def test_bfloat16(model: Any) -> None:
    config, params = model
    half = {name: x.astype(jnp.bfloat16) for name, x in params.items()}
    assert {x.dtype for x in residuals(config, half, SHORT)} == {np.dtype(jnp.bfloat16)}
    whole, logits = examples.logits(config, params, TOKENS), examples.logits(config, half, TOKENS)
    assert logits.dtype == np.float32
    error = np.abs(logits - whole)
    # bfloat16 rounds to 2^-9: the terms that make logits of this size, a dozen times over.
    assert 0 < np.sqrt(np.mean(error**2)) < 0.03 * np.std(whole)


def test_init(model: Any) -> None:
    config, _ = model
    params = init(config, jax.random.key(0))
    assert {name: x.shape for name, x in params.items()} == shapes(config)
    for name, x in params.items():
        if name.endswith("scale"):
            assert np.all(x == 1)
        elif name.endswith("bias"):
            assert np.all(x == 0)
        else:  # the deviation of n normal numbers is off by 1 in √(2n): five of those, n >= 3,200
            assert np.std(x) == pytest.approx(build(config, params).deviation(name), rel=0.07)
    again, other = init(config, jax.random.key(0)), init(config, jax.random.key(1))
    assert all(np.array_equal(params[name], again[name]) for name in params)
    assert not np.array_equal(params["embed.embedding"], other["embed.embedding"])
    assert not np.array_equal(params["layers.0.mlp.up.kernel"], params["layers.1.mlp.up.kernel"])


def test_init_of_several_seeds_at_once() -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    together = jax.vmap(lambda key: init(MODELS["GPTNeoXConfig"], key))(keys)
    alone = init(MODELS["GPTNeoXConfig"], keys[1])
    for name, x in alone.items():
        close(together[name][1], x)


def test_named_is_the_inverse_of_build(model: Any) -> None:
    config, params = model
    again = named(build(config, params))
    assert list(again) == list(shapes(config))
    assert all(again[name] is params[name] for name in params)


def test_roles_of_all_parameters(model: Any) -> None:
    _, params = model
    expected = {
        Role.ATTENTION: ".attention.",
        Role.MLP: ".mlp.",
        Role.LAYER_NORM: "_norm.",
        Role.EMBEDDING: "embedding",
        Role.UNEMBEDDING: "unembed.",
    }
    for name in params:
        assert expected[role(name)] in name
    with pytest.raises(KeyError):
        role("layers.0.attention")
    with pytest.raises(KeyError):
        role("lm_head.kernel")


def test_the_papers_gradient_of_70m_has_18_902_016_numbers() -> None:
    """Attention and MLP by role (paper, section 4)."""
    sizes = {name: int(np.prod(shape)) for name, shape in shapes(pythia("70m")).items()}
    chosen = (Role.ATTENTION, Role.MLP)
    assert sum(n for name, n in sizes.items() if role(name) in chosen) == 18_902_016


def test_unknown_tokens_are_nan_and_long_documents_are_refused(model: Any) -> None:
    logits = examples.logits(*model, np.array([[1, 2, 3], [1, 50, 3]]))
    assert np.isfinite(logits[0]).all()
    assert np.isnan(logits[1]).all()
    with pytest.raises(BadInput, match="257 tokens: the model's context is 256"):
        forward(*model, jnp.zeros((1, 257), int))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GPTNeoXConfig(2, 65, 2, 50), "heads = 2: does not divide the width 65"),
        (lambda: GPTNeoXConfig(2, 64, 2, 0), "vocab = 0: give a whole number from 1 to 16,777,216"),
        (lambda: GPTNeoXConfig(2, 8, 2, 50), "rotary = 0.25: 1 of a head's 4 numbers"),
        (lambda: GPTNeoConfig(2, 64, 2, 50, window=0), "window = 0"),
        (lambda: GPTNeoConfig(2, 64, 2, 50, reach=("global",)), "for each of 2 layers"),
    ],
)
def test_shapes_that_make_no_sense(make: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make()
