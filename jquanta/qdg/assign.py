"""To which quantum a prediction belongs: its gradient among those of a QDG run's samples."""

import dataclasses
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike, NDArray

from jquanta.errors import BadInput
from jquanta.lm.corpus.layout import Recipe
from jquanta.lm.corpus.progress import Monitor, Silence
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.network import Params
from jquanta.qdg.activations import activation_rows
from jquanta.qdg.exact import plan
from jquanta.qdg.gradient import gradient_rows
from jquanta.qdg.losses import loss_rows, losses_under
from jquanta.qdg.matrices import COSINE, COSINE_ABS
from jquanta.qdg.matrix import ACTIVATIONS, SKETCH
from jquanta.qdg.memory import available
from jquanta.qdg.memory import size as parsed
from jquanta.qdg.panels import Cut, assemble, cut, padded, products
from jquanta.qdg.parameters import chosen
from jquanta.qdg.results import chosen_count, require_samples, require_weights
from jquanta.qdg.rows import Rows
from jquanta.qdg.selection import Selection, given
from jquanta.qdg.sketch import sketch_rows
from jquanta.qdg.store import CHUNK

if TYPE_CHECKING:
    import xarray as xr

NONE = -1
"""In place of a cluster or sample: a gradient without direction has none."""


def assign(
    config: LMConfig,
    params: Params,
    corpus: Corpus,
    selection: Selection,
    clusters: "xr.Dataset",
    similarity: "xr.Dataset",
    what: str | ArrayLike,
    *,
    count: int | None = None,
    nearest: int = 5,
    last: int | None = None,
    memory: int | str | None = None,
    monitor: Monitor | None = None,
) -> "xr.Dataset":
    """The nearest samples and cluster of new predictions' gradients, and how well they fit.

    The samples' gradients are not stored: they are computed again, a panel at a time, as the
    similarity was made (whole gradients, sketches or activations). The new ones stay in memory.

    A cluster's centre is the mean m of its unit gradients, and the cluster assigned is the one
    whose centre has the highest cosine. The score says whether it fits: the share of the
    cluster's own samples that are less close to the centre of the others than the new gradient is
    to the cluster's. 0: further out than all of them, so it belongs to no cluster.

    Args:
        config, params: the model that the similarity was made with.
        corpus, selection: of the similarity; the corpus' tokenizer is used for text.
        clusters: of ``cluster``.
        similarity: of ``similarity``; the cosines within clusters are read from it.
        what: a text, whose tokens but for the first are predictions; or numbers of predictions of
            the corpus, which are taken in ascending order, each once.
        count: which clusters; those of the count nearest to the paper's 400 by default.
        nearest: samples to name for each prediction.
        last: take the last so many tokens of the text only; all by default.
        memory: what may be taken, in bytes or as ``"8 GB"``; most of what is free by default.
        monitor: is told of the progress.

    Returns:
        By ``token``: ``loss``, nats; ``cluster`` and ``cosine`` to its centre; ``score``; and by
        ``rank`` the ``nearest`` samples (places in the selection; a sample itself is left out) with
        ``nearest_cosine``. Coordinates: ``prediction``, its number in the corpus or the text, and
        ``target``, its text. Where a gradient is zero or not finite there is cluster -1, samples
        -1 and NaN; a cluster of one has no score (NaN). A prediction that is itself a sample is
        scored among the others of its cluster.

    Raises:
        BadInput: if the parts do not go together, the count is unknown, the text is too short or
            too long, or memory does not do.
    """
    count = chosen_count(clusters, count)
    if nearest < 1 or (last is not None and last < 1):
        raise BadInput(f"nearest = {nearest}, last = {last}: give 1 or more")
    require_samples(selection, clusters)
    if similarity.attrs["samples"] != selection.hash:
        raise BadInput("the similarity is not of this selection's samples; compute it anew")
    require_weights(params, similarity.attrs)
    absolute = clusters.attrs.get("affinity") == "absolute"
    name = COSINE_ABS if absolute else COSINE
    if name not in similarity:
        raise BadInput(f"the clusters are of {name}, which the similarity lacks; make it with that")
    source, new = _predictions(config, corpus, what, last)
    text = source is not corpus
    label = clusters.label.sel(count=count).to_numpy()
    own = _rows(similarity.attrs, config, params, source, new)
    rows = _rows(similarity.attrs, config, params, corpus, selection)
    budget = available() if memory is None else parsed(memory)
    cosines = _cosines(own, rows, budget, absolute, monitor or Silence())
    itself = np.zeros(cosines.shape, bool) if text else new.index[:, None] == selection.index
    losses = loss_rows(config, params, source, new)
    return _dataset(
        _assigned(cosines, _centres(similarity[name], label), itself, nearest),
        losses_under(losses, params, np.arange(len(new))),
        new.index,
        [source.context(i, 0, 0).target for i in new.index.tolist()],
        {"count": count, **{k: similarity.attrs[k] for k in ("mode", "parameters", "samples")}},
    )


