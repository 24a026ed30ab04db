"""The accelerators' gradients, computed on a CPU, against those of layers written out.

In float64 both are the same sums in another order: 1e-11 of a gradient's size. In float32 numbers
pass through two blocks and back, 1e-6 where sums are taken in another order; 1e-5 is asked.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jquanta import qdg
from jquanta.errors import Interrupted
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.model import Model
from jquanta.lm.models.network import init, shapes
from jquanta.qdg.samples.predictions import Predictions
from jquanta.qdg.samples.prefixes import batches, prefixes
from jquanta.qdg.views import scanned, ways
from jquanta.qdg.views.gradient import Gradients, gradient, gradients, loss_function
from jquanta.qdg.views.parameters import chosen, count
from jquanta.qdg.views.per_sample import per_sample, view_of
from tests.lm.losses.examples import LLAMA, NEO, NEOX
from tests.monitors import Watch
from tests.qdg import examples

EXACT, ROUNDING = 1e-11, 1e-5

DEEP = replace(NEOX, layers=4)
WINDOWS = replace(NEO, layers=4, reach=("global", "local", "local", "global"), window=7)
LAST_LOCAL = replace(NEO, layers=2, reach=("global", "local"), window=5)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return examples.corpus(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU computes as an accelerator would."""
    monkeypatch.setitem(ways.WAYS, "cpu", ways.ACCELERATOR)


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (DEEP, "."),  # norms, the embedding and the unembedding, too
        (DEEP, [r"layers\.[01]\.mlp", r"layers\.2\.attention\.qkv"]),  # three loops of four blocks
        (replace(NEOX, layers=1), "paper"),
        (WINDOWS, "."),
        (LAST_LOCAL, "reference"),
        (replace(LLAMA, layers=3, local_from=1), "paper"),
    ],
)
def test_loops_give_the_gradients_of_layers_written_out(
    x64: None, config: LMConfig, parameters: Any
) -> None:
    """An odd length, with tokens after the position, of samples side by side."""
    names, chance = chosen(config, parameters), np.random.default_rng(0)
    params = init(config, jax.random.key(1), jnp.float64)
    params = {name: x + 0.1 * chance.normal(size=x.shape) for name, x in params.items()}
    tokens = chance.integers(0, config.vocab, (2, 37)).astype(np.int32)
    at, target = np.array([36, 20], np.int32), np.array([5, 0], np.int32)
    wanted = jax.jit(jax.vmap(gradient(config, names), (None, 0, 0, 0)))(params, tokens, at, target)
    loops = jax.jit(jax.vmap(scanned.gradient(config, names), (None, 0, 0, 0)))
    found = loops(scanned.stacked(config, params, names), tokens, at, target)
    apart = scanned.by_name(config, names, found)
    assert list(apart) == list(names)
    for name, x in wanted.items():
        assert x.shape[1:] == shapes(config)[name]
        size = float(jnp.abs(x).max())
        if name.endswith(("key.bias", "qkv.bias")):
            size = max(size, 1.0)  # that of keys is 0 but for rounding
        np.testing.assert_allclose(apart[name], x, rtol=0, atol=EXACT * size, err_msg=name)


def test_which_layers_are_a_loop() -> None:
    """All but the last, which works for one position; none whose gradients nobody asked for."""
    spans = {
        "paper": [(0, 3), (3, 4)],
        r"layers\.1\.": [(0, 1), (1, 2), (2, 3), (3, 4)],
        r"layers\.[01]\.mlp": [(0, 2), (2, 3), (3, 4)],
        r"final_norm": [(0, 3), (3, 4)],
    }
    for pattern, wanted in spans.items():
        found = scanned.runs(DEEP, chosen(DEEP, pattern))
        assert [(run.first, run.stop) for run in found] == wanted


@pytest.mark.parametrize("config", [NEOX, NEO, LLAMA])
def test_the_program_lowers_for_cuda_without_scatters(config: LMConfig) -> None:
    """XLA's code for a GPU begins from this text, which needs no GPU to be made."""
    deep = replace(config, layers=6, **({"reach": ()} if config is NEO else {}))  # alternating
    names = chosen(deep)
    params = scanned.stacked(deep, init(deep, jax.random.key(0)), names)
    tokens, each = (jax.ShapeDtypeStruct(s, jnp.int32) for s in ((8, 64), (8,)))
    program = jax.jit(jax.vmap(scanned.gradient(deep, names), (None, 0, 0, 0)))
    lowered = program.trace(params, tokens, each, each).lower(lowering_platforms=("cuda",))
    text = lowered.as_text()
    assert text.count("stablehlo.while") == 2  # there and back
    assert "scatter" not in text


