"""A QDG run with a known structure: documents that are copies of each other, in a run folder."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array
from tokenizers import Tokenizer, models, pre_tokenizers

from jquanta import qdg
from jquanta.lm.corpus.reader import Corpus, open_corpus
from jquanta.lm.losses.compute import compute_losses
from jquanta.lm.models.config import LMConfig
from jquanta.qdg.clusters.cluster import save_clusters
from jquanta.qdg.config import load_qdg
from jquanta.qdg.samples.selection import Selection, given
from tests.lm.corpus.samples import write_corpus
from tests.lm.losses.examples import NEOX, USED, model, parameters

COPIES = 6
LENGTHS = (5, 9, 14, 20)
"""Tokens of the documents, a group of copies each."""


class Run(NamedTuple):
    """What QDG makes, with where it came from."""

    config: LMConfig
    params: dict[str, Array]
    corpus: Corpus
    selection: Selection
    clusters: Any
    similarity: Any


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


def last_predictions(corpus: Corpus) -> Selection:
    """The last prediction of each document: equal ones have equal gradients."""
    return given(corpus, corpus.starts[1:] - 1)


def run(path: Path, **settings: Any) -> Run:
    """Selection, similarity and clusters; settings are those of the similarity."""
    found = corpus(path / "corpus")
    selection = last_predictions(found)
    similarity = qdg.similarity(NEOX, parameters(), found, selection, **settings)
    cosine = similarity.cosine.assign_attrs(similarity.attrs)
    clusters = qdg.cluster(cosine, [2, len(LENGTHS)], n_init=3)
    return Run(NEOX, parameters(), found, selection, clusters, similarity)


def folder(path: Path) -> Path:
    """The same as a run folder of the command."""
    made = run(path)
    model(path / "model" / "step2")
    compute_losses(made.corpus, path / "model", path / "losses", revisions=["step2"])
    model(path / "model" / "step1", seed=1)
    compute_losses(made.corpus, path / "model", path / "losses", revisions=["step1"])
    results = path / "run"
    made.selection.save(results)
    qdg.similarity(made.config, made.params, made.corpus, made.selection, out=results)
    save_clusters(made.clusters, results)
    inputs = {"model": path / "model", "corpus": path / "corpus", "losses": path / "losses"}
    named = {name: str(value) for name, value in inputs.items()}
    config = load_qdg({"name": "planted", "input": named | {"revision": "step2"}})
    (results / "config.toml").write_text(config.to_toml())
    return results