def _predictions(
    config: LMConfig, corpus: Corpus, what: str | ArrayLike, last: int | None
) -> tuple[Corpus, Selection]:
    """Predictions of the corpus, or of a text as a corpus of one document."""
    if not isinstance(what, str):
        if last is not None:
            raise BadInput("last: goes with a text; leave out what is not wanted")
        return corpus, given(corpus, what)
    try:
        tokens = corpus.tokenizer.encode(what, add_special_tokens=False).ids
    except (TypeError, UnicodeError):  # half of a character, as of an argument that is no UTF-8
        raise BadInput("text: not UTF-8") from None
    if len(tokens) < 2:
        raise BadInput(
            f"text: {len(tokens)} token{'s' * (len(tokens) != 1)}, and the first is predicted from "
            "nothing; give at least two"
        )
    if len(tokens) - 1 > config.context:
        raise BadInput(
            f"text: {len(tokens):,} tokens, and the model's context is {config.context:,}; give "
            "the end of it"
        )
    document = corpus_of(corpus, np.array(tokens))
    index = np.arange(document.n_predictions)
    return document, given(document, index if last is None else index[-last:])


def corpus_of(like: Corpus, tokens: NDArray[np.int64]) -> Corpus:
    """One document in memory as a corpus, with the tokenizer of another."""
    count = len(tokens)
    meta = dataclasses.replace(
        like.meta,
        documents=1,
        tokens=count,
        predictions=count - 1,
        source="text",
        corpus="text",
        recipe=Recipe("text", like.meta.recipe.tokenizer, count, None),
    )
    offsets, starts = np.array([0, count]), np.array([0, count - 1])
    return Corpus(like.path, meta, tokens.astype(like.tokens.dtype), offsets, starts)


def _rows(
    told: Mapping[Any, Any],
    config: LMConfig,
    params: Params,
    corpus: Corpus,
    selection: Selection,
) -> Rows:
    """Rows as a similarity of these attributes is made of."""
    parts = config, params, corpus, selection
    if told["mode"] == ACTIVATIONS:
        return activation_rows(*parts, told["layer"])
    names = chosen(config, told["parameters"])
    if told["mode"] == SKETCH:
        return sketch_rows(*parts, names, told["sketch_size"], told["seed"])
    return gradient_rows(*parts, names)


def _cosines(
    new: Rows, rows: Rows, memory: int, absolute: bool, monitor: Monitor
) -> Float[np.ndarray, "new Q"]:
    """Cosines of new rows with all others; NaN where a new row has no direction."""
    devices = jax.local_device_count()
    held = Cut(tuple(pairwise([0, *new.stops])))
    room = sum(padded(stop - start, devices) for start, stop in held.batches)
    numbers = sum(math.prod(x.shape) for x in jax.tree.leaves(rows.row))
    taken = 4 * room * numbers
    if taken > memory / 2:
        raise BadInput(
            f"{len(held):,} gradients of {numbers:,} numbers take {taken / 1e9:.3g} GB, and half "
            f"of {memory / 1e9:.3g} GB is for the samples'; give fewer tokens"
        )
    panel = plan(
        rows.stops, numbers=numbers, width=4, memory=memory, taken=taken, devices=devices
    ).panel
    own = assemble(new, held, room, "float32", lambda _: None)
    norms = np.concatenate([np.asarray(norms) for norms in own.norms])
    found = np.empty((len(held), rows.stops[-1]))
    for part in cut(rows.stops, panel, devices):
        passing = assemble(rows, part, panel, "float32", lambda _: None)
        block = np.asarray(products(own, passing, absolute)[-1])
        found[:, part.start : part.stop] = block[np.ix_(own.places, passing.places)]
        monitor.work("cosines with all samples", part.stop / rows.stops[-1])
    found[~(np.isfinite(norms) & (norms > 0))] = np.nan
    cosines = np.empty_like(found)
    cosines[np.ix_(new.order, rows.order)] = found
    return np.clip(cosines, -1, 1)


