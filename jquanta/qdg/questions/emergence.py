"""When quanta emerge: the mean losses of clusters over checkpoints and model sizes.

A cluster counts as learned while its mean loss is below a threshold (nats). The checkpoints of one
model are a *series*. What never happens is NaN.

Shapes: Q samples, ``counts`` numbers of clusters, K clusters, M models or checkpoints.
"""

from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Num

from jquanta.errors import BadInput
from jquanta.lm.taxonomy.tables import notes, step_of
from jquanta.qdg.clusters.cluster import labels_hash, open_clusters
from jquanta.qdg.config import LEARNED_BELOW
from jquanta.qdg.results import require_samples
from jquanta.qdg.samples.predictions import Predictions
from jquanta.run import arrays
from jquanta.run.arrays import save_dataset
from jquanta.run.progress import Monitor, Silence

LEAST_CHECKPOINTS = 3
"""Checkpoints that a series needs for its sharpness: with two, the only drop is the whole drop."""

STORE = "emergence.zarr"


def cluster_losses(
    clusters: xr.Dataset,
    losses: xr.Dataset,
    predictions: Predictions,
    *,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """The mean loss of each cluster at each model and checkpoint.

    Only the losses of the samples are read.

    Args:
        clusters: of ``cluster``.
        losses: of ``jquanta.open_losses``, on the predictions' corpus.
        predictions: the samples.
        monitor: receives the progress.

    Returns:
        ``loss`` (count, cluster, model), nats; NaN beyond the last cluster of a count. ``samples``
        (count, cluster), 0 there. Coordinates of ``model``: ``model_name``, ``revision``, ``size``
        (parameters without embeddings) and ``step``, NaN where the revision does not say it. The
        attribute ``notes`` lists what a reader should know, such as that a suite is not finished.

    Raises:
        BadInput: for losses of another corpus or that are not finite, or clusters of other samples.
    """
    monitor = monitor or Silence()
    require_samples(predictions, clusters)
    _require_losses(losses, predictions)
    label = clusters.label.to_numpy()
    n_counts, n_clusters = len(label), int(label.max()) + 1
    # Number all clusters of all counts consecutively, so that one bincount adds up each of them.
    place = label + n_clusters * np.arange(n_counts)[:, None]

    def sums(values: Num[np.ndarray, " Q"]) -> Float[np.ndarray, "counts K"]:
        weights = np.broadcast_to(values, place.shape).ravel()
        found = np.bincount(place.ravel(), weights, n_counts * n_clusters)
        return found.reshape(n_counts, n_clusters)

    samples = sums(np.ones(len(predictions)))
    names = losses.model.to_numpy()
    means = np.empty((*samples.shape, len(names)))
    for column, name in enumerate(names.tolist()):
        own = losses.loss.isel(model=column, prediction=predictions.index).to_numpy()
        if not np.isfinite(own).all():
            bad = predictions.index[~np.isfinite(own)][0]
            raise BadInput(f"{name}: no finite loss of prediction {bad}; compute its losses again")
        with np.errstate(invalid="ignore"):
            means[..., column] = sums(own.astype(np.float64)) / samples
        monitor.work("losses of the samples", (column + 1) / len(names))
    revisions = losses.revision.to_numpy()
    steps = [step_of(str(revision)) for revision in revisions.tolist()]
    nats = {"units": "nats", "long_name": "mean loss of the cluster's samples"}
    updates = {"units": "updates", "long_name": "training steps"}
    return xr.Dataset(
        {
            "loss": (("count", "cluster", "model"), means, nats),
            "samples": (("count", "cluster"), samples.astype(np.int64), {"units": "1"}),
        },
        {
            "count": ("count", clusters["count"].to_numpy()),
            "cluster": ("cluster", np.arange(n_clusters)),
            "model": ("model", names),
            "model_name": ("model", losses.name.to_numpy()),
            "revision": ("model", revisions),
            "size": ("model", losses["size"].to_numpy(), dict(losses["size"].attrs)),
            "step": ("model", np.array([np.nan if s is None else s for s in steps]), updates),
        },
        {
            "corpus": predictions.corpus.meta.corpus,
            "samples": predictions.hash,
            "selected_by": predictions.model,
            "labels": labels_hash(clusters),
            "notes": notes(losses),
        },
    )


def emerged(curves: xr.Dataset, below: float = LEARNED_BELOW) -> xr.Dataset:
    """When and where each cluster is learned, and how suddenly.

    Args:
        curves: of ``cluster_losses``.
        below: the threshold, in nats.

    Returns:
        The curves, and for each ``series``, in order of model size (coordinates: its name and
        ``series_size``):

        ``emergence_step`` (count, cluster, series): training steps at the first checkpoint from
        which the mean loss stays below the threshold; NaN for never.
        ``emergence_size`` (count, cluster): size (parameters without embeddings) of the smallest
        model that ends below the threshold, as all larger ones do; NaN for none. A revision
        ``main`` counts as later than all steps.
        ``step_sharpness`` (count, cluster, series): the largest drop between neighbouring
        checkpoints, divided by the drop from the first to the last: 1 if all of it happens at once,
        more if the loss also rises. It depends on how the checkpoints are spaced. NaN where there
        are fewer than ``LEAST_CHECKPOINTS``, or the loss does not drop.
        ``size_sharpness`` (count, cluster): likewise over the last checkpoints of models in order
        of size; models of one size are averaged.

    Raises:
        BadInput: for a threshold that is not above 0.
    """
    if not below > 0:
        raise BadInput(f"below = {below}: give nats above 0")
    loss, name = curves.loss.to_numpy(), curves.model_name.to_numpy()
    step, size = curves.step.to_numpy(), curves["size"].to_numpy()
    series = sorted(dict.fromkeys(name.tolist()), key=lambda own: size[name == own][0])
    settled, sharp, last = [], [], []
    for own in series:
        columns = np.flatnonzero(name == own)
        columns = columns[np.argsort(step[columns], kind="stable")]  # NaN, such as main, is last
        dated = columns[np.isfinite(step[columns])]
        settled.append(_settled(loss[..., dated] < below, step[dated]))
        sharp.append(_sharpness(loss[..., dated]))
        last.append(loss[..., columns[-1]])
    sizes = np.array([size[name == own][0] for own in series])
    final = np.stack(last, -1)
    distinct = np.unique(sizes)
    over_sizes = np.stack([final[..., sizes == one].mean(-1) for one in distinct], -1)
    by_series, by_cluster = ("count", "cluster", "series"), ("count", "cluster")
    size_attributes = {"units": "1", "long_name": "parameters without embeddings"}
    return (
        curves.assign(
            emergence_step=(by_series, np.stack(settled, -1), {"units": "updates"}),
            emergence_size=(by_cluster, _settled(final < below, sizes), size_attributes),
            step_sharpness=(by_series, np.stack(sharp, -1), {"units": "1"}),
            size_sharpness=(by_cluster, _sharpness(over_sizes), {"units": "1"}),
        )
        .assign_coords(series=("series", series), series_size=("series", sizes, size_attributes))
        .assign_attrs(below_nats=below)
    )


def save_emergence(found: xr.Dataset, folder: Path) -> Path:
    """Write ``emergence.zarr`` into a folder that exists, whole or not at all; its path."""
    save_dataset(found, folder / STORE)
    return folder / STORE


def open_emergence(folder: Path) -> xr.Dataset:
    """What ``save_emergence`` wrote into a run folder, in memory.

    Raises:
        BadInput: if there is none, or the folder's clusters have changed since.
    """
    remedy = f"make it: jquanta emergence {folder}"
    found = arrays.read(folder / STORE, "emergence", "emergence_step", remedy).load()
    if found.attrs["labels"] != labels_hash(open_clusters(folder)):
        raise BadInput(f"{folder / STORE}: of other clusters than are there now; {remedy}")
    # A Zarr group only marks coordinates that have the name of a dimension.
    along = [name for name in found if found[name].dims in (("model",), ("series",))]
    return found.set_coords(along)


def _require_losses(losses: xr.Dataset, predictions: Predictions) -> None:
    made = losses.attrs["corpus"]  # empty for an array of losses, which does not tell
    if made and made != (own := predictions.corpus.meta.corpus):
        raise BadInput(
            f"losses of another corpus ({losses.attrs['source']}, hash {made[:12]}…) than the "
            f"samples' ({own[:12]}…); give the losses of that one"
        )
    if predictions.index[-1] >= losses.sizes["prediction"]:
        raise BadInput(
            f"losses of {losses.sizes['prediction']:,} predictions, and prediction "
            f"{predictions.index[-1]} is a sample; give the losses of the samples' corpus"
        )


def _settled(
    low: Bool[np.ndarray, "*many M"], scale: Num[np.ndarray, " M"]
) -> Float[np.ndarray, "*many"]:
    """The first place on the scale from which on all are low; NaN if there is none."""
    return _first(np.logical_and.accumulate(low[..., ::-1], -1)[..., ::-1], scale)


def _first(
    holds: Bool[np.ndarray, "*many M"], scale: Num[np.ndarray, " M"]
) -> Float[np.ndarray, "*many"]:
    """The first place on the scale where ``holds`` is true; NaN if there is none."""
    if not len(scale):
        return np.full(holds.shape[:-1], np.nan)
    return np.where(holds.any(-1), scale[holds.argmax(-1)].astype(float), np.nan)


def _sharpness(loss: Float[np.ndarray, "*many M"]) -> Float[np.ndarray, "*many"]:
    """The largest drop between neighbours, divided by the drop from the first to the last."""
    if loss.shape[-1] < LEAST_CHECKPOINTS:
        return np.full(loss.shape[:-1], np.nan)
    whole = loss[..., 0] - loss[..., -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, (-np.diff(loss)).max(-1) / whole, np.nan)
