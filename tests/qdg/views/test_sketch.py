"""Sketches against the gradients they stand for: exactly, on average, and in their cosines."""

from functools import cache
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jquanta import qdg
from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import logits_at
from jquanta.qdg.views.gradient import Gradients, gradient
from jquanta.qdg.views.parameters import chosen
from jquanta.qdg.views.sketch import Projection, Sketch, projections, sketch
from tests.lm.losses.examples import LLAMA, NEO, NEOX, USED, parameters
from tests.qdg import examples

SAMPLES, LENGTH, SEEDS = 4, 12, 1500
FULL = 129
"""More than any side, and one for the bias: then nothing is lost."""

Grads = dict[str, np.ndarray]


@cache
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    chance = np.random.default_rng(0)
    tokens = chance.integers(0, USED, (SAMPLES, LENGTH)).astype(np.int32)
    return tokens, np.full(SAMPLES, LENGTH - 1, np.int32), tokens[:, 0]


@cache
def exact(config: LMConfig) -> Grads:
    """[samples, …] gradients by name."""
    program = jax.jit(jax.vmap(gradient(config, chosen(config)), (None, 0, 0, 0)))
    return {name: np.asarray(x) for name, x in program(parameters(config), *drawn()).items()}


def sketched(config: LMConfig, around: dict[str, Projection], norms: tuple[str, ...] = ()) -> Any:
    """[samples, size, size] by layer."""

    def one(*sample: Any) -> Any:
        return sketch(config, norms, parameters(config), around, *sample)

    return jax.vmap(one)(*drawn())


def stacked(grads: Grads, module: str) -> np.ndarray:
    """The gradient of a layer with its bias as one more row."""
    kernel = grads[f"{module}.kernel"]
    bias = grads.get(f"{module}.bias")
    return kernel if bias is None else np.concatenate([kernel, bias[:, None]], 1)


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("config", [NEOX, NEO, LLAMA])
def test_a_sketch_is_the_gradient_between_its_projections(config: LMConfig) -> None:
    """Aᵀ·G·Bᵀ, made here from G. Two programs' float32 gradients: GPT-Neo's scores are not scaled,
    so that rounding them moves a whole gradient by 6e-5 of itself."""
    around = projections(config, chosen(config), 5, jax.random.key(0))
    found = jax.jit(lambda: sketched(config, around))()
    assert set(found) == {name.rpartition(".")[0] for name in chosen(config)}
    for module, p in around.items():
        parts = [x for x in (p.into, p.constant) if x is not None]
        into = np.concatenate([np.atleast_2d(x) for x in parts])
        assert into.shape == (stacked(exact(config), module).shape[1], 5)
        wanted = into.T @ stacked(exact(config), module) @ np.asarray(p.out).T
        tolerance = (2e-4 if config == NEO else 1e-5) * np.abs(wanted).max()
        np.testing.assert_allclose(found[module], wanted, rtol=0, atol=tolerance)


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("config", [NEOX, NEO])
def test_inner_products_are_unbiased_in_each_layer_and_in_sum(config: LMConfig) -> None:
    """Means over many seeds: off by no more than 4.5 standard errors in any of some 90 numbers
    (chance: 1 in 1,600), which are themselves small beside what is estimated."""
    names, size = chosen(config), 8

    def products(key: Any) -> Any:
        found = sketched(config, projections(config, names, size, key))
        return {m: jnp.einsum("iab,jab->ij", x, x) for m, x in found.items()}

    keys = jax.random.split(jax.random.key(1), SEEDS)
    drawn = jax.device_get(jax.jit(lambda keys: jax.lax.map(products, keys))(keys))
    pairs = np.triu_indices(SAMPLES)
    total, wanted_total = 0.0, 0.0
    for module, products_ in drawn.items():
        rows = stacked(exact(config), module).reshape(SAMPLES, -1)
        unbiased(products_[:, *pairs], (rows @ rows.T)[pairs])
        total, wanted_total = total + products_, wanted_total + rows @ rows.T
    unbiased(total[:, *pairs], wanted_total[pairs])  # type: ignore[index]


