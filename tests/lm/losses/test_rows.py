"""Packed documents against documents alone, whatever lies beside them; and the program itself."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.typing import DTypeLike

from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.losses import rows, ways
from jquanta.lm.losses.compute import _arrays, _program, batch_losses, on_devices, plan_for
from jquanta.lm.losses.packing import plan_rows
from jquanta.lm.losses.rows import algorithm, packed_losses, rows_that_fit
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.gpt_neo import GPTNeoConfig
from jquanta.lm.models.network import Params, build, packed_features, shapes, stack
from jquanta.lm.models.pythia import pythia
from jquanta.lm.models.rows import Packed
from jquanta.machine import devices
from jquanta.machine.devices import mesh
from tests.lm.losses import examples
from tests.lm.losses.examples import LLAMA, NEO, NEOX, VOCAB, parameters, plain
from tests.lm.models.switches import SHAPES

ROUNDING = 1e-5

ROW = 63
"""The longest example has 64 tokens: it fills a row to the end. No tile below divides it."""

MODELS = {
    "neox": replace(NEOX, layers=3),
    "neo": replace(NEO, layers=3, reach=()),  # global, local, global
    "neo of locals": replace(NEO, layers=3, reach=("local", "local", "global")),
    "llama": replace(LLAMA, layers=3, local_from=1),
}
models = pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)


def arrays(documents: Sequence[Sequence[int]], length: int = ROW) -> tuple[Any, list[Any]]:
    """What a program takes of documents in one batch, and where each lies: (row, slice)."""

    class Documents(Corpus):
        def __init__(self) -> None:
            """No files: only ``document`` is called."""

        def document(self, i: int) -> Any:
            return np.array(documents[i])

    counts = np.array([max(0, len(document) - 1) for document in documents])
    (batch,) = plan_rows(counts, length, most=10**6).batches
    places: list[Any] = [(0, slice(0))] * len(documents)
    for document, row, start in zip(batch.documents, batch.row, batch.start, strict=True):
        places[document] = int(row), slice(start, start + counts[document])
    return _arrays(Documents(), batch), places


@cache
def program(tile: int) -> Any:
    return jax.jit(partial(packed_losses, tile=tile), static_argnums=0)


def packed(
    config: LMConfig,
    params: Params,
    documents: Sequence[Sequence[int]],
    tile: int = 16,
    length: int = ROW,
) -> list[np.ndarray]:
    """Losses of each document, computed in rows."""
    given, places = arrays(documents, length)
    found = np.asarray(program(tile)(config, stack(config, params), *given))
    assert np.isnan(found[given[1] < 0]).all()
    return [found[place] for place in places]


def close(found: list[np.ndarray], wanted: list[np.ndarray], tolerance: float) -> None:
    for mine, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=tolerance)


def alone(config: LMConfig, params: Params, documents: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """The slow twin: one document at a time, unrolled layers, all its logits."""
    return [plain(config, params, document) for document in documents]


def in_float64(params: Params) -> Params:
    return {name: jnp.asarray(np.asarray(x), jnp.float64) for name, x in params.items()}


@pytest.mark.thorough(keep=6)
@pytest.mark.usefixtures("x64")
@models
@pytest.mark.parametrize("tile", [1, 16, 100, 4096])
def test_rows_are_documents_alone_in_float64(config: LMConfig, tile: int) -> None:
    """Without and with one prediction, as long as the row, longer than the window.

    Losses reach 13 and sums have 101 terms, each rounded to 1e-16: 1e-11 leaves no room for
    anything but rounding.
    """
    params, documents = in_float64(parameters(config)), examples.rows()
    wanted = alone(config, params, documents)
    assert np.std(np.concatenate(wanted)) > 1  # losses that say something
    found = packed(config, params, documents, tile)
    assert found[-2].dtype == np.float64
    close(found, wanted, 1e-11)


@models
def test_rows_are_documents_alone_in_float32(config: LMConfig) -> None:
    """The weights are those of a model that is moderately sure: losses of 5 nats have a last bit
    of 5e-7, and three blocks add up the roundings of their sums."""
    params, documents = parameters(config, scale=1.0), examples.rows()
    close(packed(config, params, documents), alone(config, params, documents), ROUNDING)


@pytest.mark.usefixtures("x64")
@models
def test_rows_longer_than_the_context(config: LMConfig) -> None:
    """Padding and later documents lie beyond the model's last position, and no harm is done."""
    params, documents = in_float64(parameters(config)), examples.rows()
    found = packed(config, params, documents, length=5 * config.context + 3)
    close(found, alone(config, params, documents), 1e-11)


