"""Is a cluster a mechanism? A step against its mean gradient, and whom it helps.

The paper's quanta are taken to be separate pieces of the model. If a cluster is one, then a small
step of the parameters against the mean gradient of half of its samples lowers the loss of the
other half, and changes that of other clusters' samples little.
"""

import functools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.lm.corpus.progress import Monitor, Silence
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import Params
from jquanta.qdg.gradient import gradient_rows
from jquanta.qdg.losses import batches, loss_rows, losses_under
from jquanta.qdg.memory import available
from jquanta.qdg.panels import inner, unit
from jquanta.qdg.parameters import PAPER, chosen
from jquanta.qdg.parameters import count as numbers
from jquanta.qdg.results import chosen_count, require_samples, require_weights
from jquanta.qdg.rows import Rows
from jquanta.qdg.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import xarray as xr

STEP = 1e-3
"""Length of the step over that of the parameters."""

LEAST = 4
"""Samples of a cluster that is looked at: two to step by, two to see."""

RESAMPLES = 2000
"""Of the bootstrap."""

STORE = "mechanism.zarr"


def mechanisms(
    config: LMConfig,
    params: Params,
    corpus: Corpus,
    selection: Selection,
    clusters: "xr.Dataset",
    *,
    parameters: "str | Sequence[str]" = PAPER,
    count: int | None = None,
    largest: int = 20,
    step: float = STEP,
    others: int = 500,
    seed: int = 0,
    monitor: Monitor | None = None,
) -> "xr.Dataset":
    """What a small step against each cluster's mean gradient does to samples held out.

    Every cluster is cut into halves at random: one to step by, one held out. The step is against
    the gradient of the first half's mean loss, and all steps are equally long. Losses are computed
    with the parameters moved; the first order of the change, from held-out samples' own gradients,
    is told beside it.

    Args:
        config, params: the model, in float32.
        corpus, selection: the samples.
        clusters: of ``cluster``.
        parameters: which are moved, as for ``similarity``.
        count: which clusters; those of the count nearest to the paper's 400 by default.
        largest: look at so many clusters, the largest; those under ``LEAST`` samples are left out.
        step: length of the step over that of these parameters, both as Euclidean norms.
        others: held-out samples of other clusters to look at, drawn at random from all clusters;
            0 for all. Each cluster takes losses of these and of its own: most of the work.
        seed: of the halves, the draw and the bootstrap.
        monitor: is told of the progress.

    Returns:
        By ``cluster``, changes of held-out samples' mean loss in nats, below 0 where it falls:
        ``own``, ``own_predicted`` (first order), ``others``, ``others_predicted``; ``ratio``, the
        fall of its own over the size of the others' change, with ``ratio_low`` and ``ratio_high``
        (95%, bootstrap of the held-out samples, as if they were independent); the numbers
        ``samples``, ``n_own``, ``n_others``; and ``loss``, its own before the step. Attributes:
        ``share``, of clusters whose ratio is above 1; ``length`` of the step; and the settings.

    Raises:
        BadInput: if the parts do not go together, settings are out of range, no cluster is large
            enough, there are no others, a mean gradient has no direction, or memory does not do.
    """
    count = chosen_count(clusters, count)
    if largest < 1 or others < 0 or not (math.isfinite(step) and step > 0):
        raise BadInput(
            f"largest = {largest}, others = {others}, step = {step}: give 1 or more, 0 or more, "
            "and a number above 0"
        )
    require_samples(selection, clusters)
    require_weights(params, clusters.attrs)
    label = clusters.label.sel(count=count).to_numpy()
    sizes = np.bincount(label)
    seen = np.flatnonzero(sizes >= LEAST)[:largest]
    if not len(seen) or len(sizes) < 2:
        raise BadInput(
            f"count {count}: {len(seen)} of {len(sizes)} clusters have {LEAST} samples or more, "
            "and there must be others to compare with; take another count"
        )
    monitor = monitor or Silence()
    draw = np.random.default_rng(seed)
    held = halves(label, draw)
    drawn = _drawn(held, others, draw)
    names = chosen(config, parameters or PAPER)
    if 8 * len(seen) * (size := numbers(config, names)) > available():
        raise BadInput(
            f"{len(seen)} mean gradients of {size:,} numbers take {8e-9 * len(seen) * size:.3g} "
            "GB, and there is less; give fewer clusters"
        )
    rows = gradient_rows(config, params, corpus, selection, names)
    directions = _directions(rows, label, seen, ~held, monitor)
    wanted = np.flatnonzero(drawn | (held & np.isin(label, seen)))
    slopes = _slopes(rows, directions, wanted, len(label), monitor)
    moved = {name: params[name] for name in names}
    length = step * math.sqrt(sum(float(jnp.square(x).sum()) for x in moved.values()))
    losses = loss_rows(config, params, corpus, selection)
    base = np.full(len(label), np.nan)
    base[wanted] = losses_under(losses, params, wanted)
    effects = []
    for number, cluster in enumerate(seen.tolist()):
        stepped = {name: x - length * directions[name][number] for name, x in moved.items()}
        own = np.flatnonzero(held & (label == cluster))
        rest = np.flatnonzero(drawn & (label != cluster))
        if not len(rest):
            raise BadInput(f"cluster {cluster}: none of {others} samples is of others; give more")
        both = np.concatenate([own, rest])
        change = losses_under(losses, {**params, **stepped}, both) - base[both]
        predicted = -length * slopes[number]
        effects.append(
            _Effect(
                change[: len(own)],
                change[len(own) :],
                float(predicted[own].mean()),
                float(predicted[rest].mean()),
                float(base[own].mean()),
            )
        )
        monitor.work("steps", (number + 1) / len(seen))
    settings = {
        "count": count,
        "step": step,
        "length": length,
        "seed": seed,
        "parameters": parameters if isinstance(parameters, str) else list(parameters),
        "model": selection.model,
        "corpus": selection.corpus,
        "samples": selection.hash,
    }
    return _dataset(seen, sizes[seen], effects, settings, draw)


