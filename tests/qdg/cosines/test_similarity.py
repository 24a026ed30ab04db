"""``similarity`` from a model to the stored matrix, against the reference in torch."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from jquanta import qdg
from jquanta.errors import BadInput, Interrupted
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.losses.compute import compute_losses
from jquanta.lm.losses.reader import open_losses
from jquanta.lm.weights.load import fingerprint, load_model
from jquanta.qdg.samples.selection import given
from jquanta.qdg.views.gradient import gradient_rows
from jquanta.qdg.views.parameters import chosen
from tests.lm.corpus.samples import tree
from tests.lm.losses.examples import NEO, NEOX, parameters
from tests.lm.models import examples as models
from tests.monitors import Watch
from tests.qdg import examples
from tests.qdg.cosines import reference

COSINES = 1e-5
"""As in test_gradient: sums in another order, in float32, there and back through two blocks."""

ROUNDING = 3e-6
"""Of our own numbers in another batch or tile."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return examples.corpus(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.mark.parametrize("kind", ["paper", "reference"])
@pytest.mark.parametrize("family", ["neox", "neo"])
def test_equal_to_the_reference_in_torch(
    corpus: Corpus, tmp_path: Path, family: str, kind: str
) -> None:
    """From losses to the matrix; the reference runs whole documents, one backward a sample."""
    model: Any = models.neox(hidden_size=32) if family == "neox" else models.neo()
    model.save_pretrained(tmp_path / "model")
    compute_losses(corpus, tmp_path / "model", tmp_path / "losses", batch_tokens=200)
    losses = open_losses(tmp_path / "losses")
    selection = qdg.select(corpus, losses, threshold=4.0, stride=2)
    assert len(selection) > 10
    loaded = load_model(tmp_path / "model")
    config, params = loaded.config, loaded.params
    found = qdg.similarity(config, params, corpus, selection, parameters=kind, absolute=True)
    names = reference.names(model, kind)
    rows = reference.gradients(model, corpus, selection.index.tolist(), names)
    signed, absolute = reference.cosines(reference.flat(rows))
    np.testing.assert_allclose(found.cosine, signed, rtol=0, atol=COSINES)
    np.testing.assert_allclose(found.cosine_abs, absolute, rtol=0, atol=COSINES)
    assert np.abs(signed - np.eye(len(signed))).max() > 0.1


@pytest.mark.parametrize(("batch_tokens", "panel"), [(1, 1), (100, 4), (10**6, 64)])
def test_batches_and_tiles_change_nothing_but_rounding(
    corpus: Corpus, batch_tokens: int, panel: int
) -> None:
    selection = examples.selection(corpus)
    wanted = qdg.similarity(NEOX, parameters(), corpus, selection)
    settings = {"batch_tokens": batch_tokens, "panel": panel, "memory": 64 * 2**20}
    found = qdg.similarity(NEOX, parameters(), corpus, selection, **settings)
    np.testing.assert_allclose(found.cosine, wanted.cosine, rtol=0, atol=ROUNDING)


