"""To which quantum a prediction belongs: its gradient among those of a QDG run's samples."""

import dataclasses
import math
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike, NDArray
from tokenizers import Tokenizer

from jquanta.errors import BadInput
from jquanta.lm.corpus.layout import Recipe
from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.models.model import Model
from jquanta.machine.memory import usable_together
from jquanta.qdg.clusters.centres import Centres, to_centres
from jquanta.qdg.clusters.likeness import likeness_of
from jquanta.qdg.cosines.features import Stored
from jquanta.qdg.cosines.panels import inner, unit
from jquanta.qdg.results import chosen_count, require_corpus, require_samples, require_weights
from jquanta.qdg.samples.predictions import Predictions, given
from jquanta.qdg.samples.prefixes import prefixes
from jquanta.qdg.views.gradient import loss_function
from jquanta.qdg.views.per_sample import PerSample, per_sample, view_of
from jquanta.qdg.views.source import computed
from jquanta.qdg.views.stored import view_from, whole
from jquanta.run.parse import whole_text
from jquanta.run.progress import Monitor, Silence
from jquanta.run.settings import as_bytes

NONE = -1
"""Stands for no cluster and no sample, where a gradient is zero or not finite."""


LETTERS = 16
"""So many letters a token are read of the end of a text, at first. Few tokens have more."""


