"""Networks that were trained several times, with other seeds: which columns they have."""

from collections.abc import Sequence
from typing import NamedTuple

import xarray as xr

from jquanta.lm.losses.seeds import told
from jquanta.lm.taxonomy.tables import step_of


class Network(NamedTuple):
    """The columns of one network at one checkpoint, one for each seed.

    Attributes:
        name: without its seed where there are several; else that of the model.
        size: parameters without embeddings.
        seeds: of the columns, as texts.
        columns: indices along ``model``, one for each seed.
    """

    name: str
    size: int
    seeds: tuple[str, ...]
    columns: tuple[int, ...]


class Curve(NamedTuple):
    """The columns of one network over training, for each seed at the same steps.

    Attributes:
        name, size, seeds: as of ``Network``.
        steps: ascending.
        columns: indices along ``model``, a tuple for each seed with one for each step.
        left_out: number of checkpoints that not all seeds have.
    """

    name: str
    size: int
    seeds: tuple[str, ...]
    steps: tuple[int, ...]
    columns: tuple[tuple[int, ...], ...]
    left_out: int = 0


def networks(models: xr.Dataset) -> list[Network]:
    """Group the columns by network, in their order.

    Args:
        models: of ``at_step``: one checkpoint of each model.
    """
    return [
        Network(name, size, tuple(seeds), tuple(seeds.values()))
        for name, size, seeds in _grouped(models, range(models.sizes["model"]))
    ]


def curves(losses: xr.Dataset, places: dict[str, list[int]]) -> list[Curve]:
    """Group the columns of several checkpoints by network, in their order.

    Only steps that all seeds of a network have are kept. Where these are fewer than two, its models
    stay apart.

    Args:
        losses: of ``open_table``.
        places: of ``laws.step_curves``: for each model the indices of its columns, in ascending
            order of step.
    """
    revisions = losses.revision.to_numpy().tolist()
    by_step = {
        own[0]: {step_of(revisions[place]) or 0: place for place in own} for own in places.values()
    }
    names = {own[0]: name for name, own in places.items()}
    found = []
    for name, size, seeds in _grouped(losses, list(by_step)):
        steps = [by_step[first] for first in seeds.values()]
        common = sorted(set.intersection(*map(set, steps)))
        if len(common) < 2:
            found += [
                Curve(names[first], size, (seed,), tuple(own), (tuple(own.values()),))
                for (seed, first), own in zip(seeds.items(), steps, strict=True)
            ]
            continue
        left_out = sum(len(own) - len(common) for own in steps)
        columns = tuple(tuple(own[step] for step in common) for own in steps)
        found.append(Curve(name, size, tuple(seeds), tuple(common), columns, left_out))
    return found


def same_seeds(found: Sequence[Network | Curve]) -> bool:
    """Whether all of these networks have the same seeds, several of them, and different sizes."""
    seeds = {frozenset(one.seeds) for one in found}
    sizes = {one.size for one in found}
    return len(seeds) == 1 and len(found[0].seeds) > 1 and len(sizes) == len(found)


def counted(seeds: Sequence[str]) -> str:
    """In words: ``3 seeds (0, 1, 2)``."""
    return f"{len(seeds)} seeds ({told(seeds)})"


def _grouped(losses: xr.Dataset, places: Sequence[int]) -> list[tuple[str, int, dict[str, int]]]:
    """Names, sizes, and the place of each seed, of the networks that have these columns."""
    names, bases, seeds, sizes = (
        losses[field].to_numpy().tolist() for field in ("name", "base", "seed", "size")
    )
    groups: dict[tuple[str, int], dict[str, int]] = {}
    for place in places:
        groups.setdefault((bases[place], sizes[place]), {})[seeds[place]] = place
    return [
        (base if len(of) > 1 else names[next(iter(of.values()))], size, of)
        for (base, size), of in groups.items()
    ]
