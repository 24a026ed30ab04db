"""What every experiment takes on 1 to 512 GPUs, from the estimates that ``--plan`` prints.

A job on n GPUs is n shards that know nothing of each other. Its time is that of

- starting, which each does for itself: to compile, and to read the weights,
- the longest shard's computing,
- joining: ``gather`` reads and writes what was computed,
- and what one process does alone, such as the clusters of a similarity.

Pure: nothing is computed, read or written but numbers. What an estimate would take minutes to plan
(10^10 tokens have millions of batches) is planned for ``MOST`` of them and multiplied.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from benchmarks import texts
from jquanta.errors import BadInput
from jquanta.lm.losses import estimate as losses_estimate
from jquanta.lm.losses.column import NUMBER
from jquanta.lm.losses.rows import parameter_bytes
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.gpt_neo import GPTNeoConfig
from jquanta.lm.models.pythia import pythia
from jquanta.machine.computer import H200
from jquanta.qdg import estimate as qdg_estimate
from jquanta.qdg.config import COMPACT, ClusterConfig, chosen_counts, load_qdg
from jquanta.qdg.cosines.shards import groups_of, units_of
from jquanta.qdg.estimate import FLOAT, Stage
from jquanta.qdg.views.factors import Factors
from jquanta.qdg.views.gradient import Gradients
from jquanta.qdg.views.sketch import Sketch
from jquanta.qdg.views.view import View
from jquanta.sweep.config import load_config
from jquanta.sweep.forecast import Forecast, forecasts

GPUS = (1, 8, 64, 512)
"""Numbers of GPUs."""

DISK = 1e9
"""Bytes a second that a shared disk gives each process, assumed."""

MOST = 10**7
"""Tokens that are planned for, at most; more of them are as many times those."""

MOST_SAMPLES = 10**5
"""The same of samples, where each is made once."""

MOST_PAIRED = 10**5
"""Samples of which the products of all pairs are planned, at most."""

SIZES = ("70m", "410m", "1.4b", "2.8b", "6.9b", "12b")
TOKENS = (10**7, 10**8, 10**9, 10**10)
SAMPLES = (10**4, 10**5, 10**6, 10**7)

EXACT, FACTORS, SKETCH, NEIGHBOURS, SPHERICAL = (
    "exact, matrix",
    "factors, matrix",
    "sketch, matrix",
    "sketch, neighbours",
    "sketch, spherical",
)
VIEWS: dict[str, View] = {
    EXACT: Gradients(),
    FACTORS: Factors(),
    SKETCH: Sketch(),
    NEIGHBOURS: Sketch(),
    SPHERICAL: Sketch(),
}
"""Ways of QDG: what stands for a sample, and what is clustered."""

MATRIX = (EXACT, FACTORS, SKETCH)
"""Those by a matrix of all pairs."""

PILE = 200_000
"""Documents of the paper's corpus."""

TINY_STORIES = GPTNeoConfig(layers=4, width=768, heads=16, vocab=50257, context=2048)


@dataclass(frozen=True)
class Time:
    """Seconds of a job.

    Attributes:
        start: of compiling and reading weights, in the process that takes longest.
        work: of that process' computing.
        join: of gathering what the processes have computed.
        alone: of what one process does.
    """

    start: float
    work: float
    join: float = 0.0
    alone: float = 0.0

    @property
    def total(self) -> float:
        """From the beginning to the end."""
        return self.start + self.work + self.join + self.alone


@dataclass(frozen=True)
class Row:
    """A job.

    Attributes:
        group: of what kind: ``sweeps``, ``losses`` or ``qdg``.
        name: of the experiment, or the model.
        way: of QDG: of ``VIEWS``; of losses the dtype.
        amount: networks, tokens or samples.
        operations: floating-point operations, on one GPU.
        reads: bytes of weights that each process reads.
        memory: bytes on a GPU.
        disk: bytes of what is stored, before compression.
        times: for each of ``GPUS``.
        limit: why it does not work at all; empty if it does.
        paper: whether it is an experiment of the paper.
    """

    group: str
    name: str
    way: str
    amount: int
    operations: float
    reads: float
    memory: float
    disk: float
    times: dict[int, Time]
    limit: str = ""
    paper: bool = False

    def seconds(self, gpus: int) -> float:
        """From the beginning to the end; fewer GPUs are taken where that is sooner."""
        return min(time.total for count, time in self.times.items() if count <= gpus)

    @property
    def useful(self) -> int:
        """The most GPUs of which half the time at least is of use: the time of one is at least
        half of what all together spend."""
        one = self.times[1].total
        return max(n for n in self.times if one >= n * self.times[n].total / 2)

    @property
    def why(self) -> str:
        """What takes most of the time on more GPUs than are of use; empty if all are."""
        most = max(self.times)
        if self.useful == most:
            return ""
        time = self.times[most]
        parts = {
            "compiling and reading weights" if self.reads else "compiling": time.start,
            WORK[self.group]: time.work,
            "gathering": time.join,
            "clusters, in one process": time.alone,
        }
        return max(parts, key=lambda part: parts[part])


