"""Per-token losses: the time until the first ones, and tokens per second."""

import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu.models import subject
from benchmarks.gpu.record import Row
from benchmarks.gpu.timing import Programs, peak_row
from benchmarks.losses import matmul_rate, operations
from benchmarks.stopwatch import timed
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.losses import compute, rows
from jquanta.lm.losses.batches import Batch
from jquanta.lm.losses.compute import batch_losses, on_devices, plan_for
from jquanta.lm.models.config import LMConfig

PASSES = 3
TOKENS = {"14m": 1_000_000, "70m": 500_000, "1.4b": 200_000}
SMALL_TOKENS = 1_000


def measure(small: bool, size: str, algorithm: str = rows.FLOAT32) -> Iterator[Row]:
    """Time a first pass over the documents, which compiles, and ``PASSES`` further ones.

    Args:
        small: whether to use few tokens, for a quick test.
        size: of the Pythia suite.
        algorithm: of float32 products on an accelerator. If it is not the project's default, the
            losses are compared with those of the default at the end.
    """
    # The algorithm is a constant of the module, which is replaced in this process.
    own, rows.FLOAT32 = rows.FLOAT32, algorithm
    dtype = jnp.bfloat16 if size == "1.4b" else jnp.float32
    with subject(size, SMALL_TOKENS if small else TOKENS[size], small, dtype) as (
        config,
        params,
        corpus,
    ):
        programs = Programs()
        began = time.perf_counter()
        plan = plan_for(corpus, config, dtype=dtype)
        model = on_devices(config, params)
        for number, _ in enumerate(batch_losses(config, model, corpus, plan.batches)):
            if number == 0:
                yield Row(
                    "first losses after", time.perf_counter() - began, "s", note="weights at hand"
                )
        yield Row("first pass", time.perf_counter() - began, "s", note=str(plan), shown=False)
        yield programs.row("first pass")

        def whole() -> None:
            for _ in batch_losses(config, model, corpus, plan.batches):
                pass

        seconds = [timed(whole)[0] for _ in range(PASSES)]
        rates = tuple(corpus.n_predictions / x for x in seconds)
        name = jnp.dtype(dtype).name
        yield Row(
            "tokens a second", statistics.median(rates), "1/s", note=f"later passes, {name}",
            samples=rates,
        )  # fmt: skip
        # Seconds that the matrix products would take at the rate of a large product.
        least = operations(config, np.diff(corpus.starts)) / matmul_rate(dtype)
        yield Row(
            "share of the rate of a large product",
            least / statistics.median(seconds),
            note=f"of {name}{', HIGHEST' if dtype == jnp.float32 else ''}",
        )
        yield peak_row()
        if algorithm != own:
            yield from _compared(config, model, corpus, plan.batches[:1], own)


def _compared(
    config: LMConfig, model: Any, corpus: Corpus, batches: Sequence[Batch], own: str
) -> Iterator[Row]:
    """The largest difference of the losses of a batch from those by the default algorithm."""
    ((_, found),) = batch_losses(config, model, corpus, batches)
    # The compiled program contains the algorithm, so it has to be compiled again.
    rows.FLOAT32 = own
    jax.clear_caches()
    compute._program.cache_clear()
    ((_, expected),) = batch_losses(config, model, corpus, batches)
    apart = np.nanmax(np.abs(found - expected))
    yield Row("largest difference of a loss", float(apart), "nats", note=f"from {own}")
