"""Per-sample gradients of QDG: the time until the first ones, and how many per second."""

import time
from collections.abc import Iterator

import jax

from benchmarks.gpu.models import samples_of, subject, tokens_for
from benchmarks.gpu.record import Row
from benchmarks.gpu.timing import Programs, peak_row
from jquanta.lm.models.model import Model
from jquanta.qdg.views.gradient import Gradients
from jquanta.qdg.views.per_sample import view_of
from jquanta.qdg.views.source import computed

SAMPLES, SMALL_SAMPLES = 256, 4


def measure(small: bool, size: str) -> Iterator[Row]:
    """Time a first pass over random predictions, which compiles, and a second one.

    The gradients are not kept.
    """
    count = SMALL_SAMPLES if small else SAMPLES
    with subject(size, tokens_for(count), small) as (config, params, corpus):
        predictions = samples_of(corpus, count)
        programs = Programs()
        began = time.perf_counter()
        source = view_of(Model(config, params), predictions, Gradients())
        for number, (samples, found) in enumerate(computed(source)):
            jax.block_until_ready(found)
            if number == 0:
                yield Row(
                    "first gradients after",
                    time.perf_counter() - began,
                    "s",
                    note=f"{len(samples)} of them",
                )
        yield Row(
            "first pass", time.perf_counter() - began, "s", note=f"{count} samples", shown=False
        )
        yield programs.row("first pass")
        began = time.perf_counter()
        for _, found in computed(source):
            jax.block_until_ready(found)
        seconds = time.perf_counter() - began
        yield Row("gradients a second", count / seconds, "1/s", note=f"{count} in a second pass")
        tokens = int(source.prefixes.lengths.sum())
        yield Row("prefix tokens a second", tokens / seconds, "1/s", note=f"{tokens:,} tokens")
        yield peak_row()