def test_activations_are_the_residual_stream(tmp_path: Path, corpus: Corpus) -> None:
    """Against the hidden states of transformers, at the last token of the prefix."""
    model: Any = models.neox(hidden_size=32)
    model.save_pretrained(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    config, params = loaded.config, loaded.params
    selection = examples.selection(corpus)
    for layer in (0, 1):  # what they call the last hidden state has been through the last norm
        rows = []
        for i in selection.index.tolist():
            document, position = (int(x) for x in corpus.locate(i))
            tokens = torch.tensor(corpus.document(document).astype(np.int64))
            with torch.no_grad():
                states = model(tokens[None], output_hidden_states=True).hidden_states
            rows.append(states[layer][0, position].numpy())
        found = qdg.similarity(
            config, params, corpus, selection, mode="activations", layer=layer, absolute=True
        )
        signed, absolute = reference.cosines(np.stack(rows))
        np.testing.assert_allclose(found.cosine, signed, rtol=0, atol=COSINES)
        np.testing.assert_allclose(found.cosine_abs, absolute, rtol=0, atol=COSINES)
        assert found.attrs["layer"] == layer
    last = qdg.similarity(config, params, corpus, selection, mode="activations")
    assert last.attrs["layer"] == 2


def test_what_is_stored(corpus: Corpus, tmp_path: Path) -> None:
    selection, params = examples.selection(corpus), parameters()
    watch, out = Watch(), tmp_path / "deep" / "run"
    settings = {"absolute": True, "batch_tokens": 100}
    found = qdg.similarity(NEOX, params, corpus, selection, out=out, monitor=watch, **settings)
    inside = qdg.similarity(NEOX, params, corpus, selection, **settings)
    alone = xr.open_zarr(out / "similarity.zarr", chunks=None)
    for name in ("cosine", "cosine_abs"):
        assert alone[name].dims == ("sample", "other")
        assert alone[name].dtype == np.float32
        np.testing.assert_array_equal(alone[name], inside[name])
        np.testing.assert_array_equal(found[name], inside[name])
        assert set(alone[name].attrs) == {"units", "long_name"}
    assert alone["index"].to_numpy().tolist() == selection.index.tolist()
    wanted = {
        "mode": "exact",
        "parameters": "paper",
        "weights": fingerprint(params),
        "corpus": corpus.meta.corpus,
        "dtype": "float32",
        "samples": selection.hash,
    }
    assert {name: alone.attrs[name] for name in wanted} == wanted
    assert {name: inside.attrs[name] for name in wanted} == wanted
    assert {path.name for path in out.iterdir()} == {"similarity.zarr"}
    shares = [share for stage, share, *_ in watch.reports if stage == "similarity"]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    before = tree(out)
    watch = Watch()
    qdg.similarity(NEOX, params, corpus, selection, out=out, monitor=watch, **settings)
    assert (watch.reports, tree(out)) == ([], before)  # it is there already


def test_an_interrupted_run_continues(corpus: Corpus, tmp_path: Path) -> None:
    selection, params = examples.selection(corpus), parameters()
    settings = {"batch_tokens": 64, "panel": 4, "memory": 64 * 2**20}
    whole = qdg.similarity(NEOX, params, corpus, selection, **settings)
    with pytest.raises(Interrupted):
        qdg.similarity(
            NEOX,
            params,
            corpus,
            selection,
            out=tmp_path / "run",
            monitor=Watch(stop_at=9),
            **settings,
        )
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"similarity.work"}
    with pytest.raises(BadInput, match="no similarity here; compute it"):
        qdg.open_similarity(tmp_path / "run")
    with pytest.raises(BadInput, match=r"begun with another parameters \(paper, not reference\)"):
        qdg.similarity(
            NEOX, params, corpus, selection, out=tmp_path / "run", parameters="reference"
        )
    watch = Watch()
    found = qdg.similarity(
        NEOX, params, corpus, selection, out=tmp_path / "run", monitor=watch, **settings
    )
    assert "continuing after" in watch.lines[0]
    np.testing.assert_array_equal(found.cosine, whole.cosine)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"similarity.zarr"}


