"""Small tables of losses, and the losses of a suite with kinds planted in it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from jquanta.lm.corpus.reader import Corpus
from jquanta.lm.losses.batches import LONGEST_FIRST
from jquanta.lm.losses.column import Column, group_name, make_root
from jquanta.lm.losses.legs import Leg
from jquanta.lm.losses.seeds import split_seed

SIZES = (20_000, 110_000, 300_000, 790_000)
ABOVE, BELOW = 5.0, 0.3  # the paper's


def table(
    losses: np.ndarray,
    sizes: Sequence[int] = SIZES,
    names: Sequence[str] | None = None,
    revisions: Sequence[str] | None = None,
) -> xr.Dataset:
    """Losses [P, M] as ``open_table`` gives them, but in memory."""
    names = list(names or [f"suite-{size}" for size in sizes])
    revisions = list(revisions or ["main"] * len(names))
    labels = [f"{name}@{revision}" for name, revision in zip(names, revisions, strict=True)]
    return xr.Dataset(
        {"loss": (("prediction", "model"), losses)},
        {
            "model": ("model", labels),
            "name": ("model", names),
            "revision": ("model", revisions),
            "size": ("model", np.array(sizes, np.int64)),
            "base": ("model", [split_seed(name)[0] for name in names]),
            "seed": ("model", [split_seed(name)[1] for name in names]),
        },
        {"corpus": "", "source": "table"},
    )


def random(rows: int, models: int = len(SIZES), seed: int = 0) -> np.ndarray:
    """Losses of all kinds: many near 0, many above 5, falling with size or not."""
    chance = np.random.default_rng(seed)
    high = chance.uniform(4.5, 9.0, (rows, models))
    low = chance.exponential(0.15, (rows, models))
    learned = np.arange(models) >= chance.integers(0, models + 1, (rows, 1))
    falling = 8 - chance.uniform(0, 2, (rows, 1)) * np.arange(models)
    falling += chance.normal(0, 0.1, (rows, models))
    some = chance.random((rows, 1)) < 0.5
    return np.abs(np.where(some, np.where(learned, low, high), falling)).astype(np.float32)


def planted(
    rows: int, at: dict[int, int], steep: Sequence[int], sizes: Sequence[int] = SIZES
) -> np.ndarray:
    """Losses in which ``at`` (prediction → place of the size) are monogenic, ``steep`` polygenic.

    All others go up and down between 1 and 4 nats: neither.
    """
    chance = np.random.default_rng(1)
    losses = chance.uniform(1, 4, (rows, len(sizes)))
    losses[:, 1] = losses[:, 0] + 0.5  # no other falls all the way
    for row, place in at.items():
        losses[row] = np.where(np.arange(len(sizes)) < place, 6.0, 0.1)
    for row in steep:
        losses[row] = 6 - 0.7 * np.log(np.array(sizes) / sizes[0])
    return losses.astype(np.float32)


def store(
    out: Path,
    corpus: Corpus,
    losses: np.ndarray,
    names: Sequence[str],
    sizes: Sequence[int],
    revisions: Sequence[str],
    finished: bool = True,
) -> Path:
    """Columns of losses on disk, by the writer."""
    make_root(out, corpus)
    for column, name, size, revision in zip(losses.T, names, sizes, revisions, strict=True):
        path = out / group_name(name, revision)
        told = {"model": name, "revision": revision, "size": int(size), "weights": name}
        Column.create(
            path,
            corpus.n_predictions,
            told | {"corpus": corpus.meta.corpus, "source": corpus.meta.source},
        )
        written = Column(path)
        written.write(0, np.ascontiguousarray(column, np.float32))
        (written.finish if finished else written.mark)([Leg(LONGEST_FIRST, corpus.n_documents)])
    return out
