"""A similarity in shards that need not know of each other, and what joins them.

Of a view with short vectors, a shard has some samples: their vectors (``features``), from which the
cosines of all pairs are made when all are there. Of a view with long ones it has some blocks of the
matrix. Samples are cut into g groups, and pairs of groups are dealt: whoever has one of them makes
the gradients of 2 Q / g samples, and (Q / g)² products. Pairs of a group with itself are half the
work, and go in twos: g² / 2 units of equally many products, which are dealt to the shards. For 2,
8, 18, 32, 50 or 64 of them they are dealt evenly; else the longest has a fifth more at most.
"""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from jquanta.errors import BadInput
from jquanta.lm.models.model import Model
from jquanta.qdg.config import COMPACT, QDGConfig, load_qdg
from jquanta.qdg.cosines.blockwise import names
from jquanta.qdg.cosines.factored import joined
from jquanta.qdg.cosines.features import (
    FEATURES,
    LENGTH,
    VECTOR,
    features,
    open_features,
    variables,
)
from jquanta.qdg.cosines.matrix import KEPT, claim, require_same, strip_shape
from jquanta.qdg.cosines.remembered import keep
from jquanta.qdg.cosines.similarity import (
    SIMILARITY,
    WORK,
    Part,
    identity_of,
    matrices_of,
    open_similarity,
    similarity,
    work_folder,
)
from jquanta.qdg.samples.predictions import Predictions
from jquanta.qdg.samples.prefixes import prefixes
from jquanta.qdg.views.view import View
from jquanta.run.arrays import write
from jquanta.run.environment import environment
from jquanta.run.files import SHARD_SETTINGS
from jquanta.run.progress import Monitor
from jquanta.run.shard import Missing, Shard, require_one_cut
from jquanta.run.shown import listed


@dataclass(frozen=True, eq=False)
class Share:
    """What a shard has of the samples.

    Attributes:
        places: [q] of its samples among all, ascending.
        starts: the first of ``places`` of each group.
        groups: which groups these are, ascending.
        pairs: of groups, whose cosines the shard computes; none where it makes vectors only.
    """

    places: NDArray[np.int64]
    starts: tuple[int, ...]
    groups: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...] = ()


