"""Rows of a similarity by factors: what is told of their error, and how it is measured."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from jquanta.qdg.cosines.blockwise import fill
from jquanta.qdg.cosines.matrix import COSINE, InMemory
from jquanta.qdg.views.kept import Kept
from jquanta.qdg.views.source import Source
from jquanta.run.arrays import Variable, variable
from jquanta.run.progress import Monitor, Part

COMPARED = 46
"""Samples, drawn at random, of which all pairs are compared with whole gradients: 1,035 pairs for
46 gradients that are made again."""

LOST = "lost"


class Rows(NamedTuple):
    """The rows of a similarity, and what belongs to them.

    Attributes:
        source: of the rows.
        taken: bytes of memory that they are built from.
        working: see ``PerSample``.
        more: further variables to store.
        after: gives attributes, when the matrices are made.
    """

    source: Source
    taken: int = 0
    working: int = 0
    more: Mapping[str, Variable] = MappingProxyType({})
    after: Callable[[], dict[str, Any]] = dict


def rows_of(kept: Kept, dtype: str, memory: int, monitor: Monitor) -> Rows:
    """The rows that factors stand for. Says how much they lack."""
    lost, again = kept.lost, len(kept.again)
    said = f"factors of rank {kept.view.rank}: they lack {np.median(lost):.2g} of a squared length"
    monitor.say(
        f"{said} (median); {again:,} of {len(lost):,} gradients lack more than "
        f"{kept.view.tolerance:g} and are made again, whole"
    )
    return Rows(
        kept.source,
        taken=kept.nbytes,
        more={LOST: _lost(lost)},
        after=lambda: {"whole": again} | _errors(kept, dtype, memory, monitor),
    )


def _lost(shares: NDArray[Any]) -> Variable:
    long_name = "share of the gradient's squared length that its factors lack"
    return variable(("sample",), shares, units="1", long_name=long_name)


def joined(
    parts: Sequence[xr.Dataset], places: Sequence[NDArray[np.int64]]
) -> tuple[dict[str, Variable], dict[str, Any]]:
    """What is told of the errors of shards, of all together: variables and attributes. None of
    either where the shards are not of factors.

    Args:
        parts: the shards.
        places: [q] of each shard's samples, among all. Several shards may have the same.
    """
    if not all(LOST in part for part in parts):
        return {}, {}
    lost = np.zeros(1 + max(int(own.max()) for own in places), np.float32)
    for part, own in zip(parts, places, strict=True):
        lost[own] = part[LOST]
    told = [part.attrs for part in parts]
    pairs = sum(own["error_pairs"] for own in told)
    squares = sum(own["error_pairs"] * own["error_rms"] ** 2 for own in told)
    return {LOST: _lost(lost)}, {
        "whole": int((lost > told[0]["tolerance"]).sum()),
        "error_pairs": pairs,
        "error_rms": float(np.sqrt(squares / max(1, pairs))),
        "error_max": max(own["error_max"] for own in told),
    }


def _errors(kept: Kept, dtype: str, memory: int, monitor: Monitor) -> dict[str, Any]:
    """How far cosines of factors are from those of whole gradients, for all pairs of some samples
    that are kept as factors."""
    there = np.setdiff1d(np.arange(len(kept.order)), kept.again)
    chance = np.random.default_rng(kept.view.seed)
    picked = np.sort(chance.choice(there, min(COMPARED, len(there)), replace=False))
    if len(picked) < 2:
        return {"error_pairs": 0, "error_rms": 0.0, "error_max": 0.0}
    records = np.argsort(kept.order)[picked]

    def cosines(source: Source, dtype: str, monitor: Monitor | None) -> Any:
        found = InMemory(len(picked), (COSINE,))
        fill(found, source, dtype=dtype, memory=memory, monitor=monitor)
        return found.arrays[COSINE][np.triu_indices(len(picked), 1)].astype(np.float64)

    whole = cosines(kept.whole(picked), "float32", Part(monitor, 0, 1, "errors of cosines"))
    error = cosines(kept.built(records, np.arange(len(picked))), dtype, None) - whole
    rms, largest = float(np.sqrt(np.mean(error**2))), float(np.abs(error).max())
    monitor.say(
        f"errors of cosines: {rms:.2g} (root mean square) and {largest:.2g} (largest) in "
        f"{len(error):,} pairs"
    )
    return {"error_pairs": len(error), "error_rms": rms, "error_max": largest}
