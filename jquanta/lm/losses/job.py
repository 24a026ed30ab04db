"""The checks before losses are computed: models, corpus and folder have to fit each other.

Nothing is written here and no weights are loaded, so a wrong call fails before the expensive part.
"""

import hashlib
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jquanta.errors import BadInput
from jquanta.lm.corpus.layout import TOKENIZER
from jquanta.lm.corpus.reader import Corpus, open_corpus
from jquanta.lm.losses import DTYPES
from jquanta.lm.losses.column import group_name, label_of, read_column, read_root
from jquanta.lm.models.config import LMConfig
from jquanta.lm.weights.load import read_config, read_tokenizer
from jquanta.lm.weights.sources import Hub, Source, open_source
from jquanta.run.arrays import METADATA
from jquanta.run.files import as_path, require_place
from jquanta.run.shard import Shard, cut_of, require_same_cut
from jquanta.run.sums import sha256_of


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model at one revision, whose shape and tokenizer fit the corpus. Weights are not loaded.

    Attributes:
        source: where the files come from.
        model: the hub's id, or the folder's name.
        revision: as given by the user, or ``main``.
        config: the network's shape.
        origin: identifies the weights without reading them: the hub's commit, or a hash of the
            names, sizes and modification times of the folder's files.
        given: the words of the command line that name it, after ``--model``.
    """

    source: Source
    model: str
    revision: str
    config: LMConfig
    origin: str
    given: tuple[str, ...]

    @property
    def label(self) -> str:
        """``model@revision``."""
        return f"{self.model}@{self.revision}"


@dataclass(frozen=True)
class Share:
    """The documents of a corpus that are one shard's.

    Attributes:
        shard: which part.
        documents, predictions: the first, and the one after the last.
    """

    shard: Shard
    documents: tuple[int, int]
    predictions: tuple[int, int]

    def attributes(self) -> dict[str, Any]:
        """As stored with a column."""
        return {
            "shard": str(self.shard),
            "documents": list(self.documents),
            "predictions": list(self.predictions),
        }


def share_of(corpus: Corpus, shard: Shard) -> Share:
    """Cut the documents into parts with about the same number of predictions.

    Raises:
        BadInput: if there are fewer documents than parts.
    """
    counts = np.diff(corpus.starts)
    having = np.flatnonzero(counts)
    if shard.of > len(having):
        raise BadInput(
            f"--shard {shard}: {corpus.path} has {len(having):,} documents with predictions; give "
            "at most so many parts"
        )
    own = having[shard.places(counts[having])]
    first, stop = int(own[0]), int(own[-1]) + 1
    return Share(shard, (first, stop), (int(corpus.starts[first]), int(corpus.starts[stop])))


@dataclass(frozen=True, eq=False)
class Job:
    """The columns that one call computes.

    Attributes:
        corpus: the corpus whose predictions are evaluated.
        checkpoints: one for each column.
        out: the folder for the losses.
        dtype: ``float32`` or ``bfloat16``, of parameters and of the factors of matrix products.
        share: the documents to compute; None for all.
    """

    corpus: Corpus
    checkpoints: tuple[Checkpoint, ...]
    out: Path
    dtype: str
    share: Share | None = None

    def command(self, checkpoint: Checkpoint) -> str:
        """The command for a column, but for the share of documents and the folder."""
        words = ["jquanta", "losses", "--corpus", str(self.corpus.path.absolute())]
        words += ["--model", *checkpoint.given]
        if self.dtype != DTYPES[0]:
            words += ["--dtype", self.dtype]
        return shlex.join(words)

    def column(self, checkpoint: Checkpoint) -> Path:
        """The folder of a checkpoint's column."""
        return self.out / group_name(checkpoint.model, checkpoint.revision)

    def finished(self, checkpoint: Checkpoint) -> bool:
        """Whether the column is complete and its weights had the same origin as these."""
        stored = read_column(self.column(checkpoint)) or {}
        return "finished" in stored and stored.get("origin") == checkpoint.origin


def make_job(
    corpus: Corpus | Path | str,
    models: Sequence[Path | str] | Path | str,
    out: Path | str,
    revisions: Sequence[str] = (),
    dtype: str = DTYPES[0],
    shard: Shard | None = None,
) -> Job:
    """Check the arguments of ``compute_losses``, except for the weights. Writes nothing.

    Args:
        corpus: a corpus or its folder; its files are verified by their hashes.
        models: ids on the hub, or folders in Hugging Face layout.
        out: the folder for the losses.
        revisions: revisions of each model; ``main`` if none are given.
        dtype: one of ``DTYPES``.
        shard: a part of the documents to compute, in a folder of its own within ``out``.

    Raises:
        BadInput: if corpus, models, revisions and folder do not fit each other.
        RunFailed: if the hub cannot be reached.
    """
    if isinstance(models, Path | str):
        models = [models]
    if not models:
        raise BadInput("--model is missing: give a model's folder, or its id on the hub")
    if dtype not in DTYPES:
        raise BadInput(f"--dtype {dtype}: give {' or '.join(DTYPES)}")
    if not isinstance(corpus, Corpus):
        corpus = open_corpus(corpus)
    corpus.verify()
    out = as_path(out)
    root = read_root(out) or {}
    if "shard" in root:
        raise BadInput(
            f"--out {out}: is shard {root['shard']} of losses; give the folder of the whole, and "
            f"--shard {root['shard']} to go on with it"
        )
    if root or cut_of(out) is None:
        require_room(out, corpus)
    checkpoints = tuple(
        open_checkpoint(model, revision, corpus)
        for model in models
        for revision in (revisions or (None,))
    )
    job = Job(corpus, checkpoints, out, dtype)
    columns = [job.column(checkpoint) for checkpoint in checkpoints]
    for checkpoint, column in zip(checkpoints, columns, strict=True):
        if columns.count(column) > 1:
            raise BadInput(f"{checkpoint.label}: given twice; leave one out, or rename a folder")
        require_same(column, checkpoint.label, corpus, dtype)
    return job if shard is None else part_of(job, shard)


