"""What each stage of a QDG run takes on a computer: pure arithmetic, no work.

Batches, padded lengths, panels, rounds and programs come from the functions that the work itself
calls, so they are those of the run; only the seconds are estimates. They follow from the computer's
rates and from shares of them, which are constants here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jquanta.lm.losses import estimate as losses_estimate
from jquanta.lm.losses.batches import work
from jquanta.lm.models.config import COPIED, LMConfig
from jquanta.machine.computer import Computer
from jquanta.qdg.clusters.kmeans import layout_for, padded_size
from jquanta.qdg.clusters.spherical import padded_clusters
from jquanta.qdg.config import COMPACT
from jquanta.qdg.cosines.blockwise import largest_panel, tiling
from jquanta.qdg.cosines.panels import panels
from jquanta.qdg.samples.prefixes import Batch
from jquanta.qdg.views import layered
from jquanta.qdg.views.factors import Factors
from jquanta.qdg.views.kept import built_at_once
from jquanta.qdg.views.per_sample import bend, placement_for, plan_for, working_bytes
from jquanta.qdg.views.source import at_once_by
from jquanta.qdg.views.view import View
from jquanta.qdg.views.ways import way_of

FLOAT = 4
"""Bytes of a float32 number; float64 takes two of them."""


class Shares(NamedTuple):
    """What stages reach of ``Computer.single``, the rate of a large float32 product.

    Attributes:
        gradients: operations of gradients, padding included, and of dividing them by their norms.
        products: operations of products of panels.
        eigenvectors: operations in float64 of the embedding, counted as 4/3 · Q³ + 2 · Q² · K.
        kmeans: what ``_kmeans_operations`` counts.
        launch: seconds that a batch or a product takes beside its arithmetic.
    """

    gradients: float
    products: float
    eigenvectors: float
    kmeans: float
    launch: float


CPU = Shares(gradients=0.6, products=0.75, eigenvectors=0.08, kmeans=0.03, launch=1e-3)
"""Measured with 1,000 and 4,000 samples of the small suite's largest model, on 2 cores of an AMD
EPYC (docs/quanta.md)."""

CARD = Shares(gradients=0.4, products=1.5, eigenvectors=0.03, kmeans=0.5, launch=5e-3)
"""Assumed: no run of QDG was measured on a card yet. Products on matrix units
(``cosines.kernel``) have 1.8 times the rate of those in float32 (docs/gpu.md), and reading panels
takes a share."""

ITERATIONS = 12
"""Of k-means in a restart, about."""


SPHERICAL_ITERATIONS = 20
"""Of spherical k-means in a restart, about: measured at 100,000 sketches of 512 numbers."""

LANCZOS = 2.5e-8
"""Seconds for a sample and the square of the number of eigenvectors by ARPACK: 400 s for 400 of
100,000 samples on 2 cores of an AMD EPYC, about."""


@dataclass(frozen=True)
class Stage:
    """A stage of a run on a computer.

    Attributes:
        name: of the stage.
        work: what is done, in words.
        seconds: of computing.
        programs: to be compiled.
        compiling: seconds that this takes.
        memory: bytes at the peak, on all devices together.
        disk: bytes of what is stored.
        operations: floating-point operations, as far as they decide on the seconds.
    """

    name: str
    work: str
    seconds: float = 0.0
    programs: int = 0
    compiling: float = 0.0
    memory: float = 0.0
    disk: float = 0.0
    operations: float = 0.0


def shares_of(computer: Computer) -> Shares:
    """What stages reach of its rates."""
    return CPU if computer.on_host else CARD


def losses(
    configs: Sequence[LMConfig],
    predictions: NDArray[np.int64],
    computer: Computer,
    placement: str | None = None,
) -> Stage:
    """The losses of models on a corpus, in float32.

    Args:
        configs: the shape of each model whose losses are missing.
        predictions: [documents] of each document.
        computer: the devices.
        placement: of the parameters; what fits by default.
    """
    told = losses_estimate
    lie = [
        placement or told.placement_on(computer, predictions, config, "float32")
        for config in configs
    ]
    plans = [
        told.plan_on(computer, predictions, config, "float32", placement=own)
        for config, own in zip(configs, lie, strict=True)
    ]
    found = [
        told.estimate(config, plan, "float32", computer, own)
        for config, plan, own in zip(configs, plans, lie, strict=True)
    ]
    if not configs:
        return Stage("losses", "all that are wanted")
    programs = sum(own.programs for own in dict(zip(configs, found, strict=True)).values())
    shapes = sorted({batch.length for plan in plans for batch in plan.batches})
    return Stage(
        "losses",
        f"of {_counted(len(configs), 'model')}: {int(predictions.sum()):,} tokens each, in "
        f"{_counted(sum(len(plan.batches) for plan in plans), 'batch', 'es')}, {_lengths(shapes)}",
        seconds=sum(own.seconds for own in found),
        programs=programs,
        compiling=programs * computer.compile,
        memory=max((own.memory for own in found), default=0),
        disk=sum(own.disk for own in found),
        operations=sum(own.operations for own in found),
    )


def similarity(
    view: View,
    lengths: NDArray[np.int64],
    config: LMConfig,
    computer: Computer,
    *,
    dtype: str = "float32",
    absolute: bool = False,
    memory: int | None = None,
    halves: bool = False,
    placement: str = COPIED,
) -> tuple[Stage, Stage]:
    """What is made of samples, such as gradients, and the products of all pairs.

    Args:
        view: of the samples.
        lengths: [Q] tokens of each prefix.
        config: the model's shape.
        computer: the devices.
        dtype, absolute, memory: see ``cosines.similarity``.
        halves: only the products of one half of the samples with the other half: a block of the
            matrix off its diagonal, as a shard of it is.
        placement: of the parameters.

    Raises:
        BadInput: if three panels do not fit into the memory.
    """
    share, way = shares_of(computer), way_of(computer.kind, placement)
    kept, cost = isinstance(view, Factors), view.cost(config)
    row = cost.row if cost.row and (kept or way.scanned) else cost.numbers
    total = computer.memory * computer.devices if memory is None else memory
    making, batches, each = _making(view, lengths, config, computer, placement)
    sizes = [len(batch.samples) for batch in batches]
    width = jnp.dtype(dtype).itemsize
    alive = at_once_by(way, computer.devices) + 1
    made = FLOAT * cost.numbers
    working = working_bytes(batches, config, made, way, computer.devices, cost.inside)
    largest = made * max(batch.rows for batch in batches)
    if kept:  # panels are of rows that are built, so many at once
        size = built_at_once(FLOAT * row, total)
        sizes = np.diff([*range(0, len(lengths), size), len(lengths)]).tolist()
        largest, working = FLOAT * row * size, 0
    found = tiling(
        sizes,
        numbers=row,
        width=width,
        memory=total,
        taken=working,
        devices=computer.devices,
        batches=alive,
        largest=largest_panel(computer.on_host, computer.devices),
    )
    cuts = panels(sizes, found.panel, computer.devices)
    often, pairs, rounds = _passes(len(cuts), found.held, halves)
    rows = np.array([sum(sizes[c.start : c.stop]) for c in cuts])
    made_rows = float((often * rows).sum())
    remade, runs = made_rows / len(lengths), int((often * np.array([len(c) for c in cuts])).sum())
    once = kept or view.mode in COMPACT
    building = made_rows * cost.building if kept else 0.0
    if once:
        operations, batched = float(each.sum()), len(batches)
        words = f"{cost.numbers:,} numbers kept of each, made once"
    else:
        panel_work = np.array([each[c.start : c.stop].sum() for c in cuts])
        operations = float((often * panel_work).sum())
        batched = runs
        words = f"{cost.numbers:,} numbers a sample, each made {_times(remade)}"
    first = replace(
        making,
        work=f"{making.work}{words}: {_power(operations)}",
        seconds=operations / (share.gradients * computer.single) + batched * share.launch,
        disk=made * len(lengths) if once else 0.0,
        operations=operations,
    )
    kinds = 1 + absolute
    product = 2.0 * row * found.panel**2 * kinds
    built = f"rows built {_times(remade)} ({_power(building)}), " if kept else ""
    second = Stage(
        "products",
        f"{built}{_counted(len(cuts), 'panel')} of {found.panel:,} rows in "
        f"{_counted(rounds, 'round')}, {_counted(pairs, 'product')}: {_power(pairs * product)}",
        seconds=pairs * (product / (share.products * computer.single) + share.launch)
        + building / (share.products * computer.single)
        + kept * runs * share.launch,
        programs=1 + kept,
        compiling=(1 + kept) * computer.compile,
        memory=working
        + alive * largest
        + min(len(cuts), found.held + 2) * found.panel * row * width,
        disk=FLOAT * len(lengths) ** 2 * kinds / (4 if halves else 1),
        operations=pairs * product + building,
    )
    return first, second


def _passes(count: int, held: int, halves: bool) -> tuple[NDArray[np.int64], int, int]:
    """How ``blockwise.steps`` goes through panels of which nothing is done, without a list of all
    pairs; and the same for the block of one half of the panels with the other.

    Args:
        count: of panels.
        held: see ``blockwise.Tiling``.
        halves: only products of a panel of the first half with one of the second.

    Returns:
        [panels] how often each panel is made; number of products; number of rounds.
    """
    if halves and count > 1:
        first = count // 2
        rounds = -(-first // held)
        often = np.where(np.arange(count) < first, 1, rounds)
        return often, first * (count - first), rounds
    # A round makes the panels that it holds and all later ones.
    return np.arange(count) // held + 1, count * (count + 1) // 2, -(-count // held)


def features(
    view: View,
    lengths: NDArray[np.int64],
    config: LMConfig,
    computer: Computer,
    placement: str = COPIED,
) -> Stage:
    """A vector of each sample, made once and stored; the arguments are those of ``similarity``."""
    making, batches, each = _making(view, lengths, config, computer, placement)
    share, numbers = shares_of(computer), view.cost(config).numbers
    return replace(
        making,
        work=f"{making.work}{numbers:,} numbers of each, made once: {_power(float(each.sum()))}",
        seconds=each.sum() / (share.gradients * computer.single) + len(batches) * share.launch,
        disk=FLOAT * len(lengths) * (numbers + 1),
        operations=float(each.sum()),
    )


def given(samples: int, numbers: int, matrix: bool, computer: Computer) -> Stage:
    """Features that a file holds: read, and with a matrix multiplied.

    Args:
        samples: Q.
        numbers: of a sample: F.
        matrix: whether the cosines of all pairs are made.
        computer: the devices.
    """
    share = shares_of(computer)
    operations = samples**2 * numbers * float(matrix)  # half of the pairs
    return Stage(
        "products" if matrix else "features",
        f"{numbers:,} numbers of each of {samples:,} samples, read: {_power(operations)}",
        seconds=operations / (share.products * computer.single),
        programs=int(matrix),
        compiling=computer.compile * matrix,
        memory=2.0 * FLOAT * samples * numbers,
        disk=FLOAT * samples * (samples if matrix else numbers + 1),
        operations=operations,
    )


def placement_on(
    view: View, lengths: NDArray[np.int64], config: LMConfig, computer: Computer
) -> str:
    """Where a computer would have the parameters lie, unless it is told; see ``similarity``."""
    longest, cost = int(lengths.max()), view.cost(config)
    return placement_for(cost, longest, config, computer.kind, computer.memory, computer.devices)


def _making(
    view: View, lengths: NDArray[np.int64], config: LMConfig, computer: Computer, placement: str
) -> tuple[Stage, Sequence[Batch], NDArray[np.float64]]:
    """What is made of samples: its stage as far as it does not depend on how often, the batches,
    and the operations of each."""
    cost, way = view.cost(config), way_of(computer.kind, placement)
    made, operations = FLOAT * cost.numbers, cost.operations
    if way.cut:
        operations = layered.operations(config, operations)
    batches = plan_for(
        lengths,
        config,
        made=made,
        operations=operations,
        way=way,
        devices=computer.devices,
        memory=computer.memory,
        inside=cost.inside,
    )
    shapes = sorted({batch.length for batch in batches})
    working = working_bytes(batches, config, made, way, computer.devices, cost.inside)
    alive = at_once_by(way, computer.devices) + 1
    stage = Stage(
        view.what,
        f"{_counted(len(batches), 'batch', 'es')} of {_span([b.rows for b in batches])} rows, "
        f"{_lengths(shapes)}, ",
        programs=len(shapes),
        compiling=len(shapes) * computer.compile,
        memory=working + alive * made * max(batch.rows for batch in batches),
    )
    # Of each batch, padding included.
    tokens = work(np.array([batch.length for batch in batches]), bend(config))
    each = np.array([batch.rows for batch in batches]) * operations * tokens
    return stage, batches, each


def clusters(
    samples: int, counts: Sequence[int], n_init: int, computer: Computer
) -> tuple[Stage, Stage]:
    """The embedding of a dense affinity, and k-means for every count.

    Args:
        samples: Q.
        counts: numbers of clusters, ascending.
        n_init: restarts.
        computer: the devices; one of them works.
    """
    share, host = shares_of(computer), computer.on_host
    one = computer.single / computer.devices
    vectors = counts[-1] if host else samples  # an accelerator has no solver for a part of them
    operations = 4 / 3 * samples**3 + 2.0 * samples**2 * vectors
    embedding = Stage(
        "embedding",
        f"{counts[-1]:,} eigenvectors of {samples:,} samples",
        seconds=operations / (share.eigenvectors * one) + 40 * samples**2 / computer.copy,
        programs=0 if host else 1,
        compiling=0 if host else computer.compile,
        # The affinity in float32 and float64, and the solver's own copy.
        memory=5.0 * FLOAT * samples**2,
        operations=operations,
    )
    work = [_kmeans_operations(samples, k, n_init, host) for k in counts]
    layouts = [layout_for(samples, k, n_init, host) for k in counts]
    programs = len({(own, padded_size(k, host)) for own, k in zip(layouts, counts, strict=True)})
    launches = 0 if host else sum(counts) + len(counts) * ITERATIONS * n_init
    most = max(own.batch * own.clusters * samples for own in layouts)
    kmeans = Stage(
        "k-means",
        f"{len(counts)} counts, {counts[0]:,} to {counts[-1]:,}, {n_init} restarts each",
        seconds=sum(work) / (share.kmeans * one) + launches * 1e-4,
        programs=programs,
        compiling=programs * computer.compile,
        memory=FLOAT * (samples**2 * layouts[0].kept + 2 * most),
        disk=FLOAT * samples * len(counts),
        operations=sum(work),
    )
    return embedding, kmeans


def spherical(
    samples: int, numbers: int, counts: Sequence[int], n_init: int, computer: Computer
) -> Stage:
    """Spherical k-means of vectors for every count.

    Args:
        samples: Q.
        numbers: of a vector: F.
        counts, n_init, computer: as for ``clusters``.
    """
    share, host = shares_of(computer), computer.on_host
    padded = [padded_clusters(k, host) for k in counts]
    passes = n_init * (SPHERICAL_ITERATIONS + 2)  # first centres cost about two
    operations = 2.0 * samples * numbers * sum(padded) * passes * (1 if host else 2)
    sizes = len(set(padded))
    return Stage(
        "k-means",
        f"{len(counts)} counts, {counts[0]:,} to {counts[-1]:,}, {_counted(n_init, 'restart')} "
        f"each, spherical: {_power(operations)}",
        seconds=operations / (min(1, share.products) * computer.single / computer.devices),
        programs=sizes,
        compiling=sizes * computer.compile,
        memory=2.0 * FLOAT * samples * numbers,  # on the host, and where it is computed
        disk=FLOAT * samples * len(counts),
        operations=operations,
    )


def neighbours(
    samples: int, numbers: int, counts: Sequence[int], n_init: int, near: int, computer: Computer
) -> tuple[Stage, Stage, Stage]:
    """Spectral clustering of the graph of nearest neighbours.

    Args:
        samples, numbers, counts, n_init, computer: as for ``spherical``.
        near: neighbours of each sample.
    """
    share = shares_of(computer)
    operations = 2.0 * samples**2 * numbers
    graph = Stage(
        "neighbours",
        f"the {near} nearest of each of {samples:,} samples: {_power(operations)}",
        seconds=operations / (min(1, share.products) * computer.single / computer.devices),
        programs=1,
        compiling=computer.compile,
        memory=2.0 * FLOAT * samples * numbers,
        operations=operations,
    )
    _, kmeans = clusters(samples, counts, n_init, computer)
    embedding = Stage(
        "embedding",
        f"{counts[-1]:,} eigenvectors of a sparse matrix, on the host",
        seconds=LANCZOS * samples * counts[-1] ** 2,
        memory=6.0 * FLOAT * samples * counts[-1],
    )
    return graph, embedding, kmeans


def page(samples: int, tokens: int, matrix: bool, computer: Computer) -> Stage:
    """The page.

    Args:
        samples: Q.
        tokens: shown of each.
        matrix: whether a matrix of all pairs is read for it.
        computer: the devices.
    """
    return Stage(
        "page",
        f"{samples:,} samples of up to {tokens:,} tokens",
        seconds=1 + 1e-4 * samples + 10 * FLOAT * samples**2 * matrix / computer.copy,
        disk=samples * (2.2 * tokens + 50),  # compressed, where texts share nothing
    )


def _kmeans_operations(samples: int, k: int, n_init: int, host: bool) -> float:
    """Of all restarts for one count. On a CPU: numbers that are read, most of them distances; what
    the stages of a step weigh was fitted to measured times. Elsewhere: operations of products."""
    own = layout_for(samples, k, n_init, host)
    drawn = float(k) * (own.candidates + 1) * samples
    if own.kept and own.scatter:
        return n_init * (6.5 * drawn + ITERATIONS * samples * (samples + 3.0 * own.clusters))
    size = padded_size(k, host)
    # Distances to candidates, where they are not kept; then means and distances to centres.
    seeds = drawn * (1 if own.kept else 2 * size)
    return n_init * (seeds + ITERATIONS * 4.0 * samples * own.clusters * size)


def _lengths(lengths: Sequence[int]) -> str:
    """Padded lengths in words."""
    if len(lengths) < 2:
        return f"padded to {', '.join(map(str, lengths))} tokens"
    return f"padded to {len(lengths)} lengths from {lengths[0]:,} to {lengths[-1]:,} tokens"


def _counted(number: int, thing: str, plural: str = "s") -> str:
    """A number of things in words."""
    return f"{number:,} {thing}{plural * (number != 1)}"


def _span(numbers: Sequence[int]) -> str:
    least, most = min(numbers), max(numbers)
    return f"{most:,}" if least == most else f"{least:,} to {most:,}"


def _times(number: float) -> str:
    return "once" if round(number, 1) == 1 else f"{number:.1f} times"


def _power(operations: float) -> str:
    """Operations in words."""
    for size, name in ((1e15, "Pflop"), (1e12, "Tflop"), (1e9, "Gflop")):
        if operations >= size:
            return f"{operations / size:,.3g} {name}"
    return f"{operations / 1e6:,.3g} Mflop"
