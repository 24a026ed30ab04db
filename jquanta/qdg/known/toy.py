"""The toy model of QDG, where the quanta are known (the paper's D.2).

Subtask i = 1 … 1000 has n_i = ⌊1000 / i^a⌋ vectors, around a mean from the standard Gaussian in F
dimensions, with Gaussian noise of standard deviation σ. Their affinity is 1 + cosine, and spectral
clustering makes k clusters. If it found the subtasks, the clusters' sizes by rank would be the n_i.
Here ``a`` is the exponent of the sizes themselves, which elsewhere is alpha + 1.

Shapes: Q vectors, F dimensions, I subtasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Int64

from jquanta.errors import BadInput
from jquanta.powerlaw import Window
from jquanta.qdg.clusters.affinity import normalised
from jquanta.qdg.clusters.cluster import cluster
from jquanta.qdg.clusters.quality import agreement
from jquanta.qdg.clusters.ranks import WINDOW, rank_frequency
from jquanta.qdg.config import COUNTS, SAMPLES_A_CLUSTER
from jquanta.run import arrays, kinds
from jquanta.run.files import PART, require_place
from jquanta.run.progress import Monitor, Part, Silence

SUBTASKS, MINI = 1000, 200
"""How many subtasks there are, which is also the size of the largest: in the paper, and in the
miniature."""

DIMENSIONS, NOISES, FEW_COUNTS = (30, 100, 1000), (0.0, 0.5, 2.0), (100, 200, 500)
"""The settings of Figure 16; counts are numbers of clusters for 1,000 subtasks."""

EXPONENTS = (0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)
"""The settings of Figure 17."""

LIKE_MODELS = (1000, 2.0)
"""Dimension and noise that look most like language models, those of Figure 17."""


@dataclass(frozen=True)
class Cell:
    """One setting of the toy model.

    Attributes:
        exponent: a.
        dimension: F.
        noise: σ.
        subtasks: their number and the size of the largest.
        counts: numbers of clusters.
        seed: of the vectors and the clustering.
    """

    exponent: float
    dimension: int
    noise: float
    subtasks: int
    counts: tuple[int, ...]
    seed: int

    @property
    def name(self) -> str:
        """The name of the cell's file."""
        return f"a{self.exponent:g}-d{self.dimension}-noise{self.noise:g}-seed{self.seed}.zarr"

    def attributes(self) -> dict[str, Any]:
        """The setting, without the counts."""
        return {
            "exponent": self.exponent,
            "dimension": self.dimension,
            "noise": self.noise,
            "subtasks": self.subtasks,
            "seed": self.seed,
        }


def sizes(exponent: float, subtasks: int = SUBTASKS) -> Int64[np.ndarray, " S"]:
    """n_i, the number of vectors of each subtask that has any."""
    rank = np.arange(1, subtasks + 1)
    counts = np.floor(subtasks / rank**exponent).astype(np.int64)
    return counts[counts > 0]


def vectors(cell: Cell) -> tuple[Float[np.ndarray, "Q F"], Int64[np.ndarray, " Q"]]:
    """The vectors, float32, and the number of each one's subtask, from 0."""
    counts = sizes(cell.exponent, cell.subtasks)
    subtask = np.repeat(np.arange(len(counts)), counts)
    random = np.random.default_rng(cell.seed)
    means = random.standard_normal((len(counts), cell.dimension), np.float32)
    noise = random.standard_normal((len(subtask), cell.dimension), np.float32)
    return means[subtask] + np.float32(cell.noise) * noise, subtask


def solve(cell: Cell, *, n_init: int = 30, monitor: Monitor | None = None) -> xr.Dataset:
    """Cluster a cell's vectors.

    Returns:
        ``size`` (count, rank) and ``envelope`` (rank) as ``ranks.rank_frequency``, ``true_size``
        (subtask), and ``ari`` (count) with the true subtasks.
    """
    points, subtask = vectors(cell)
    unit = normalised(points)
    clusters = cluster(
        unit @ unit.T,
        cell.counts,
        affinity="shifted",
        seed=cell.seed,
        n_init=n_init,
        monitor=monitor,
    )
    labels = clusters.label.to_numpy()
    found = rank_frequency(clusters).assign(
        true_size=("subtask", sizes(cell.exponent, cell.subtasks)),
        ari=("count", agreement(labels, np.broadcast_to(subtask, labels.shape))),
    )
    return found.assign_attrs(cell.attributes(), samples=len(subtask), n_init=n_init)


