"""``similarity`` from a model to the stored matrix, against the reference in torch."""

import contextlib
import errno
import json
import shutil
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from jquanta import qdg
from jquanta.errors import BadInput, Interrupted, RunFailed
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.losses.compute import compute_losses
from jquanta.lm.losses.reader import open_losses
from jquanta.lm.models.model import Model
from jquanta.lm.weights.load import fingerprint
from jquanta.qdg.config import GIVEN, MODES
from jquanta.qdg.samples.predictions import given
from jquanta.qdg.views.activations import Activations
from jquanta.qdg.views.factors import Factors
from jquanta.qdg.views.gradient import Gradients
from jquanta.qdg.views.per_sample import PerSample, view_of
from jquanta.qdg.views.sketch import Sketch
from jquanta.qdg.views.stored import VIEWS, view_from
from tests.lm.corpus.samples import tree
from tests.lm.losses.examples import NEO, NEOX, parameters
from tests.lm.models import theirs as originals
from tests.monitors import Watch
from tests.qdg import examples
from tests.qdg.cosines import reference

torch = pytest.importorskip("torch")

COSINES = 1e-5
"""As in test_gradient: sums in another order, in float32, there and back through two blocks."""

ROUNDING = 3e-6
"""Of our own numbers in another batch or tile."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return examples.corpus(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("kind", ["paper", "reference"])
@pytest.mark.parametrize("family", ["neox", "neo"])
def test_equal_to_the_reference_in_torch(
    corpus: Corpus, tmp_path: Path, family: str, kind: str
) -> None:
    """From losses to the matrix; the reference runs whole documents, one backward a sample."""
    theirs: Any = originals.neox(hidden_size=32) if family == "neox" else originals.neo()
    theirs.save_pretrained(tmp_path / "model")
    compute_losses(corpus, tmp_path / "model", tmp_path / "losses", batch_tokens=200)
    losses = open_losses(tmp_path / "losses")
    samples = qdg.select(corpus, losses, threshold=4.0, stride=2)
    assert len(samples) > 10
    model = examples.loaded(tmp_path / "model")
    found = qdg.similarity(model, samples, Gradients(kind), absolute=True)
    names = reference.names(theirs, kind)
    rows = reference.gradients(theirs, corpus, samples.index.tolist(), names)
    signed, absolute = reference.cosines(reference.flat(rows))
    np.testing.assert_allclose(found.cosine, signed, rtol=0, atol=COSINES)
    np.testing.assert_allclose(found.cosine_abs, absolute, rtol=0, atol=COSINES)
    assert np.abs(signed - np.eye(len(signed))).max() > 0.1


@pytest.mark.parametrize(("batch_tokens", "panel"), [(1, 1), (100, 4), (10**6, 64)])
def test_batches_and_tiles_change_nothing_but_rounding(
    corpus: Corpus, batch_tokens: int, panel: int
) -> None:
    model, samples = examples.model(), examples.predictions(corpus)
    wanted = qdg.similarity(model, samples)
    settings = {"batch_tokens": batch_tokens, "panel": panel, "memory": 64 * 2**20}
    found = qdg.similarity(model, samples, **settings)
    np.testing.assert_allclose(found.cosine, wanted.cosine, rtol=0, atol=ROUNDING)


def test_activations_are_the_residual_stream(tmp_path: Path, corpus: Corpus) -> None:
    """Against the hidden states of transformers, at the last token of the prefix."""
    theirs: Any = originals.neox(hidden_size=32)
    theirs.save_pretrained(tmp_path / "model")
    model, samples = examples.loaded(tmp_path / "model"), examples.predictions(corpus)
    for layer in (0, 1):  # what they call the last hidden state has been through the last norm
        rows = []
        for i in samples.index.tolist():
            document, position = (int(x) for x in corpus.locate(i))
            tokens = torch.tensor(corpus.document(document).astype(np.int64))
            with torch.no_grad():
                states = theirs(tokens[None], output_hidden_states=True).hidden_states
            rows.append(states[layer][0, position].numpy())
        found = qdg.similarity(model, samples, Activations(layer), absolute=True)
        signed, absolute = reference.cosines(np.stack(rows))
        np.testing.assert_allclose(found.cosine, signed, rtol=0, atol=COSINES)
        np.testing.assert_allclose(found.cosine_abs, absolute, rtol=0, atol=COSINES)
        assert found.attrs["layer"] == layer
    last = qdg.similarity(model, samples, Activations())
    assert last.attrs["layer"] == 2


def test_what_is_stored(corpus: Corpus, tmp_path: Path) -> None:
    samples, model = examples.predictions(corpus), examples.model()
    watch, out = Watch(), tmp_path / "deep" / "run"
    settings = {"absolute": True, "batch_tokens": 100}
    found = qdg.similarity(model, samples, out=out, monitor=watch, **settings)
    inside = qdg.similarity(model, samples, **settings)
    alone = xr.open_zarr(out / "similarity.zarr", chunks=None)
    for name in ("cosine", "cosine_abs"):
        assert alone[name].dims == ("sample", "other")
        assert alone[name].dtype == np.float32
        np.testing.assert_array_equal(alone[name], inside[name])
        np.testing.assert_array_equal(found[name], inside[name])
        assert set(alone[name].attrs) == {"units", "long_name"}
    assert alone["index"].to_numpy().tolist() == samples.index.tolist()
    wanted = {
        "mode": "exact",
        "parameters": "paper",
        "weights": fingerprint(model.params),
        "corpus": corpus.meta.corpus,
        "dtype": "float32",
        "samples": samples.hash,
    }
    assert {name: alone.attrs[name] for name in wanted} == wanted
    assert {name: inside.attrs[name] for name in wanted} == wanted
    assert {path.name for path in out.iterdir()} == {"similarity.zarr"}
    shares = [share for stage, share, *_ in watch.reports if stage == "similarity"]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    before = tree(out)
    watch = Watch()
    qdg.similarity(model, samples, out=out, monitor=watch, **settings)
    assert (watch.reports, tree(out)) == ([], before)  # it is there already


def test_an_interrupted_run_continues(corpus: Corpus, tmp_path: Path) -> None:
    samples, model = examples.predictions(corpus), examples.model()
    settings = {"batch_tokens": 64, "panel": 4, "memory": 64 * 2**20}
    whole = qdg.similarity(model, samples, **settings)
    with pytest.raises(Interrupted):
        qdg.similarity(model, samples, out=tmp_path / "run", monitor=Watch(stop_at=9), **settings)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"similarity.work"}
    with pytest.raises(BadInput, match="no similarity here; compute it"):
        qdg.open_similarity(tmp_path / "run")
    with pytest.raises(BadInput, match=r"begun with another parameters \(paper, not reference\)"):
        qdg.similarity(model, samples, Gradients("reference"), out=tmp_path / "run")
    watch = Watch()
    found = qdg.similarity(model, samples, out=tmp_path / "run", monitor=watch, **settings)
    assert "continuing after" in watch.lines[0]
    np.testing.assert_array_equal(found.cosine, whole.cosine)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"similarity.zarr"}


@pytest.mark.parametrize("view", [Sketch(size=3), Activations()], ids=["sketch", "activations"])
def test_small_rows_are_made_once_though_interrupted(
    view: Any, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, model = examples.predictions(corpus), examples.model()
    settings = {"batch_tokens": 64, "panel": 4, "memory": 64 * 2**20}
    whole = qdg.similarity(model, samples, view, **settings)
    made: list[int] = []
    original = PerSample.__call__
    monkeypatch.setattr(
        PerSample, "__call__", lambda self, number: made.append(number) or original(self, number)
    )
    with pytest.raises(Interrupted):
        qdg.similarity(model, samples, view, out=tmp_path, monitor=Watch(stop_at=5), **settings)
    before = len(made)
    watch = Watch()
    found = qdg.similarity(model, samples, view, out=tmp_path, monitor=watch, **settings)
    assert any(line.startswith("samples: continuing after") for line in watch.lines)
    assert 5 <= before < len(made)
    assert sorted(made) == [*range(len(view_of(model, samples, view, 64).batches))]
    np.testing.assert_array_equal(found.cosine, whole.cosine)
    assert {path.name for path in tmp_path.iterdir()} == {"similarity.zarr"}


@pytest.mark.parametrize(
    "view", [Gradients(), Factors(rank=2), Sketch(size=3)], ids=lambda v: v.mode
)
def test_progress_counts_tokens(view: Any, corpus: Corpus, tmp_path: Path) -> None:
    """The longest prefixes are made first: by samples, the time left would be twice too long."""
    samples, model, watch = examples.predictions(corpus), examples.model(), Watch()
    qdg.similarity(model, samples, view, out=tmp_path, batch_tokens=64, monitor=watch)
    plan = view_of(model, samples, Sketch(size=3), 64).plan
    tokens = np.cumsum([len(batch.samples) * batch.length for batch in plan])
    stage = "gradients" if view.mode == "factors" else "similarity"
    told = [share for name, share, *_ in watch.reports if name == stage]
    np.testing.assert_allclose(told[: len(plan)], tokens / tokens[-1])


def test_small_rows_are_not_kept_where_the_disk_has_no_room(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, model = examples.predictions(corpus), examples.model()
    monkeypatch.setattr("jquanta.qdg.cosines.remembered.SPARE", 10**12)
    watch = Watch()
    found = qdg.similarity(model, samples, Sketch(size=3), out=tmp_path, monitor=watch)
    assert any("is made of samples is not kept" in line for line in watch.lines)
    whole = qdg.similarity(model, samples, Sketch(size=3))
    np.testing.assert_array_equal(found.cosine, whole.cosine)


def test_what_a_kill_after_the_last_step_leaves_is_cleared(corpus: Corpus, tmp_path: Path) -> None:
    """4 bytes for each pair of samples, for good."""
    samples, model, out = examples.predictions(corpus), examples.model(), tmp_path / "run"
    settings = {"batch_tokens": 64, "panel": 4}
    with pytest.raises(Interrupted):
        qdg.similarity(model, samples, out=out, monitor=Watch(stop_at=9), **settings)
    work = tmp_path / "work"
    shutil.copytree(out / "similarity.work", work)
    whole = qdg.similarity(model, samples, out=out, **settings)
    shutil.copytree(work, out / "similarity.work")
    assert qdg.similarity(model, samples, out=out, **settings).equals(whole)
    assert {path.name for path in out.iterdir()} == {"similarity.zarr"}


def test_zero_gradients_are_named_by_prediction(corpus: Corpus, tmp_path: Path) -> None:
    """A model whose last norm is zero gives every token the same logits: nothing reaches back."""
    params = parameters()
    params["final_norm.scale"] = 0 * params["final_norm.scale"]
    samples = given(corpus, [5, 40, 77])
    with pytest.raises(BadInput, match=r"3 zero: prediction 5, 40, 77; a cosine needs"):
        qdg.similarity(Model(NEOX, params), samples, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    params["final_norm.scale"] = params["final_norm.scale"] * np.nan
    with pytest.raises(BadInput, match=r"3 not finite: prediction 5, 40, 77"):
        qdg.similarity(Model(NEOX, params), samples)


def test_one_zero_gradient_among_others(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted where the samples are in the order of their lengths, not of their numbers."""
    model, samples = examples.model(), examples.predictions(corpus)
    source = view_of(model, samples, Gradients(), 64)
    planted = 7
    original = type(source).__call__

    def compute(self: Any, number: int) -> Any:
        here = np.flatnonzero(self.batches[number] == planted)
        return {name: x.at[here].set(0) for name, x in original(self, number).items()}

    monkeypatch.setattr(type(source), "__call__", compute)
    with pytest.raises(BadInput, match=rf"1 zero: prediction {samples.index[planted]}; a "):
        qdg.similarity(model, samples, batch_tokens=64)