def most_shards(samples: int) -> int:
    """Into how many shards a similarity can be cut, at most: each group needs a sample."""
    return max(1, samples // 2)


def share_of(predictions: Predictions, model: Model, view: View, shard: Shard) -> Share:
    """The part of a shard, which follows from samples and view alone.

    Raises:
        BadInput: if there are fewer samples than the cut needs.
    """
    require_few(shard, len(predictions))
    # Groups of neighbours with about the same number of tokens, which is the work of gradients.
    work = prefixes(predictions, model.config).lengths
    if view.mode in COMPACT:
        return Share(shard.places(work), (0,), (0,))
    count = groups_of(shard.of)
    groups = [group.places(work) for group in Shard(count, 1).all()]
    pairs = dealt(shard)
    own = sorted({group for pair in pairs for group in pair})
    ends = np.cumsum([len(groups[group]) for group in own]).tolist()
    places = np.concatenate([groups[group] for group in own])
    return Share(places, (0, *ends[:-1]), tuple(own), pairs)


def require_few(shard: Shard, samples: int) -> None:
    """Raise ``BadInput`` if there are fewer samples than a cut needs."""
    if shard.of > most_shards(samples):
        raise BadInput(
            f"--shard {shard}: there are {samples:,} samples; give at most "
            f"{most_shards(samples):,} shards"
        )


def groups_of(shards: int) -> int:
    """Into how many groups samples are cut: the even number with which the largest share of all
    products is least; up to twice as many as there must be, since with more groups gradients are
    made more often."""
    least = 2 * math.ceil(math.sqrt(shards / 2))
    return min(range(least, 2 * least + 1, 2), key=lambda g: (units_of(g, shards) / g**2, g))


def units_of(groups: int, shards: int) -> int:
    """The most units, of one pair of groups or of two groups with themselves, of any shard."""
    return math.ceil(groups**2 / 2 / shards)


def dealt(shard: Shard) -> tuple[tuple[int, int], ...]:
    """The pairs of groups of a shard."""
    count = groups_of(shard.of)
    units = []
    for i in range(count):
        for j in range(i + 1, count):
            units.append([(i, j)])
            if i % 2 == 0 and j == i + 1:  # its own two groups, with themselves
                units.append([(i, i), (j, j)])
    return tuple(pair for unit in shard.places(np.ones(len(units))) for pair in units[unit])


def compute(
    model: Model,
    predictions: Predictions,
    view: View,
    shard: Shard,
    out: Path,
    *,
    absolute: bool = False,
    memory: int | str | None = None,
    dtype: str = "float32",
    monitor: Monitor | None = None,
) -> None:
    """Compute a shard, in a folder of its own within ``out``, or what is missing of it.

    Args:
        model, predictions, view, absolute, memory, dtype, monitor: as for ``similarity``.
        shard: which.
        out: the folder of the whole.

    Raises:
        BadInput, RunFailed, Interrupted: as ``similarity``.
    """
    share = share_of(predictions, model, view, shard)
    own, place = predictions.at(share.places), shard.folder(out)
    attributes = {"shard": str(shard), "of": predictions.hash}
    if any((place / name).exists() for name in (FEATURES, SIMILARITY)):
        _opened(view, shard, out)  # what is damaged is told as a shard's
    if view.mode in COMPACT:
        features(model, own, view, out=place, part=attributes, monitor=monitor)
        return
    number = {group: place for place, group in enumerate(share.groups)}
    pairs = frozenset((number[i], number[j]) for i, j in share.pairs)
    part = Part(share.starts, pairs, attributes)
    similarity(
        model,
        own,
        view,
        absolute=absolute,
        out=place,
        memory=memory,
        dtype=dtype,
        part=part,
        monitor=monitor,
    )


def require_same_settings(parts: Sequence[Path], config: QDGConfig) -> None:
    """Raise ``BadInput`` if a shard is there that was begun with another configuration."""
    for part in parts:
        settings = part / SHARD_SETTINGS
        if settings.is_file() and (names := load_qdg(settings).differences(config)):
            raise BadInput(
                f"{part}: of another configuration (another {listed(names)}); give another folder, "
                "or delete this shard"
            )


def require_done(parts: Sequence[Path], out: Path) -> QDGConfig:
    """Check that all shards are finished.

    Args:
        parts: the folders of those that are there; one at least.
        out: the folder of the whole.

    Returns:
        The configuration of all of them.

    Raises:
        Missing: if some are not, with the commands that compute them.
        BadInput: if they are of several cuts or configurations.
    """
    of = require_one_cut(parts)
    settings = [part / SHARD_SETTINGS for part in parts if (part / SHARD_SETTINGS).is_file()]
    config = load_qdg(settings[0])
    require_same_settings(parts, config)
    lacking = [
        shlex.join(["jquanta", "qdg", str(settings[0]), "--shard", str(shard), "--out", str(out)])
        for shard in Shard(of, 1).all()
        if not any((shard.folder(out) / name).exists() for name in (FEATURES, SIMILARITY))
    ]
    if lacking:
        raise Missing(out, of, lacking)
    return config


def join(
    model: Model,
    predictions: Predictions,
    view: View,
    of: int,
    out: Path,
    *,
    matrix: bool = True,
    absolute: bool = False,
    dtype: str = "float32",
) -> None:
    """Put shards together, as far as ``similarity`` or ``features`` go on with it: to the matrix of
    cosines, or to the vectors of all samples.

    Args:
        model, predictions, view, absolute, dtype: as for ``similarity``.
        of: number of the shards, all of which are finished.
        out: the folder of the whole.
        matrix: whether the cosines of all pairs are wanted, not the vectors alone.

    Raises:
        BadInput: if a shard is missing, or of another model, other samples or another view.
    """
    shards = Shard(of, 1).all()
    parts = [_opened(view, shard, out) for shard in shards]
    shares = [share_of(predictions, model, view, shard) for shard in shards]
    identity = identity_of(model, predictions, view)
    for shard, share, part in zip(shards, shares, parts, strict=True):
        own = {"samples": predictions.at(share.places).hash, "of": predictions.hash}
        require_same(shard.folder(out), part.attrs, identity | own)
    if view.mode not in COMPACT:
        identity |= {"dtype": dtype}
        _join_blocks(out, predictions, view, parts, shares, identity, absolute)
    elif matrix:
        with work_folder(out / WORK) as work:
            claim(work, identity | {"dtype": dtype})
            (work / KEPT).mkdir(exist_ok=True)
            keep(work / KEPT, [part[VECTOR] for part in parts])
    else:
        _join_vectors(out, predictions, view, parts, environment() | identity)


def _opened(view: View, shard: Shard, out: Path) -> xr.Dataset:
    """What a shard has computed. Raises ``BadInput`` if it is damaged or missing."""
    opened = open_features if view.mode in COMPACT else open_similarity
    try:
        return opened(shard.folder(out))
    except BadInput as error:
        raise BadInput(
            f"{error}; that is shard {shard}: delete its folder, and the command of the whole, or "
            f"with --shard {shard}, computes it again"
        ) from None


def _join_vectors(
    out: Path,
    predictions: Predictions,
    view: View,
    parts: Sequence[xr.Dataset],
    attributes: Mapping[str, Any],
) -> None:
    """The vectors of all samples: those of one shard after those of another."""
    wanted = variables(predictions.index, parts[0].sizes["feature"], view.what)

    def pieces(name: str) -> Iterator[NDArray[np.float32]]:
        rows = (wanted[VECTOR].chunks or (1,))[0]
        for part in parts:
            for start in range(0, part.sizes["sample"], rows):
                yield part[name][start : start + rows].to_numpy()

    filled = {name: wanted[name]._replace(parts=pieces(name)) for name in (VECTOR, LENGTH)}
    write(out / FEATURES, wanted | filled, attributes)


def _join_blocks(
    out: Path,
    predictions: Predictions,
    view: View,
    parts: Sequence[xr.Dataset],
    shares: Sequence[Share],
    identity: Mapping[str, Any],
    absolute: bool,
) -> None:
    """A matrix from blocks, strip by strip of its rows."""
    wanted = matrices_of(predictions, view.what, absolute)
    step = strip_shape(len(predictions))[0]

    def strips(name: str) -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(predictions), step):
            strip = np.zeros((min(step, len(predictions) - start), len(predictions)), np.float32)
            for part, share in zip(parts, shares, strict=True):
                _copy(strip, start, part[name], share)
            yield strip

    blocks = {name: wanted[name]._replace(parts=strips(name)) for name in names(absolute)}
    more, attributes = joined(parts, [share.places for share in shares])
    write(out / SIMILARITY, wanted | blocks | more, environment() | dict(identity) | attributes)


def _copy(strip: NDArray[np.float32], start: int, block: xr.DataArray, share: Share) -> None:
    """Copy what a shard has of some rows of the matrix."""
    ends = (*share.starts[1:], len(share.places))
    inside = dict(zip(share.groups, map(slice, share.starts, ends), strict=True))
    here = (share.places >= start) & (share.places < start + len(strip))
    for pair in share.pairs:
        for group, other in {pair, pair[::-1]}:
            own = np.arange(len(share.places))[inside[group]]
            own = own[here[own]]
            if len(own):  # neighbours, as groups are
                rows = block[own[0] : own[-1] + 1, inside[other]].to_numpy()
                strip[np.ix_(share.places[own] - start, share.places[inside[other]])] = rows