WORK = {
    "sweeps": "the steps of one network",
    "losses": "a batch",
    "qdg": "the gradients of two groups",
}
"""The least that a shard computes."""


def rows() -> list[Row]:
    """All rows."""
    return [*sweeps(), *paper_models(), *losses(), *qdg()]


# Sweeps


SWEEPS = (
    *("fig2-width", "fig2-data", "fig7", "fig10-width", "fig10-data", "data-alpha-k", "width-k"),
    *("width-uniform", "width-data", "many-subtasks", "data-bits", "learning-rate"),
    *("weight-decay", "fig15"),
)
"""The paper's experiments on sparse parity (``jquanta configs``)."""


def sweeps() -> list[Row]:
    """The paper's experiments on sparse parity, whose runs are the shards."""
    return [sweep(name) for name in SWEEPS]


def sweep(name: str, gpus: Sequence[int] = GPUS) -> Row:
    """A sweep by the name of its configuration."""
    runs = load_config(name).runs()
    parts = {n: min(n, len(runs)) for n in gpus}
    cuts = {n: forecasts(runs, n) for n in {1, *parts.values()}}
    (whole,) = cuts[1]
    join = 2 * whole.disk / DISK
    return Row(
        "sweeps",
        name,
        "",
        len(runs),
        whole.operations,
        0.0,
        whole.memory,
        whole.disk,
        {n: _longest(cuts[own], join * (own > 1)) for n, own in parts.items()},
        paper=True,
    )


def _longest(shards: Sequence[Forecast], join: float) -> Time:
    """Of the shard that ends last."""
    last = max(shards, key=lambda s: s.seconds + s.programs * H200.compile)
    return Time(last.programs * H200.compile, last.seconds, join)


# Losses


def paper_models() -> list[Row]:
    """The Pythia suite on the paper's corpus."""
    sizes = ("70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b")
    tokens = int(documents(PILE * texts.CUT)[:PILE].sum())
    return [loss_row(size, tokens, "float32", paper=True) for size in sizes]


def losses() -> list[Row]:
    """Losses of many tokens, in both dtypes."""
    return [
        loss_row(size, tokens, dtype)
        for dtype in ("float32", "bfloat16")
        for size in SIZES
        for tokens in TOKENS
    ]


@cache
def documents(tokens: int) -> NDArray[np.int64]:
    """Predictions of documents whose lengths are those of the Pile, about ``tokens`` together."""
    return np.maximum(texts.lengths(tokens) - 1, 0).astype(np.int64)


