"""Gradients against torch, and against one another whatever the batch.

A gradient's numbers are sums over positions and units, in float32, of products that pass through
two blocks and back: 1e-6 of the gradient's size where both sides sum in another order. 1e-5 is
asked, of cosines too.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.models.model import Model
from jquanta.lm.models.network import shapes
from jquanta.qdg.samples.predictions import Predictions, given, open_selection
from jquanta.qdg.samples.prefixes import batches, prefixes
from jquanta.qdg.views import ways
from jquanta.qdg.views.gradient import Gradients, gradient, gradients
from jquanta.qdg.views.parameters import chosen, columns
from jquanta.qdg.views.per_sample import view_of
from tests.lm.losses.examples import NEO, NEOX, parameters
from tests.lm.models import theirs as originals
from tests.qdg import examples
from tests.qdg.cosines import reference

ROUNDING = 1e-5


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return examples.corpus(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.fixture(scope="module", params=["neox", "neo"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A random model of transformers, and ours with its weights."""
    theirs: Any = originals.neox(hidden_size=32) if request.param == "neox" else originals.neo()
    folder = tmp_path_factory.mktemp("model")
    theirs.save_pretrained(folder)
    return theirs, examples.loaded(folder)


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("kind", ["paper", "reference"])
def test_gradients_are_torchs(both: Any, corpus: Corpus, kind: str) -> None:
    """The prefix alone, padded, in batches, gives what a backward through the document does."""
    torchs, model = both
    samples = examples.predictions(corpus, every=17)
    names = reference.names(torchs, kind)
    theirs = reference.flat(reference.gradients(torchs, corpus, samples.index.tolist(), names))
    mine = gradients(model, samples, parameters=kind)
    assert mine.dtype == np.float32
    assert mine.shape == theirs.shape
    # In which order the numbers lie is each side's own: sorted sizes and all inner products.
    size = np.linalg.norm(theirs, axis=1)
    assert size.min() > 1e-3
    np.testing.assert_allclose(np.linalg.norm(mine, axis=1), size, rtol=ROUNDING)
    for x, y in zip(reference.cosines(mine), reference.cosines(theirs), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=ROUNDING)
    difference = np.abs(np.sort(np.abs(mine), 1) - np.sort(np.abs(theirs), 1))
    assert (difference.max(1) < ROUNDING * size).all()


def test_columns_hold_what_they_say(both: Any, corpus: Corpus) -> None:
    """A kernel of ours is theirs transposed; a pattern's gradient is the part of the whole's."""
    torchs, model = both
    config, samples = model.config, examples.predictions(corpus, every=60)
    everything = gradients(model, samples)
    at = columns(config, chosen(config))
    theirs = (
        "gpt_neox.layers.1.mlp.dense_h_to_4h"
        if "rotary" in vars(config)
        else ("transformer.h.1.mlp.c_fc")
    )
    index = samples.index.tolist()
    found = reference.gradients(torchs, corpus, index, [f"{theirs}.weight", f"{theirs}.bias"])
    sides = shapes(config)["layers.1.mlp.up.kernel"]
    mine = everything[:, at["layers.1.mlp.up.kernel"]].reshape(-1, *sides)
    wanted = found[f"{theirs}.weight"].transpose(0, 2, 1)
    np.testing.assert_allclose(mine, wanted, rtol=0, atol=ROUNDING * np.abs(wanted).max())
    bias, wanted = everything[:, at["layers.1.mlp.up.bias"]], found[f"{theirs}.bias"]
    np.testing.assert_allclose(bias, wanted, rtol=0, atol=ROUNDING * np.abs(wanted).max())
    part = gradients(model, samples, parameters=r"layers\.1\.mlp\.up")
    names = chosen(config, r"layers\.1\.mlp\.up")
    whole = np.concatenate([everything[:, at[name]] for name in names], 1)
    np.testing.assert_allclose(part, whole, rtol=0, atol=ROUNDING * np.abs(whole).max())


FEW = 37
"""Every so many-th prediction: five prefixes of different lengths, each a program of its own."""


