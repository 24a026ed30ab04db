"""A finished QDG run, opened: what it was made from, and what came of it."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jquanta.errors import BadInput
from jquanta.qdg.config import SECTIONS, QDGConfig, load_qdg
from jquanta.run import settings
from jquanta.run.folder import RunFolder

if TYPE_CHECKING:
    import xarray as xr
    from jaxtyping import Array

    from jquanta.lm.corpus.reader import Corpus
    from jquanta.lm.models.config import LMConfig
    from jquanta.lm.models.network import Params
    from jquanta.qdg.samples.selection import Selection

CONFIG = "config.toml"
STAGES = ("selection.zarr", "similarity.zarr", "clusters.zarr")

COUNT = 400
"""Clusters, in the paper; the nearest count that there is takes its place."""


@dataclass(frozen=True, eq=False)
class Results:
    """A run folder of ``jquanta qdg``.

    Attributes:
        path: of the folder.
        config: that it was made with.
        corpus: that ``[input]`` names.
        selection, similarity, clusters: as the stages give them.
    """

    path: Path
    config: QDGConfig
    corpus: "Corpus"
    selection: "Selection"
    similarity: "xr.Dataset"
    clusters: "xr.Dataset"

    def model(self) -> "tuple[LMConfig, dict[str, Array]]":
        """Shape and float32 parameters of the model that ``[input]`` names, read now."""
        from jquanta.lm.losses.job import open_checkpoint
        from jquanta.lm.weights.load import read_params

        wanted = self.config.input
        found = open_checkpoint(wanted.model, wanted.revision or None, self.corpus)
        return found.config, read_params(found.source, found.config)


def open_run(path: Path | str | None) -> Results:
    """Open a run folder.

    Raises:
        BadInput: if none is given, if it is none or unfinished, or if the corpus that it names is
            another one.
    """
    from jquanta.lm.corpus.reader import open_corpus
    from jquanta.qdg.clusters.cluster import open_clusters
    from jquanta.qdg.cosines.similarity import open_similarity
    from jquanta.qdg.samples.selection import open_selection

    if path is None:
        raise BadInput("RESULTS is missing: give a folder that jquanta qdg made")
    path = Path(path).expanduser()
    if not (path / CONFIG).is_file():
        raise BadInput(f"{path}: no folder of jquanta qdg (it has no {CONFIG}); give one")
    config = stored_config(path)
    for stage in STAGES:
        if not (path / stage).is_dir():
            raise BadInput(f"{path}: lacks {stage}; finish it with jquanta qdg")
    selection, clusters = open_selection(path), open_clusters(path)
    corpus = open_corpus(config.input.corpus)
    selection.require_corpus(corpus)
    require_samples(selection, clusters)
    return Results(path, config, corpus, selection, open_similarity(path), clusters)


def stored_config(folder: Path) -> QDGConfig:
    """The configuration of a run folder. Where the folder was moved together with what it was made
    from, the paths are those of now.

    Raises:
        BadInput: if it is another kind of run, or its files are damaged.
    """
    settings.require_kind(folder / CONFIG, SECTIONS, "jquanta qdg")
    config = load_qdg(folder / CONFIG)
    made = RunFolder(folder).read_record().get("folder")

    def now(path: str) -> str:
        if not made or not os.path.isabs(path):
            return path
        moved = os.path.abspath(folder / os.path.relpath(path, made))
        return moved if os.path.exists(moved) else path

    return dataclasses.replace(config, input=config.input.at(now))


def chosen_count(clusters: "xr.Dataset", count: int | None) -> int:
    """One of the cluster counts; the one nearest to the paper's for None. Raises ``BadInput``."""
    counts: list[int] = clusters["count"].to_numpy().tolist()
    if count is None:
        return min(counts, key=lambda found: abs(found - COUNT))
    if count not in counts:
        raise BadInput(f"count {count}: there are clusters for {', '.join(map(str, counts))}")
    return count


def require_samples(selection: "Selection", clusters: "xr.Dataset") -> None:
    """Raise ``BadInput`` unless the clusters are of these samples, as far as they can tell."""
    made = clusters.attrs.get("samples", selection.hash)
    if clusters.sizes["sample"] != len(selection) or made != selection.hash:
        raise BadInput(
            f"clusters of {clusters.sizes['sample']:,} samples are not of this selection of "
            f"{len(selection):,}; cluster again"
        )


def require_weights(params: "Params", made: Mapping[Any, Any]) -> None:
    """Raise ``BadInput`` unless results with these attributes were made with these parameters."""
    from jquanta.lm.weights.load import fingerprint

    if made.get("weights") and made["weights"] != (found := fingerprint(params)):
        raise BadInput(
            f"the model's weights are not those of these results (their hash is {found[:12]}…, "
            f"the results' {made['weights'][:12]}…); give the model that they were made with"
        )
