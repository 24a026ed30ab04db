"""Which part of a language model tells what it predicts: layers, roles, attention heads.

Shapes: Q samples.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Int

from jquanta.errors import BadInput
from jquanta.lm.models.config import LMConfig
from jquanta.lm.models.model import Model
from jquanta.lm.models.network import shapes
from jquanta.lm.models.roles import Role, role
from jquanta.qdg.clusters.parts import compare_parts
from jquanta.qdg.cosines.partial import cells, partial_products
from jquanta.qdg.samples.predictions import Predictions
from jquanta.qdg.views.gradient import Gradients
from jquanta.qdg.views.parameters import PAPER, numbers_in, pieces
from jquanta.qdg.views.per_sample import view_of
from jquanta.run.progress import Monitor

SAMPLES = 1000
"""At most: products of all pairs are held for each part."""

TOKEN = "predicted token"

EVERYTHING = r"."
"""The pattern of all parameters."""

ATTENTION, MLP = r"attention\.(?!\w+_norm\.)", r"mlp\."
"""Patterns of the paper's parameters: norms of queries and keys are no part of attention."""

ROLES = {
    Role.ATTENTION: ATTENTION,
    Role.MLP: MLP,
    Role.LAYER_NORM: r"_norm\.",
    Role.EMBEDDING: r"^(embed|positions)\.",
    Role.UNEMBEDDING: r"^unembed\.",
}
"""The patterns of roles."""


def parts_of(config: LMConfig) -> dict[str, tuple[str, str]]:
    """Parts of a model by name: their kind, and what ``similarity.parameters`` calls them.

    A layer is its attention and MLP, as the paper has it.
    """
    there = {role(name) for name in shapes(config)}
    found = {"paper": ("whole", PAPER), "everything": ("whole", EVERYTHING)}
    found |= {own.value: ("role", ROLES[own]) for own in Role if own in there}
    found["norms of layers"] = ("role", r"^layers\..*_norm\.")
    found["final norm"] = ("role", r"^final_norm\.")
    for i in range(config.layers):
        layer = rf"^layers\.{i}\."
        found[f"layer {i}"] = ("layer", rf"{layer}({ATTENTION}|{MLP})")
        found[f"layer {i} attention"] = ("attention of a layer", layer + ATTENTION)
        found[f"layer {i} mlp"] = ("mlp of a layer", layer + MLP)
        for head in range(config.heads):
            found[f"layer {i} head {head}"] = ("head", f"layers.{i}.head.{head}")
    return found


def parts(
    model: Model,
    predictions: Predictions,
    *,
    samples: int = SAMPLES,
    counts: Sequence[int] | None = None,
    seeds: int = 3,
    seed: int = 0,
    memory: int | str | None = None,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """How well the gradients of each part of a model find samples that predict the same token.

    One pass over whole gradients gives the inner products of all parts (``cosines.partial``).

    Args:
        model: in float32.
        predictions: the samples.
        samples: take so many of them, evenly spaced.
        counts, seeds, seed: see ``clusters.parts.compare_parts``.
        memory: what may be taken, in bytes or as ``"8 GB"``; most of what is free by default.
        monitor: sees the progress.

    Returns:
        As ``compare_parts``, with ``parameters`` (part), what ``similarity.parameters`` calls the
        part, ``numbers`` (part), how many parameters it has, and ``sample``, the predictions taken.

    Raises:
        BadInput: if the parts do not go together, settings are out of range, or memory does not do.
    """
    if samples < 2:
        raise BadInput(f"samples = {samples}: give 2 or more")
    few = predictions.at(evenly(len(predictions), samples))
    kinds = parts_of(model.config)
    made_of = {name: pieces(model.config, pattern) for name, (_, pattern) in kinds.items()}
    rows = view_of(model, few, Gradients(EVERYTHING))
    grams = partial_products(
        rows,
        len(few),
        cells(shapes(model.config), made_of),
        by_name=rows.function.by_name,
        working=rows.working,
        memory=memory,
        monitor=monitor,
    )
    found = compare_parts(
        grams,
        {name: kind for name, (kind, _) in kinds.items()},
        {TOKEN: rows.prefixes.targets},
        counts=counts,
        seeds=seeds,
        seed=seed,
        monitor=monitor,
    )
    numbers = [numbers_in(shapes(model.config), made_of[name]) for name in kinds]
    return found.assign_coords(
        parameters=("part", [pattern for _, pattern in kinds.values()]),
        numbers=("part", numbers),
        sample=("sample", few.index),
    ).assign_attrs(
        model=predictions.model,
        corpus=predictions.corpus.meta.corpus,
        samples=predictions.hash,
        heads=model.config.heads,
        layers=model.config.layers,
    )


def evenly(all_of: int, wanted: int) -> Int[np.ndarray, " places"]:
    """Places of the wanted number, or of all where there are no more, evenly spaced."""
    return np.unique(np.linspace(0, all_of - 1, min(wanted, all_of)).round().astype(np.int64))
