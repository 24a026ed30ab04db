"""The data of a suite: documents to train and to test on, the tokenizer, and training windows.

The source is split into two sets of documents. A tokenizer is trained on the first, and both are
tokenised into corpora. The training corpus is read as one stream of tokens, cut into windows of the
length of the context; each step takes a batch of windows.
"""

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
from jquanta.lm.corpus import hub
from jquanta.lm.corpus.build import build_corpus
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.corpus.sources import Advance, Document, Files, Source, open_source
from jquanta.lm.corpus.stdlib import split, stdlib_files
from jquanta.lm.corpus.tokenizer import END_OF_TEXT, load_tokenizer, train_tokenizer
from jquanta.lm.pretrain.config import STDLIB, CorpusConfig, SuiteConfig
from jquanta.run.progress import Monitor

WHOLE = 10**9
"""Largest number of tokens of a training document: larger than any file, so none is cut."""


@dataclass(frozen=True)
class Part:
    """The test documents of a source, or the training documents.

    Whether a document is tested on depends on a hash of its text only. So equal documents are on
    the same side, and no document changes sides when others are added.

    Attributes:
        whole: the source.
        held_out: expected share of the test documents, 0 to 1.
        tested: True for the test documents, False for the others.
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
        """A hash of the whole source's hash and of the attributes."""
        which = f"{self.whole.sha256(advance)} {self.held_out!r} {self.tested}"
        return hashlib.sha256(which.encode()).hexdigest()

    def documents(self, skip: int = 0) -> Iterator[Document]:
        """See ``Source``."""
        # ``skip`` counts documents of this part, so all of the source is read and filtered first.
        mine = (document for document in self.whole.documents() if self._has(document.text))
        return itertools.islice(mine, skip, None)

    def _has(self, text: str) -> bool:
        """Whether a document belongs to this part: a hash as a number in [0, 1) decides."""
        digest = hashlib.sha256(text.encode()).digest()
        return (int.from_bytes(digest[:8]) / 2**64 < self.held_out) == self.tested


def parts(
    corpus: CorpusConfig, listing: hub.Listing | None = None, told: hub.Told = hub.silent
) -> tuple[Source, Source]:
    """Split the source of a suite into documents to train on and documents to test on.

    Documents that are files (of the standard library or of a folder) are assigned by a hash of
    their path, all others by a hash of their text.

    Args:
        corpus: the configuration of the corpus.
        listing: what its URL stands for, where that was looked up before.
        told: hears which files are downloaded.

    Returns:
        The training documents and the test documents.

    Raises:
        BadInput: if there is no such source, or one of the sets would be empty.
    """
    if corpus.source == STDLIB:
        files = stdlib_files()
        chosen = tuple(p for p in files.paths if fnmatchcase(files.relative(p), corpus.pattern))
        if not chosen:
            raise BadInput(f"corpus.pattern = {corpus.pattern!r}: no file of the library matches")
        source: Source = dataclasses.replace(files, paths=chosen)
    else:
        source = open_source(listing or corpus.source, corpus.pattern, corpus.field, told)
    if isinstance(source, Files):
        return split(source, corpus.test)
    return Part(source, corpus.test, False), Part(source, corpus.test, True)


def make_tokenizer(corpus: CorpusConfig, source: Source, path: Path) -> None:
    """Write the suite's ``tokenizer.json``.

    It is a copy of the one that the configuration names, or else trained on the documents of
    ``source``.
    """
    if corpus.tokenizer:
        path.write_bytes(load_tokenizer(corpus.tokenizer).file)
    else:
        texts = (document.text for document in source.documents())
        train_tokenizer(texts, corpus.vocab, path)


@dataclass(frozen=True, eq=False)
class Windows:
    """The training corpus as one stream of tokens, cut into windows.

    In the stream, a separator token follows each document. Window i holds the tokens i · context to
    (i + 1) · context of the stream, context + 1 in all: its last token is the first of the next
    window, so that every token of the stream except the first is predicted once per epoch.

    Attributes:
        corpus: the training corpus.
        context: number of predictions in a window.
        separator: id of the token between documents.
    """

    corpus: Corpus
    context: int
    separator: int

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """[documents + 1] where each document begins in the stream, and last the stream's length.

        Each document is preceded by one separator for every document before it.
        """
        return self.corpus.offsets + np.arange(len(self.corpus.offsets))

    @property
    def count(self) -> int:
        """Number of windows, each of which is used once per epoch."""
        return int(self.starts[-1] - 1) // self.context

    def tokens(self, index: NDArray[np.integer]) -> NDArray[np.int32]:
        """The tokens of windows.

        Args:
            index: [...] numbers of windows.

        Returns:
            [..., context + 1] token ids.
        """
        # Positions in the stream, then the document of each, then positions in the corpus, which
        # has no separators: one fewer for each document before.
        place = index[..., None].astype(np.int64) * self.context + np.arange(self.context + 1)
        document = np.searchsorted(self.starts, place, side="right") - 1
        inside = place - document
        # The last position of a document in the stream is its separator. (Behind the last document
        # of the corpus, ``inside`` would be beyond the end, hence the minimum.)
        last = place == self.starts[document + 1] - 1
        found = self.corpus.tokens[np.minimum(inside, self.corpus.n_tokens - 1)]
        return np.where(last, self.separator, found.astype(np.int32)).astype(np.int32)

    def batch(self, seed: int, step: int, size: int) -> NDArray[np.int32]:
        """The batch of a training step, a pure function of its arguments.

        Each epoch visits all windows in a different random order.

        Args:
            seed: of the order.
            step: number of the step, from 0.
            size: number of windows in a batch.

        Returns:
            [size, context + 1] token ids.
        """
        epochs, places = np.divmod(np.arange(size, dtype=np.int64) + step * size, self.count)
        # On the CPU of the host, so that the accelerator is free for training.
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
    """The number of the window at a place in the order of an epoch (a pseudorandom permutation)."""
    return streams.permute(streams.fold(key, epoch), jnp.atleast_1d(place), count)[0]


@dataclass(frozen=True, eq=False)
class Data:
    """The data on which the models of a suite are trained and tested.

    Attributes:
        windows: to train on.
        test: the corpus to test on; its documents are not longer than the context.
    """

    windows: Windows
    test: Corpus

    @property
    def vocab(self) -> int:
        """V, the number of rows of the models' embeddings."""
        return self.test.meta.vocab_size


def prepare(config: SuiteConfig, folder: Path, tokenizer: Path, monitor: Monitor) -> Data:
    """Make the tokenizer and both corpora, as far as they do not exist yet.

    Args:
        config: the suite.
        folder: the folder for the corpora, which are named ``train`` and ``test``.
        tokenizer: path of the ``tokenizer.json``; it is used if it exists, otherwise made.
        monitor: receives the progress.

    Raises:
        BadInput: if source or tokenizer cannot be used, or there are too few tokens for a batch.
        RunFailed, Interrupted: as ``build_corpus``.
    """

    def told(line: str) -> None:
        monitor.work(line, 0.0)

    listing = None
    if config.corpus.source.startswith(hub.PREFIX):
        listing = hub.look_up(config.corpus.source, [folder], told)
        folder.mkdir(exist_ok=True)
        listing.keep(folder)
    train, test = parts(config.corpus, listing, told)
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
    """Raise ``BadInput`` unless there is a batch to train on and a context to test on."""
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
