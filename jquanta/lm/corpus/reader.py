"""Open a corpus as arrays: its documents, its numbered predictions, and the text around them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tokenizers import Tokenizer

from jquanta.errors import BadInput
from jquanta.lm.corpus.layout import (
    META,
    OFFSET_DTYPE,
    OFFSETS,
    TOKENIZER,
    TOKENS,
    Meta,
    read_meta,
    token_dtype,
)
from jquanta.lm.corpus.tokenizer import parse_tokenizer
from jquanta.masks import unmasked
from jquanta.run import npy
from jquanta.run.files import as_path
from jquanta.run.sums import SMALL, sha256_of

LONGEST_CHARACTER = 4
"""Largest number of bytes of a character in UTF-8, so the largest number of byte-level tokens that
can share one character."""

SCAN = 2**24
"""Tokens that ``Corpus.verify`` checks at a time."""


class Context(NamedTuple):
    """A predicted token within its text: ``before + target + after`` is a piece of the document."""

    before: str
    target: str
    after: str


@dataclass(frozen=True, eq=False)
class Corpus:
    """Tokenised documents and the numbering of their predictions (paper, section 3).

    A document of T tokens has max(T - 1, 0) predictions; its prediction j is that of token j + 1
    from the tokens 0 … j. The predictions of all documents are numbered consecutively from 0, in
    the order of the documents. Losses, gradients and clusters refer to a prediction by this number.

    Attributes:
        path: the corpus folder.
        meta: counts, hashes, and what the corpus was built from.
        tokens: [n_tokens] the tokens of all documents, concatenated; mapped from disk.
        offsets: [n_documents + 1] document i is ``tokens[offsets[i]:offsets[i + 1]]``; mapped from
            disk.
        starts: [n_documents + 1] number of the first prediction of each document, and last the
            number of all predictions; in memory.
    """

    path: Path
    meta: Meta
    tokens: NDArray[Any]
    offsets: NDArray[np.int64]
    starts: NDArray[np.int64]

    @property
    def n_documents(self) -> int:
        """Number of documents, empty ones included."""
        return len(self.offsets) - 1

    @property
    def n_tokens(self) -> int:
        """Number of tokens of all documents."""
        return len(self.tokens)

    @property
    def n_predictions(self) -> int:
        """Number of predictions of all documents."""
        return int(self.starts[-1])

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the corpus was built with. Raises ``BadInput`` if it is missing."""
        path = self.path / TOKENIZER
        try:
            return parse_tokenizer(path.read_bytes(), str(path)).tokenizer
        except OSError as error:
            raise BadInput(f"{path}: {error.strerror}; build the corpus again") from None

    def document(self, i: int) -> NDArray[Any]:
        """The tokens [T] of document ``i``. Raises ``BadInput`` if there is no such document."""
        if not 0 <= i < self.n_documents:
            raise BadInput(f"document {i}: this corpus has documents 0 to {self.n_documents - 1}")
        return self.tokens[self.offsets[i] : self.offsets[i + 1]]

    def locate(self, index: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Find the document and the position of predictions from their numbers.

        Args:
            index: numbers of predictions, an integer or an array of any shape.

        Returns:
            The documents and the positions within them, two arrays of the shape of ``index``.
            Position j is the prediction of token j + 1 from the tokens 0 … j.

        Raises:
            BadInput: for an index outside 0 … n_predictions - 1.
        """
        index = _integers(index, "index")
        _check(index, self.n_predictions, "prediction", "this corpus has")
        # Binary search for the last document whose first prediction is at or before the index.
        # A document without predictions starts at the same number as the next one, and side="right"
        # skips it.
        document = np.searchsorted(self.starts, index, side="right") - 1
        # For a single integer numpy returns scalars here; asarray makes 0-d arrays of them.
        return np.asarray(document), np.asarray(index - self.starts[document])

    def index_of(self, document: ArrayLike, position: ArrayLike) -> NDArray[np.int64]:
        """Number of the prediction at a position of a document: the inverse of ``locate``.

        Args:
            document, position: integers, or arrays whose shapes broadcast.

        Returns:
            The numbers, an array of the broadcast shape.

        Raises:
            BadInput: for a document that does not exist or a position without a prediction.
        """
        documents, positions = np.broadcast_arrays(
            _integers(document, "document"), _integers(position, "position")
        )
        _check(documents, self.n_documents, "document", "this corpus has")
        start = self.starts[documents]
        count = self.starts[documents + 1] - start
        # The first bad pair, if any, is named in the message.
        for bad in np.flatnonzero((positions < 0) | (positions >= count))[:1]:
            i, j, n = (int(array.flat[bad]) for array in (documents, positions, count))
            raise BadInput(f"document {i}, position {j}: this document has {n} predictions")
        return np.asarray(start + positions)

    def decode(self, tokens: ArrayLike) -> str:
        """Decode tokens to text, special tokens included.

        Byte sequences that are not valid UTF-8 become the replacement character U+FFFD.
        """
        return self.tokenizer.decode(unmasked(tokens, "tokens").tolist(), skip_special_tokens=False)

    def context(self, index: int, before: int = 80, after: int = 20) -> Context:
        """The text around a predicted token.

        A token of a byte-level vocabulary may begin or end within a character. The text is always
        cut between characters: the target includes every character that its token has bytes of,
        and so do the first and the last token shown.

        Args:
            index: number of the prediction.
            before, after: how many tokens to show on each side, fewer where the document ends.

        Raises:
            BadInput: if there is no such prediction.
        """
        document, position = (int(array) for array in self.locate(index))
        tokens, target = self.document(document), position + 1
        spare = LONGEST_CHARACTER - 1  # more tokens on both sides, to complete a cut character
        low = max(0, target - before - spare)
        window = tokens[low : target + 1 + after + spare].tolist()
        here = target - low
        pieces = _Pieces(self, window)
        first = pieces.edge(max(0, here - before), -1)
        left = pieces.edge(here, -1)
        right = pieces.edge(here + 1, 1)
        last = pieces.edge(min(len(window), here + 1 + after), 1)
        return Context(pieces.text[first:left], pieces.text[left:right], pieces.text[right:last])

    def verify(self) -> None:
        """Read all files and check their hashes, and that every token is in the vocabulary.

        Raises:
            BadInput: with the name of the file that has changed since the corpus was built.
        """
        tokens, offsets, tokenizer = (self.path / name for name in (TOKENS, OFFSETS, TOKENIZER))
        remedy = "delete the folder and build the corpus again"
        if not tokenizer.is_file() or sha256_of(tokenizer) != self.meta.recipe.tokenizer:
            raise BadInput(f"{tokenizer}: not the tokenizer that {META} names; {remedy}")
        if sha256_of(tokens, offsets) != self.meta.corpus:
            raise BadInput(f"{tokens}: changed since it was built; {remedy}")
        for first in range(0, self.n_tokens, SCAN):
            largest = int(self.tokens[first : first + SCAN].max())
            if largest >= self.meta.vocab_size:
                raise BadInput(
                    f"{tokens}: token {largest} is outside the vocabulary of "
                    f"{self.meta.vocab_size}; {remedy}"
                )


def open_corpus(path: Path | str) -> Corpus:
    """Open a corpus folder.

    The arrays are mapped from disk. Of a large corpus only the offsets (8 bytes per document) are
    read; a small one is read and compared with its hashes.

    Raises:
        BadInput: if the folder is not a corpus, or its files do not fit each other.
    """
    path = as_path(path)
    meta = read_meta(path)
    tokens = _load(path / TOKENS, token_dtype(meta.vocab_size))
    offsets = _load(path / OFFSETS, OFFSET_DTYPE)
    # Cheap checks of consistency; ``verify`` compares hashes, which reads everything.
    lengths, starts = np.diff(offsets), prediction_starts(offsets)
    whole = (
        len(offsets) > 1
        and offsets[0] == 0
        and offsets[-1] == len(tokens)
        and (lengths >= 0).all()
        and (lengths <= meta.recipe.max_length).all()
        and len(offsets) - 1 == meta.documents
        and len(tokens) == meta.tokens
        and starts[-1] == meta.predictions
    )
    if not whole:
        raise BadInput(
            f"{path}: {OFFSETS}, {TOKENS} and {META} do not fit each other; delete the folder and "
            "build the corpus again"
        )
    corpus = Corpus(path, meta, tokens, offsets, starts)
    if tokens.nbytes + offsets.nbytes <= SMALL:
        corpus.verify()
    return corpus


def prediction_starts(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of the first prediction of each document.

    Args:
        offsets: [n_documents + 1] where each document begins among the tokens.

    Returns:
        [n_documents + 1] cumulative number of predictions; the last is the number of all.
    """
    starts = np.zeros(len(offsets), np.int64)
    np.cumsum(np.maximum(np.diff(offsets) - 1, 0), out=starts[1:])
    return starts


class _Pieces:
    """A window of tokens with its text, to find the characters that token boundaries lie in."""

    def __init__(self, corpus: Corpus, tokens: list[int]):
        self.corpus, self.tokens = corpus, tokens
        self.text = corpus.decode(tokens)

    def edge(self, place: int, step: int) -> int:
        """Find the boundary between characters that is at or near a token boundary.

        Args:
            place: a token boundary: the number of tokens to its left.
            step: where it cuts a character: -1 for where that character begins, 1 for its end.

        Returns:
            An index into ``text``.
        """
        while 0 < place < len(self.tokens):
            left = self.corpus.decode(self.tokens[:place])
            right = self.corpus.decode(self.tokens[place:])
            # Where a boundary cuts a character, its bytes decode to U+FFFD on both sides, so the
            # two halves differ from the whole text. (Together they may be one space shorter than
            # the whole, for some decoders drop a space at the start of a text.)
            if (
                self.text.startswith(left)
                and self.text.endswith(right)
                and len(left) + len(right) <= len(self.text)
            ):
                return len(left)
            # The bytes of the cut character on the left are one U+FFFD, however many they are.
            if left.endswith("\ufffd"):
                return len(left) - (step < 0)
            place += step  # a decoder that changes text at its ends: try the next boundary
        return 0 if place <= 0 else len(self.text)


def _load(path: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Map a one-dimensional ``.npy`` file of this dtype. Raises ``BadInput`` if it is another."""
    try:
        array = npy.read(path, "build the corpus again", mapped=True)
    except FileNotFoundError:
        raise BadInput(f"{path}: missing; delete the folder and build the corpus again") from None
    if array.dtype != dtype or array.ndim != 1:
        raise BadInput(
            f"{path}: holds {array.dtype} of shape {array.shape}, not a list of {dtype}; build the "
            "corpus again"
        )
    return array


def _integers(values: ArrayLike, what: str) -> NDArray[np.int64]:
    """Values as int64. Raises ``BadInput`` for floats, which would be rounded without notice."""
    array = unmasked(values, what)
    if array.size and array.dtype.kind not in "iu":
        raise BadInput(f"{what}: holds {array.dtype}; give integers")
    return array.astype(np.int64)


def _check(values: NDArray[np.int64], count: int, what: str, has: str) -> None:
    """Raise ``BadInput`` for the first value outside 0 … count - 1."""
    for bad in np.flatnonzero((values < 0) | (values >= count))[:1]:
        raise BadInput(f"{what} {values.flat[bad]}: {has} {what}s 0 to {count - 1}")
