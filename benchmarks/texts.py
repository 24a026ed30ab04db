"""A corpus of random tokens, with documents of realistic lengths."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from jquanta.lm.corpus.reader import Corpus

# As in the paper, documents are cut at 1,024 tokens. Their lengths are log-normal, and similar to
# those of The Pile under the Pythia tokenizer: the median is 400, and a fifth are cut.
MEDIAN, SIGMA, CUT = 400, 1.1, 1024
USED = (
    50_277  # tokens of the Pythia tokenizer; the softmax is over 50,304 rows, some of them unused
)


def lengths(tokens: int) -> "np.ndarray":
    """Lengths of documents that have about this number of tokens together; always the same."""
    import numpy as np

    # One length for each token is more than enough; only the first ones are used.
    drawn = np.random.default_rng(0).lognormal(np.log(MEDIAN), SIGMA, tokens)
    cut = np.minimum(drawn.astype(np.int64), CUT)
    return cut[: 1 + int(np.searchsorted(np.cumsum(cut), tokens))]


def synthetic(path: Path, lengths: "np.ndarray", used: int = USED) -> "Corpus":
    """A corpus of random tokens in memory, as ``open_corpus`` would return it.

    Args:
        path: stored in the corpus; nothing is written.
        lengths: [documents] number of tokens of each document.
        used: tokens that occur, from 0 on.
    """
    import numpy as np

    from jquanta.lm.corpus.layout import Meta, Recipe
    from jquanta.lm.corpus.reader import Corpus, prediction_starts

    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = np.random.default_rng(1).integers(0, used, offsets[-1]).astype(np.uint16)
    starts = prediction_starts(offsets)
    meta = Meta(
        schema=1,
        jquanta="",
        documents=len(lengths),
        tokens=len(tokens),
        predictions=int(starts[-1]),
        vocab_size=used,
        source="random tokens",
        corpus="",
        recipe=Recipe("", "", CUT, None),
    )
    return Corpus(path, meta, tokens, offsets, starts)
