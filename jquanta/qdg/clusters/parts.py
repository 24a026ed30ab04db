"""Which part of a network tells known groups of samples apart: cosines restricted to each part.

Shapes: Q samples, ``parts``, ``truths``, ``counts`` numbers of clusters, ``seeds``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Float32, Int
from scipy.stats import rankdata

from jquanta.errors import BadInput
from jquanta.qdg.clusters.cluster import labels_by_seed
from jquanta.qdg.clusters.likeness import Cosines
from jquanta.qdg.clusters.quality import agreement
from jquanta.qdg.config import ANGULAR, KMEANS, SAMPLES_A_CLUSTER, chosen_counts
from jquanta.qdg.cosines.partial import cosines_of
from jquanta.run import arrays
from jquanta.run.progress import Monitor, Part, Silence

STORE = "parts.zarr"

SHUFFLES = 20
"""Of the groups' labels, for what chance gives."""

Grams = Mapping[frozenset[str], Float32[np.ndarray, "Q Q"]]


def compare_parts(
    grams: Grams,
    parts: Mapping[str, str],
    truths: Mapping[str, Int[np.ndarray, " Q"]],
    *,
    counts: Sequence[int] | None = None,
    seeds: int = 3,
    n_init: int = 10,
    seed: int = 0,
    monitor: Monitor | None = None,
) -> xr.Dataset:
    """How well the cosines of each part find known groups.

    Args:
        grams: inner products by cell, of ``cosines.partial.partial_products``.
        parts: the kind of each part, such as layer or head.
        truths: groups of the samples that are known, by what they are.
        counts: numbers of clusters, ascending; by default ``counts_for`` the first truth.
        seeds: of k-means, after each other.
        n_init: restarts of k-means.
        seed: the first of them, and that of shuffles.
        monitor: sees the progress.

    Returns:
        By ``part``: ``ari`` (part, truth, count, seed): the adjusted Rand index of clusters and
        groups, 1 where they are the same, 0 on average by chance. ``pairs`` (part, truth): how
        often two samples of one group have a larger cosine than two of different groups: 1 for
        always, 0.5 by chance; and ``nearest`` (part, truth): the share of samples whose nearest
        other is of their group, of those whose group has others. Neither depends on clusters.
        ``share``: the mean share of a gradient's squared length that the part has; ``silent``:
        samples of which it has nothing. By chance: ``chance`` (truth, count), the largest ARI of
        the first part's clusters with shuffled groups, and ``nearest_chance`` (truth). Also
        ``groups`` (truth), how many there are, and the attribute ``number``, of samples.

    Raises:
        BadInput: for settings out of range, or groups that are all of one sample or one of all.
    """
    monitor = monitor or Silence()
    if min(seeds, n_init) < 1:
        raise BadInput("seeds and restarts: give at least 1 of each")
    for name, truth in truths.items():
        sizes = np.bincount(truth)
        if len(sizes[sizes > 0]) < 2 or sizes.max() < 2:
            raise BadInput(f"{name}: there must be two groups, and one of two samples; give more")
    first = next(iter(truths.values()))
    chosen = chosen_counts(counts or counts_for(first), len(first))
    made = {"affinity": ANGULAR, "kmeans": KMEANS[0], "n_init": n_init}
    rows: list[dict[str, Any]] = []
    labels_of_first = np.zeros((1, len(chosen), len(first)), np.int32)
    for number, part in enumerate(parts):
        gram = np.sum([own for members, own in grams.items() if part in members], 0)
        cosine = cosines_of(gram)
        labels = labels_by_seed(
            Cosines(cosine),
            chosen,
            range(seed, seed + seeds),
            made=made,
            monitor=Part(monitor, number / len(parts), 1 / len(parts), "parts"),
        )
        labels_of_first = labels[:1] if number == 0 else labels_of_first
        rows.append(
            {
                "ari": [
                    [_ari(truth, labels[:, i]) for i in range(len(chosen))]
                    for truth in truths.values()
                ],
                "pairs": [pairs_told(cosine, truth) for truth in truths.values()],
                "nearest": [nearest_told(cosine, truth) for truth in truths.values()],
                "share": float(np.diagonal(gram).mean()),
                "silent": int((np.diagonal(gram) <= 0).sum()),
            }
        )
    chance = np.random.default_rng(seed)
    shuffled = [
        [
            max(_ari(chance.permutation(truth), labels_of_first[:, i])[0] for _ in range(SHUFFLES))
            for i in range(len(chosen))
        ]
        for truth in truths.values()
    ]

    def column(name: str) -> Any:
        return np.array([row[name] for row in rows])

    units = {"units": "1"}
    return xr.Dataset(
        {
            "ari": (("part", "truth", "count", "seed"), column("ari"), units),
            "pairs": (("part", "truth"), column("pairs"), units),
            "nearest": (("part", "truth"), column("nearest"), units),
            "share": ("part", column("share"), units),
            "silent": ("part", column("silent"), units),
            "chance": (("truth", "count"), np.array(shuffled), units),
            "nearest_chance": ("truth", [_chance(truth) for truth in truths.values()], units),
            "groups": ("truth", [len(np.unique(truth)) for truth in truths.values()], units),
        },
        {
            "part": list(parts),
            "kind": ("part", list(parts.values())),
            "truth": list(truths),
            "count": chosen,
            "seed": list(range(seed, seed + seeds)),
        },
        {"number": len(first), "n_init": n_init},
    )


