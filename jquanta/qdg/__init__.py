"""Quanta discovery from gradients (paper section 4): selection → gradients → similarity → clusters.

    selection = qdg.select(corpus, losses, "EleutherAI/pythia-70m-v0@main")
    similarity = qdg.similarity(config, params, corpus, selection, out="qdg/pythia-70m-v0")

Names load on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jquanta.qdg.clusters import cluster
    from jquanta.qdg.gradient import gradients
    from jquanta.qdg.matrix import open_similarity, similarity
    from jquanta.qdg.pairs import exact
    from jquanta.qdg.pipeline import run
    from jquanta.qdg.selection import Newly, Selection, select

_HOMES = {
    "Newly": "jquanta.qdg.selection",
    "Selection": "jquanta.qdg.selection",
    "cluster": "jquanta.qdg.clusters",
    "exact": "jquanta.qdg.pairs",
    "gradients": "jquanta.qdg.gradient",
    "open_similarity": "jquanta.qdg.matrix",
    "run": "jquanta.qdg.pipeline",
    "select": "jquanta.qdg.selection",
    "similarity": "jquanta.qdg.matrix",
}

# A function and the module that holds it are never named alike: importing the module would hide
# the function.
__all__ = [
    "Newly",
    "Selection",
    "cluster",
    "exact",
    "gradients",
    "open_similarity",
    "run",
    "select",
    "similarity",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'jquanta.qdg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
