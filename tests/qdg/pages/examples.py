"""Corpora of awkward text, result folders made of known gradients, and pages of any size."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jquanta.lm.corpus.reader import Corpus, open_corpus
from jquanta.lm.corpus.tokenizer import train_tokenizer
from jquanta.lm.losses.batches import LONGEST_FIRST
from jquanta.lm.losses.column import Column as Stored
from jquanta.lm.losses.column import group_name, make_root
from jquanta.lm.losses.legs import Leg
from jquanta.qdg.clusters.cluster import imported, save_clusters
from jquanta.qdg.cosines.similarity import SIMILARITY
from jquanta.qdg.pages.page import Column, Page
from jquanta.qdg.pages.texts import Text
from jquanta.qdg.samples.selection import Selection
from jquanta.run.arrays import variable, write
from tests.lm.corpus.samples import texts, twin, write_corpus

COUNTS = (3, 7)

HOSTILE = [
    "<script>window.pwned = 1</script>",
    "</script><script>window.pwned = 1</script>",
    "<!--<script>",
    "]]>",
    "<img src=x onerror='window.pwned = 1'>",
    '" onmouseover="window.pwned = 1" x=\'',
    "&lt;b&gt;&amp;&#39;",
    "{{ 7 * 7 }}{% raw %}",
    "\u2028\u2029\u202e\ufeff\x07\x1b\x85",
    "$&$1`${window.pwned = 1}`\\u003c\\",
    "__proto__",
    "javascript:window.pwned=1",
    "\ttab\n\n    indent  two  \r\n",
    "é日本🎉e\u0301",
    "a" * 300,
    " ",
    "\n",
    "\n    ",
]
"""What a page, a script, a template, an address or TeX could take for something else."""


class Made(NamedTuple):
    """A folder of results, what belongs to it, and the gradients that it was made of."""

    results: Path
    corpus: Corpus
    losses: Path
    selection: Selection
    gradients: np.ndarray
    labels: np.ndarray
    columns: dict[tuple[str, str], np.ndarray]


def made(path: Path, samples: int = 60) -> Made:
    """Results as ``jquanta qdg`` leaves them, of random gradients in groups."""
    documents = [*HOSTILE, *texts(150)]
    train_tokenizer(texts(200, seed=1), 400, path / "tokenizer.json")
    rows = twin(path / "tokenizer.json", documents, 200)
    tokenizer = (path / "tokenizer.json").read_bytes()
    corpus = open_corpus(write_corpus(path / "corpus", rows, tokenizer))
    chance = np.random.default_rng(0)
    index = np.sort(chance.choice(corpus.n_predictions, samples, replace=False))
    model = "some/big@step512"
    selection = Selection(index, corpus.meta.corpus, model, {"threshold": 0.1})
    (results := path / "results").mkdir()
    selection.save(results)
    groups = chance.integers(0, 7, samples)
    gradients = chance.normal(size=(7, 20))[groups] + 0.5 * chance.normal(size=(samples, 20))
    unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    cosine = variable(("sample", "other"), (unit @ unit.T).astype(np.float32))
    write(results / SIMILARITY, {"cosine": cosine}, {"samples": selection.hash, "mode": "exact"})
    labels = imported(np.stack([groups % 3, groups]), COUNTS, samples=selection.hash)
    save_clusters(labels, results)
    columns = {}
    for name, size in (("some/small", 30), ("some/big", 900)):
        for revision in ("step0", "step512"):
            columns[name, revision] = stored(path / "losses", corpus, name, revision, size)
    told = labels["label"].to_numpy()
    return Made(results, corpus, path / "losses", selection, gradients, told, columns)


def stored(out: Path, corpus: Corpus, model: str, revision: str, size: int) -> np.ndarray:
    """A column of random losses, written as ``jquanta losses`` does."""
    seed = len(model) + len(revision)
    numbers = np.random.default_rng(seed).random(corpus.n_predictions, np.float32)
    make_root(out, corpus)
    attributes = {
        "model": model,
        "revision": revision,
        "size": size,
        "weights": "0",
        "corpus": corpus.meta.corpus,
        "source": corpus.meta.source,
    }
    Stored.create(out / group_name(model, revision), corpus.n_predictions, attributes)
    column = Stored(out / group_name(model, revision))
    column.write(0, numbers)
    column.finish([Leg(LONGEST_FIRST, corpus.n_documents)])
    return numbers


def page(
    words: Sequence[str],
    samples: int = 40,
    counts: Sequence[int] = (3, 10),
    tokens: int = 12,
    drawn: int = 16,
    title: str = "A page",
) -> Page:
    """A page of texts made of ``words``: sample i is around word i."""
    chance = np.random.default_rng(0)
    around = chance.integers(0, len(words), (samples, tokens)).tolist()
    half = tokens // 2
    made = [
        Text(
            tuple(words[w] for w in row[:half]),
            words[i % len(words)],
            tuple(words[w] for w in row[half:]),
        )
        for i, row in enumerate(around)
    ]
    labels = np.stack([np.sort(np.arange(samples) % count) for count in counts]).astype(np.int32)
    columns = [
        Column(f"some/{name}@step{step}", f"some/{name}", size, step)
        for name, size in (("small", 10**6), ("big", 10**8))
        for step in (0, 512, 4096)
    ]
    losses = chance.random((len(columns), samples), np.float32)
    shape = (len(counts), samples)
    return Page(
        title=title,
        about=[("Model", title), ("Rule", words[0])],
        index=np.arange(samples) * 7,
        texts=made,
        counts=np.array(counts),
        labels=labels,
        centrality=chance.uniform(-1, 1, shape).astype(np.float32),
        tightness=[chance.random(count, np.float32) for count in counts],
        loss=losses[-1],
        columns=columns,
        losses=losses,
        drawn=np.arange(drawn) * (samples // drawn),
        cosine=chance.uniform(-1, 1, (drawn, drawn)).astype(np.float32),
    )