def cells(subtasks: int = SUBTASKS, seeds: Sequence[int] = (0,)) -> list[Cell]:
    """The cells of Figures 16 and 17, each once."""
    few = {count * subtasks // SUBTASKS for count in FEW_COUNTS}
    found = []
    for seed in seeds:
        settings = {(1.0, d, noise) for d in DIMENSIONS for noise in NOISES}
        settings |= {(a, *LIKE_MODELS) for a in EXPONENTS}
        for a, d, noise in sorted(settings):
            counts = few
            if (d, noise) == LIKE_MODELS:  # an envelope needs them all
                most = sizes(a, subtasks).sum() // SAMPLES_A_CLUSTER
                counts = few | {n for c in COUNTS if (n := c * subtasks // SUBTASKS) <= most}
            found.append(Cell(a, d, noise, subtasks, tuple(sorted(counts)), seed))
    return found


def run(
    folder: Path | str,
    *,
    subtasks: int = SUBTASKS,
    seeds: Sequence[int] = (0,),
    n_init: int = 30,
    monitor: Monitor | None = None,
) -> list[xr.Dataset]:
    """Solve the cells of Figures 16 and 17 that a folder does not hold yet, the quickest first.

    Args:
        folder: one Zarr group for each cell appears in it, whole or not at all.
        subtasks: 1,000 in the paper; the numbers of clusters are in proportion.
        seeds: of independent repeats.
        n_init: restarts of k-means.
        monitor: receives the progress.

    Raises:
        BadInput: if the folder holds cells of another number of subtasks or restarts, or cannot be
            written.
    """
    monitor = monitor or Silence()
    folder = Path(folder)
    require_place(folder)
    kind = kinds.kind_of(folder)
    if kind != kinds.named("toy") and (kind or _holds_others(folder)):
        raise kinds.wrong(folder, "toy", "give a new folder", flag="--out")
    _refuse_others(folder, subtasks, n_init)
    folder.mkdir(parents=True, exist_ok=True)
    work = partial(_operations, n_init=n_init)
    todo = [cell for cell in cells(subtasks, seeds) if not (folder / cell.name).exists()]
    todo.sort(key=work)
    done = np.cumsum([0.0, *map(work, todo)])
    for cell, before, after in zip(todo, done[:-1], done[1:], strict=True):
        part = Part(monitor, before / done[-1], (after - before) / done[-1], "toy model")
        arrays.save_dataset(solve(cell, n_init=n_init, monitor=part), folder / cell.name)
    return open_cells(folder)


def _holds_others(folder: Path) -> bool:
    """Whether a folder holds more than the beginning of a cell."""
    return folder.is_dir() and any(path.suffix != PART for path in folder.iterdir())


def _refuse_others(folder: Path, subtasks: int, n_init: int) -> None:
    if not any(folder.glob("a*.zarr")):
        return
    stored = open_cells(folder)
    found = {int(cell.attrs["subtasks"]) for cell in stored}
    if found != {subtasks}:
        raise BadInput(
            f"--out {folder}: holds cells of {min(found)} subtasks; give another folder, or "
            f"{'--mini' if MINI in found else 'leave --mini out'}"
        )
    restarts = {int(cell.attrs["n_init"]) for cell in stored}
    if restarts != {n_init}:
        raise BadInput(
            f"--out {folder}: holds cells of {min(restarts)} restarts; give another folder, or "
            f"--restarts {min(restarts)}"
        )


def open_cells(folder: Path | str) -> list[xr.Dataset]:
    """The cells that ``run`` stored, sorted by exponent, dimension, noise and seed. Raises
    ``BadInput`` if there are none."""
    remedy = "make them with jquanta known toy"
    paths = sorted(Path(folder).glob("a*.zarr")) if Path(folder).is_dir() else []
    if not paths:
        raise BadInput(f"{folder}: no cells of the toy model; {remedy}")
    found = [
        arrays.read(path, "cell of the toy model", "true_size", remedy).load() for path in paths
    ]
    return sorted(
        found,
        key=lambda cell: [cell.attrs[key] for key in ("exponent", "dimension", "noise", "seed")],
    )


def window_of(cell: xr.Dataset) -> Window:
    """The ranks over which a slope is fitted: the paper's 100 … 1000, in proportion to the number
    of subtasks."""
    shrink = cell.attrs["subtasks"] / SUBTASKS
    return (WINDOW[0] * shrink, WINDOW[1] * shrink)


def _operations(cell: Cell, n_init: int) -> float:
    """A number in proportion to a cell's time on a CPU, as measured, for Q vectors and counts k:
    9 Q³ for the eigenvectors, and for each restart of k-means 400 Q² (its Lloyd iterations read the
    distances between all vectors about 20 times) and 10⁴ Q k (each of the k steps of k-means++
    reads some rows of them)."""
    samples = float(sizes(cell.exponent, cell.subtasks).sum())
    restart = sum(400 * samples**2 + 1e4 * samples * count for count in cell.counts)
    return 9 * samples**3 + n_init * restart
