"""A finished QDG run, opened: what it was made from, and what came of it."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus, open_corpus
from jquanta.lm.losses.job import open_checkpoint
from jquanta.lm.models.model import Model
from jquanta.lm.weights.load import fingerprint, read_params
from jquanta.qdg.clusters.cluster import STORE, open_clusters
from jquanta.qdg.config import QDGConfig, load_qdg
from jquanta.qdg.cosines.features import FEATURES, open_features
from jquanta.qdg.cosines.similarity import SIMILARITY, open_similarity
from jquanta.qdg.samples.predictions import SELECTION, Predictions, open_selection
from jquanta.run import kinds
from jquanta.run.files import as_path
from jquanta.run.folder import CONFIG, RunFolder

PAGE = "quanta.html"
"""The page of a finished run."""

REMEDY = "give a folder that jquanta qdg made"

COUNT = 400
"""Clusters, in the paper; the nearest count that there is takes its place."""


@dataclass(frozen=True, eq=False)
class Results:
    """A run folder of ``jquanta qdg``.

    Attributes:
        path: of the folder.
        config: that it was made with.
        predictions: the samples, of the corpus that ``[input]`` names.
        similarity, clusters: as the stages give them. Of a run without a matrix of all pairs, the
            similarity is what ``features`` gives.
    """

    path: Path
    config: QDGConfig
    predictions: Predictions
    similarity: xr.Dataset
    clusters: xr.Dataset

    @property
    def corpus(self) -> Corpus:
        """Of the samples."""
        return self.predictions.corpus

    def model(self) -> Model:
        """The model that ``[input]`` names, in float32, read now."""
        wanted = self.config.input
        found = open_checkpoint(wanted.model, wanted.revision or None, self.corpus)
        return Model(found.config, read_params(found.source, found.config))


def open_run(path: Path | str | None) -> Results:
    """Open a run folder.

    Raises:
        BadInput: if no path is given, if the folder is no run or unfinished, or if the corpus that
            it names is another than that of its samples.
    """
    if path is None:
        raise BadInput("RESULTS is missing: give a folder that jquanta qdg made")
    path = as_path(path)
    kinds.require(path, "quanta", remedy=REMEDY, marker=CONFIG)
    config = stored_config(path)
    for stage in stages(config):
        if not (path / stage).is_dir():
            raise BadInput(f"{path}: lacks {stage}; finish it with jquanta qdg")
    predictions = open_selection(path, open_corpus(config.input.corpus))
    clusters = open_clusters(path)
    require_samples(predictions, clusters)
    return Results(path, config, predictions, open_likeness(path), clusters)


def stages(config: QDGConfig) -> tuple[str, str, str]:
    """What a finished run holds beside the page."""
    return SELECTION, SIMILARITY if config.cluster.has_matrix else FEATURES, STORE


def open_likeness(folder: Path) -> xr.Dataset:
    """The similarity of a run's samples; where there is no matrix of all pairs, their features.

    Raises:
        BadInput: if there is neither.
    """
    return open_features(folder) if (folder / FEATURES).exists() else open_similarity(folder)


def stored_config(folder: Path) -> QDGConfig:
    """The configuration of a run folder. Where the folder was moved together with what it was made
    from, the paths are those of now.

    Raises:
        BadInput: if it is another kind of run, or its files are damaged.
    """
    kinds.require(folder, "quanta", remedy=REMEDY)
    try:
        config = load_qdg(folder / CONFIG)
    except BadInput as error:
        raise BadInput(
            f"{folder / CONFIG}: damaged ({error}); delete this folder and run jquanta qdg again"
        ) from None
    made = RunFolder(folder).read_record().get("folder")

    def now(path: str) -> str:
        if not made or not os.path.isabs(path):
            return path
        moved = os.path.abspath(folder / os.path.relpath(path, made))
        return moved if os.path.exists(moved) else path

    return dataclasses.replace(config, input=config.input.at(now))


def chosen_count(clusters: xr.Dataset, count: int | None) -> int:
    """One of the cluster counts; the one nearest to the paper's for None. Raises ``BadInput``."""
    counts: list[int] = clusters["count"].to_numpy().tolist()
    if count is None:
        return min(counts, key=lambda found: abs(found - COUNT))
    if count not in counts:
        raise BadInput(f"count {count}: there are clusters for {', '.join(map(str, counts))}")
    return count


def require_samples(predictions: Predictions, clusters: xr.Dataset) -> None:
    """Raise ``BadInput`` unless the clusters are of these samples, as far as their attributes
    say: labels that were made elsewhere have none."""
    made = clusters.attrs.get("samples", predictions.hash)
    if clusters.sizes["sample"] != len(predictions) or made != predictions.hash:
        raise BadInput(
            f"clusters of {clusters.sizes['sample']:,} samples are not of this selection of "
            f"{len(predictions):,}; cluster again"
        )
    require_corpus(predictions.corpus, clusters.attrs)


def require_corpus(corpus: Corpus, made: Mapping[Any, Any]) -> None:
    """Raise ``BadInput`` unless results with these attributes are of predictions of this corpus."""
    if made.get("corpus") and made["corpus"] != corpus.meta.corpus:
        raise BadInput(
            f"{corpus.path}: not the corpus of these results (its hash is "
            f"{corpus.meta.corpus[:12]}…, the results' {made['corpus'][:12]}…); give that one"
        )


def require_weights(model: Model, made: Mapping[Any, Any]) -> None:
    """Raise ``BadInput`` unless results with these attributes were made with this model."""
    if made.get("weights") and made["weights"] != (found := fingerprint(model.params)):
        raise BadInput(
            f"the model's weights are not those of these results (their hash is {found[:12]}…, "
            f"the results' {made['weights'][:12]}…); give the model that they were made with"
        )
