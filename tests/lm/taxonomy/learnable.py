"""Losses in which the learning time of every token is planted."""

import numpy as np
import xarray as xr
from scipy.special import expit

from tests.lm.taxonomy.examples import table

STEPS = tuple(13 * 2**i for i in range(8))
TIMES = np.exp(np.random.default_rng(0).uniform(np.log(40), np.log(900), (2, 300)))
"""Of the tokens of two networks."""


def suite(seeds: int = 1) -> xr.Dataset:
    """Two sizes whose tokens are learned at ``TIMES``, in each seed with other noise."""
    chance = np.random.default_rng(1)
    columns, rows = [], []
    for size, times in zip((20_000, 110_000), TIMES, strict=True):
        for seed in range(seeds):
            name = f"n{size}" + f"-seed{seed}" * (seeds > 1)
            for step in (0, *STEPS):
                z = (np.log(max(step, 1)) - np.log(times)) / 0.4
                columns.append(7 - 5 * expit(z) + 0.05 * chance.standard_normal(len(times)))
                rows.append((name, size, f"step{step}"))
    names, sizes, revisions = zip(*rows, strict=True)
    return table(np.stack(columns, 1).astype(np.float32), sizes, names, revisions)


def of_sizes(count: int, seeds: int = 1) -> xr.Dataset:
    """One checkpoint of many sizes: tokens are learned at their own size."""
    sizes = [1000 * 4**i for i in range(count)]
    place = np.random.default_rng(2).integers(2, max(count - 1, 3), (200, 1))
    losses = np.where(np.arange(count) < place, 5.0, 1.0).repeat(seeds, 1)
    names = [f"n{size}" + f"-seed{s}" * (seeds > 1) for size in sizes for s in range(seeds)]
    return table(losses.astype(np.float32), np.repeat(sizes, seeds).tolist(), names)