def halves(label: Int[np.ndarray, " Q"], draw: np.random.Generator) -> Bool[np.ndarray, " Q"]:
    """Which samples are held out: a random half of each cluster, or one less than the rest."""
    order = np.lexsort((draw.random(len(label)), label))
    sizes = np.bincount(label)
    place = np.arange(len(label)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    held = np.empty(len(label), bool)
    held[order] = place % 2 == 1
    return held


def _drawn(
    held: Bool[np.ndarray, " Q"], most: int, draw: np.random.Generator
) -> Bool[np.ndarray, " Q"]:
    """Some of the samples that are held out, at random; all for 0."""
    there = np.flatnonzero(held)
    drawn = np.zeros_like(held)
    drawn[draw.permutation(there)[: most or None]] = True
    return drawn


def _directions(
    rows: Rows,
    label: Int[np.ndarray, " Q"],
    seen: Int[np.ndarray, " n"],
    used: Bool[np.ndarray, " Q"],
    monitor: Monitor,
) -> dict[str, Array]:
    """The mean gradient of each cluster's used samples, made to unit length: [n, …] by name."""
    sums = jax.tree.map(lambda x: jnp.zeros((len(seen), *x.shape), x.dtype), rows.row)
    wanted = np.flatnonzero(used & np.isin(label, seen))
    placed, done = rows.place(rows.constants), 0
    for samples, size, length in batches(rows.plan, wanted):
        found = rows.compute(placed, samples, size, length)
        weights = (label[samples] == seen[:, None]).astype(np.float32)
        sums = _add(sums, found, weights)
        done += len(samples)
        monitor.work("mean gradients", done / len(wanted))
    directions, norms = unit(sums)
    for cluster in seen[~(np.isfinite(norms) & (np.asarray(norms) > 0))][:1].tolist():
        raise BadInput(f"cluster {cluster}: its mean gradient is zero or not finite; take another")
    return directions


@functools.partial(jax.jit, donate_argnums=0)
def _add(sums: Any, rows: Any, weights: Float[Array, "n q"]) -> Any:
    return jax.tree.map(
        lambda s, x: s + jnp.tensordot(weights, x, 1, precision=jax.lax.Precision.HIGHEST),
        sums,
        rows,
    )


def _slopes(
    rows: Rows,
    directions: dict[str, Array],
    wanted: NDArray[np.int64],
    total: int,
    monitor: Monitor,
) -> Float[np.ndarray, "n Q"]:
    """How fast each wanted sample's loss rises along each direction, in nats; NaN for others."""
    product = jax.jit(inner)
    found = np.full((len(next(iter(directions.values()))), total), np.nan)
    placed, done = rows.place(rows.constants), 0
    for samples, size, length in batches(rows.plan, wanted):
        gradients = rows.compute(placed, samples, size, length)
        found[:, samples] = np.asarray(product(directions, gradients))
        done += len(samples)
        monitor.work("first order", done / len(wanted))
    return found


class _Effect(NamedTuple):
    """Of a step: changes of loss in nats, held-out sample by sample, and means."""

    own: NDArray[np.float64]
    others: NDArray[np.float64]
    own_predicted: float
    others_predicted: float
    loss: float


def ratio(
    own: Float[np.ndarray, "*many own"], others: Float[np.ndarray, "*many others"]
) -> Float[np.ndarray, "*many"]:
    """The mean fall of own losses over the size of the mean change of others'."""
    return np.asarray(-own.mean(-1) / np.abs(others.mean(-1)))


def interval(
    own: Float[np.ndarray, " own"], others: Float[np.ndarray, " others"], draw: np.random.Generator
) -> tuple[float, float]:
    """95% of the ratio, by resampling both."""
    low, high = np.percentile(
        ratio(
            draw.choice(own, (RESAMPLES, len(own))), draw.choice(others, (RESAMPLES, len(others)))
        ),
        (2.5, 97.5),
    )
    return float(low), float(high)


def _dataset(
    seen: Int[np.ndarray, " n"],
    sizes: Int[np.ndarray, " n"],
    effects: list[_Effect],
    settings: dict[str, Any],
    draw: np.random.Generator,
) -> "xr.Dataset":
    import xarray as xr

    intervals = [interval(effect.own, effect.others, draw) for effect in effects]
    ratios = np.array([float(ratio(effect.own, effect.others)) for effect in effects])

    def one(values: Any, long_name: str, units: str = "1") -> Any:
        return "cluster", np.asarray(values), {"units": units, "long_name": long_name}

    def nats(values: Any, long_name: str) -> Any:
        return one(values, long_name, "nats")

    return xr.Dataset(
        {
            "samples": one(sizes, "samples"),
            "n_own": one([len(e.own) for e in effects], "of these, held out"),
            "n_others": one([len(e.others) for e in effects], "held out of other clusters"),
            "loss": nats([e.loss for e in effects], "mean loss before the step"),
            "own": nats([e.own.mean() for e in effects], "change of mean loss"),
            "own_predicted": nats([e.own_predicted for e in effects], "... to first order"),
            "others": nats([e.others.mean() for e in effects], "others' change of mean loss"),
            "others_predicted": nats([e.others_predicted for e in effects], "... to first order"),
            "ratio": one(ratios, "own fall over the size of the others' change"),
            "ratio_low": one([low for low, _ in intervals], "95% from here"),
            "ratio_high": one([high for _, high in intervals], "95% to here"),
        },
        {"cluster": ("cluster", seen)},
        settings | {"share": float((ratios > 1).mean())},
    )


def save_mechanisms(found: "xr.Dataset", folder: "Path") -> "Path":
    """Write ``mechanism.zarr`` into a folder that exists, whole or not at all; its path."""
    from jquanta.qdg.clusters import save_dataset

    save_dataset(found, folder / STORE)
    return folder / STORE
