"""New gradients among those of samples: against plain numpy, and where the answer is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from tokenizers import Tokenizer, models, pre_tokenizers

from jquanta import qdg
from jquanta.cli import assign as door
from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.models.model import Model
from jquanta.qdg.clusters.cluster import imported
from jquanta.qdg.questions import assignment
from jquanta.qdg.questions.assignment import assign
from jquanta.qdg.samples.predictions import Predictions, given
from jquanta.qdg.views.activations import Activations
from jquanta.qdg.views.gradient import Gradients
from jquanta.qdg.views.sketch import Sketch
from tests.lm.losses.examples import NEOX, parameters
from tests.monitors import Watch
from tests.qdg import examples
from tests.qdg.clusters import planted
from tests.qdg.clusters.planted import COPIES, LENGTHS, words

COSINES = 1e-5
"""Of float32 gradients made in other batches, through two blocks; as in test_similarity."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> planted.Run:
    return planted.run(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    path = tmp_path_factory.mktemp("corpus") / "corpus"
    return examples.corpus(path, tokenizer=planted.tokenizer())


def random_run(corpus: Corpus, **settings: Any) -> planted.Run:
    """Samples of random tokens in clusters that mean nothing, one of them of a single sample."""
    samples, model = examples.predictions(corpus, 7), examples.model()
    similarity = qdg.similarity(model, samples, **settings)
    labels = np.arange(len(samples)) % 3
    labels[-1] = 3
    clusters = imported([labels % 2, labels], samples=samples.hash)
    return planted.Run(model, samples, clusters, similarity)


@pytest.mark.parametrize("group", range(len(LENGTHS)))
def test_a_text_that_was_sampled_falls_in_its_cluster(made: planted.Run, group: int) -> None:
    """The copies' gradients are equal, so the text's is the centre of their cluster."""
    text = words(made.corpus.document(group * COPIES))
    found = assign(*made, text, last=1)
    copies = np.arange(group * COPIES, (group + 1) * COPIES)
    labels = made.clusters.label.sel(count=len(LENGTHS)).to_numpy()
    assert set(labels[copies]) == {int(found.cluster[0])}
    np.testing.assert_allclose(found.cosine, 1, atol=COSINES)
    assert set(found.nearest[0].to_numpy()) <= set(copies)
    np.testing.assert_allclose(found.nearest_cosine, 1, atol=COSINES)
    assert found.prediction.item() == LENGTHS[group] - 2
    assert found.target.item().strip() == words(made.corpus.document(group * COPIES)[-1:])


def test_every_sample_falls_in_its_own_cluster(made: planted.Run) -> None:
    found = assign(*made, made.predictions.index, nearest=2)
    labels = made.clusters.label.sel(count=len(LENGTHS)).to_numpy()
    np.testing.assert_array_equal(found.cluster, labels)
    near = found.nearest.to_numpy()
    np.testing.assert_array_equal(labels[near], np.stack([labels, labels], 1))
    assert (near != np.arange(len(labels))[:, None]).all()  # not itself


def test_all_tokens_of_a_text(made: planted.Run) -> None:
    """As the predictions of the document that the text is."""
    document = COPIES  # the first of the second group
    own = np.arange(made.corpus.starts[document], made.corpus.starts[document + 1])
    text = assign(*made, words(made.corpus.document(document)))
    index = assign(*made, own)
    np.testing.assert_array_equal(text.prediction, np.arange(len(own)))
    np.testing.assert_array_equal(index.prediction, own)
    assert text.target.to_numpy().tolist() == index.target.to_numpy().tolist()
    np.testing.assert_array_equal(text.cluster, index.cluster)
    for name in ("loss", "cosine"):
        np.testing.assert_allclose(text[name], index[name], rtol=0, atol=COSINES)
    part = assign(*made, words(made.corpus.document(document)), last=3)
    np.testing.assert_allclose(part.loss, text.loss[-3:], rtol=1e-6)


def test_of_a_long_text_the_end_is_taken(made: planted.Run) -> None:
    """65 tokens: what the context of 64 holds, and the last prediction's target."""
    tokens, watch = [1 + i % 50 for i in range(80)], Watch()
    long = assign(*made, words(tokens), last=70, monitor=watch)
    end = assign(*made, words(tokens[-65:]))
    assert watch.lines[0] == "text: 80 tokens, of which the model takes the last 65"
    np.testing.assert_array_equal(long.prediction, 15 + end.prediction)
    np.testing.assert_allclose(long.loss, end.loss, rtol=1e-6)
    assert long.target.to_numpy().tolist() == end.target.to_numpy().tolist()


def test_of_a_very_long_text_only_the_end_is_read() -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="b"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    text = "b a " * 10_000
    tokens, cut = assignment._last_tokens(tokenizer, text, 20)
    assert cut
    assert 40 <= len(tokens) < 400
    assert tokens[-20:] == [1, 0] * 10
    spaced = f"b{' ' * 5000}a"
    assert assignment._last_tokens(tokenizer, spaced, 20) == ([1, 0], False)


def unit(samples: Predictions) -> np.ndarray:
    rows = qdg.gradients(examples.model(), samples).astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def cosine_to_mean(row: np.ndarray, rows: np.ndarray) -> float:
    mean = rows.mean(0)
    return float(row @ mean / np.linalg.norm(mean))


@pytest.mark.parametrize("count", [2, 4])
def test_equal_to_plain_numpy(corpus: Corpus, count: int) -> None:
    """Centres as means of unit gradients in float64; each sample against the mean of the others."""
    run = random_run(corpus)
    samples = unit(run.predictions)
    labels = run.clusters.label.sel(count=count).to_numpy()
    index = np.union1d(run.predictions.index[:4], [1, 2, 40, 41, 100, 200])
    found = assign(*run, index, count=count, nearest=3)
    for token, row in enumerate(unit(given(corpus, index))):
        itself = run.predictions.index == index[token]
        each = [cosine_to_mean(row, samples[labels == c]) for c in range(labels.max() + 1)]
        cluster = int(np.argmax(each))
        assert found.cluster[token] == cluster
        assert found.cosine[token] == pytest.approx(max(each), abs=COSINES)
        members = np.flatnonzero((labels == cluster) & ~itself)
        own = each[cluster]
        if itself[labels == cluster].any():
            own = cosine_to_mean(row, samples[members])
        closeness = [
            cosine_to_mean(samples[i], samples[(labels == cluster) & (np.arange(len(labels)) != i)])
            for i in members
            if (labels == cluster).sum() > 1
        ]
        # No sample is so near to the new one that rounding could turn them round.
        assert min((abs(x - own) for x in closeness), default=1) > COSINES
        score = np.mean(np.array(closeness) < own) if closeness else np.nan
        np.testing.assert_equal(float(found.score[token]), score)
        near = np.argsort(-np.where(itself, -2, samples @ row))[:3]
        np.testing.assert_array_equal(found.nearest[token], near)
        np.testing.assert_allclose(found.nearest_cosine[token], (samples @ row)[near], atol=COSINES)
    assert 0 < float(found.score.mean()) < 1


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize(
    "settings",
    [
        {"view": Sketch(size=8, seed=3)},
        {"view": Activations(1)},
        {"view": Gradients("mlp")},
        {"absolute": True},
    ],
    ids=["sketch", "activations", "parameters", "absolute"],
)
def test_cosines_as_the_similarity_has_them(corpus: Corpus, settings: Any) -> None:
    run = random_run(corpus, **settings)
    absolute = "absolute" in settings
    run = run._replace(clusters=run.clusters.assign_attrs(affinity="absolute" if absolute else ""))
    index = [3, 50, 101]
    found = assign(*run, index, nearest=len(run.predictions))
    union = given(corpus, np.union1d(run.predictions.index, index))
    whole = qdg.similarity(run.model, union, **settings)
    matrix = whole["cosine_abs" if absolute else "cosine"].to_numpy()
    for token, prediction in enumerate(index):
        row = matrix[union.index == prediction][0]
        wanted = row[np.isin(union.index, run.predictions.index)]
        places = found.nearest[token].to_numpy()
        assert sorted(places.tolist()) == list(range(len(wanted)))
        np.testing.assert_allclose(found.nearest_cosine[token], wanted[places], atol=COSINES)


def test_a_gradient_without_direction_fits_nothing(corpus: Corpus) -> None:
    """A token that is certain has no gradient; the others around it have."""
    params, certain = parameters(), int(corpus.document(4)[3])
    bias, kernel = np.array(params["final_norm.bias"]), np.array(params["unembed.kernel"])
    bias[0], kernel[0, certain] = 50.0, 100.0
    params |= {"final_norm.bias": bias, "unembed.kernel": kernel}
    targets = corpus.tokens[corpus.offsets[4] + 1 : corpus.offsets[5]]
    start = int(corpus.starts[4])
    samples, model = given(corpus, start + np.flatnonzero(targets != certain)), Model(NEOX, params)
    similarity = qdg.similarity(model, samples)
    clusters = imported([np.arange(len(samples)) % 2])
    found = assign(model, samples, clusters, similarity, [start + 2, start + 4])
    assert found.loss[0] == 0
    assert found.cluster.to_numpy()[0] == -1
    assert (found.nearest[0] == -1).all()
    assert np.isnan(found.score[0])
    assert np.isnan(found.cosine[0])
    assert found.cluster.to_numpy()[1] >= 0
    assert np.isfinite(found.cosine[1])


def test_bad_input_is_one_clear_line(made: planted.Run, tmp_path: Path) -> None:
    text = words([1, 2, 3])

    def refused(line: str, what: Any = text, run: Any = made, **settings: Any) -> None:
        with pytest.raises(BadInput, match=line) as caught:
            assign(*run, what, **settings)
        assert "\n" not in str(caught.value)

    refused("text: 0 tokens, and the first is predicted from nothing", "")
    refused("text: 1 token, and", "w1")
    refused("text: not UTF-8", "\udcff")
    refused("count 3: there are clusters for 2, 4", count=3)
    refused("^nearest = 0: give 1 or more", nearest=0)
    refused("^last = 0: give 1 or more", last=0)
    refused("last: goes with a text", [1, 2], last=1)
    refused("prediction 100000: this corpus has", [100000])
    refused("index: no predictions", [])
    refused("gradients of 25,152 numbers take .* give fewer tokens", memory="100 kB")
    other = made._replace(model=examples.model(seed=1))
    refused("the model's weights are not those of these results", run=other)
    fewer = made._replace(clusters=made.clusters.isel(sample=slice(5)))
    refused("clusters of 5 samples are not of this selection of 24", run=fewer)
    foreign = made._replace(similarity=made.similarity.assign_attrs(samples="others"))
    refused("the similarity is not of this selection's samples", run=foreign)
    absolute = made._replace(clusters=made.clusters.assign_attrs(affinity="absolute"))
    refused("the clusters are of cosine_abs, which the similarity lacks", run=absolute)
    # The same numbers of another corpus: what is stored says of which one its samples are.
    another = examples.corpus(tmp_path / "other", (40,) * 24, tokenizer=planted.tokenizer())
    elsewhere = made._replace(predictions=given(another, made.predictions.index))
    assert elsewhere.predictions.hash == made.predictions.hash
    refused("not the corpus of these results", [1], elsewhere)
    labels = made.clusters.label.isel(count=0).to_numpy()
    refused(
        "not the corpus of these results",
        [1],
        elsewhere._replace(clusters=imported([labels], samples=made.predictions.hash)),
    )


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = planted.folder(tmp_path)
    words_ = words(planted.corpus(tmp_path / "again").document(0))
    assert door.main([str(results), "--text", words_, "--last", "1", "--nearest", "2"]) == 0
    head, token, *near = capsys.readouterr().out.splitlines()
    assert "of 4 clusters of 24 samples" in head
    assert "1.00" in token
    assert len(near) == 2
    assert all(line.rstrip("'").endswith(words_.split()[-1]) for line in near)
    assert door.main([str(results), "--index", "3", "--count", "2"]) == 0
    assert "of 2 clusters" in capsys.readouterr().out

    def refused(line: str, *words: str) -> None:
        assert door.main(list(words)) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("jquanta: ")
        assert line in err
        assert err.count("\n") == 1

    refused("RESULTS is missing", "--text", "a")
    refused("give either --text or --index", str(results))
    refused("give either --text or --index", str(results), "--text", "a", "--index", "1")
    refused(
        "is a folder without config.toml, not a folder that jquanta qdg made",
        str(tmp_path),
        "--text",
        "a b",
    )
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.toml").write_text("name = 'x'\n[task]\nk = 3\n")
    refused("is a sweep's folder", str(tmp_path / "other"), "--text", "a b")
    (results / "clusters.zarr").rename(tmp_path / "moved")
    refused("lacks clusters.zarr; finish it with jquanta qdg", str(results), "--text", "a b")
    (tmp_path / "moved").rename(results / "clusters.zarr")
    (tmp_path / "corpus").rename(tmp_path / "gone")
    refused("no such folder; build one: jquanta corpus", str(results), "--text", "a b")


def test_a_dataset_that_can_be_stored(made: planted.Run) -> None:
    found = assign(*made, words([1, 2, 3]))
    assert isinstance(found, xr.Dataset)
    assert found.loss.attrs["units"] == "nats"
    assert found.attrs["count"] == 4
