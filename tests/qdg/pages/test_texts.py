"""Text in pieces: joined, it is what ``Corpus.context`` gives, however tokens cut characters."""

import numpy as np
import pytest

from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus
from jquanta.qdg.pages.texts import texts
from tests.qdg.pages.examples import made


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return made(tmp_path_factory.mktemp("made")).corpus


@pytest.mark.parametrize(("before", "after"), [(80, 20), (5, 3), (1, 0), (0, 1)])
def test_pieces_are_the_context(corpus: Corpus, before: int, after: int) -> None:
    index = np.random.default_rng(before).choice(corpus.n_predictions, 400, replace=False)
    cut = 0
    for i, text in zip(index, texts(corpus, index, before, after), strict=True):
        wanted = corpus.context(int(i), before, after)
        assert ("".join(text.before), text.target, "".join(text.after)) == wanted
        # A cut character at the very end may take a piece more than there are tokens to show.
        assert len(text.before) <= before + 1
        assert len(text.after) <= after + 1
        cut += not text.target.isascii()
    assert cut > 20  # of them, some are of several tokens


def test_a_piece_is_a_token_where_tokens_hold_whole_characters(corpus: Corpus) -> None:
    document = next(
        d for d in range(corpus.n_documents) if "aaa" in corpus.decode(corpus.document(d))
    )
    last = len(corpus.document(document)) - 2
    (text,) = texts(corpus, corpus.index_of([document], [last]), before=4, after=4)
    tokens = corpus.document(document)
    assert [*text.before, text.target] == [corpus.decode([t]) for t in tokens[-5:]]
    assert text.after == ()


def test_predictions_that_are_not_there(corpus: Corpus) -> None:
    with pytest.raises(BadInput, match="this corpus has predictions"):
        list(texts(corpus, [corpus.n_predictions]))