def loss_row(
    size: str, tokens: int, dtype: str, gpus: Sequence[int] = GPUS, paper: bool = False
) -> Row:
    """Losses of a Pythia model.

    Args:
        size: of the model.
        tokens: of the corpus.
        dtype: of parameters and products.
        gpus: numbers of them.
        paper: see ``Row``.
    """
    config = pythia(size)
    reads = float(parameter_bytes(config, "bfloat16"))  # as they lie on the hub
    disk = float(NUMBER.itemsize * tokens)
    whole = part_of_losses(config, tokens, dtype)

    def time(n: int) -> Time:
        own = part_of_losses(config, -(-tokens // n), dtype)
        start = own.programs * H200.compile + reads / DISK
        return Time(start, own.seconds, 2 * disk / DISK * (n > 1))

    times = {n: time(n) for n in gpus}
    memory = float(whole.memory)
    limit = "" if memory <= H200.memory else f"takes {bytes_of(memory)} on a GPU"
    work = whole.operations
    return Row("losses", size, dtype, tokens, work, reads, memory, disk, times, limit, paper)


@cache
def part_of_losses(config: LMConfig, tokens: int, dtype: str) -> losses_estimate.Estimate:
    """What so many tokens take on one GPU."""
    planned = min(tokens, MOST)
    plan = losses_estimate.plan_on(H200, documents(planned), config, dtype)
    found = losses_estimate.estimate(config, plan, dtype, H200)
    times = tokens / planned
    return replace(found, seconds=found.seconds * times, operations=found.operations * times)


# QDG


def qdg() -> list[Row]:
    """QDG in every way, and the paper's own two at 10,000 samples."""
    stories = qdg_row("TinyStories-33M", TINY_STORIES, EXACT, 10**4, longest=2048, paper=True)
    paper = qdg_row("70m", pythia("70m"), EXACT, 10**4, paper=True)
    return [
        paper,
        stories,
        *(
            qdg_row(size, pythia(size), way, samples)
            for way in VIEWS
            for size in SIZES
            for samples in SAMPLES
        ),
    ]


def prefix_lengths(samples: int, longest: int = texts.CUT) -> NDArray[np.int64]:
    """Tokens before each of some samples, which lie anywhere in the documents."""
    found = documents(MOST) * (longest // texts.CUT)
    ends = np.cumsum(found)
    index = np.linspace(0, ends[-1] - 1, samples).astype(np.int64)
    document = np.searchsorted(ends, index, side="right")
    return index - (ends - found)[document] + 1


def block_of(samples: int, shards: int) -> int:
    """Samples whose one half a shard multiplies with the other half, about: of the longest shard,
    which has several blocks of two groups, one block of as many products."""
    if shards == 1:
        return samples
    groups = groups_of(shards)
    return min(samples, math.ceil(2 * samples / groups * math.sqrt(units_of(groups, shards))))


def qdg_row(
    name: str,
    config: LMConfig,
    way: str,
    samples: int,
    gpus: Sequence[int] = GPUS,
    longest: int = texts.CUT,
    paper: bool = False,
) -> Row:
    """QDG of a model, from its gradients to its clusters. Losses are there.

    Args:
        name: of the model.
        config: its shape.
        way: of ``VIEWS``.
        samples: Q.
        gpus: numbers of them.
        longest: tokens of a document.
        paper: see ``Row``.
    """
    reads = float(parameter_bytes(config, "bfloat16"))
    alone = clusters(way, samples, config)
    ends = sum(stage.seconds + stage.compiling for stage in alone)
    most = max(stage.memory for stage in alone)
    limit = "" if most <= H200.memory else f"clusters take {bytes_of(most)} in one process"
    times = dict[int, Time]()
    whole: Sequence[Stage] = ()
    disk = 0.0
    if way not in MATRIX or samples <= MOST_PAIRED:
        try:
            cuts = {n: made(way, samples, config, longest, n) for n in gpus}
        except BadInput:  # three rows, the model, and what making a batch takes
            row = FLOAT * VIEWS[EXACT].cost(config).row
            limit = f"rows of {bytes_of(row)} do not fit on a GPU"
        else:
            whole = cuts[1]
            disk = whole[-1].disk  # of the matrix, or the sketches; factors are for a while
            # Of sketches, one process makes the matrix.
            if way in MATRIX and VIEWS[way].mode in COMPACT:
                products = whole[-1]
                cuts[1] = whole[:-1]
                ends += products.seconds + products.compiling
            for n, stages in cuts.items():
                start = sum(stage.compiling for stage in stages) + reads / DISK
                work = sum(stage.seconds for stage in stages)
                times[n] = Time(start, work, 2 * disk / DISK * (n > 1), ends)
    memory = max((stage.memory for stage in whole), default=0.0)
    if way not in MATRIX and memory > H200.memory:
        limit = f"a gradient takes {bytes_of(memory)} on a GPU"
    return Row(
        "qdg",
        name,
        way,
        samples,
        sum(stage.operations for stage in (*whole, *alone)),
        reads,
        memory,
        disk + sum(stage.disk for stage in alone),
        times,
        limit,
        paper,
    )


def made(
    way: str, samples: int, config: LMConfig, longest: int, shards: int = 1
) -> Sequence[Stage]:
    """What one of several shards makes: of gradients and factors a block of their matrix, else the
    sketches of its share of the samples, whose matrix one process makes when all are there.

    Raises:
        BadInput: if what it makes does not fit into the memory of a GPU.
    """
    view = VIEWS[way]
    if way in MATRIX and (shards == 1 or view.mode not in COMPACT):
        lengths = prefix_lengths(block_of(samples, shards), longest)
        return qdg_estimate.similarity(view, lengths, config, H200, halves=shards > 1)
    own = -(-samples // shards)
    planned = min(own, MOST_SAMPLES)
    stage = qdg_estimate.features(view, prefix_lengths(planned, longest), config, H200)
    times = own / planned
    return [
        replace(
            stage,
            seconds=stage.seconds * times,
            operations=stage.operations * times,
            disk=stage.disk * times,
        )
    ]


def clusters(way: str, samples: int, config: LMConfig) -> Sequence[Stage]:
    """The clusters, which one process makes."""
    numbers = VIEWS[way].cost(config).numbers
    if way == SPHERICAL:
        many = load_qdg("pythia-70m-100k").cluster
        large = many.counts_of(10**5)
        return [qdg_estimate.spherical(samples, numbers, large, many.n_init, H200)]
    counts, usual = chosen_counts(None, samples), ClusterConfig()
    if way == NEIGHBOURS:
        near = usual.neighbours
        return qdg_estimate.neighbours(samples, numbers, counts, usual.n_init, near, H200)
    return qdg_estimate.clusters(samples, counts, usual.n_init, H200)


def bytes_of(number: float) -> str:
    """Bytes in words."""
    for size, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB")):
        if number >= size:
            return f"{number / size:,.3g} {name}"
    return f"{number / 1e6:,.3g} MB"