class _Centres(NamedTuple):
    """Clusters as their mean unit gradients m see them.

    Attributes:
        label: [Q] cluster of each sample.
        sums: [k] over all pairs of a cluster's samples, of their cosines: (n|m|)².
        closeness: [Q] cosine of each sample to the centre of the others of its cluster; NaN for
            one alone.
    """

    label: Int[np.ndarray, " Q"]
    sums: Float[np.ndarray, " k"]
    closeness: Float[np.ndarray, " Q"]


def _centres(cosine: "xr.DataArray", label: Int[np.ndarray, " Q"]) -> _Centres:
    """One pass over the matrix. With s = Σ_j g·g_j = g·nm over a cluster's samples, g among them,
    the others' centre points along nm - g, and (nm - g)·g = s - 1."""
    own = np.empty(len(label))
    for start in range(0, len(label), CHUNK):
        strip = cosine[start : start + CHUNK].to_numpy()
        same = label[start : start + CHUNK, None] == label
        own[start : start + CHUNK] = strip.sum(1, dtype=np.float64, where=same)
    sums = np.bincount(label, own)
    alone = np.bincount(label)[label] == 1
    with np.errstate(invalid="ignore", divide="ignore"):
        closeness = (own - 1) / np.sqrt(sums[label] - 2 * own + 1)
    return _Centres(label, sums, np.where(alone, np.nan, closeness))


class _Assigned(NamedTuple):
    cluster: Int[np.ndarray, " new"]
    cosine: Float[np.ndarray, " new"]
    score: Float[np.ndarray, " new"]
    nearest: Int[np.ndarray, "new rank"]
    nearest_cosine: Float[np.ndarray, "new rank"]


def _assigned(
    cosines: Float[np.ndarray, "new Q"],
    centres: _Centres,
    itself: Bool[np.ndarray, "new Q"],
    nearest: int,
) -> _Assigned:
    order = np.argsort(centres.label, kind="stable")
    starts = np.searchsorted(centres.label[order], np.arange(len(centres.sums)))
    with np.errstate(invalid="ignore", divide="ignore"):
        to_centres = np.add.reduceat(cosines[:, order], starts, axis=1) / np.sqrt(centres.sums)
    known = np.isfinite(cosines).all(1)
    places = np.where(np.isfinite(to_centres), to_centres, -np.inf).argmax(1)
    cluster = np.where(known, places, NONE)
    cosine = np.where(known, to_centres[np.arange(len(places)), places], np.nan)
    score = np.array(
        [
            _score(centres, *row) if row[0] != NONE else np.nan
            for row in zip(cluster.tolist(), cosine.tolist(), itself, strict=True)
        ]
    )
    others = np.where(itself | ~known[:, None], -np.inf, cosines)
    near = np.argsort(-others, axis=1, kind="stable")[:, :nearest]
    near_cosine = np.take_along_axis(others, near, 1)
    there = np.isfinite(near_cosine)
    return _Assigned(
        cluster, cosine, score, np.where(there, near, NONE), np.where(there, near_cosine, np.nan)
    )


def _score(centres: _Centres, cluster: int, cosine: float, itself: Bool[np.ndarray, " Q"]) -> float:
    """The share of a cluster's samples that are less close to the middle of the others."""
    members = centres.label == cluster
    if (members & itself).any():  # a sample of the cluster is held to what the others are
        cosine = float(centres.closeness[itself][0])
        members &= ~itself
    closeness = centres.closeness[members]
    closeness = closeness[np.isfinite(closeness)]
    return float((closeness < cosine).mean()) if len(closeness) else math.nan


def _dataset(
    found: _Assigned,
    losses: NDArray[np.float64],
    predictions: NDArray[np.int64],
    targets: list[str],
    attributes: dict[str, Any],
) -> "xr.Dataset":
    import xarray as xr

    def one(values: NDArray[Any], long_name: str, units: str = "1") -> Any:
        dims = ("token", "rank")[: values.ndim]
        return dims, values, {"units": units, "long_name": long_name}

    return xr.Dataset(
        {
            "loss": one(losses, "cross-entropy of the prediction", "nats"),
            "cluster": one(found.cluster, "cluster with the nearest centre"),
            "cosine": one(found.cosine, "cosine to the cluster's centre"),
            "score": one(found.score, "share of the cluster's samples that fit it less"),
            "nearest": one(found.nearest, "nearest samples, places in the selection"),
            "nearest_cosine": one(found.nearest_cosine, "cosine to the nearest samples"),
        },
        {"prediction": ("token", predictions), "target": ("token", targets)},
        attributes,
    )