def assign(
    model: Model,
    predictions: Predictions,
    clusters: xr.Dataset,
    similarity: xr.Dataset,
    what: str | Sequence[int] | ArrayLike,
    *,
    count: int | None = None,
    nearest: int = 5,
    last: int | None = None,
    memory: int | str | None = None,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """The nearest samples and cluster of new predictions' gradients, and how well they fit.

    The samples' gradients are computed again, a batch at a time, by the view that the similarity
    was made by (whole gradients where that was factors), unless they are stored (``features``). The
    new ones stay in memory.

    A new gradient is assigned to the cluster to whose centre, the mean of its unit gradients, it
    has the highest cosine. The score says how well it fits: the share of the cluster's own samples
    whose cosine to the centre of the others is lower than the new gradient's cosine to the centre.
    A score of 0 means that it is further out than all of them: it belongs to no cluster.

    Args:
        model: that the similarity was made with.
        predictions: the samples of the similarity; their corpus' tokenizer is used for text.
        clusters: of ``cluster``.
        similarity: of ``similarity`` or ``features``; the cosines within clusters are read from it.
        what: a text, whose tokens but for the first are predictions (of a text longer than the
            model's context, its end is taken); or numbers of predictions of the corpus, which are
            taken in ascending order, each once.
        count: which clusters; those of the count nearest to the paper's 400 by default.
        nearest: samples to name for each prediction.
        last: take the last so many tokens of the text only; all by default.
        memory: what the new gradients may take, in bytes or as ``"8 GB"``; by default half of what
            is free.
        monitor: sees the progress.

    Returns:
        By ``token``: ``loss``, nats; ``cluster`` and ``cosine`` to its centre; ``score``; and by
        ``rank`` the ``nearest`` samples (places in the selection; a sample itself is left out) with
        ``nearest_cosine``. Coordinates: ``prediction``, its number in the corpus or the text (of a
        very long text, in what was read of its end), and ``target``, its text. Where a gradient is
        zero or not finite there is cluster -1, samples -1 and NaN; a cluster of one has no score
        (NaN). A prediction that is itself a sample is scored among the others of its cluster.

    Raises:
        BadInput: if the parts do not go together, the count is unknown, the text is too short, or
            memory does not do.
    """
    count = chosen_count(clusters, count)
    for name, number in ("nearest", nearest), ("last", last):
        if number is not None and number < 1:
            raise BadInput(f"{name} = {number}: give 1 or more")
    require_samples(predictions, clusters)
    if similarity.attrs["samples"] != predictions.hash:
        raise BadInput("the similarity is not of this selection's samples; compute it anew")
    require_corpus(predictions.corpus, similarity.attrs)
    require_weights(model, similarity.attrs)
    _require_view(clusters, similarity)
    absolute = clusters.attrs.get("affinity") == "absolute"
    likeness = likeness_of(similarity, absolute)
    monitor = monitor or Silence()
    new, before = _new_predictions(model, predictions.corpus, what, last, monitor)
    view = view_from(similarity.attrs)
    seen = whole(view)  # all gradients are made now, so nothing need be left out
    own = view_of(model, new, seen)
    _require_room(own, usable_together() // 2 if memory is None else as_bytes(memory))
    samples = likeness.stored(own.row) or view_of(model, predictions, seen)
    found = cosines(own, samples, absolute, monitor)
    (middles,) = likeness.centres(clusters.label.sel(count=[count]).to_numpy())
    itself = np.zeros(found.shape, bool)
    if new.corpus is predictions.corpus:
        itself = new.index[:, None] == predictions.index
    return _dataset(
        _assigned(found, middles, itself, nearest),
        per_sample(loss_function(model), prefixes(new, model.config), model.config).all(),
        before + new.index,
        [new.corpus.context(i, 0, 0).target for i in new.index.tolist()],
        {"count": count, "samples": predictions.hash, **view.attributes(model.config)},
    )


def _require_view(clusters: xr.Dataset, similarity: xr.Dataset) -> None:
    """Raise ``BadInput`` if the clusters are of another view than the similarity, as far as their
    attributes say."""
    for name in ("mode", "parameters", "rank", "sketch_size", "layer", "weights"):
        own, other = clusters.attrs.get(name), similarity.attrs.get(name)
        if own is not None and other is not None and own != other:
            raise BadInput(
                f"the clusters were made with {name} {str(own)[:40]} and the similarity with "
                f"{str(other)[:40]}; give those that belong together"
            )


def cosines(
    new: PerSample,
    samples: PerSample | Stored,
    absolute: bool = False,
    monitor: Monitor | None = None,
) -> Float[np.ndarray, "new Q"]:
    """Cosines of new rows with those of all samples; NaN where a new row has no direction."""
    monitor = monitor or Silence()
    order, made = zip(*((own, unit(batch)) for own, batch in computed(new)), strict=True)
    norms = np.concatenate([np.asarray(norm) for _, norm in made])
    held = jax.tree.map(lambda *parts: jnp.concatenate(parts), *(rows for rows, _ in made))
    found = np.empty((len(new), len(samples)))
    product, done = _product(absolute), 0
    for own, batch in computed(samples):
        found[:, own] = np.asarray(product(held, batch))
        done += len(own)
        monitor.work("cosines with all samples", done / len(samples))
    found[~(np.isfinite(norms) & (norms > 0))] = np.nan
    out = np.empty_like(found)
    out[np.concatenate(order)] = np.clip(found, -1, 1)
    return out


@cache
def _product(absolute: bool) -> Any:
    def program(held: Any, found: Any) -> jax.Array:
        rows, _ = unit(found)
        return (
            inner(jax.tree.map(jnp.abs, held), jax.tree.map(jnp.abs, rows))
            if absolute
            else inner(held, rows)
        )

    return jax.jit(program)


def _new_predictions(
    model: Model,
    corpus: Corpus,
    what: str | Sequence[int] | ArrayLike,
    last: int | None,
    monitor: Monitor,
) -> tuple[Predictions, int]:
    """Predictions of the corpus, or of a text as a corpus of one document; and how many of the
    text's tokens, before those that the model takes, are left out."""
    if not isinstance(what, str):
        if last is not None:
            raise BadInput("last: goes with a text; leave out what is not wanted")
        return given(corpus, what), 0
    most = model.config.context + 1
    if not whole_text(what):  # half of a character, as of an argument that is no UTF-8
        raise BadInput("text: not UTF-8")
    tokens, cut = _last_tokens(corpus.tokenizer, what, most)
    if len(tokens) < 2:
        raise BadInput(
            f"text: {len(tokens)} token{'s' * (len(tokens) != 1)}, and the first is predicted from "
            "nothing; give at least two"
        )
    before = max(0, len(tokens) - most)
    if before:
        read = f"its end of {len(tokens):,}" if cut else f"{len(tokens):,}"
        monitor.say(f"text: {read} tokens, of which the model takes the last {most:,}")
    document = _one_document(corpus, np.array(tokens[before:]))
    index = np.arange(document.n_predictions)
    return given(document, index if last is None else index[-last:]), before


def _last_tokens(tokenizer: Tokenizer, text: str, most: int) -> tuple[list[int], bool]:
    """The tokens of a text; of a long one, of as much of its end as has twice as many as are
    wanted, so that those are what they would be in the whole text. And whether it was long."""
    taken = LETTERS * most
    while True:
        tokens: list[int] = tokenizer.encode(text[-taken:], add_special_tokens=False).ids
        if taken >= len(text) or len(tokens) >= 2 * most:
            return tokens, taken < len(text)
        taken *= 4


def _one_document(like: Corpus, tokens: NDArray[np.int64]) -> Corpus:
    """Tokens in memory as a corpus, with the tokenizer of another."""
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


def _require_room(rows: PerSample, memory: int) -> None:
    numbers = sum(math.prod(x.shape) for x in jax.tree.leaves(rows.row))
    taken = 4 * len(rows) * numbers
    if taken > memory:
        raise BadInput(
            f"{len(rows):,} gradients of {numbers:,} numbers take {taken / 1e9:.3g} GB of "
            f"{memory / 1e9:.3g} GB; give fewer tokens"
        )


class _Assigned(NamedTuple):
    cluster: NDArray[np.int64]
    cosine: NDArray[np.float64]
    score: NDArray[np.float64]
    nearest: NDArray[np.int64]
    nearest_cosine: NDArray[np.float64]


def _assigned(
    cosines: Float[np.ndarray, "new Q"],
    middles: Centres,
    itself: Bool[np.ndarray, "new Q"],
    nearest: int,
) -> _Assigned:
    known = np.isfinite(cosines).all(1)
    close = np.nan_to_num(to_centres(cosines, middles), nan=-np.inf)
    best = close.argmax(1)
    cluster = np.where(known, best, NONE)
    cosine = np.where(known, close[np.arange(len(best)), best], np.nan)
    rows = zip(cluster.tolist(), cosine.tolist(), itself, strict=True)
    score = [math.nan if row[0] == NONE else _score(middles, *row) for row in rows]
    others = np.where(itself | ~known[:, None], -np.inf, cosines)
    near = np.argsort(-others, axis=1, kind="stable")[:, :nearest]
    near_cosine = np.take_along_axis(others, near, 1)
    there = np.isfinite(near_cosine)
    return _Assigned(
        cluster,
        cosine,
        np.array(score),
        np.where(there, near, NONE),
        np.where(there, near_cosine, np.nan),
    )


def _score(middles: Centres, cluster: int, cosine: float, itself: Bool[np.ndarray, " Q"]) -> float:
    """The share of a cluster's samples that are less close to the centre of the others."""
    members = middles.label == cluster
    if (members & itself).any():  # a sample is scored as the other samples are
        cosine = float(middles.apart[itself][0])
        members &= ~itself
    apart = middles.apart[members]
    apart = apart[np.isfinite(apart)]
    return float((apart < cosine).mean()) if len(apart) else math.nan


def _dataset(
    found: _Assigned,
    losses: NDArray[np.floating],
    predictions: NDArray[np.int64],
    targets: list[str],
    attributes: dict[str, Any],
) -> xr.Dataset:
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
