"""Whether a cluster is a mechanism: which samples a step against its mean gradient helps.

The paper takes quanta to be separate parts of a model. If a cluster is such a part, then a small
step of the parameters against the mean gradient of half of its samples lowers the loss of its other
half, and does less for the samples of other clusters.
"""

import dataclasses
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Bool, Float, Int
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from jquanta.errors import BadInput
from jquanta.lm.models.model import Model
from jquanta.machine.memory import usable_together
from jquanta.qdg.config import LARGEST, OTHERS, STEP
from jquanta.qdg.cosines.panels import inner, unit
from jquanta.qdg.results import chosen_count, require_samples, require_weights
from jquanta.qdg.samples.predictions import Predictions
from jquanta.qdg.samples.prefixes import prefixes
from jquanta.qdg.views.gradient import Gradients, loss_function
from jquanta.qdg.views.parameters import PAPER, as_attribute, chosen
from jquanta.qdg.views.parameters import count as numbers
from jquanta.qdg.views.per_sample import PerSample, per_sample, view_of
from jquanta.qdg.views.source import computed
from jquanta.run.arrays import save_dataset
from jquanta.run.progress import Monitor, Silence

LEAST = 4
"""Samples of a cluster that is looked at: two to step by, two to see."""

STORE = "mechanism.zarr"


