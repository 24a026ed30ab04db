"""What is trained and tested on: a source in two parts, a tokenizer, two corpora, windows."""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt32
from numpy.typing import NDArray

from jquanta import streams
from jquanta.errors import BadInput
from jquanta.lm.corpus.build import build_corpus
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.corpus.sources import Advance, Document, Files, Source, open_source
from jquanta.lm.corpus.stdlib import split, stdlib_files
from jquanta.lm.corpus.tokenizer import END_OF_TEXT, load_tokenizer, train_tokenizer
from jquanta.lm.pretrain.config import STDLIB, CorpusConfig, SuiteConfig
from jquanta.run.progress import Monitor

WHOLE = 10**9
"""Tokens that a training document may have: any file."""


@dataclass(frozen=True)
class Part:
    """The documents of a source that are held out, or the others.

    A document's side depends on its own text only: equal documents stay together, and none moves
    when others come.
    """

    whole: Source
    held_out: float
    tested: bool

    @property
    def name(self) -> str:
        """See ``Source``."""
        return self.whole.name

    @property
    def size(self) -> int:
        """See ``Source``."""
        return self.whole.size

    def sha256(self, advance: Advance) -> str:
        """Of the whole source's hash and what the part depends on."""
        which = f"{self.whole.sha256(advance)} {self.held_out!r} {self.tested}"
        return hashlib.sha256(which.encode()).hexdigest()

    def documents(self, skip: int = 0) -> Iterator[Document]:
        """See ``Source``."""
        mine = (document for document in self.whole.documents() if self._has(document.text))
        return itertools.islice(mine, skip, None)

    def _has(self, text: str) -> bool:
        digest = hashlib.sha256(text.encode()).digest()
        return (int.from_bytes(digest[:8]) / 2**64 < self.held_out) == self.tested


def parts(corpus: CorpusConfig) -> tuple[Source, Source]:
    """The documents to train on and those to test on; files are told apart by their names.

    Raises:
        BadInput: if there is no such source, or a side would be empty.
    """
    if corpus.source == STDLIB:
        files = stdlib_files()
        chosen = tuple(p for p in files.paths if fnmatchcase(files.relative(p), corpus.pattern))
        if not chosen:
            raise BadInput(f"corpus.pattern = {corpus.pattern!r}: no file of the library matches")
        source: Source = dataclasses.replace(files, paths=chosen)
    else:
        source = open_source(corpus.source, corpus.pattern)
    if isinstance(source, Files):
        return split(source, corpus.test)
    return Part(source, corpus.test, False), Part(source, corpus.test, True)


def make_tokenizer(corpus: CorpusConfig, source: Source, path: Path) -> None:
    """Write the suite's ``tokenizer.json``: trained on ``source``, or a copy of the one named."""
    if corpus.tokenizer:
        path.write_bytes(load_tokenizer(corpus.tokenizer).file)
    else:
        texts = (document.text for document in source.documents())
        train_tokenizer(texts, corpus.vocab, path)


@dataclass(frozen=True, eq=False)
class Windows:
    """The training corpus as one stream, a separator after each document, cut into windows.

    Window i holds the stream's tokens i · context … (i + 1) · context: its last is the first of
    the next, so that each token but the first is predicted once an epoch.

    Attributes:
        corpus: what is trained on.
        context: predictions of a window; it has one token more.
        separator: the token between documents.
    """

    corpus: Corpus
    context: int
    separator: int

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """[documents + 1] where each document begins in the stream."""
        return self.corpus.offsets + np.arange(len(self.corpus.offsets))

    @property
    def count(self) -> int:
        """Windows of an epoch."""
        return int(self.starts[-1] - 1) // self.context

    def tokens(self, index: NDArray[np.integer]) -> NDArray[np.int32]:
        """[..., context + 1] the windows of these numbers."""
        place = index[..., None].astype(np.int64) * self.context + np.arange(self.context + 1)
        document = np.searchsorted(self.starts, place, side="right") - 1
        inside = place - document  # less a separator for each document before
        last = place == self.starts[document + 1] - 1
        found = self.corpus.tokens[np.minimum(inside, self.corpus.n_tokens - 1)]
        return np.where(last, self.separator, found.astype(np.int32)).astype(np.int32)

    def batch(self, seed: int, step: int, size: int) -> NDArray[np.int32]:
        """[size, context + 1] the windows of a step: a function of seed and step only.

        Each epoch goes through all windows in an order of its own.
        """
        epochs, places = np.divmod(np.arange(size, dtype=np.int64) + step * size, self.count)
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            key = streams.key(streams.Stream.ORDER, seed, self.count, size)
            index = _shuffled(
                key, epochs.astype(np.uint32), places.astype(np.uint32), np.uint32(self.count)
            )
        return self.tokens(np.asarray(index))


@jax.jit
@partial(jax.vmap, in_axes=(None, 0, 0, None))
def _shuffled(
    key: streams.Key,
    epoch: UInt32[Array, ""],
    place: UInt32[Array, ""],
    count: UInt32[Array, ""],
) -> UInt32[Array, ""]:
    """The window that stands at a place of an epoch."""
    return streams.permute(streams.fold(key, epoch), jnp.atleast_1d(place), count)[0]


@dataclass(frozen=True, eq=False)
class Data:
    """Everything that the models read.

    Attributes:
        windows: to train on.
        test: documents no longer than the context.
    """

    windows: Windows
    test: Corpus

    @property
    def vocab(self) -> int:
        """Rows of the models' embeddings."""
        return self.test.meta.vocab_size


def prepare(config: SuiteConfig, folder: Path, tokenizer: Path, monitor: Monitor) -> Data:
    """The tokenizer and both corpora, or what is missing of them.

    Args:
        config: the suite.
        folder: for the corpora ``train`` and ``test``.
        tokenizer: the file; one that is there is used.
        monitor: is told of the progress.

    Raises:
        BadInput: if source or tokenizer will not do, or hold too little for the windows.
    """
    train, test = parts(config.corpus)
    if not tokenizer.exists():
        monitor.work("tokenizer", 0.0)
        make_tokenizer(config.corpus, train, tokenizer)
    context = config.train.context
    corpora = (
        build_corpus(train, tokenizer, folder / "train", max_length=WHOLE, monitor=monitor),
        build_corpus(
            test, tokenizer, folder / "test", max_length=context, long="split", monitor=monitor
        ),
    )
    separator = corpora[0].tokenizer.token_to_id(END_OF_TEXT)
    if separator is None:
        raise BadInput(
            f"corpus.tokenizer = {config.corpus.tokenizer!r}: has no token {END_OF_TEXT}, which "
            "parts documents; give another, or none to train one"
        )
    data = Data(Windows(corpora[0], context, separator), corpora[1])
    _require_enough(config, data)
    return data


def _require_enough(config: SuiteConfig, data: Data) -> None:
    train, windows = config.train, data.windows
    if windows.count < train.batch:
        raise BadInput(
            f"train.context = {train.context}: the {windows.corpus.n_tokens:,} tokens to train on "
            f"make {windows.count} windows, and a step takes {train.batch}; lower train.context or "
            "train.batch, or give a larger corpus.source"
        )
    if data.test.n_predictions < train.context:
        raise BadInput(
            f"corpus.test = {config.corpus.test}: only {data.test.n_predictions} predictions to "
            f"test on, and at least {train.context} are needed; raise it, or give a larger "
            "corpus.source"
        )