@pytest.mark.usefixtures("x64")
@models
def test_scanned_layers_are_the_same_layers_one_after_another(config: LMConfig) -> None:
    params = in_float64(parameters(config))
    inputs, _, start = map(jnp.asarray, arrays(examples.rows())[0])
    network = build(config, params)
    x = network.embedded(inputs, Packed(start))
    for layer, window in zip(network.layers, config.windows, strict=True):
        x = layer(x, Packed(start, window))
    found = packed_features(config, stack(config, params), inputs, start)
    np.testing.assert_allclose(found, network.final_norm(x, Packed(start)), rtol=0, atol=1e-12)


@models
def test_hostile_neighbours_change_nothing(config: LMConfig) -> None:
    """Token 0, which neighbours use alone, gets an embedding 10^15 times as large.

    Not a bit of the features of others changes: what neighbours hold is multiplied by 0.
    """
    others, mine = np.random.default_rng(0), np.random.default_rng(1)
    documents = [
        [0] * 20,
        mine.integers(1, VOCAB, 40).tolist(),
        [*others.integers(1, VOCAB, 10).tolist(), 0, 0, 0],
        mine.integers(1, VOCAB, 25).tolist(),
        [0] * 30,
    ]
    params = parameters(config)
    table = params["embed.embedding"]
    hostile = params | {"embed.embedding": table.at[0].multiply(1e15)}
    given, places = arrays(documents, 128)
    inputs, _, start = map(jnp.asarray, given)
    mild, wild = (
        np.asarray(packed_features(config, stack(config, p), inputs, start))
        for p in (params, hostile)
    )
    for i, place in enumerate(places):
        assert np.array_equal(mild[place], wild[place]) == (i in (1, 3))


@pytest.mark.thorough(keep=2)
@models
def test_where_a_document_lies_changes_nothing_but_rounding(config: LMConfig) -> None:
    params, documents = parameters(config, scale=1.0), examples.rows([30, 17, 9, 40, 2])
    once = packed(config, params, documents)
    close(packed(config, params, documents, length=256), once, ROUNDING)
    others = examples.rows([12, 64, 50], seed=1)
    close(packed(config, params, [*others, *documents])[3:], once, ROUNDING)


def test_later_tokens_change_nothing() -> None:
    params = parameters()
    (document,) = examples.rows([64])
    changed = [*document[:41], *examples.rows([23], seed=1)[0]]
    before, after = (packed(NEOX, params, [d])[0] for d in (document, changed))
    np.testing.assert_array_equal(before[:40], after[:40])
    assert not np.array_equal(before[40:], after[40:])


def test_losses_beyond_the_range_of_exp() -> None:
    params, documents = parameters(), examples.rows()
    params["unembed.kernel"] *= 100
    wanted = np.concatenate(alone(NEOX, params, documents))
    assert wanted.max() > 300
    found = np.concatenate(packed(NEOX, params, documents))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-3)  # logits round to 1e-4
    assert (found >= 0).all()


def test_bfloat16_is_near_float32() -> None:
    """As in test_cross_entropy."""
    params, documents = parameters(scale=1.0), examples.rows()
    half = {name: x.astype(jnp.bfloat16) for name, x in params.items()}
    found, wanted = (np.concatenate(packed(NEOX, p, documents)) for p in (half, params))
    assert found.dtype == np.float32
    assert 1e-4 < np.abs(found - wanted).max() < 0.3
    assert abs(np.mean(found - wanted)) < 0.02


