"""A QDG run with a known structure: documents that are copies of each other, in a run folder."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from jquanta import qdg
from jquanta.lm.corpus.reader import Corpus, open_corpus
from jquanta.lm.losses.compute import compute_losses
from jquanta.lm.models.model import Model
from jquanta.qdg.clusters.cluster import save_clusters
from jquanta.qdg.config import load_qdg
from jquanta.qdg.samples.predictions import Predictions, given
from tests.lm.corpus.samples import write_corpus
from tests.lm.losses.examples import NEOX, USED, model, parameters

COPIES = 6
LENGTHS = (5, 9, 14, 20)
"""Tokens of the documents, a group of copies each."""


class Run(NamedTuple):
    """What QDG makes, with where it came from."""

    model: Model
    predictions: Predictions
    clusters: Any
    similarity: Any

    @property
    def corpus(self) -> Corpus:
        """Of the samples."""
        return self.predictions.corpus


def words(tokens: Any) -> str:
    """Text of these tokens."""
    return " ".join(f"w{token}" for token in tokens)


def tokenizer() -> bytes:
    """A word for each token."""
    vocabulary = {f"w{i}": i for i in range(USED)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return bytes(made.to_str(), "utf-8")


def corpus(path: Path) -> Corpus:
    """Four documents of random words, ``COPIES`` of each, the groups one after the other."""
    chance = np.random.default_rng(0)
    rows = [chance.integers(1, USED, length).tolist() for length in LENGTHS for _ in range(COPIES)]
    # Copies follow each other, so the same number is drawn for each: take the first of a group.
    rows = [rows[i - i % COPIES] for i in range(len(rows))]
    return open_corpus(write_corpus(path, rows, tokenizer(), USED))


def last_predictions(corpus: Corpus) -> Predictions:
    """The last prediction of each document: equal ones have equal gradients."""
    return given(corpus, corpus.starts[1:] - 1)


def run(path: Path, **settings: Any) -> Run:
    """Samples, similarity and clusters; settings are those of the similarity."""
    predictions = last_predictions(corpus(path / "corpus"))
    network = Model(NEOX, parameters())
    similarity = qdg.similarity(network, predictions, **settings)
    cosine = similarity.cosine.assign_attrs(similarity.attrs)
    clusters = qdg.cluster(cosine, [2, len(LENGTHS)], n_init=3)
    return Run(network, predictions, clusters, similarity)


def folder(path: Path) -> Path:
    """The same as a run folder of the command."""
    made = run(path)
    model(path / "model" / "step2")
    compute_losses(made.corpus, path / "model", path / "losses", revisions=["step2"])
    model(path / "model" / "step1", seed=1)
    compute_losses(made.corpus, path / "model", path / "losses", revisions=["step1"])
    results = path / "run"
    made.predictions.save(results)
    qdg.similarity(made.model, made.predictions, out=results)
    save_clusters(made.clusters, results)
    inputs = {"model": path / "model", "corpus": path / "corpus", "losses": path / "losses"}
    named = {name: str(value) for name, value in inputs.items()}
    config = load_qdg({"name": "planted", "input": named | {"revision": "step2"}})
    (results / "config.toml").write_text(config.to_toml())
    return results