@pytest.fixture(scope="module")
def one_by_one(corpus: Corpus) -> np.ndarray:
    """The slow twin: each prefix by itself, at its own length, without padding or vmap."""
    own = prefixes(examples.predictions(corpus, every=FEW), NEOX)
    params, names = parameters(), chosen(NEOX)
    rows = []
    for row in range(len(own)):
        length = int(own.lengths[row])
        tokens = own.tokens(np.array([row]), length)[0]
        found = jax.jit(gradient(NEOX, names))(
            params, tokens, np.int32(length - 1), own.targets[row]
        )
        rows.append(np.concatenate([np.asarray(found[name]).reshape(-1) for name in names]))
    return np.stack(rows)


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("batch_tokens", [1, 100, 10**6])
def test_batch_and_padding_change_nothing_but_rounding(
    corpus: Corpus, one_by_one: np.ndarray, monkeypatch: pytest.MonkeyPatch, batch_tokens: int
) -> None:
    free = replace(ways.CPU, compile_seconds=0.0)  # as many lengths as there may be
    monkeypatch.setitem(ways.WAYS, "cpu", free)
    samples, names = examples.predictions(corpus, every=FEW), chosen(NEOX)
    source = view_of(examples.model(), samples, Gradients(), batch_tokens)
    found = np.empty((len(samples), sum(np.prod(shapes(NEOX)[n]) for n in names)), np.float32)
    for number, batch in enumerate(source.plan):
        made = source(number)
        flat = np.concatenate([np.asarray(made[n]).reshape(len(made[n]), -1) for n in names], 1)
        found[batch.samples] = flat
    size = np.linalg.norm(one_by_one, axis=1)
    assert (np.abs(found - one_by_one).max(1) < ROUNDING * size).all()
    assert len({batch.length for batch in source.plan}) > 1 or batch_tokens > 100


def test_prefixes_end_before_the_target(corpus: Corpus) -> None:
    found = prefixes(Predictions(corpus, np.arange(corpus.n_predictions)), NEOX)
    for i in range(corpus.n_predictions):
        document, position = (int(x) for x in corpus.locate(i))
        own = corpus.document(document)
        length = int(found.lengths[i])
        row = found.tokens(np.array([i]), 64)[0]
        assert row[:length].tolist() == own[: position + 1].tolist()
        assert not row[length:].any()
        assert found.targets[i] == own[position + 1]


@pytest.mark.parametrize("devices", [1, 3])
@pytest.mark.parametrize("price", [0, 300, 10**9])
def test_plans_cover_all_samples_at_sufficient_length(devices: int, price: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 900, 333)
    found = batches(
        lengths, 1000, fit=lambda length: 2048 / length, devices=devices, compile_tokens=price
    )
    order = np.concatenate([batch.samples for batch in found])
    assert sorted(order.tolist()) == list(range(333))  # each in one batch
    for batch in found:
        own = lengths[batch.samples]
        assert own.max() <= batch.length <= 1000
        assert batch.rows * batch.length <= devices * 2048
        assert batch.rows % devices == 0
        assert len(batch.samples) == batch.rows or batch is found[-1]
    assert (np.diff(lengths[order]) <= 0).all()  # the longest first
    used = len({batch.length for batch in found})
    assert used == 1 if price == 10**9 else used > 3


def test_attention_makes_padding_more_expensive() -> None:
    """At the same cost of a program more lengths pay where work grows with their square."""
    lengths = np.random.default_rng(0).integers(1, 900, 333)

    def used(attention: float) -> int:
        settings = {"compile_tokens": 20_000, "attention": attention}
        found = batches(lengths, 1000, fit=lambda length: 2048 / length, **settings)
        return len({batch.length for batch in found})

    assert used(1 / 300) > used(0.0)


def test_bad_input(corpus: Corpus, tmp_path: Path) -> None:
    other = examples.corpus(tmp_path / "other", (9, 80))
    model, samples = examples.model(), examples.predictions(corpus)
    samples.save(tmp_path)
    with pytest.raises(BadInput, match="not the corpus of this selection"):
        gradients(model, open_selection(tmp_path, other))
    with pytest.raises(BadInput, match=r"prediction 72: 65 tokens come before it .* 64; build"):
        gradients(model, given(other, [0, 72]))
    with pytest.raises(BadInput, match=r"33 rows of 25,152 numbers take 0\.0 GB"):
        gradients(model, samples, memory="1 MB")
    with pytest.raises(BadInput, match=r"embed.embedding is \(101, 32\), and"):
        gradients(Model(NEO, model.params), samples)
    wide = {name: x.astype("bfloat16") for name, x in model.params.items()}
    with pytest.raises(BadInput, match=r"is bfloat16: gradients need float32"):
        gradients(Model(NEOX, wide), samples)
    foreign = examples.corpus(tmp_path / "foreign", (9, 9), vocab=500)
    with pytest.raises(BadInput, match=r"tokenizer has 500 tokens and the model's embedding 101"):
        gradients(model, examples.predictions(foreign))
