"""When a quantum emerges: its clusters' mean losses over checkpoints and sizes.

A cluster counts as learned while its mean loss is below a threshold, in nats. A *series* is the
checkpoints of one model. What never happened is NaN.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Num

from jquanta.errors import BadInput
from jquanta.lm.taxonomy.tables import step_of
from jquanta.qdg.clusters.cluster import open_clusters
from jquanta.qdg.config import LEARNED_BELOW
from jquanta.qdg.results import require_samples
from jquanta.qdg.samples.selection import Selection
from jquanta.run import arrays
from jquanta.run.arrays import save_dataset
from jquanta.run.progress import Monitor, Silence

if TYPE_CHECKING:
    import xarray as xr

LEAST_CHECKPOINTS = 3
"""Of a series, for its sharpness: of two, one drop is all of it."""

STORE = "emergence.zarr"


def cluster_losses(
    clusters: "xr.Dataset",
    losses: "xr.Dataset",
    selection: Selection,
    *,
    monitor: Monitor | None = None,
) -> "xr.Dataset":
    """The mean loss of each cluster at each model and checkpoint.

    Of the losses, only the rows of the samples are read.

    Args:
        clusters: of ``cluster``.
        losses: of ``jquanta.open_losses``, on the selection's corpus.
        selection: the samples.
        monitor: is told of the progress.

    Returns:
        ``loss`` (count, cluster, model), nats; NaN beyond a count's last cluster. ``samples``
        (count, cluster), 0 there. Coordinates of ``model``: ``model_name``, ``revision``, ``size``
        (parameters without embeddings) and ``step``, NaN where the revision does not tell.

    Raises:
        BadInput: for losses of another corpus or that are not finite, or clusters of others.
    """
    import xarray as xr

    monitor = monitor or Silence()
    require_samples(selection, clusters)
    _require_losses(losses, selection)
    label = clusters.label.to_numpy()
    n_counts, n_clusters = len(label), int(label.max()) + 1
    place = label + n_clusters * np.arange(n_counts)[:, None]

    def sums(values: Num[np.ndarray, " Q"]) -> Float[np.ndarray, "count cluster"]:
        weights = np.broadcast_to(values, place.shape).ravel()
        found = np.bincount(place.ravel(), weights, n_counts * n_clusters)
        return found.reshape(n_counts, n_clusters)

    samples = sums(np.ones(len(selection)))
    names = losses.model.to_numpy()
    means = np.empty((*samples.shape, len(names)))
    for column, name in enumerate(names.tolist()):
        own = losses.loss.isel(model=column, prediction=selection.index).to_numpy()
        if not np.isfinite(own).all():
            bad = selection.index[~np.isfinite(own)][0]
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
            "corpus": selection.corpus,
            "samples": selection.hash,
            "selected_by": selection.model,
            "labels": _labels_hash(clusters),
        },
    )


def emerged(curves: "xr.Dataset", below: float = LEARNED_BELOW) -> "xr.Dataset":
    """When and where each cluster is learned, and how suddenly.

    Args:
        curves: of ``cluster_losses``.
        below: the threshold, in nats.

    Returns:
        The curves, and for each ``series``, from the smallest model on (coordinates: its name and
        ``series_size``):

        ``emergence_step`` (count, cluster, series): updates at the first checkpoint from which the
        mean loss stays below the threshold; NaN for never.
        ``emergence_size`` (count, cluster): parameters without embeddings of the smallest model
        from which on all larger ones end below it, too; NaN for none. ``main`` comes after all
        steps.
        ``step_sharpness`` (count, cluster, series): the largest drop between neighbouring
        checkpoints over the drop from the first to the last: 1 for a single step, above it where
        the loss also rises. It depends on how the checkpoints are spaced. NaN where there are fewer
        than ``LEAST_CHECKPOINTS``, or nothing drops.
        ``size_sharpness`` (count, cluster): likewise over the last checkpoints of ascending sizes.

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
        columns = columns[np.argsort(step[columns], kind="stable")]  # NaN comes last
        told = columns[np.isfinite(step[columns])]
        settled.append(_settled(loss[..., told] < below, step[told]))
        sharp.append(_sharpness(loss[..., told]))
        last.append(loss[..., columns[-1]])
    sizes = np.array([size[name == own][0] for own in series])
    final = np.stack(last, -1)
    distinct = np.unique(sizes)
    over_sizes = np.stack([final[..., sizes == one].mean(-1) for one in distinct], -1)
    by_series, by_cluster = ("count", "cluster", "series"), ("count", "cluster")
    told_size = {"units": "1", "long_name": "parameters without embeddings"}
    return (
        curves.assign(
            emergence_step=(by_series, np.stack(settled, -1), {"units": "updates"}),
            emergence_size=(by_cluster, _settled(final < below, sizes), told_size),
            step_sharpness=(by_series, np.stack(sharp, -1), {"units": "1"}),
            size_sharpness=(by_cluster, _sharpness(over_sizes), {"units": "1"}),
        )
        .assign_coords(series=("series", series), series_size=("series", sizes, told_size))
        .assign_attrs(below_nats=below)
    )