def test_at_most_two_programs() -> None:
    """Of prefixes of 1 to 900 tokens, though compiling cost nothing."""
    lengths = np.random.default_rng(0).integers(1, 900, 3000)
    way = ways.ACCELERATOR
    settings: dict[str, Any] = {"fit": lambda length: 2**14 / length, **of(way)}
    found = batches(lengths, 2048, **settings, compile_tokens=0.0)
    assert len({(batch.rows, batch.length) for batch in found}) == 2
    assert all(batch.length % way.alignment == 0 for batch in found)
    expensive = batches(lengths, 2048, **settings, compile_tokens=1e9)
    assert len({batch.length for batch in expensive}) == 1


def of(way: ways.Way) -> dict[str, int]:
    return {"most": way.lengths, "alignment": way.alignment}


def test_batches_fit_the_memory(
    corpus: Corpus, accelerator: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of the memory takes a quarter of the samples, down to one; and no batch has more
    tokens than fill a device."""
    samples = examples.predictions(corpus)

    def rows(memory: float) -> int:
        monkeypatch.setattr("jquanta.qdg.views.per_sample.usable", lambda: int(memory))
        return view_of(examples.model(), samples, Gradients()).plan[0].rows

    assert rows(64 * 2**20) == 4 * rows(16 * 2**20) > 4
    assert rows(1) == 1
    assert rows(1e15) == 64  # no more than there are samples, in a power of 2
    monkeypatch.setattr(ways, "GPU_TOKENS", 16 * NEOX.context)
    assert rows(1e15) == 16


@pytest.mark.parametrize("kind", ["paper", r"layers\.1\.mlp"])
def test_gradients_are_the_cpus(corpus: Corpus, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    model, samples = examples.model(), examples.predictions(corpus)
    wanted = gradients(model, samples, parameters=kind)
    monkeypatch.setitem(ways.WAYS, "cpu", ways.ACCELERATOR)
    found = gradients(model, samples, parameters=kind)
    size = np.linalg.norm(wanted, axis=1)
    assert (np.abs(found - wanted).max(1) < ROUNDING * size).all()
    assert len(found.T) == count(NEOX, chosen(NEOX, kind))


def losses(model: Model, samples: Predictions) -> np.ndarray:
    return per_sample(loss_function(model), prefixes(samples, model.config), model.config).all()


def test_losses_are_the_cpus(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    model, samples = examples.model(NEO), examples.predictions(corpus)
    wanted = losses(model, samples)
    monkeypatch.setitem(ways.WAYS, "cpu", ways.ACCELERATOR)
    found = losses(model, samples)
    np.testing.assert_allclose(found, wanted, rtol=ROUNDING)


@pytest.mark.parametrize("config", [NEOX, NEO])
def test_similarity_is_the_cpus_and_continues(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: LMConfig
) -> None:
    samples, model = examples.predictions(corpus), examples.model(config)
    here = qdg.similarity(model, samples, absolute=True)
    monkeypatch.setitem(ways.WAYS, "cpu", ways.ACCELERATOR)
    settings = {"batch_tokens": 256, "panel": 4, "memory": 64 * 2**20, "absolute": True}
    whole = qdg.similarity(model, samples, **settings)
    for name in ("cosine", "cosine_abs"):
        np.testing.assert_allclose(whole[name], here[name], rtol=0, atol=ROUNDING)
    assert np.abs(here.cosine - np.eye(len(samples))).max() > 0.1
    out = tmp_path / "run"
    watch = Watch(stop_at=6)
    with pytest.raises(Interrupted):
        qdg.similarity(model, samples, out=out, monitor=watch, **settings)
    watch = Watch()
    found = qdg.similarity(model, samples, out=out, monitor=watch, **settings)
    assert "continuing after" in watch.lines[0]
    for name in ("cosine", "cosine_abs"):
        np.testing.assert_array_equal(found[name], whole[name])
    assert {k: found.attrs[k] for k in ("weights", "samples", "parameters")} == {
        k: here.attrs[k] for k in ("weights", "samples", "parameters")
    }