def unbiased(drawn: np.ndarray, wanted: np.ndarray) -> None:
    """[seeds, pairs] have the mean that is wanted; and were it off by a tenth, that would show."""
    error = drawn.std(0) / len(drawn) ** 0.5
    assert (np.abs(drawn.mean(0) - wanted) < 4.5 * error).all()
    assert (error < 0.02 * np.abs(wanted).max()).all()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return examples.corpus(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("kind", ["paper", "reference", r"mlp\.up\.bias", r"qkv\.kernel"])
def test_at_full_size_nothing_is_lost(corpus: Corpus, kind: str) -> None:
    """Square projections only turn the gradient. Layer norms are taken as they are."""
    model, samples = examples.model(), examples.predictions(corpus)
    wanted = qdg.similarity(model, samples, Gradients(kind))
    found = qdg.similarity(model, samples, Sketch(kind, FULL))
    np.testing.assert_allclose(found.cosine, wanted.cosine, rtol=0, atol=1e-5)


def test_sketches_are_rows_whose_cosines_the_similarity_has(corpus: Corpus) -> None:
    """In the order of the samples; and of such features clusters can be made."""
    model, samples = examples.model(), examples.predictions(corpus)
    wanted = qdg.similarity(model, samples, Sketch(seed=3)).cosine
    found = qdg.sketches(model, samples, seed=3)
    assert found.shape == (len(samples), 2 * 4 * 16 * 16)  # two blocks of four linear layers
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    np.testing.assert_allclose(unit @ unit.T, wanted, rtol=0, atol=1e-5)
    clusters = qdg.cluster_features(found, [3], neighbours=10)
    assert clusters.label.shape == (1, len(samples))
    with pytest.raises(BadInput, match=r"rows of 2,048 numbers take .* select fewer samples"):
        qdg.sketches(model, samples, memory=1000)


def test_the_error_falls_with_the_size(corpus: Corpus) -> None:
    """Means over 33 · 32 / 2 pairs of a small network; a size of four is a rough guess."""
    model, samples = examples.model(), examples.predictions(corpus)
    wanted = qdg.similarity(model, samples).cosine

    def error(size: int) -> float:
        found = qdg.similarity(model, samples, Sketch(size=size))
        return float(np.sqrt(np.square(found.cosine - wanted).mean()))

    errors = [error(size) for size in (4, 8, 16, 32)]
    assert errors[0] < 0.3
    assert all(later < 0.7 * earlier for earlier, later in pairwise(errors))


def test_what_a_sketch_is_a_function_of(corpus: Corpus) -> None:
    """The seed; and a layer's projections not of which other layers there are."""
    model, samples = examples.model(), examples.predictions(corpus, every=40)

    def found(**settings: Any) -> np.ndarray:
        return qdg.similarity(model, samples, Sketch(size=6, **settings)).cosine.to_numpy()

    assert (found() == found(seed=0)).all()
    assert np.abs(found() - found(seed=1)).max() > 0.01
    key = jax.random.key(0)
    everything = projections(NEOX, chosen(NEOX), 6, key)
    alone = projections(NEOX, chosen(NEOX, r"layers\.1\.mlp"), 6, key)
    assert set(alone) == {"layers.1.mlp.up", "layers.1.mlp.down"}
    for module, p in alone.items():
        for x, y in zip(p, everything[module], strict=True):
            np.testing.assert_array_equal(x, y)
    into = [np.asarray(p.into) for p in everything.values() if p.into is not None]
    assert np.abs(into[0] - into[1]).max() > 0.1 if into[0].shape == into[1].shape else True


def test_a_sketchs_taps_change_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """M is zero; and each layer with a projection has a tap."""
    told: list[tuple[set[str], np.ndarray]] = []

    def spied(config: LMConfig, params: Any, tokens: Any, at: Any, taps: Any) -> Any:
        found = logits_at(config, params, tokens, at, taps)
        change = found - logits_at(config, params, tokens, at)
        jax.debug.callback(lambda x: told.append((set(taps), np.asarray(x))), change)
        return found

    monkeypatch.setattr("jquanta.qdg.views.sketch.logits_at", spied)
    names = [name for name in chosen(NEOX) if name.startswith("layers.1")]
    around = projections(NEOX, names, 5, jax.random.key(0))
    tokens, at, target = (jnp.asarray(x[0]) for x in drawn())
    jax.block_until_ready(sketch(NEOX, (), parameters(), around, tokens, at, target))
    jax.effects_barrier()
    ((tapped, change),) = told
    assert tapped == {f"layers.1.{x}" for x in ("attention.qkv", "attention.out")} | {
        "layers.1.mlp.up",
        "layers.1.mlp.down",
    }
    np.testing.assert_array_equal(change, 0)


def test_embeddings_have_no_sketch() -> None:
    for name in ("embed.embedding", "unembed.kernel"):
        with pytest.raises(BadInput, match=rf"{name}: no sketch of embeddings; choose others"):
            projections(NEOX, [name], 4, jax.random.key(0))