def save_emergence(found: "xr.Dataset", folder: Path) -> Path:
    """Write ``emergence.zarr`` into a folder that exists, whole or not at all; its path."""
    save_dataset(found, folder / STORE)
    return folder / STORE


def open_emergence(folder: Path) -> "xr.Dataset":
    """What ``save_emergence`` wrote into a run folder, in memory.

    Raises:
        BadInput: if there is none, or the folder's clusters are others by now.
    """
    remedy = f"make it: jquanta emergence {folder}"
    found = arrays.read(folder / STORE, "emergence", "emergence_step", remedy).load()
    if found.attrs["labels"] != _labels_hash(open_clusters(folder)):
        raise BadInput(f"{folder / STORE}: of other clusters than are there now; {remedy}")
    # In a store only coordinates of a dimension's own name are known as such.
    along = [name for name in found if found[name].dims in (("model",), ("series",))]
    return found.set_coords(along)


def _require_losses(losses: "xr.Dataset", selection: Selection) -> None:
    made = losses.attrs["corpus"]  # empty for an array of losses, which does not tell
    if made and made != selection.corpus:
        raise BadInput(
            f"losses of another corpus ({losses.attrs['source']}, hash {made[:12]}…) than the "
            f"samples' ({selection.corpus[:12]}…); give the losses of that one"
        )
    if selection.index[-1] >= losses.sizes["prediction"]:
        raise BadInput(
            f"losses of {losses.sizes['prediction']:,} predictions, and prediction "
            f"{selection.index[-1]} is a sample; give the losses of the samples' corpus"
        )


def _labels_hash(clusters: "xr.Dataset") -> str:
    labels = np.ascontiguousarray(clusters.label.to_numpy(), "<i4")
    return hashlib.sha256(labels.tobytes()).hexdigest()


def _settled(
    low: Bool[np.ndarray, "*many S"], scale: Num[np.ndarray, " S"]
) -> Float[np.ndarray, "*many"]:
    """The first of the scale from which all are low, else NaN."""
    return _first(np.logical_and.accumulate(low[..., ::-1], -1)[..., ::-1], scale)


def _first(
    holds: Bool[np.ndarray, "*many S"], scale: Num[np.ndarray, " S"]
) -> Float[np.ndarray, "*many"]:
    """The first of the scale that holds, else NaN."""
    if not len(scale):
        return np.full(holds.shape[:-1], np.nan)
    return np.where(holds.any(-1), scale[holds.argmax(-1)].astype(float), np.nan)


def _sharpness(loss: Float[np.ndarray, "*many S"]) -> Float[np.ndarray, "*many"]:
    """The largest drop between neighbours over the whole drop."""
    if loss.shape[-1] < LEAST_CHECKPOINTS:
        return np.full(loss.shape[:-1], np.nan)
    whole = loss[..., 0] - loss[..., -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, (-np.diff(loss)).max(-1) / whole, np.nan)
