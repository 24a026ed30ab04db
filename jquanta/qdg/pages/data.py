"""What a page shows, read from a folder of QDG results, its corpus and its losses."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.lm.corpus.reader import Corpus, open_corpus
from jquanta.lm.losses.reader import open_losses, require_corpus
from jquanta.lm.taxonomy.tables import notes
from jquanta.qdg.clusters.cluster import open_clusters
from jquanta.qdg.clusters.likeness import likeness_of
from jquanta.qdg.cosines.features import FEATURES
from jquanta.qdg.cosines.similarity import SIMILARITY
from jquanta.qdg.pages.beside import beside_of
from jquanta.qdg.pages.page import Column, Page, Trust, how_made, listed
from jquanta.qdg.pages.texts import Text, texts
from jquanta.qdg.questions import stability
from jquanta.qdg.results import open_likeness, stored_config
from jquanta.qdg.samples.predictions import Predictions, open_selection, stored_selection
from jquanta.run.files import as_path
from jquanta.run.folder import CONFIG
from jquanta.run.progress import Monitor, Silence

REPORT = 256
"""Samples between two reports of progress."""


def page_from(
    results: Path | str,
    *,
    corpus: Path | str | None = None,
    losses: Sequence[Path | str] = (),
    models: Sequence[str] | None = None,
    beside: Path | str | None = None,
    before: int = 80,
    after: int = 20,
    drawn: int = 512,
    title: str | None = None,
    monitor: Monitor | None = None,
) -> Page:
    """Read what a page shows.

    Args:
        results: folder with ``selection.zarr``, ``clusters.zarr`` and, where they are to be shown,
            ``similarity.zarr`` and ``stability.zarr``.
        corpus: the corpus folder that the samples are from; by default ``corpus`` of the folder's
            ``config.toml``.
        losses: folders of losses on that corpus; by default ``losses`` of ``config.toml``, if
            there. Without any, the page shows no losses.
        models: which of their columns (``model@revision``); all by default.
        beside: what is to stand beside: the folder of another run of ``jquanta qdg`` on that
            corpus, or ``"consensus"`` or ``"local"``, groups of this one (``jquanta groups``).
        before, after: tokens to keep on each side of the predicted one.
        drawn: samples in the picture of the similarity matrix, evenly spaced.
        title: of the page.
        monitor: receives the progress.

    Raises:
        BadInput: if something is missing, unfinished, or does not belong together.
    """
    results = as_path(results)
    monitor = monitor or Silence()
    for name, number in (("before", before), ("after", after), ("drawn", drawn)):
        if number < 0:
            raise BadInput(f"--{name} {number}: give 0 or more")
    predictions, clusters, similarity = _open_results(results, corpus)
    counts: list[int] = clusters["count"].to_numpy().tolist()
    other = None if beside is None else beside_of(beside, results, predictions, counts)
    if similarity is None and (results / CONFIG).is_file():
        monitor.say(
            f"{results}: the page shows no similarity, which is lost; run jquanta qdg again"
        )
    text, index = predictions.corpus, predictions.index
    columns, nats, told = _losses(results, text, index, losses, models, monitor)
    labels = clusters["label"].to_numpy()
    shown = _similarities(similarity, labels, drawn, monitor)
    stable = _stability(results, monitor)
    own = [i for i, column in enumerate(columns) if column.label == predictions.model]
    return Page(
        title=title or f"Quanta of {predictions.model or results.name}",
        about=_about(predictions, clusters, similarity),
        index=index,
        texts=list(_watched(texts(text, index, before, after), len(index), monitor)),
        counts=clusters["count"].to_numpy(),
        labels=labels,
        centrality=shown.centrality,
        tightness=shown.tightness,
        stability=[line for line, _ in (_told(stable, count) for count in counts)],
        trust=[trust for _, trust in (_told(stable, count) for count in counts)],
        loss=nats[own[0]] if own else np.full(len(index), np.nan, np.float32),
        columns=columns,
        losses=nats,
        drawn=shown.drawn,
        cosine=shown.cosine,
        notes=told,
        beside=other,
    )


def _open_results(
    results: Path, given: Path | str | None
) -> tuple[Predictions, xr.Dataset, xr.Dataset | None]:
    """Samples, clusters and, where there is one, similarity: of the same samples."""
    if not results.is_dir():
        raise BadInput(f"{results}: no such folder; give one that jquanta qdg made")
    stored_selection(results)  # refuses a folder that has none before its corpus is looked for
    clusters = open_clusters(results)
    corpus = _recorded(results, "corpus") if given is None else Path(given)
    if corpus is None:
        raise BadInput(f"--corpus is missing: {results} does not tell; give the corpus folder")
    predictions = open_selection(results, open_corpus(corpus))
    there = any((results / name).exists() for name in (SIMILARITY, FEATURES))
    similarity = open_likeness(results) if there else None
    for name, other in (("clusters", clusters), ("similarity", similarity)):
        if other is None:
            continue
        # Labels made elsewhere know no hash.
        same = other.attrs.get("samples", predictions.hash) == predictions.hash
        if not same or other.sizes["sample"] != len(predictions):
            raise BadInput(f"{results}: its {name} are of other samples; make them anew")
    return predictions, clusters, similarity


def _recorded(results: Path, field: str) -> Path | None:
    """A folder that the run's configuration names."""
    there = (results / CONFIG).is_file()
    return Path(getattr(stored_config(results).input, field)).expanduser() if there else None


