"""Quanta discovery from gradients (paper section 4): samples → gradients → similarity → clusters.

    predictions = qdg.select(corpus, losses, "EleutherAI/pythia-70m-v0@main")
    similarity = qdg.similarity(model, predictions, out="qdg/pythia-70m-v0")
    by_factors = qdg.similarity(model, predictions, qdg.Factors(rank=16))
    sketched = qdg.similarity(model, predictions, qdg.Sketch(size=32))
    clusters = qdg.cluster(similarity.cosine)

Or all of it at once, and what can be asked of the result::

    print(qdg.plan("stdlib"))  # what it takes, here and on an H200
    clusters = qdg.run("stdlib", "runs/stdlib-quanta")
    r = qdg.open_run("runs/stdlib-quanta")
    qdg.assign(r.model(), r.predictions, r.clusters, r.similarity, "def __init__(self")

Names load on first use.
"""

from typing import TYPE_CHECKING

from jquanta.lazy import attributes

if TYPE_CHECKING:
    from jquanta.qdg.clusters.cluster import cluster, cluster_features, imported, open_clusters
    from jquanta.qdg.cosines.blockwise import exact
    from jquanta.qdg.cosines.features import features, open_features
    from jquanta.qdg.cosines.given import given_features
    from jquanta.qdg.cosines.similarity import open_similarity, similarity
    from jquanta.qdg.forecast import plan
    from jquanta.qdg.pipeline import run
    from jquanta.qdg.questions.assignment import assign
    from jquanta.qdg.questions.comparison import compare
    from jquanta.qdg.questions.emergence import cluster_losses, emerged
    from jquanta.qdg.questions.groups import consensus, local_clusters, open_groups
    from jquanta.qdg.questions.mechanism import mechanisms
    from jquanta.qdg.questions.parts import parts
    from jquanta.qdg.questions.stability import stability
    from jquanta.qdg.results import open_run
    from jquanta.qdg.samples.predictions import Predictions, given, open_selection
    from jquanta.qdg.samples.selection import Newly, select
    from jquanta.qdg.views.activations import Activations
    from jquanta.qdg.views.factors import Factors
    from jquanta.qdg.views.gradient import Gradients, gradients
    from jquanta.qdg.views.sketch import Sketch, sketches

_HOMES = {
    "Activations": "jquanta.qdg.views.activations",
    "Factors": "jquanta.qdg.views.factors",
    "Gradients": "jquanta.qdg.views.gradient",
    "Newly": "jquanta.qdg.samples.selection",
    "Predictions": "jquanta.qdg.samples.predictions",
    "Sketch": "jquanta.qdg.views.sketch",
    "assign": "jquanta.qdg.questions.assignment",
    "cluster": "jquanta.qdg.clusters.cluster",
    "cluster_features": "jquanta.qdg.clusters.cluster",
    "cluster_losses": "jquanta.qdg.questions.emergence",
    "compare": "jquanta.qdg.questions.comparison",
    "consensus": "jquanta.qdg.questions.groups",
    "emerged": "jquanta.qdg.questions.emergence",
    "exact": "jquanta.qdg.cosines.blockwise",
    "features": "jquanta.qdg.cosines.features",
    "given": "jquanta.qdg.samples.predictions",
    "given_features": "jquanta.qdg.cosines.given",
    "gradients": "jquanta.qdg.views.gradient",
    "imported": "jquanta.qdg.clusters.cluster",
    "local_clusters": "jquanta.qdg.questions.groups",
    "mechanisms": "jquanta.qdg.questions.mechanism",
    "open_clusters": "jquanta.qdg.clusters.cluster",
    "open_features": "jquanta.qdg.cosines.features",
    "open_groups": "jquanta.qdg.questions.groups",
    "open_run": "jquanta.qdg.results",
    "open_selection": "jquanta.qdg.samples.predictions",
    "open_similarity": "jquanta.qdg.cosines.similarity",
    "parts": "jquanta.qdg.questions.parts",
    "plan": "jquanta.qdg.forecast",
    "run": "jquanta.qdg.pipeline",
    "select": "jquanta.qdg.samples.selection",
    "similarity": "jquanta.qdg.cosines.similarity",
    "stability": "jquanta.qdg.questions.stability",
    "sketches": "jquanta.qdg.views.sketch",
}

__all__ = [
    "Activations",
    "Factors",
    "Gradients",
    "Newly",
    "Predictions",
    "Sketch",
    "assign",
    "cluster",
    "cluster_features",
    "cluster_losses",
    "compare",
    "consensus",
    "emerged",
    "exact",
    "features",
    "given",
    "given_features",
    "gradients",
    "imported",
    "local_clusters",
    "mechanisms",
    "open_clusters",
    "open_features",
    "open_groups",
    "open_run",
    "open_selection",
    "open_similarity",
    "parts",
    "plan",
    "run",
    "select",
    "similarity",
    "sketches",
    "stability",
]

__getattr__ = attributes(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
