"""Another clustering of the samples of a page, to stand beside its own."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Integer
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.qdg.clusters.cluster import open_clusters
from jquanta.qdg.config import GROUPS
from jquanta.qdg.pages.page import NO_SAMPLE, Beside, how_made
from jquanta.qdg.questions.groups import open_groups
from jquanta.qdg.results import open_likeness, require_samples, stored_config
from jquanta.qdg.samples.predictions import (
    Predictions,
    common,
    open_selection,
    stored_selection,
)
from jquanta.run.files import as_path
from jquanta.run.folder import CONFIG


def beside_of(
    other: Path | str,
    results: Path | str,
    predictions: Predictions,
    counts: Sequence[int],
) -> Beside:
    """What stands beside a page's clusters, by its name: ``"consensus"`` or ``"local"``, the groups
    that ``jquanta groups`` has found of the run itself; or the folder of another run.

    Arguments and errors are those of ``beside_run`` and ``open_groups``.
    """
    kind = str(other)
    if kind not in GROUPS or as_path(kind).is_dir():
        return beside_run(other, results, predictions, counts)
    label = open_groups(as_path(results), kind)["label"].to_numpy()
    told = f"{label.max(initial=-1) + 1:,} by {kind}, {(label >= 0).sum():,} samples in them"
    return beside_groups(f"groups by {kind}", [("Groups", told)], label, len(counts))


def beside_run(
    other: Path | str,
    results: Path | str,
    predictions: Predictions,
    counts: Sequence[int],
) -> Beside:
    """The clusters of another run of ``jquanta qdg``, for the samples that both runs have.

    Clusterings are compared at equal counts only: how many clusters there are is chosen, and the
    likest cluster among 400 says little of one among 100.

    Args:
        other: the other run's folder.
        results: the folder of the page's own run.
        predictions: [Q] the page's samples.
        counts: of the page's clusterings.

    Raises:
        BadInput: if ``other`` is ``results``, is no run, or has another corpus, no sample or no
            count in common with it.
    """
    other, results = as_path(other), as_path(results)
    if not other.is_dir():
        raise BadInput(f"--beside {other}: no such folder; give one that jquanta qdg made")
    if other.resolve() == results.resolve():
        raise BadInput(f"--beside {other}: is the run of the page itself; give another run")
    stored = stored_selection(other)
    if stored.attrs["corpus"] != predictions.corpus.meta.corpus:
        raise BadInput(
            f"--beside {other}: its samples are of another corpus than those of {results}; give a "
            "run on the same corpus"
        )
    clusters = open_clusters(other)
    its_own = open_selection(other, predictions.corpus)
    try:
        require_samples(its_own, clusters)
        here, there = common(predictions, its_own)
    except BadInput as error:
        raise BadInput(f"--beside {other}: {error}") from None
    found: list[int] = clusters["count"].to_numpy().tolist()
    if not set(found) & set(counts):
        wanted = ", ".join(map(str, counts))
        raise BadInput(
            f"--beside {other}: has no clustering with as many clusters as {results}, only with "
            f'{", ".join(map(str, found))}; cluster it again: --cluster.counts "{wanted}"'
        )
    labels: list[NDArray[np.int32] | None] = []
    sizes: list[NDArray[np.int64] | None] = []
    for count in counts:
        if count not in found:
            labels, sizes = [*labels, None], [*sizes, None]
            continue
        whole = clusters["label"].sel(count=count).to_numpy()
        row = np.full(len(predictions), NO_SAMPLE, np.int32)
        row[here] = whole[there]
        labels, sizes = [*labels, row], [*sizes, np.bincount(whole)]
    own_model, model = _model(results, predictions), _model(other, its_own)
    folder = other.resolve().name
    shared = (
        f"{len(here):,} samples in both, of {len(predictions):,} here and {len(its_own):,} there"
    )
    about = [("Beside", f"{folder}: {shared}"), ("Its model", model)]
    about += [("Its similarity", _mode(other)), ("Its clusters", how_made(clusters.attrs))]
    about = [(said, value) for said, value in about if value]
    # Runs of one model are told apart by their folders.
    return Beside(model if model not in ("", own_model) else folder, about, labels, sizes)


def beside_groups(
    name: str,
    about: Sequence[tuple[str, str]],
    label: Integer[np.ndarray, " Q"],
    counts: int,
) -> Beside:
    """Groups of a page's own samples that belong to no count, beside each of its counts.

    Args:
        name, about: as of ``Beside``.
        label: [Q] each sample's group, from 0; ``NO_CLUSTER`` for a sample in none.
        counts: how many clusterings the page has.
    """
    row = label.astype(np.int32)
    sizes = np.bincount(row[row >= 0])
    return Beside(name, about, [row] * counts, [sizes] * counts, noun="group")


def _model(folder: Path, predictions: Predictions) -> str:
    """Whose gradients were clustered, in short; without a configuration, whose losses chose."""
    if not (folder / CONFIG).is_file():
        return predictions.model
    wanted = stored_config(folder).input
    return "@".join(part for part in (Path(wanted.model).name, wanted.revision) if part)


def _mode(folder: Path) -> str:
    """What was compared; empty where the similarity is lost."""
    try:
        return str(open_likeness(folder).attrs.get("mode", ""))
    except BadInput:
        return ""