def counts_for(truth: Int[np.ndarray, " Q"]) -> list[int]:
    """Numbers of clusters to look at: half as many as groups of two samples or more, as many, and
    twice as many, as far as there are ``SAMPLES_A_CLUSTER`` samples for each."""
    groups = int((np.bincount(truth) > 1).sum())
    most = len(truth) // SAMPLES_A_CLUSTER
    return sorted({max(2, min(most, round(groups * times))) for times in (0.5, 1, 2)})


def pairs_told(cosine: Float[np.ndarray, "Q Q"], truth: Int[np.ndarray, " Q"]) -> float:
    """How often a pair of one group has a larger cosine than a pair of two groups, ties half: the
    area under the curve of Mann and Whitney (1947)."""
    upper = np.triu_indices(len(truth), 1)
    same = (truth[:, None] == truth)[upper]
    own = int(same.sum())
    ranks = rankdata(cosine[upper])[same].sum()
    return float((ranks - own * (own + 1) / 2) / (own * (len(same) - own)))


def nearest_told(cosine: Float[np.ndarray, "Q Q"], truth: Int[np.ndarray, " Q"]) -> float:
    """The share of samples whose nearest other is of their group, of those that have company."""
    others = np.where(np.eye(len(truth), dtype=bool), -np.inf, cosine)
    return float((truth[others.argmax(1)] == truth)[_in_company(truth)].mean())


def ranking(found: xr.Dataset, truth: str) -> xr.Dataset:
    """The parts from the highest mean ARI (over counts and seeds) to the lowest, with ``mean``,
    and ``spread``, the standard deviation over seeds of the mean over counts; NaN for one seed."""
    own = found.sel(truth=truth)
    by_seed = own.ari.mean("count")
    spread = (
        by_seed.std("seed", ddof=1) if found.sizes["seed"] > 1 else by_seed.mean("seed") * np.nan
    )
    ranked = own.assign(mean=by_seed.mean("seed"), spread=spread)
    return ranked.isel(part=np.argsort(-ranked["mean"].to_numpy(), kind="stable"))


def table(found: xr.Dataset, truth: str) -> str:
    """``ranking`` in lines: means over seeds for each count, and what does not depend on either."""
    ranked, counts = ranking(found, truth), found["count"].to_numpy().tolist()
    by_count = ranked.ari.mean("seed").to_numpy()
    wide = max(len(str(name)) for name in [*ranked.part.to_numpy(), "shuffled groups"])
    numbers = "".join(f"{count:>7}" for count in counts)
    lines = [
        f"{found.attrs['number']:,} samples, {int(ranked.groups):,} groups by {truth}; adjusted "
        f"Rand index of clusters of each part's cosines, {found.sizes['seed']} seeds",
        f"{'part':{wide}}  {'clusters:':>10}{numbers}   mean (seeds ±)  nearest   pairs    length",
    ]
    for i in range(ranked.sizes["part"]):
        own = ranked.isel(part=i)
        each = "".join(f"{value:7.3f}" for value in by_count[i])
        lines.append(
            f"{own.part.to_numpy()!s:{wide}}  {'':10}{each}   {float(own['mean']):5.3f} "
            f"({float(own.spread):5.3f})  {float(own.nearest):9.3f} {float(own.pairs):7.3f} "
            f"{float(own.share):9.2%}"
        )
    each = "".join(f"{value:7.3f}" for value in ranked.chance.to_numpy())
    by_chance = f"{'':5}  {float(ranked.nearest_chance):18.3f} {0.5:7.3f}"
    return "\n".join([*lines, f"{'shuffled groups':{wide}}  {'at most':>10}{each}   {by_chance}"])


def save_parts(found: xr.Dataset, folder: Path) -> Path:
    """Write ``parts.zarr`` into a folder that exists, whole or not at all; its path."""
    arrays.save_dataset(found, folder / STORE)
    return folder / STORE


def open_parts(folder: Path) -> xr.Dataset:
    """What ``save_parts`` wrote, in memory.

    Raises:
        BadInput: if there is none.
    """
    remedy = f"make them: jquanta parts {folder}, or jquanta known parity RUNS --parts"
    return arrays.read(folder / STORE, "parts", "ari", remedy).load()


def _ari(truth: Int[np.ndarray, " Q"], labels: Int[np.ndarray, "seeds Q"]) -> list[float]:
    found: list[float] = agreement(np.broadcast_to(truth, labels.shape), labels).tolist()
    return found


def _in_company(truth: Int[np.ndarray, " Q"]) -> Bool[np.ndarray, " Q"]:
    return np.asarray(np.bincount(truth)[truth] > 1)


def _chance(truth: Int[np.ndarray, " Q"]) -> float:
    """``nearest_told`` of cosines that have nothing to do with the groups, on average."""
    sizes = np.bincount(truth)
    return float((sizes[truth] - 1)[_in_company(truth)].mean() / (len(truth) - 1))