def test_bad_input_writes_nothing(corpus: Corpus, tmp_path: Path) -> None:
    samples, model = examples.predictions(corpus), examples.model()

    def refused(line: str, **settings: Any) -> None:
        with pytest.raises(BadInput, match=line) as caught:
            qdg.similarity(model, samples, out=tmp_path / "out", **settings)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()

    refused("absolute: a sketch keeps no absolute values", view=Sketch(), absolute=True)
    refused("layer = 3: this model has layers 0", view=Activations(3))
    refused(r"'layers\\\\.7': in no name", view=Gradients(r"layers\.7"))
    refused("memory: 1e-06 GB do not take rows", memory=1000)
    refused("dtype = int8", dtype="int8")
    refused("batch_tokens = 0", batch_tokens=0)
    refused("panel = 0: give 1 or more", panel=0)
    refused("sketch_size = 0", view=Sketch(size=0))
    refused("no sketch of embeddings", view=Sketch("embed"))
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="is a file; give the path of a folder"):
        qdg.similarity(model, samples, out=tmp_path / "file")


def test_views_are_found_by_what_is_stored() -> None:
    views = (
        Gradients(),
        Gradients(("mlp", "qkv")),
        Factors(),
        Factors(("mlp",), rank=3, seed=5, tolerance=0.5),
        Sketch(),
        Sketch("reference", size=3, seed=5),
        Activations(1),
    )
    for view in views:
        stored = json.loads(json.dumps(view.attributes(NEOX)))
        assert view_from(stored) == view
        assert VIEWS[stored["mode"]] is type(view)
    assert view_from(Activations().attributes(NEOX)) == Activations(NEOX.layers)
    assert set(MODES) == set(VIEWS) | {GIVEN}  # what the configuration and the command take
    with pytest.raises(BadInput, match="mode = fast: give one of exact, factors, sketch, act"):
        view_from({"mode": "fast"})


