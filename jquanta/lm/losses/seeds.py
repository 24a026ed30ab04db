"""Seeds as a dimension of losses: which columns are of one network trained again.

The name of a model tells its seed: ``pythia-14m-seed3`` is the network ``pythia-14m`` of seed 3,
and so are the models of ``jquanta pretrain`` with several seeds, such as ``25.5k-seed0``. What
stands before ``-seed`` is the network's name, so that ``pythia-160m-data-seed1``, of which only the
order of the data was drawn anew, is not a repeat of ``pythia-160m-seed1``, of which everything was.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core.indexing import IndexingSupport, LazilyIndexedArray, explicit_indexing_adapter

from jquanta.errors import BadInput
from jquanta.lm.losses.column import label_of
from jquanta.lm.models.pythia import first_seed
from jquanta.run import kinds

_SEED = re.compile(r"(?P<base>.*[^-/])-seed(?P<seed>[0-9]+)")

MOST_NAMED = 4
"""Columns that an error names one by one."""


def split_seed(name: str) -> tuple[str, str]:
    """The name of a network without its seed, and the seed.

    The seed is a text: ``"3"`` of ``25.5k-seed3``, ``"01"`` of ``x-seed01``. A name without one is
    that of a run whose seed is not told: ``""``, but for the Pythia models that PolyPythias trained
    again, whose own seed is known to be ``"1234"``.
    """
    found = _SEED.fullmatch(name)
    return (found["base"], found["seed"]) if found else (name, first_seed(name))


def by_seed(losses: xr.Dataset) -> xr.Dataset:
    """Arrange losses by network and seed, still read lazily::

        losses = jq.by_seed(jq.open_losses("runs/stdlib-seeds"))  # 4 sizes · 8 steps, 3 seeds
        losses.loss.sel(model="793k@step1708").std("seed")

    Args:
        losses: of ``open_losses``: every network at every revision with the same seeds. Select
            before, if there are others: ``losses.sel(model=losses.base == "25.5k")``.

    Returns:
        A Dataset with the variable ``loss`` (prediction, model, seed), in nats. Coordinates along
        ``model``, in the order of ``losses``: ``model`` (``base@revision``), ``name`` (the network
        without its seed), ``revision`` and ``size``. Coordinate ``seed``: the seeds as texts, in
        the order of their numbers (see ``split_seed``).

    Raises:
        BadInput: if a seed of some network or revision is missing, or models of one name and
            different seeds have different sizes.
    """
    bases, revisions, seeds = (
        losses[name].to_numpy().tolist() for name in ("base", "revision", "seed")
    )
    sizes = losses["size"].to_numpy().tolist()
    place = {one: i for i, one in enumerate(zip(bases, revisions, seeds, strict=True))}
    rows = list(dict.fromkeys((base, revision) for base, revision, _ in place))
    across = sorted(set(seeds), key=kinds.natural)
    missing = [(*row, seed) for row in rows for seed in across if (*row, seed) not in place]
    if missing:
        raise BadInput(_lacking(missing, across, losses))
    grid = np.array([[place[(*row, seed)] for seed in across] for row in rows], np.int64)
    for row, line in zip(rows, grid, strict=True):
        if len({sizes[i] for i in line}) > 1:
            listed = ", ".join(f"{sizes[i]:,}" for i in line)
            raise BadInput(
                f"{row[0]}: models of this name with seeds {', '.join(across)} have {listed} "
                "parameters: they are no repeats of one network; open them apart"
            )
    loss = xr.Variable(
        ("prediction", "model", "seed"),
        LazilyIndexedArray(_grid(losses.loss.variable, grid)),
        losses.loss.attrs,
    )
    first = losses.isel(model=grid[:, 0])
    return xr.Dataset(
        {"loss": loss},
        {
            "model": ("model", [f"{base}@{revision}" for base, revision in rows]),
            "name": ("model", [base for base, _ in rows]),
            "revision": ("model", [revision for _, revision in rows]),
            "size": ("model", first["size"].to_numpy(), losses["size"].attrs),
            "seed": across,
        },
        losses.attrs,
    )


def told(seeds: Sequence[str]) -> str:
    """Seeds in words: ``0, 1, 2``; a run whose name tells none is ``without a number``."""
    return ", ".join(seed or "without a number" for seed in seeds)


def _lacking(
    missing: Sequence[tuple[str, str, str]], across: Sequence[str], losses: xr.Dataset
) -> str:
    """What is missing among the seeds, and what to do."""
    named = [
        label_of({"model": _named(base, seed), "revision": revision})
        for base, revision, seed in missing
    ]
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    base, revision, seed = missing[0]
    model = _named(base, seed)
    of_suite = (
        "" if "/" in base else f', or train them: jquanta pretrain --train.seeds "{told(across)}"'
    )
    return (
        f"no losses of {', '.join(named[:MOST_NAMED])}{more}, and others have seeds {told(across)}"
        f": compute them (jquanta losses --model {model} --revision {revision} …{of_suite}), or "
        "select networks, revisions and seeds that are complete"
    )


def _named(base: str, seed: str) -> str:
    """The name of a model, of which ``split_seed`` makes these two."""
    return base if seed == first_seed(base) else f"{base}-seed{seed}"


def _grid(columns: xr.Variable, grid: np.ndarray) -> Any:
    """Losses [P, columns], of which those in ``grid`` [M, seeds] are read, as [P, M, seeds]."""

    class Grid(BackendArray):
        shape = (columns.shape[0], *grid.shape)
        dtype = columns.dtype

        def __getitem__(self, key: Any) -> Any:
            return explicit_indexing_adapter(key, self.shape, IndexingSupport.OUTER, self._read)

        def _read(self, key: tuple[Any, Any, Any]) -> Any:
            rows, models, seeds = key
            wanted = grid[models][..., seeds]  # 0 to 2 dimensions: an integer takes its axis away
            found = columns.isel(prediction=rows, model=wanted.ravel()).to_numpy()
            return found.reshape((*found.shape[:-1], *wanted.shape))

    return Grid()