def test_zero_gradients_are_named_by_prediction(corpus: Corpus, tmp_path: Path) -> None:
    """A model whose last norm is zero gives every token the same logits: nothing reaches back."""
    params = parameters()
    params["final_norm.scale"] = 0 * params["final_norm.scale"]
    selection = given(corpus, [5, 40, 77])
    with pytest.raises(BadInput, match=r"3 zero: prediction 5, 40, 77; a cosine needs"):
        qdg.similarity(NEOX, params, corpus, selection, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    params["final_norm.scale"] = params["final_norm.scale"] * np.nan
    with pytest.raises(BadInput, match=r"3 not finite: prediction 5, 40, 77"):
        qdg.similarity(NEOX, params, corpus, selection)


def test_one_zero_gradient_among_others(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted where the samples are in the order of their lengths, not of their numbers."""
    selection = examples.selection(corpus)
    rows = gradient_rows(NEOX, parameters(), corpus, selection, chosen(NEOX), 64)
    planted = 7
    original = type(rows)._compute

    def compute(self: Any, batch: Any) -> Any:
        found = original(self, batch)
        here = np.flatnonzero(self.order[batch.start : batch.stop] == planted)
        return {name: x.at[here].set(0) for name, x in found.items()}

    monkeypatch.setattr(type(rows), "_compute", compute)
    with pytest.raises(BadInput, match=rf"1 zero: prediction {selection.index[planted]}; a "):
        qdg.similarity(NEOX, parameters(), corpus, selection, batch_tokens=64)


def test_bad_input_writes_nothing(corpus: Corpus, tmp_path: Path) -> None:
    selection, params = examples.selection(corpus), parameters()

    def refused(line: str, **settings: Any) -> None:
        with pytest.raises(BadInput, match=line) as caught:
            qdg.similarity(NEOX, params, corpus, selection, out=tmp_path / "out", **settings)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()

    refused("mode = fast: give one of exact, sketch, activations", mode="fast")
    refused("absolute: a sketch keeps no absolute values", mode="sketch", absolute=True)
    refused("layer = 3: this model has layers 0", mode="activations", layer=3)
    refused(r"'layers\\\\.7': in no name", parameters=r"layers\.7")
    refused("memory: 1e-06 GB do not take rows", memory=1000)
    refused("dtype = int8", dtype="int8")
    refused("batch_tokens = 0", batch_tokens=0)
    refused("panel = 0: give 1 or more", panel=0)
    refused("sketch_size = 0", mode="sketch", sketch_size=0)
    refused("no sketch of embeddings", mode="sketch", parameters="embed")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="is a file; give the path of a folder"):
        qdg.similarity(NEOX, params, corpus, selection, out=tmp_path / "file")


@pytest.mark.parametrize("there", [True, False])
def test_parameters_of_another_model_are_refused(corpus: Corpus, there: bool) -> None:
    params = parameters() | {"embed.embedding": np.zeros((2, 2), np.float32)}
    if not there:
        del params["embed.embedding"]
    with pytest.raises(BadInput, match=r"params: embed.embedding is .*; give config and params of"):
        qdg.similarity(NEOX, params, corpus, examples.selection(corpus))


def test_a_store_of_other_settings_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    selection = examples.selection(corpus, every=60)
    out = tmp_path / "out"
    qdg.similarity(NEOX, parameters(), corpus, selection, out=out)
    before = tree(out)
    for line, changes in {
        r"has mode exact, not sketch; give another --out, or delete it": {"mode": "sketch"},
        r"has cosine_abs False, not True": {"absolute": True},
        r"has dtype float32, not bfloat16": {"dtype": "bfloat16"},
    }.items():
        with pytest.raises(BadInput, match=line):
            qdg.similarity(NEOX, parameters(), corpus, selection, out=out, **changes)
    with pytest.raises(BadInput, match="has weights"):
        qdg.similarity(NEOX, parameters(seed=1), corpus, selection, out=out)
    with pytest.raises(BadInput, match="has samples"):
        qdg.similarity(NEOX, parameters(), corpus, given(corpus, [1, 2]), out=out)
    assert tree(out) == before


def test_the_disk_is_full(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from jquanta.errors import RunFailed

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    selection = examples.selection(corpus, every=60)
    with monkeypatch.context() as patch:
        patch.setattr("os.posix_fallocate", full)
        with pytest.raises(RunFailed, match="the disk is full: free"):
            qdg.similarity(NEO, parameters(NEO), corpus, selection, out=tmp_path / "out")
    with contextlib.suppress(FileNotFoundError):
        assert "similarity.zarr" not in {path.name for path in (tmp_path / "out").iterdir()}
    qdg.similarity(NEO, parameters(NEO), corpus, selection, out=tmp_path / "out")