# The program


@pytest.mark.usefixtures("by_rows")
@pytest.mark.parametrize("config", [NEOX, NEO], ids=["neox", "neo"])
def test_a_corpus_of_mixed_lengths_takes_one_program(config: LMConfig, tmp_path: Path) -> None:
    corpus = examples.corpus(tmp_path / "corpus")
    plan = plan_for(corpus, config, 128)
    assert len(plan.batches) > 2
    program = _program(ways.ROWS, config, mesh())
    program.clear_cache()
    for _ in batch_losses(config, on_devices(config, parameters(config)), corpus, plan.batches):
        pass
    assert program._cache_size() == 1


def for_cuda(program: Any, config: LMConfig, dtype: DTypeLike = jnp.float32) -> str:
    """The text of a program of a batch, for a GPU that need not be there."""
    params = {name: x.astype(dtype) for name, x in parameters(config).items()}
    traced = program.trace(stack(config, params), *arrays(examples.rows())[0])
    return str(traced.lower(lowering_platforms=("cuda",)).as_text())


@models
def test_the_program_lowers_for_a_gpu(config: LMConfig) -> None:
    deeper = replace(
        config, layers=5, **({"reach": ()} if isinstance(config, GPTNeoConfig) else {})
    )
    each_product_once(config, "float32", "highest")
    each_product_once(deeper, "float32", "highest")


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [
        ("float32", "TF32_TF32_F32_X3"),
        ("float32", "BF16_BF16_F32_X3"),
        ("float32", "BF16_BF16_F32_X6"),
        ("bfloat16", "highest"),
    ],
)
def test_it_lowers_at_every_precision(dtype: str, precision: str) -> None:
    for config in (NEOX, LLAMA):
        each_product_once(config, dtype, precision)


@pytest.mark.thorough(keep=3)
@pytest.mark.parametrize("family", SHAPES)
def test_of_every_family_it_lowers_for_a_gpu(family: str) -> None:
    each_product_once(SHAPES[family], "float32", rows.FLOAT32)


def each_product_once(config: LMConfig, dtype: str, precision: str) -> None:
    """The program of a model has each product once, however many layers, and no scatter, which a
    GPU does in turn."""
    text = for_cuda(jax.jit(partial(packed_losses, config, precision=precision)), config, dtype)
    kernels = [name for name in shapes(config) if re.match(r"layers\.0\..*kernel", name)]
    products = len(kernels) + 3  # scores, mixed values, the unembedding
    assert text.count("stablehlo.dot_general") == products
    assert "scatter" not in text
    assert text.count("algorithm = <") == (0 if precision == "highest" else products)


def test_one_constant_chooses_the_algorithm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a recent NVIDIA GPU computes, and for float32 alone."""
    assert rows.FLOAT32 == "TF32_TF32_F32_X3"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(devices, "kind", lambda: "gpu")
    program = _program(ways.way_here(), NEOX, mesh())
    program.clear_cache()
    assert "lhs_precision_type = tf32" in for_cuda(program, NEOX)
    assert "tf32" not in for_cuda(program, NEOX, jnp.bfloat16)
    assert algorithm(jnp.float64, "gpu") == algorithm("float32", "other") == "highest"
    program.clear_cache()


@pytest.mark.parametrize("size", ["14m", "70m", "1.4b", "12b"])
def test_batches_fit_the_memory(size: str) -> None:
    config = pythia(size)
    found = [rows_that_fit(config, "float32", 1024, gb * 1e9) for gb in (1, 40, 80, 140)]
    assert found == sorted(found)
    assert found[0] >= 1
    assert all(n & (n - 1) == 0 for n in found)
    assert found[-1] * 1024 <= rows.MOST_POSITIONS
    scores = found[-1] * config.heads * 1024**2 * 4
    assert 2 * scores < 140e9 or found[-1] == 1
