"""The same quanta elsewhere? The clusters of a run beside those that another one has of the same
samples: another checkpoint, size, seed, view or features of any kind.

Two clusterings agree by chance, which adjusted indices take away, and because both know what is
predicted, the token, which the index within tokens takes away (``clusters.matching``). No agreement
can be expected where k-means is not sure: a run agrees with itself at another seed only in part
(``questions.stability``). That is the ceiling.

Shapes: Q samples in both runs.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Int
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.lm.losses.reader import open_losses
from jquanta.lm.taxonomy.tables import step_of
from jquanta.qdg.clusters.cluster import STORE as CLUSTERS
from jquanta.qdg.clusters.cluster import labels_hash, open_clusters
from jquanta.qdg.clusters.matching import (
    NONE,
    SHARED,
    adjusted_rand,
    by_groups_alone,
    commonest,
    information,
    is_found,
    matches,
)
from jquanta.qdg.clusters.quality import found_again
from jquanta.qdg.config import InputConfig, QDGConfig
from jquanta.qdg.questions.stability import STORE as STABILITY
from jquanta.qdg.questions.stability import open_stability
from jquanta.qdg.results import Results
from jquanta.qdg.samples.predictions import common
from jquanta.run import arrays
from jquanta.run.progress import Monitor, Silence
from jquanta.run.shown import listed

STORE = "comparison.zarr"

SAME = ("corpus", "losses", "also", "source", "tokenizer", "documents", "max_length", "long")
"""Fields of [input] that do not tell two clusterings of the same samples apart ..."""

ALIKE = ("samples", "counts", "memory", "placement")
"""... and fields of other tables."""

BY_COUNT = (
    "ari",
    "ari_low",
    "ari_high",
    "within",
    "within_low",
    "within_high",
    "by_tokens",
    "ami",
    "nmi",
    "nmi_chance",
    "with_tokens",
    "other_with_tokens",
    "seed_ari",
    "other_seed_ari",
)
"""Variables (other, count), NaN where an other lacks the count."""

BY_CLUSTER = {
    "cluster_size": 0,
    "match": NONE,
    "match_size": 0,
    "both": 0,
    "token": NONE,
    "token_samples": 0,
    "jaccard": np.nan,
    "p": np.nan,
    "token_jaccard": np.nan,
}
"""Variables (other, count, cluster), with what they are where there is no such cluster."""


def compare(
    run: Results, others: Sequence[Results], *, monitor: Monitor | None = None
) -> xr.Dataset:
    """How far the clusters of a run are those of other runs, on the samples that are in both.

    Args:
        run: the one whose clusters are looked for.
        others: runs on the same corpus, whose samples are at least in part the same predictions.
        monitor: receives the progress.

    Returns:
        For every ``other`` and every ``count`` that both have, NaN where one lacks it:

        ``ari`` (other, count), the adjusted Rand index, with ``ari_low`` and ``ari_high``, its 95%
        interval by a jackknife; ``within``, ``within_low`` and ``within_high``, the same of pairs
        of samples that predict one token, adjusted for permutations within tokens; ``by_tokens``,
        the index that the tokens alone would give; ``ami``, ``nmi`` and ``nmi_chance``, mutual
        information adjusted for chance, normalised, and what the latter is by chance;
        ``with_tokens`` and ``other_with_tokens``, the index of either clustering and the predicted
        tokens; ``seed_ari`` and ``other_seed_ari``, the mean index of either run and itself at
        other seeds, of all its samples: the ceiling; NaN where ``jquanta stability`` has not told.

        By (other, count, cluster), of samples in both runs: ``cluster_size`` of the run's clusters;
        ``match``, the other's cluster that is matched with it (-1 for none), ``match_size`` and
        ``both``, samples of that and in both clusters, ``jaccard`` and ``p``, as of
        ``clusters.matching.Matches``; ``token``, which most of its samples predict, and
        ``token_samples``, how many; ``token_jaccard``, the Jaccard index with the samples of the
        likest token.

        Coordinates along ``other``: its name, ``samples`` in both, ``model``, ``revision``,
        ``step`` and ``parameters`` (without embeddings), NaN where unknown, ``differs`` (settings
        in which it differs), ``folder`` (from that of the run) and ``labels`` (hash).

    Raises:
        BadInput: for no others, the run itself or an other twice; for another corpus, no common
            sample or no common count.
    """
    monitor = monitor or Silence()
    _require_others(run, others)
    shared = [_Shared.of(run, other) for other in others]
    counts = sorted({count for own in shared for count in own.counts})
    width = int(run.clusters.label.sel(count=counts).max()) + 1
    shape = len(others), len(counts)
    by_count = {name: np.full(shape, np.nan) for name in BY_COUNT}
    by_cluster = {name: np.full((*shape, width), fill) for name, fill in BY_CLUSTER.items()}
    ceiling = _ceiling(run, monitor)
    done, total = 0, sum(len(own.counts) for own in shared)
    for i, (own, other) in enumerate(zip(shared, others, strict=True)):
        ceilings = {"seed_ari": ceiling, "other_seed_ari": _ceiling(other, monitor)}
        for count in own.counts:
            at = i, counts.index(count)
            label, theirs = own.labels(count)
            found = _of_count(label, theirs, own.tokens)
            found |= {name: known.get(count, np.nan) for name, known in ceilings.items()}
            for name in BY_COUNT:
                by_count[name][at] = found[name]
            for name, values in _of_clusters(label, theirs, own.tokens).items():
                by_cluster[name][at][: len(values)] = values
            done += 1
            monitor.work("comparison", done / total)
    return xr.Dataset(
        {name: (("other", "count"), values, {"units": "1"}) for name, values in by_count.items()}
        | {
            name: (("other", "count", "cluster"), values, {"units": "1"})
            for name, values in by_cluster.items()
        },
        {
            "other": names([other.path for other in others]),
            "count": counts,
            "cluster": np.arange(width),
            "samples": ("other", [len(own.here) for own in shared]),
            **_models([other.config for other in others]),
            "differs": ("other", [_differences(run.config, other.config) for other in others]),
            "folder": ("other", [os.path.relpath(other.path, run.path) for other in others]),
            "labels": ("other", [labels_hash(other.clusters) for other in others]),
        },
        {
            "samples": run.predictions.hash,
            "corpus": run.corpus.meta.corpus,
            "labels": labels_hash(run.clusters),
            "model": run.config.input.model,
            "revision": run.config.input.revision,
        },
    )


def elsewhere(found: xr.Dataset) -> xr.DataArray:
    """Which clusters are found in the other run, (other, count, cluster): of a Jaccard index above
    ``SHARED`` with their match, and a p that chance gives to none of all clusters 95% of the time
    (``clusters.matching.is_found``)."""
    there = is_found(found.jaccard.to_numpy(), found.p.to_numpy())
    return found.jaccard.copy(data=there)


def of_a_token(found: xr.Dataset) -> xr.DataArray:
    """Which clusters are the samples of a token, (other, count, cluster): of a Jaccard index above
    ``SHARED`` with those. Whatever knows the tokens has them."""
    return found.token_jaccard > SHARED


def checkpoints(found: xr.Dataset) -> xr.Dataset:
    """The others that differ from the run in nothing but the checkpoint, by ascending step."""
    alone = np.char.add("input.revision = ", found.revision.to_numpy().astype(str))
    same = (found.differs.to_numpy() == alone) & found.step.notnull().to_numpy()
    return found.isel(other=np.flatnonzero(same)).sortby("step")


def names(folders: Sequence[Path]) -> list[str]:
    """The last part of each folder's path; the whole of it where two have the same."""
    last = [folder.name for folder in folders]
    return [
        name if last.count(name) == 1 else str(folder)
        for name, folder in zip(last, folders, strict=True)
    ]


