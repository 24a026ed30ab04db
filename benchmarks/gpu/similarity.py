"""Exact similarity: the cosines between the gradients of all pairs of samples."""

from collections.abc import Iterator
from functools import partial

from benchmarks.gpu.models import samples_of, subject, tokens_for
from benchmarks.gpu.record import Row
from benchmarks.gpu.timing import Programs, peak_row
from benchmarks.stopwatch import timed
from jquanta.lm.models.model import Model
from jquanta.qdg.cosines.similarity import similarity
from jquanta.qdg.views.stored import view_from

SIZE = "70m"
ONCE = 5_000
"""From this number of samples on, the matrix is computed only once."""


def measure(small: bool, samples: str, mode: str = "exact") -> Iterator[Row]:
    """Time the whole matrix by a view, including compiling, and again with what is compiled."""
    count = int(samples) // (200 if small else 1)
    with subject(SIZE, tokens_for(count), small) as (config, params, corpus):
        predictions = samples_of(corpus, count)
        programs = Programs()
        whole = partial(similarity, Model(config, params), predictions, view_from({"mode": mode}))
        first, _ = timed(whole)
        yield Row(f"{count:,} samples, compiling included", first, "s")
        yield programs.row("first time")
        yield peak_row()
        if count < ONCE:
            second, _ = timed(whole)
            yield Row(f"{count:,} samples, again", second, "s", note="with what is compiled")