def mechanisms(
    model: Model,
    predictions: Predictions,
    clusters: xr.Dataset,
    *,
    parameters: str | Sequence[str] = PAPER,
    count: int | None = None,
    largest: int = LARGEST,
    step: float = STEP,
    others: int = OTHERS,
    seed: int = 0,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """What small steps against clusters' mean gradients do to the losses of held-out samples.

    Every cluster is cut into two random halves. The step goes against the gradient of the first
    half's mean loss, and all steps are equally long; the second half is held out. Losses are
    computed with the moved parameters, and beside them is what the held-out samples' own gradients
    predict to first order.

    Args:
        model: in float32.
        predictions: the samples.
        clusters: of ``cluster``.
        parameters: which are moved, as for ``similarity``.
        count: which clusters; those of the count nearest to the paper's 400 by default.
        largest: look at so many clusters, the largest; those under ``LEAST`` samples are left out.
        step: length of the step over that of these parameters, both as Euclidean norms.
        others: held-out samples drawn at random from all clusters, to look at besides the held-out
            ones of these clusters; 0 for all.
        seed: of the halves and the draw.
        monitor: sees the progress.

    Returns:
        For each ``cluster`` whose gradient was stepped against and each held-out ``sample`` (its
        place in the selection) ``change`` of its loss, nats, and ``first_order``, what the
        gradients predict. By sample: ``label``, its cluster, and ``loss``, nats, before any step.
        By cluster: ``samples``, its size. Attributes: ``length`` of the steps, and the settings.
        ``summary`` gives means for each cluster.

    Raises:
        BadInput: if the parts do not go together, settings are out of range, no cluster is large
            enough, there are no others, a mean gradient has no direction, or memory does not do.
    """
    count = chosen_count(clusters, count)
    for name, number, least in ("largest", largest, 1), ("others", others, 0), ("seed", seed, 0):
        if number < least:
            raise BadInput(f"{name} = {number}: give {least} or more")
    if not (math.isfinite(step) and step > 0):
        raise BadInput(f"step = {step}: give a number above 0")
    require_samples(predictions, clusters)
    require_weights(model, clusters.attrs)
    label = clusters.label.sel(count=count).to_numpy()
    sizes = np.bincount(label)
    stepped = np.flatnonzero(sizes >= LEAST)[:largest]
    if not len(stepped) or len(sizes) < 2:
        raise BadInput(
            f"count {count}: {len(stepped)} of {len(sizes)} clusters have {LEAST} samples or more, "
            "and there must be others to compare with; take another count"
        )
    names = chosen(model.config, parameters)
    if 8 * len(stepped) * (size := numbers(model.config, names)) > usable_together():
        raise BadInput(
            f"{len(stepped)} mean gradients of {size:,} numbers take "
            f"{8e-9 * len(stepped) * size:.3g} GB, and there is less; give fewer clusters"
        )
    monitor = monitor or Silence()
    draw = np.random.default_rng(seed)
    held = held_out(label, draw)
    ours = np.isin(label, stepped)
    seen = np.flatnonzero(held & (ours | _drawn(held, others, draw)))
    if len(np.unique(label[seen])) < 2:
        raise BadInput(f"none of {others} samples is of another cluster; give more others")

    view = Gradients(parameters)
    moving = np.flatnonzero(~held & ours)
    by = view_of(model, predictions.at(moving), view)
    directions = _directions(by, label[moving], stepped, monitor)
    named = by.function.by_name(directions)
    tested = predictions.at(seen)
    predicted = _slopes(view_of(model, tested, view), directions, monitor)
    params = model.params
    length = step * math.sqrt(sum(float(jnp.square(params[name]).sum()) for name in names))
    losses = per_sample(loss_function(model), prefixes(tested, model.config), model.config)
    before = losses.all()
    change = np.empty((len(stepped), len(seen)))
    for number in range(len(stepped)):
        moved = {name: params[name] - length * named[name][number] for name in names}
        there = dataclasses.replace(model, params={**params, **moved})
        change[number] = losses.with_constants(loss_function(there).constants).all() - before
        monitor.work("steps", (number + 1) / len(stepped))
    both = ("cluster", "sample")
    return xr.Dataset(
        {
            "change": (both, change, _nats("change of the loss")),
            "first_order": (both, -length * predicted, _nats("the same, to first order")),
            "loss": ("sample", before, _nats("loss before the step")),
            "label": ("sample", label[seen], {"units": "1", "long_name": "cluster"}),
            "samples": ("cluster", sizes[stepped], {"units": "1", "long_name": "samples"}),
        },
        {"cluster": ("cluster", stepped), "sample": ("sample", seen)},
        {
            "count": count,
            "step": step,
            "length": length,
            "seed": seed,
            "parameters": as_attribute(parameters),
            "model": predictions.model,
            "corpus": predictions.corpus.meta.corpus,
            "samples": predictions.hash,
        },
    )


def summary(found: xr.Dataset) -> xr.Dataset:
    """Means of what ``mechanisms`` gives, for each cluster.

    Returns:
        By ``cluster``: ``own`` and ``others``, the mean change of held-out samples' losses in nats,
        below 0 where they fall, with ``own_error`` and ``others_error``, standard errors as if
        samples were independent; ``own_first_order`` and ``others_first_order``; and
        ``separation``: how often a sample of its own falls by more than one of the others does,
        ties half: 1 for always, 0.5 for a cluster that is no mechanism. ``n_own`` and ``n_others``
        are the numbers of samples.
    """
    label, table = found.label.to_numpy(), []
    for row in range(found.sizes["cluster"]):
        own = label == int(found.cluster[row])
        change, predicted = found.change[row].to_numpy(), found.first_order[row].to_numpy()
        wins = mannwhitneyu(-change[own], -change[~own]).statistic
        table.append(
            {
                "own": change[own].mean(),
                "own_error": _error(change[own]),
                "own_first_order": predicted[own].mean(),
                "others": change[~own].mean(),
                "others_error": _error(change[~own]),
                "others_first_order": predicted[~own].mean(),
                "separation": wins / (own.sum() * (~own).sum()),
                "n_own": own.sum(),
                "n_others": (~own).sum(),
            }
        )
    return xr.Dataset(
        {name: ("cluster", np.array([row[name] for row in table])) for name in table[0]},
        {"cluster": found.cluster},
    )


def held_out(label: Int[np.ndarray, " Q"], draw: np.random.Generator) -> Bool[np.ndarray, " Q"]:
    """Which samples are held out: a random half of each cluster, the smaller where it is odd."""
    order = np.lexsort((draw.random(len(label)), label))
    sizes = np.bincount(label)
    place = np.arange(len(label)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    held = np.empty(len(label), bool)
    held[order] = place % 2 == 1
    return held


def save_mechanisms(found: xr.Dataset, folder: Path) -> Path:
    """Write ``mechanism.zarr`` into a folder that exists, whole or not at all; its path."""
    save_dataset(found, folder / STORE)
    return folder / STORE


def _nats(long_name: str) -> dict[str, str]:
    return {"units": "nats", "long_name": long_name}


def _error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def _drawn(
    held: Bool[np.ndarray, " Q"], most: int, draw: np.random.Generator
) -> Bool[np.ndarray, " Q"]:
    """Some of the samples that are held out, at random; all for 0."""
    drawn = np.zeros_like(held)
    drawn[draw.permutation(np.flatnonzero(held))[: most or None]] = True
    return drawn


def _directions(
    rows: PerSample, label: Int[np.ndarray, " q"], wanted: Int[np.ndarray, " K"], monitor: Monitor
) -> dict[str, Array]:
    """Unit mean gradients of the wanted clusters, arrays [K, …] as the rows have them."""
    sums, done = None, 0
    for samples, batch in computed(rows):
        weights = (label[samples] == wanted[:, None]).astype(np.float32)
        part = _weighted(batch, weights)
        sums = part if sums is None else jax.tree.map(jnp.add, sums, part)
        done += len(samples)
        monitor.work("mean gradients", done / len(rows))
    directions, norms = unit(sums)
    for cluster in wanted[~(np.asarray(norms) > 0)][:1].tolist():
        raise BadInput(f"cluster {cluster}: its mean gradient is zero or not finite; take another")
    return dict(directions)


@jax.jit
def _weighted(rows: Any, weights: Float[Array, "K q"]) -> Any:
    precision = jax.lax.Precision.HIGHEST
    return jax.tree.map(lambda x: jnp.tensordot(weights, x, 1, precision=precision), rows)


def _slopes(
    rows: PerSample, directions: dict[str, Array], monitor: Monitor
) -> Float[np.ndarray, "K Q"]:
    """The derivative of each sample's loss along each of K directions: nats per unit of length."""
    found = np.empty((len(next(iter(directions.values()))), len(rows)))
    product, done = _inner(), 0
    for samples, batch in computed(rows):
        found[:, samples] = np.asarray(product(directions, batch))
        done += len(samples)
        monitor.work("first order", done / len(rows))
    return found


@cache
def _inner() -> Any:
    return jax.jit(inner)
