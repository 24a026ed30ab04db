"""Vectors of samples on disk: what they hold, and that any end of the process leaves them right."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jquanta as jq
from jquanta import qdg
from jquanta.errors import BadInput, Interrupted
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.models.model import Model
from jquanta.qdg.cosines import features as module
from jquanta.qdg.cosines.features import Stored, features, open_features
from jquanta.qdg.views.activations import Activations
from jquanta.qdg.views.gradient import Gradients
from jquanta.qdg.views.per_sample import view_of
from jquanta.qdg.views.sketch import Sketch
from jquanta.qdg.views.view import View
from tests.lm.losses.examples import NEOX, parameters
from tests.monitors import Watch
from tests.qdg import examples

SETTINGS: Any = {"batch_tokens": 64}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return examples.corpus(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks; and every batch is saved at once."""
    monkeypatch.setattr(module, "CHUNK_BYTES", 2**13)
    monkeypatch.setattr(module, "UNSAVED", 0)


@pytest.mark.parametrize("view", [Sketch(size=4), Activations()])
def test_products_are_the_cosines(corpus: Corpus, tmp_path: Path, small: None, view: View) -> None:
    samples, model = examples.predictions(corpus), examples.model()
    found = features(model, samples, view, out=tmp_path / "run", **SETTINGS)
    unit = found.vector.to_numpy()
    cosine = qdg.similarity(model, samples, view).cosine
    np.testing.assert_allclose(unit @ unit.T, cosine, atol=3e-6)  # float32, other batches
    np.testing.assert_array_equal(found.index, samples.index)
    assert found.attrs.items() >= view.attributes(NEOX).items()
    assert found.attrs["samples"] == samples.hash
    # With their lengths, the vectors are what the view gives, flat.
    source = view_of(model, samples, view)
    names = source.row
    if isinstance(names, dict):
        flat = source.flat(sorted(names), 2**30)
        length = np.linalg.norm(flat, axis=1)
        np.testing.assert_allclose(found.length, length, rtol=1e-5)
        np.testing.assert_allclose(unit, flat / length[:, None], atol=3e-6)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"features.zarr"}
    assert [part.state for part in jq.check(tmp_path / "run")] == ["whole"]


def test_an_interrupted_run_continues_with_the_same_bits(
    corpus: Corpus, tmp_path: Path, small: None
) -> None:
    samples, model, view = examples.predictions(corpus), examples.model(), Sketch(size=4)
    whole = features(model, samples, view, out=tmp_path / "whole", **SETTINGS)
    out = tmp_path / "run"
    for _ in range(2):
        with pytest.raises(Interrupted):
            features(model, samples, view, out=out, monitor=Watch(stop_at=2), **SETTINGS)
    assert {path.name for path in out.iterdir()} == {"features.work"}
    assert [part.state for part in jq.check(out)] == ["unfinished"]
    with pytest.raises(BadInput, match="no features here; compute them"):
        open_features(out)
    with pytest.raises(BadInput, match=r"begun with another sketch_size \(4, not 5\)"):
        features(model, samples, Sketch(size=5), out=out, **SETTINGS)
    work = tmp_path / "work"
    shutil.copytree(out / "features.work", work)
    watch = Watch()
    found = features(model, samples, view, out=out, monitor=watch, **SETTINGS)
    assert "continuing after" in watch.lines[0]
    assert found.load().equals(whole.load())
    # What a kill after the last step leaves is cleared.
    shutil.copytree(work, out / "features.work")
    assert features(model, samples, view, out=out, **SETTINGS).load().equals(whole)
    assert {path.name for path in out.iterdir()} == {"features.zarr"}
    # Rows that were not marked as saved are made again, whatever their chunks hold.
    shutil.rmtree(out)
    shutil.copytree(work, out / "features.work")
    done = np.load(out / "features.work" / "done")
    done[:3] = False
    with (out / "features.work" / "done").open("wb") as file:
        np.save(file, done)
    assert features(model, samples, view, out=out, **SETTINGS).load().equals(whole)
    # Without marks, or with chunks cut short, it begins again.
    for damaged in ("done", "features.zarr/vector/c/0/0"):
        shutil.rmtree(out)
        shutil.copytree(work, out / "features.work")
        (out / "features.work" / damaged).write_bytes(b"damaged")
        assert features(model, samples, view, out=out, **SETTINGS).load().equals(whole)


def test_what_is_there_is_left_alone_and_of_something_else_refused(
    corpus: Corpus, tmp_path: Path
) -> None:
    samples, model, view = examples.predictions(corpus), examples.model(), Sketch(size=4)
    first = features(model, samples, view, out=tmp_path)
    watch = Watch()
    again = features(model, samples, view, out=tmp_path, monitor=watch)
    assert again.load().equals(first.load())
    assert watch.reports == []
    with pytest.raises(BadInput, match="has sketch_size 4, not 5"):
        features(model, samples, Sketch(size=5), out=tmp_path)


def test_vectors_without_a_direction_name_their_predictions(corpus: Corpus, tmp_path: Path) -> None:
    params = {name: x * np.nan for name, x in parameters().items()}
    samples = examples.predictions(corpus)
    with pytest.raises(BadInput, match=f"{len(samples)} not finite: prediction"):
        features(Model(NEOX, params), samples, Sketch(size=4), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_whole_gradients_are_refused(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_NUMBERS", 1000)
    with pytest.raises(BadInput, match=r"mode exact have .* a sample, at most 1,000 are stored"):
        features(examples.model(), examples.predictions(corpus), Gradients(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_stored_vectors_have_the_shapes_that_they_were_made_of(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stored, "ROWS", 3)
    source = view_of(examples.model(), examples.predictions(corpus), Sketch(size=4))
    flat = source.flat(sorted(source.row), 2**30)
    stored = Stored(flat, source.row)
    assert [len(batch) for batch in stored.batches][:-1] == [3] * (len(stored.batches) - 1)
    assert len(stored) == len(flat)
    for name, shape in source.row.items():
        found = np.concatenate([stored(i)[name] for i in range(len(stored.batches))])
        assert found.shape == (len(flat), *shape.shape)
    np.testing.assert_array_equal(
        np.concatenate([stored(0)[name].reshape(3, -1) for name in sorted(source.row)], axis=1),
        flat[:3],
    )