def part_of(job: Job, shard: Shard) -> Job:
    """A shard of a job, in a folder of its own within that of the whole. Writes nothing.

    Raises:
        BadInput: if there are fewer documents than shards, or the folder holds another cut or
            another shard.
    """
    require_same_cut(job.out, shard)
    part = replace(job, out=shard.folder(job.out), share=share_of(job.corpus, shard))
    require_room(part.out, job.corpus)
    for checkpoint in job.checkpoints:
        require_same(part.column(checkpoint), checkpoint.label, job.corpus, job.dtype)
    return part


def open_checkpoint(model: Path | str, revision: str | None, corpus: Corpus) -> Checkpoint:
    """Open a model and check that its shape and tokenizer fit the corpus.

    Warns if a model's name is one that was used before 2023 and means another model today, and if
    it comes without a tokenizer, so that nobody can tell whether it was trained on such tokens.

    Raises:
        BadInput: if there is no such model, or it does not fit the corpus.
        RunFailed: if the hub cannot be reached.
    """
    source = open_source(model, revision)
    for note in source.notes:
        warnings.warn(note, stacklevel=2)
    config = read_config(source)
    require_fit(config, corpus, source.label)
    tokenizer = read_tokenizer(source, config)
    path = source.get(TOKENIZER)
    if tokenizer is not None and path is not None:
        own = sha256_of(path)
        # Different files can hold the same vocabulary, for versions of the tokenizers library
        # write them differently. So if the hashes differ, the vocabularies decide.
        if own != corpus.meta.recipe.tokenizer and (
            tokenizer.get_vocab(with_added_tokens=True)
            != corpus.tokenizer.get_vocab(with_added_tokens=True)
        ):
            raise BadInput(
                f"{source.label}: its tokenizer is not that of {corpus.path}; build the corpus "
                f"with --tokenizer {model}"
            )
    else:
        warnings.warn(
            f"{source.label}: has no {TOKENIZER}, so whether it was trained on the tokens of "
            f"{corpus.path} is not known: if not, its losses mean nothing. Where you know, copy "
            "the tokenizer into the model's folder",
            stacklevel=2,
        )
    if isinstance(source, Hub):
        name, given = source.repo.id, str(model)
    else:
        place = as_path(model).resolve()
        name, given = place.name, str(place)
    words = (given, "--revision", revision) if revision else (given,)
    return Checkpoint(source, name, revision or "main", config, _origin(source), words)


def require_fit(config: LMConfig, corpus: Corpus, label: str) -> None:
    """Raise ``BadInput`` unless the model can read every document of a corpus.

    Its embedding needs a row for each token of the vocabulary, and its context has to be as long
    as the longest document.
    """
    if corpus.meta.vocab_size > config.vocab:
        raise BadInput(
            f"{label}: its embedding has {config.vocab:,} rows and the tokenizer of {corpus.path} "
            f"{corpus.meta.vocab_size:,} tokens; build the corpus with the model's own tokenizer"
        )
    lengths = np.diff(corpus.offsets)
    longest = int(lengths.argmax())
    if lengths[longest] > config.context:
        raise BadInput(
            f"{corpus.path}: document {longest} has {lengths[longest]:,} tokens and the context of "
            f"{label} is {config.context:,}; build the corpus with --max_length {config.context}"
        )


def require_room(out: Path, corpus: Corpus) -> None:
    """Raise ``BadInput`` unless ``out`` is free, or holds losses on this corpus. Writes nothing."""
    if not require_place(out, METADATA):
        return
    stored = read_root(out)
    if stored is None:
        raise BadInput(f"--out {out}: holds another Zarr group; give a new folder")
    if stored["corpus"] != corpus.meta.corpus:
        raise BadInput(
            f"--out {out}: holds losses on another corpus ({stored['source']}); give another folder"
        )


def require_same(column: Path, label: str, corpus: Corpus, dtype: str, weights: str = "") -> None:
    """Raise ``BadInput`` if a column exists but is of another model, corpus, dtype or weights.

    Args:
        column: the folder of the column's group.
        label: ``model@revision``.
        corpus: the corpus whose predictions are evaluated.
        dtype: of parameters and of the factors of matrix products.
        weights: the weights' ``fingerprint``; empty if they are not loaded yet.
    """
    stored = read_column(column)
    if stored is None:
        return
    wanted = {"model": label, "corpus": corpus.meta.corpus, "dtype": dtype, "weights": weights}
    found = {**stored, "model": label_of(stored)}
    for name, value in wanted.items():
        if value and found.get(name) != value:
            raise BadInput(
                f"{column}: holds losses of {found['model']} with another {name} "
                f"({str(found.get(name))[:40]}); give another --out, or delete that folder"
            )


def _origin(source: Source) -> str:
    """See ``Checkpoint.origin``."""
    if isinstance(source, Hub):
        return f"commit {source.repo.revision}"
    files = sorted(path for path in Path(source.label).iterdir() if path.is_file())
    listing = [f"{f.name} {f.stat().st_size} {f.stat().st_mtime_ns}\n" for f in files]
    return f"files {hashlib.sha256(''.join(listing).encode()).hexdigest()}"
