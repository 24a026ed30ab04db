"""Kinds of tokens by their loss across sizes: monogenic, polygenic, and solved for good.

Paper, section 3. Several models of one size, such as seeds, have to agree: each must be above, or
below, what the size has to be; the line of a polygenic token goes through all of their points.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import xarray as xr
from jaxtyping import Float, Float64, Int64
from scipy.special import betainc

from jquanta.errors import BadInput
from jquanta.lm.losses.column import CHUNK
from jquanta.lm.taxonomy.tables import LEAST_SIZES, blocks
from jquanta.lm.taxonomy.thresholds import MONOGENIC, POLYGENIC, Monogenic, Polygenic
from jquanta.run.progress import Monitor

NEAREST = 256
"""Tokens of each kind that are kept for being nearest to it, where none is of it."""

TILE = 2**14
"""Predictions worked on at a time."""


@dataclass(frozen=True, eq=False)
class Kind:
    """Tokens of one kind.

    Attributes:
        index: [K] numbers of the predictions, ascending.
        size: [K] for monogenic tokens, N of the smallest models that have learned them; for
            polygenic ones 0.
        slope: [K] of the line of loss on ln N, in nats.
        r2: [K] the share of the loss' variance that the line explains; NaN for a constant loss.
        short: [K] how much the thresholds would have to give way for the token, in nats for
            monogenic, in R² for polygenic ones; below 0 for tokens of the kind.
    """

    index: Int64[np.ndarray, " K"]
    size: Int64[np.ndarray, " K"]
    slope: Float64[np.ndarray, " K"]
    r2: Float64[np.ndarray, " K"]
    short: Float64[np.ndarray, " K"]

    def __len__(self) -> int:
        return len(self.index)

    def take(self, places: np.ndarray) -> "Kind":
        """Some of the tokens."""
        return Kind(*(getattr(self, field.name)[places] for field in fields(self)))

    @classmethod
    def joined(cls, kinds: "Sequence[Kind]") -> "Kind":
        """Tokens one after another."""
        return cls(
            *(np.concatenate([getattr(k, field.name) for k in kinds]) for field in fields(cls))
        )

    @classmethod
    def none(cls) -> "Kind":
        """No tokens."""
        return cls(*np.zeros((2, 0), np.int64), *np.zeros((3, 0)))


@dataclass(frozen=True, eq=False)
class Taxonomy:
    """The tokens of a corpus by kind.

    Attributes:
        sizes: [M] different sizes of the models, ascending: parameters without embeddings.
        predictions: of the corpus.
        monogenic, polygenic: the tokens of each kind.
        near_monogenic, near_polygenic: the tokens that fall least short of each kind, best first:
            what to show where there are none of it. (Near polygenic are only those steep enough.)
        solved: [M] tokens below the monogenic threshold at each size.
        lasting: [M] ... and at all larger sizes.
    """

    sizes: Int64[np.ndarray, " M"]
    predictions: int
    monogenic: Kind
    polygenic: Kind
    near_monogenic: Kind
    near_polygenic: Kind
    solved: Int64[np.ndarray, " M"]
    lasting: Int64[np.ndarray, " M"]

    @property
    def persistence(self) -> Float64[np.ndarray, " M"]:
        """[M] of the tokens solved at a size, the share that is at all larger ones; NaN if none."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.lasting / self.solved)


