"""Inner products part by part, against gradients that are restricted one part at a time.

Both sides add the same float32 numbers in another order: 1e-6 of a part's own length. 1e-5 is
asked.
"""

import numpy as np
import pytest

from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.heads import Piece
from jquanta.lm.models.network import shapes
from jquanta.qdg.cosines.partial import cells, cosines_of, partial_products
from jquanta.qdg.cosines.similarity import similarity
from jquanta.qdg.questions.parts import EVERYTHING, parts_of
from jquanta.qdg.views import ways
from jquanta.qdg.views.factors import Factors
from jquanta.qdg.views.gradient import Gradients, gradients
from jquanta.qdg.views.parameters import chosen, columns, pieces
from jquanta.qdg.views.per_sample import view_of
from jquanta.qdg.views.sketch import Sketch
from tests.lm.losses.examples import LLAMA, NEOX
from tests.qdg import examples

ROUNDING = 1e-5


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return examples.corpus(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize(
    ("config", "way"),
    [(NEOX, ways.CPU), (LLAMA, ways.CPU), (LLAMA, ways.ACCELERATOR)],
    ids=["neox", "grouped", "stacked layers"],
)
def test_every_part_has_the_cosines_of_its_own_gradients(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, config: LMConfig, way: ways.Way
) -> None:
    monkeypatch.setitem(ways.WAYS, "cpu", way)
    model, samples = examples.model(config), examples.predictions(corpus, 25)
    made_of = {name: pieces(config, own) for name, (_, own) in parts_of(config).items()}
    rows = view_of(model, samples, Gradients(EVERYTHING), most=3)
    cut = cells(shapes(config), made_of)
    found = partial_products(rows, len(samples), cut, by_name=rows.function.by_name, panel=4)
    # One whole gradient for each sample, cut by plain indexing.
    every = chosen(config, EVERYTHING)
    flat = gradients(model, samples, parameters=EVERYTHING).astype(np.float64)
    lengths = np.linalg.norm(flat, axis=1)
    arrays = {
        name: flat[:, place].reshape(-1, *shapes(config)[name])
        for name, place in columns(config, every).items()
    }
    sums = {}
    for part, own in made_of.items():
        gram = np.sum([x for members, x in found.items() if part in members], 0)
        kept = np.concatenate(
            [
                arrays[name].swapaxes(1, axis + 1)[:, start:stop].reshape(len(flat), -1)
                for name, axis, start, stop in own
            ],
            axis=1,
        )
        share = (kept**2).sum(1) / lengths**2
        np.testing.assert_allclose(np.diagonal(gram), share, rtol=ROUNDING, err_msg=part)
        unit = kept / np.linalg.norm(kept, axis=1, keepdims=True)
        np.testing.assert_allclose(cosines_of(gram), unit @ unit.T, atol=ROUNDING, err_msg=part)
        np.testing.assert_array_equal(gram, gram.T)
        sums[part] = gram
    np.testing.assert_allclose(np.diagonal(sums["everything"]), 1, rtol=ROUNDING)


def test_heads_add_up_to_their_layers_kernels(corpus: Corpus) -> None:
    """Of the attention of a layer only the bias of the last kernel is of no head."""
    model, samples = examples.model(NEOX), examples.predictions(corpus, 40)
    names = [f"layers.1.head.{i}" for i in range(NEOX.heads)]
    wanted = {name: pieces(NEOX, name) for name in names}
    wanted["kernels"] = pieces(NEOX, r"layers\.1\.attention\.(qkv|out\.kernel)")
    rows = view_of(model, samples, Gradients(r"layers\.1\.attention\."))
    cut = cells(shapes(NEOX), wanted)
    found = partial_products(rows, len(samples), cut, by_name=rows.function.by_name)
    assert set(found) == {frozenset((name, "kernels")) for name in names}
    heads = np.sum(list(found.values()), 0)
    flat = gradients(model, samples, parameters=r"layers\.1\.attention\.(qkv|out\.kernel)")
    flat = flat.astype(np.float64)
    every = gradients(model, samples, parameters=r"layers\.1\.attention\.").astype(np.float64)
    lengths = np.linalg.norm(every, axis=1)
    np.testing.assert_allclose(heads, flat @ flat.T / np.outer(lengths, lengths), atol=ROUNDING)


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("way", [ways.CPU, ways.ACCELERATOR])
@pytest.mark.parametrize("config", [NEOX, LLAMA], ids=["neox", "grouped"])
def test_a_head_is_a_choice_of_parameters(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, config: LMConfig, way: ways.Way
) -> None:
    """``similarity.parameters = "layers.1.head.0"`` gives the cosines of that part of gradients."""
    monkeypatch.setitem(ways.WAYS, "cpu", way)
    model, samples = examples.model(config), examples.predictions(corpus, 40)
    view = Gradients("layers.1.head.0")
    found = similarity(model, samples, view)
    assert found.attrs["parameters"] == "layers.1.head.0"
    flat = gradients(model, samples, parameters="layers.1.head.0").astype(np.float64)
    kept = pieces(config, "layers.1.head.0")
    assert flat.shape[1] == view.cost(config).numbers
    unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    np.testing.assert_allclose(found.cosine, unit @ unit.T, atol=ROUNDING)
    names = chosen(config, EVERYTHING)
    every = gradients(model, samples, parameters=EVERYTHING)
    place = columns(config, names)
    plain = [
        every[:, place[name]]
        .reshape(-1, *shapes(config)[name])
        .take(range(start, stop), axis + 1)
        .reshape(len(samples), -1)
        for name, axis, start, stop in kept
    ]
    scale = np.abs(flat).max()
    np.testing.assert_allclose(flat, np.concatenate(plain, 1), atol=ROUNDING * scale)


def test_heads_and_patterns_together() -> None:
    """What a pattern takes whole, a head does not cut; heads of a group share their keys."""
    both = pieces(NEOX, ["layers.0.head.1", r"layers\.0\.attention\.qkv", "final_norm"])
    assert [(p.name, p.start, p.stop) for p in both] == [
        ("final_norm.bias", 0, 32),
        ("final_norm.scale", 0, 32),
        ("layers.0.attention.out.kernel", 16, 32),
        ("layers.0.attention.qkv.bias", 0, 96),
        ("layers.0.attention.qkv.kernel", 0, 32),
    ]
    group = pieces(LLAMA, ["layers.0.head.0", "layers.0.head.1"])
    assert len([p for p in group if ".key." in p.name]) == 1
    assert len([p for p in group if ".query." in p.name]) == 2


def test_cells_do_not_overlap() -> None:
    sizes = {"a": (4, 6), "b": (3,), "c": (2,)}
    found = cells(
        sizes,
        {
            "all": [Piece("a", 0, 0, 4), Piece("b", 0, 0, 3)],
            "left": [Piece("a", 1, 0, 4)],
            "middle": [Piece("a", 1, 2, 5)],
        },
    )
    assert found == {
        frozenset(("all", "left")): [Piece("a", 1, 0, 2)],
        frozenset(("all", "left", "middle")): [Piece("a", 1, 2, 4)],
        frozenset(("all", "middle")): [Piece("a", 1, 4, 5)],
        frozenset(("all",)): [Piece("a", 1, 5, 6), Piece("b", 0, 0, 3)],
    }
    with pytest.raises(ValueError, match="cut along axes"):
        cells({"a": (4, 6)}, {"x": [Piece("a", 0, 0, 2)], "y": [Piece("a", 1, 0, 2)]})


def test_what_cannot_be_is_refused_in_a_line(corpus: Corpus) -> None:
    model, samples = examples.model(), examples.predictions(corpus, 40)
    for call, says in (
        (lambda: pieces(NEOX, "layers.5.head.0"), "layers 0 to 1 with heads 0 to 1"),
        (lambda: similarity(model, samples, Gradients("layers.0.head.2")), "give one of them"),
        (
            lambda: similarity(model, samples, Sketch("layers.0.head.1")),
            "similarity.mode = 'exact'",
        ),
        (lambda: similarity(model, samples, Factors("layers.0.head.1")), "'exact' cuts kernels"),
        (lambda: pieces(NEOX, []), "parameters: empty"),
    ):
        with pytest.raises(BadInput, match=says) as caught:
            call()
        assert "\n" not in str(caught.value)
    rows = view_of(model, samples, Gradients())
    whole = {frozenset(("all",)): pieces(NEOX)}
    with pytest.raises(BadInput, match=r"1 parts × .* give up to 15 samples"):
        partial_products(rows, 10**4, whole, by_name=rows.function.by_name, memory=2000)