@pytest.mark.parametrize("there", [True, False])
def test_parameters_of_another_model_are_refused(corpus: Corpus, there: bool) -> None:
    params = parameters() | {"embed.embedding": jnp.zeros((2, 2))}
    if not there:
        del params["embed.embedding"]
    with pytest.raises(BadInput, match=r"params: embed.embedding is .*; give config and params of"):
        qdg.similarity(Model(NEOX, params), examples.predictions(corpus))


def test_a_store_of_other_settings_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    model, samples = examples.model(), examples.predictions(corpus, every=60)
    out = tmp_path / "out"
    qdg.similarity(model, samples, out=out)
    before = tree(out)
    for line, changes in {
        r"has mode exact, not sketch; give another --out, or delete it": {"view": Sketch()},
        r"has cosine_abs False, not True": {"absolute": True},
        r"has dtype float32, not bfloat16": {"dtype": "bfloat16"},
    }.items():
        with pytest.raises(BadInput, match=line):
            qdg.similarity(model, samples, out=out, **changes)
    with pytest.raises(BadInput, match="has weights"):
        qdg.similarity(examples.model(seed=1), samples, out=out)
    with pytest.raises(BadInput, match="has samples"):
        qdg.similarity(model, given(corpus, [1, 2]), out=out)
    assert tree(out) == before


def test_the_disk_is_full(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    model, samples = examples.model(NEO), examples.predictions(corpus, every=60)
    with monkeypatch.context() as patch:
        patch.setattr("os.posix_fallocate", full)
        with pytest.raises(RunFailed, match="the disk is full: free"):
            qdg.similarity(model, samples, out=tmp_path / "out")
    with contextlib.suppress(FileNotFoundError):
        assert "similarity.zarr" not in {path.name for path in (tmp_path / "out").iterdir()}
    qdg.similarity(model, samples, out=tmp_path / "out")