def taxonomy(
    losses: xr.Dataset,
    monogenic: Monogenic = MONOGENIC,
    polygenic: Polygenic = POLYGENIC,
    *,
    block: int = CHUNK,
    monitor: Monitor | None = None,
) -> Taxonomy:
    """Sort all tokens into kinds, reading the losses once, in blocks::

        kinds = taxonomy(at_step(open_table(["losses/pile"])))
        kinds.monogenic.index, kinds.persistence

    Monogenic at size j: loss above ``monogenic.above`` at all smaller sizes (there must be one) and
    below ``monogenic.below`` at j and all larger. Polygenic: the least-squares line of loss on
    ln N has a slope under ``polygenic.slope`` and explains more than ``polygenic.r2`` of the
    variance. Solved: loss below ``monogenic.below``.

    Args:
        losses: of ``at_step``, nats: models in ascending order of size.
        monogenic, polygenic: thresholds, the paper's by default. As in the paper's code, the
            logarithm is the natural one.
        block: predictions read at once.
        monitor: hears how far it is.

    Raises:
        BadInput: for fewer than three sizes, or a loss that is NaN, infinite or negative.
    """
    log_sizes = np.log(losses["size"].to_numpy().astype(np.float64))
    sizes, starts = np.unique(losses["size"].to_numpy(), return_index=True)
    if len(sizes) < LEAST_SIZES or (np.diff(log_sizes) < 0).any():
        raise BadInput(
            f"{len(sizes)} sizes of models: give at least {LEAST_SIZES}, in ascending order"
        )
    solved, lasting = np.zeros((2, len(sizes)), np.int64)
    one, many = _Found(), _Found()
    for first, rows in _tiles(losses, block, monitor):
        highest = np.maximum.reduceat(rows, starts, axis=1)
        lowest = np.minimum.reduceat(rows, starts, axis=1)
        larger = np.maximum.accumulate(highest[:, ::-1], axis=1)[:, ::-1]  # the size itself, too
        smaller = np.minimum.accumulate(lowest, axis=1)
        solved += (highest < monogenic.below).sum(0)
        lasting += (larger < monogenic.below).sum(0)
        drops = np.maximum(monogenic.above - smaller[:, :-1], larger[:, 1:] - monogenic.below)
        at, short = drops.argmin(1) + 1, drops.min(1)
        slope, r2 = lines(rows, log_sizes)
        steep = slope < polygenic.slope
        lack = np.where(steep, polygenic.r2 - r2, np.inf)
        index = first + np.arange(len(rows))
        one.add(Kind(index, sizes[at], slope, r2, short))
        many.add(Kind(index, np.zeros_like(index), slope, r2, lack))
    return Taxonomy(
        sizes,
        losses.sizes["prediction"],
        one.all(),
        many.all(),
        one.nearest,
        many.nearest,
        solved,
        lasting,
    )


def lines(
    losses: Float[np.ndarray, "P M"], log_sizes: Float64[np.ndarray, " M"]
) -> tuple[Float64[np.ndarray, " P"], Float64[np.ndarray, " P"]]:
    """Least-squares lines of every row on ln N: slopes in nats, and R² (NaN for constant rows)."""
    x = log_sizes - log_sizes.mean()
    y = losses.astype(np.float64)
    y -= y.mean(1, keepdims=True)
    slope = y @ x / (x @ x)
    total = np.square(y).sum(1)
    explained = np.square(slope) * (x @ x)
    with np.errstate(invalid="ignore", divide="ignore"):
        return slope, explained / total


def straight_by_chance(points: int, r2: float) -> float:
    """Share of tokens that a line explains to more than ``r2`` although they have no trend.

    For losses of independent normal noise of one size; half of these lines fall. Four points and
    R² > 0.98 give 1%, seven points 0.002%: a suite of few sizes has such tokens among its
    polygenic ones, as far as the noise is large enough for their slope.
    """
    return float(betainc((points - 2) / 2, 0.5, 1 - r2))


def _tiles(
    losses: xr.Dataset, block: int, monitor: Monitor | None
) -> Iterator[tuple[int, Float64[np.ndarray, "P M"]]]:
    """Blocks in float64, cut so small that the arrays made of them stay in cache."""
    for first, part in blocks(losses, block, monitor):
        for start in range(0, len(part), TILE):
            yield first + start, part[start : start + TILE].astype(np.float64)


class _Found:
    """Tokens of a kind, and those nearest to it, gathered block by block."""

    def __init__(self) -> None:
        self.kinds: list[Kind] = []
        self.nearest = Kind.none()

    def add(self, tokens: Kind) -> None:
        """Sort some tokens in: of the kind are those that fall short by less than 0."""
        self.kinds.append(tokens.take(np.flatnonzero(tokens.short < 0)))
        near = tokens.take(np.flatnonzero(np.isfinite(tokens.short)))
        if len(near) > NEAREST:
            near = near.take(np.sort(np.argpartition(near.short, NEAREST)[:NEAREST]))
        both = Kind.joined([self.nearest, near])
        self.nearest = both.take(np.argsort(both.short, kind="stable")[:NEAREST])

    def all(self) -> Kind:
        """The tokens of the kind, in ascending order."""
        return Kind.joined([Kind.none(), *self.kinds])