def _losses(
    results: Path,
    corpus: Corpus,
    index: NDArray[np.int64],
    given: Sequence[Path | str],
    models: Sequence[str] | None,
    monitor: Monitor,
) -> tuple[list[Column], NDArray[np.float32], list[str]]:
    """Columns [M], the samples' losses [M, Q] in nats, and what a reader should know of them."""
    recorded = _recorded(results, "losses")
    folders = list(given) or ([recorded] if recorded else [])
    if not folders:
        return [], np.empty((0, len(index)), np.float32), []
    found = open_losses(*folders, models=models)
    require_corpus(found, corpus)
    columns, rows = [], []
    for i, label in enumerate(found["model"].to_numpy().tolist()):
        column = found.isel(model=i)
        step = re.search(r"(\d+)$", str(column["revision"].item()))
        name, size = str(column["name"].item()), int(column["size"])
        columns.append(Column(label, name, size, int(step[1]) if step else None))
        rows.append(column["loss"][index].to_numpy())
        monitor.work("losses", (i + 1) / found.sizes["model"])
    return columns, np.stack(rows).astype(np.float32), notes(found)


class _Similarities(NamedTuple):
    """What the page shows of the similarity matrix; see ``Page``."""

    centrality: NDArray[np.float32]
    tightness: list[NDArray[np.float32]]
    drawn: NDArray[np.int64]
    cosine: NDArray[np.float32]


def _similarities(
    similarity: xr.Dataset | None, labels: NDArray[np.int32], drawn: int, monitor: Monitor
) -> _Similarities:
    """Read from the matrix or the features on disk; NaN, and nothing to draw, where there are
    none."""
    if similarity is None:
        unknown = np.full(labels.shape, np.nan, np.float32)
        tightness = [np.full(int(row.max()) + 1, np.nan, np.float32) for row in labels]
        return _Similarities(
            unknown, tightness, np.empty(0, np.int64), np.empty((0, 0), np.float32)
        )
    likeness = likeness_of(similarity)
    found = likeness.centres(labels, monitor)
    last = labels.shape[1] - 1
    at = np.unique(np.linspace(0, last, min(last + 1, drawn)).round().astype(np.int64))
    return _Similarities(
        np.stack([one.to_centre for one in found]).astype(np.float32),
        [one.tightness.astype(np.float32) for one in found],
        at,
        likeness.between(at).astype(np.float32),
    )


def _stability(results: Path, monitor: Monitor) -> xr.Dataset | None:
    """What ``jquanta stability`` has found of these clusters, if it was asked."""
    if not (results / stability.STORE).exists():
        return None
    try:
        return stability.open_stability(results)
    except BadInput as error:  # of earlier clusters, which need not hinder the page of these
        monitor.say(f"the page shows no stability: {error}")
        return None


def _told(found: xr.Dataset | None, count: int) -> tuple[str, Trust | None]:
    """The stability of a count's clusters in a line, and of each of them, where it is known."""
    if found is None or count not in found["count"]:
        return "", None
    line = stability.sentence(found, count)
    if not stability.known_of_clusters(found):
        return line, None
    here = found.sel(count=count)
    here = here.isel(cluster=here.cluster_size.notnull().to_numpy())
    tables = here.conductance, here.null_conductance, here.p, here.found_again.mean("again")
    return line, Trust(*(table.to_numpy().astype(np.float32) for table in tables))


def _watched(found: Iterator[Text], total: int, monitor: Monitor) -> Iterator[Text]:
    for i, text in enumerate(found, 1):
        yield text
        if i % REPORT == 0 or i == total:
            monitor.work("texts", i / total)


def _about(
    predictions: Predictions, clusters: xr.Dataset, similarity: xr.Dataset | None
) -> list[tuple[str, str]]:
    """What was done, in words: settings as they are recorded."""
    likeness = similarity.attrs if similarity is not None else {}
    told = {
        "Model": predictions.model,
        "Corpus": predictions.corpus.meta.source,
        "Samples": f"{len(predictions):,} of {predictions.corpus.n_predictions:,} predictions",
        "Selection": listed(predictions.rule),
        "Similarity": str(likeness.get("mode", "")),
        "Parameters": str(likeness.get("parameters", "")),
        "Clusters": how_made(clusters.attrs),
    }
    return [(name, value) for name, value in told.items() if value]
