"""A corpus of random tokens whose documents are as long as the paper's."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from jquanta.lm.corpus.reader import Corpus

# Text as the paper has it: documents cut at 1,024 tokens. Lengths are log-normal, about those of
# the Pile under the Pythia tokenizer: median 400, and a fifth cut.
MEDIAN, SIGMA, CUT = 400, 1.1, 1024
USED = 50_277  # tokens that the Pythia tokenizer has; 50,304 rows take part in the softmax


def lengths(tokens: int) -> "np.ndarray":
    """Lengths of documents, as many as hold about so many tokens. The same at every call."""
    import numpy as np

    drawn = np.random.default_rng(0).lognormal(np.log(MEDIAN), SIGMA, tokens)  # more than enough
    cut = np.minimum(drawn.astype(np.int64), CUT)
    return cut[: 1 + int(np.searchsorted(np.cumsum(cut), tokens))]


def synthetic(path: Path, lengths: "np.ndarray") -> "Corpus":
    """A corpus of random tokens, as the reader has it."""
    import numpy as np

    from jquanta.lm.corpus.layout import Meta, Recipe
    from jquanta.lm.corpus.reader import Corpus, prediction_starts

    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = np.random.default_rng(1).integers(0, USED, offsets[-1]).astype(np.uint16)
    starts = prediction_starts(offsets)
    meta = Meta(
        schema=1,
        jquanta="",
        documents=len(lengths),
        tokens=len(tokens),
        predictions=int(starts[-1]),
        vocab_size=USED,
        source="random tokens",
        corpus="",
        recipe=Recipe("", "", CUT, None),
    )
    return Corpus(path, meta, tokens, offsets, starts)
