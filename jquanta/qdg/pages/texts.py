"""The text around predictions, in pieces, so that a reader can choose how much of it to see."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import NamedTuple

from numpy.typing import ArrayLike

from jquanta.lm.corpus.reader import LONGEST_CHARACTER, Corpus


class Text(NamedTuple):
    """A predicted token in its text. All pieces joined are the text as it stands.

    A piece is a token; tokens that each hold some bytes of one character form one piece.
    """

    before: tuple[str, ...]
    target: str
    after: tuple[str, ...]


def texts(corpus: Corpus, index: ArrayLike, before: int = 80, after: int = 20) -> Iterator[Text]:
    """The text around predicted tokens: ``Corpus.context``, in pieces and for many.

    Args:
        corpus: where they are.
        index: [Q] numbers of predictions.
        before, after: how many tokens on each side, within the document.

    Raises:
        BadInput: if there is no such prediction.
    """
    words = _Words(corpus)
    spare = LONGEST_CHARACTER - 1
    for document, position in zip(*(x.tolist() for x in corpus.locate(index)), strict=True):
        here = position + 1
        low = max(0, here - before - spare)
        window = corpus.document(document)[low : here + 1 + after + spare].tolist()
        here -= low
        places, ends = words.pieces(window)
        text = words.decode(window)
        first = bisect_right(places, max(0, here - before)) - 1
        left = bisect_right(places, here) - 1
        right = bisect_left(places, here + 1)
        last = bisect_left(places, min(len(window), here + 1 + after))
        pieces = [text[start:end] for start, end in pairwise(ends)]
        yield Text(
            tuple(pieces[first:left]), "".join(pieces[left:right]), tuple(pieces[right:last])
        )


class _Words:
    """A decoder that keeps the text of each token by itself."""

    def __init__(self, corpus: Corpus):
        self.decode, self.tokenizer = corpus.decode, corpus.tokenizer
        self.known: dict[int, str] = {}

    def pieces(self, tokens: list[int]) -> tuple[list[int], list[int]]:
        """The boundaries between tokens that do not cut a character: as places in the tokens, and
        as places in the text."""
        for token in set(tokens) - self.known.keys():
            self.known[token] = self.decode([token])
        singly = [self.known[token] for token in tokens]
        text = self.decode(tokens)
        if "".join(singly) == text:
            return list(range(len(tokens) + 1)), [0, *accumulate(map(len, singly))]
        # A boundary within a character leaves U+FFFD on both sides, so that the two halves are not
        # the beginning and the end of the text. (They may be shorter than it by a space, which some
        # decoders drop at the start.)
        every = range(len(tokens) + 1)
        left = self._each([tokens[:i] for i in every])
        right = self._each([tokens[i:] for i in every])
        whole = [
            i
            for i in every
            if text.startswith(left[i])
            and text.endswith(right[i])
            and len(left[i]) + len(right[i]) <= len(text)
        ]
        return whole, [len(left[i]) for i in whole]

    def _each(self, sequences: list[list[int]]) -> list[str]:
        found: list[str] = self.tokenizer.decode_batch(sequences, skip_special_tokens=False)
        return found