def save_comparison(found: xr.Dataset, folder: Path) -> Path:
    """Write ``comparison.zarr`` into a folder that exists, whole or not at all; its path."""
    arrays.save_dataset(found, folder / STORE)
    return folder / STORE


def open_comparison(folder: Path) -> xr.Dataset:
    """What ``save_comparison`` wrote into a run folder, in memory.

    Raises:
        BadInput: if there is none, or the clusters of either run have changed since. Of another
            run that is no longer where it was, nothing is asked.
    """
    remedy = f"make it: jquanta compare {folder} OTHER"
    found = arrays.read(folder / STORE, "comparison", "ari", remedy).load()
    # A Zarr group only marks coordinates that have the name of a dimension.
    found = found.set_coords([name for name in found if found[name].dims == ("other",)])
    stored = {".": found.attrs["labels"]}
    stored |= dict(
        zip(found.folder.to_numpy().tolist(), found.labels.to_numpy().tolist(), strict=True)
    )
    for place, labels in stored.items():
        other = Path(os.path.normpath(folder / place))
        there = place == "." or (other / CLUSTERS).is_dir()
        if there and labels_hash(open_clusters(other)) != labels:
            raise BadInput(f"{folder / STORE}: {other} has other clusters now; {remedy}")
    return found


class _Shared(NamedTuple):
    """What two runs have in common.

    Attributes:
        here, there: [Q] places of the samples in either run.
        tokens: [Q] that they predict.
        counts: of clusters.
        clusters, others: of either run.
    """

    here: NDArray[np.int64]
    there: NDArray[np.int64]
    tokens: NDArray[np.int64]
    counts: list[int]
    clusters: xr.Dataset
    others: xr.Dataset

    @classmethod
    def of(cls, run: Results, other: Results) -> "_Shared":
        """Raises ``BadInput`` if they have no samples or no count in common."""
        try:
            here, there = common(run.predictions, other.predictions)
        except BadInput as error:
            raise BadInput(f"{other.path}: {error}") from None
        own, theirs = (one.clusters["count"].to_numpy().tolist() for one in (run, other))
        both = sorted(set(own) & set(theirs))
        if not both:
            raise BadInput(
                f"{other.path}: clusters for {listed(theirs)}, and {run.path} for {listed(own)}; "
                f"give both a count in common: jquanta qdg {other.path}/config.toml --out "
                f"{other.path} --cluster.counts {own[0]}"
            )
        tokens = run.predictions.targets[here]
        return cls(here, there, tokens, both, run.clusters, other.clusters)

    def labels(self, count: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Of the samples in both, by either run."""
        own, theirs = (
            one.label.sel(count=count).to_numpy() for one in (self.clusters, self.others)
        )
        return own[self.here], theirs[self.there]


def _of_count(
    label: Int[np.ndarray, " Q"], other: Int[np.ndarray, " Q"], tokens: Int[np.ndarray, " Q"]
) -> dict[str, float]:
    """Numbers of two clusterings, but for the ceiling."""
    found: dict[str, float] = {}
    for name, own in (
        ("ari", adjusted_rand(label, other)),
        ("within", adjusted_rand(label, other, tokens)),
    ):
        found |= {name: own.value, f"{name}_low": own.low, f"{name}_high": own.high}
    told = information(label, other)
    return found | {
        "by_tokens": by_groups_alone(label, other, tokens),
        "ami": told.adjusted,
        "nmi": told.normalised,
        "nmi_chance": told.chance,
        "with_tokens": adjusted_rand(label, tokens).value,
        "other_with_tokens": adjusted_rand(other, tokens).value,
    }


def _of_clusters(
    label: Int[np.ndarray, " Q"], other: Int[np.ndarray, " Q"], tokens: Int[np.ndarray, " Q"]
) -> dict[str, np.ndarray]:
    """The variables of ``BY_CLUSTER``, [K] each."""
    matched = matches(label, other)
    token, number = commonest(label, tokens)
    return {
        "cluster_size": matched.size,
        "match": matched.other,
        "match_size": matched.other_size,
        "both": matched.both,
        "token": token,
        "token_samples": number,
        "jaccard": matched.jaccard,
        "p": matched.p,
        "token_jaccard": found_again(label, tokens),
    }


def _require_others(run: Results, others: Sequence[Results]) -> None:
    """Raise ``BadInput`` for none, the run itself, or one twice."""
    if not others:
        raise BadInput("OTHER is missing: give a run to compare with")
    seen: list[Path] = []
    for other in others:
        place = other.path.resolve()
        if place == run.path.resolve():
            raise BadInput(f"{other.path}: is the run that is compared; give another one")
        if place in seen:
            raise BadInput(f"{other.path}: given twice; leave one out")
        seen.append(place)


def _ceiling(run: Results, monitor: Monitor) -> dict[int, float]:
    """The mean index of a run and itself at other seeds of k-means, by count, where it is told."""
    if not (run.path / STABILITY).exists():
        return {}
    try:
        found = open_stability(run.path)
    except BadInput as error:  # of earlier clusters, which need not hinder these
        monitor.say(f"no ceiling: {error}")
        return {}
    values = found.ari_seed.mean("seed").to_numpy().tolist()
    return dict(zip(found["count"].to_numpy().tolist(), values, strict=True))


def _models(configs: Sequence[QDGConfig]) -> dict[str, Any]:
    """Coordinates of the models."""
    inputs = [config.input for config in configs]
    steps = [step_of(own.revision) for own in inputs]
    updates = {"units": "updates", "long_name": "training steps"}
    sizes = {"units": "1", "long_name": "parameters without embeddings"}
    return {
        "model": ("other", [own.model for own in inputs]),
        "revision": ("other", [own.revision for own in inputs]),
        "step": ("other", np.array([np.nan if s is None else s for s in steps]), updates),
        "parameters": ("other", np.array([_parameters(own) for own in inputs]), sizes),
    }


def _parameters(wanted: InputConfig) -> float:
    """How many parameters without embeddings a model has, as its column of losses tells; NaN if
    there is none."""
    try:
        losses = open_losses(wanted.losses)
    except BadInput:
        return np.nan
    called = {wanted.model, Path(wanted.model).name}
    for name, size in zip(losses.name.to_numpy().tolist(), losses["size"].to_numpy(), strict=True):
        if name in called:
            return float(size)
    return np.nan


def _differences(one: QDGConfig, other: QDGConfig) -> str:
    """Settings of the other that differ and that clusters of the same samples depend on."""
    found = []
    for table, leave in (("input", SAME), ("similarity", ()), ("cluster", ())):
        own, theirs = (dataclasses.asdict(getattr(config, table)) for config in (one, other))
        for name, value in theirs.items():
            if name not in (*leave, *ALIKE) and own[name] != value:
                shown = Path(value).name if name in ("model", "features") else value
                if name == "revision":
                    shown = value or "main"
                found.append(f"{table}.{name} = {shown}")
    return ", ".join(found)
