"""Quanta discovery from gradients (paper section 4): selection → gradients → similarity → clusters.

    selection = qdg.select(corpus, losses, "EleutherAI/pythia-70m-v0@main")
    similarity = qdg.similarity(config, params, corpus, selection, out="qdg/pythia-70m-v0")
    clusters = qdg.cluster(similarity.cosine)

Or all of it at once, and what can be asked of the result::

    clusters = qdg.run("configs/qdg/stdlib.toml", "runs/stdlib-quanta")
    r = qdg.open_run("runs/stdlib-quanta")
    qdg.assign(*r.model(), r.corpus, r.selection, r.clusters, r.similarity, "def __init__(self")

Names load on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jquanta.qdg.assignment import assign
    from jquanta.qdg.clusters import cluster, cluster_features, imported, open_clusters
    from jquanta.qdg.emergence import cluster_losses, emerged
    from jquanta.qdg.gradient import gradients
    from jquanta.qdg.matrix import open_similarity, similarity
    from jquanta.qdg.mechanism import mechanisms
    from jquanta.qdg.pairs import exact
    from jquanta.qdg.pipeline import run
    from jquanta.qdg.results import open_run
    from jquanta.qdg.selection import Newly, Selection, given, open_selection, select
    from jquanta.qdg.sketch import sketches

# A function and the module that holds it are never named alike: importing the module would hide
# the function.
_HOMES = {
    "Newly": "selection",
    "Selection": "selection",
    "assign": "assignment",
    "cluster": "clusters",
    "cluster_features": "clusters",
    "cluster_losses": "emergence",
    "emerged": "emergence",
    "exact": "pairs",
    "given": "selection",
    "gradients": "gradient",
    "imported": "clusters",
    "mechanisms": "mechanism",
    "open_clusters": "clusters",
    "open_run": "results",
    "open_selection": "selection",
    "open_similarity": "matrix",
    "run": "pipeline",
    "select": "selection",
    "similarity": "matrix",
    "sketches": "sketch",
}

__all__ = [
    "Newly",
    "Selection",
    "assign",
    "cluster",
    "cluster_features",
    "cluster_losses",
    "emerged",
    "exact",
    "given",
    "gradients",
    "imported",
    "mechanisms",
    "open_clusters",
    "open_run",
    "open_selection",
    "open_similarity",
    "run",
    "select",
    "similarity",
    "sketches",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"jquanta.qdg.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'jquanta.qdg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
