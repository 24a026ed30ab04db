"""Classify tokens by their loss as a function of model size: monogenic and polygenic tokens.

Paper, section 3. The loss of a monogenic token drops sharply at one size: one quantum decides over
it. The loss of a polygenic token falls smoothly with the logarithm of the size. Where there are
several models of one size, such as different seeds, all of them have to be above, or below, the
threshold for that size, so that a token is monogenic if it drops at the same size in every seed,
and the line of a polygenic token is fitted to all of them.

N stands for the number of parameters without embeddings.
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
from jquanta.masks import unmasked
from jquanta.run.progress import Monitor

NEAREST = 256
"""How many of the tokens nearest to each kind are kept, to be shown where no token is of it."""

TILE = 2**14
"""Predictions that are processed at a time: 16,384 rows of float64 fit into a CPU's cache."""


@dataclass(frozen=True, eq=False)
class Kind:
    """K tokens of one kind.

    Attributes:
        index: [chosen] numbers of their predictions in the corpus, ascending.
        size: [chosen] for monogenic tokens, the size N of the smallest models that have learned the
            token; for polygenic tokens 0.
        slope: [chosen] slope of the least-squares line of the loss over ln N, in nats per factor e.
        r2: [chosen] R², the share of the variance of the loss that the line explains; NaN for a
            constant loss.
        short: [chosen] by how much the token misses the thresholds: in nats for monogenic tokens,
            in R² for polygenic ones. Negative for tokens of the kind.
    """

    index: Int64[np.ndarray, " chosen"]
    size: Int64[np.ndarray, " chosen"]
    slope: Float64[np.ndarray, " chosen"]
    r2: Float64[np.ndarray, " chosen"]
    short: Float64[np.ndarray, " chosen"]

    def __len__(self) -> int:
        return len(self.index)

    def take(self, places: np.ndarray) -> "Kind":
        """Select tokens by their index along K."""
        return Kind(*(getattr(self, field.name)[places] for field in fields(self)))

    @classmethod
    def joined(cls, kinds: "Sequence[Kind]") -> "Kind":
        """Concatenate tokens."""
        return cls(
            *(np.concatenate([getattr(k, field.name) for k in kinds]) for field in fields(cls))
        )

    @classmethod
    def none(cls) -> "Kind":
        """An empty selection, K = 0."""
        return cls(*np.zeros((2, 0), np.int64), *np.zeros((3, 0)))


@dataclass(frozen=True, eq=False)
class Taxonomy:
    """The tokens of a corpus by kind, for M different sizes of models.

    Attributes:
        sizes: [M] the sizes N, ascending.
        predictions: number of predictions of the corpus.
        monogenic, polygenic: the tokens of each kind.
        near_monogenic, near_polygenic: the tokens that miss the thresholds of each kind by least,
            nearest first, to be shown where there are none of the kind. (Near polygenic ones
            all fulfil the condition on the slope.)
        solved: [M] number of tokens whose loss is below ``Monogenic.below`` at each size.
        lasting: [M] number of tokens whose loss is below it at this size and all larger ones.
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
        """[M] share of the tokens solved at a size that are also solved at all larger sizes.

        NaN where no token is solved.
        """
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
    """Classify all tokens, reading the losses once::

        kinds = taxonomy(at_step(open_table(["losses/pile"])))
        kinds.monogenic.index, kinds.persistence

    A token is monogenic at size j if its loss is above ``monogenic.above`` at all smaller sizes (at
    least one), and below ``monogenic.below`` at j and all larger sizes. It is polygenic if the
    least-squares line of its loss over ln N has a slope below ``polygenic.slope`` and explains
    more than the share ``polygenic.r2`` of the variance. It is solved at a size if its loss is
    below ``monogenic.below``.

    Args:
        losses: of ``at_step``, in nats: models in ascending order of size.
        monogenic, polygenic: the thresholds, by default the paper's. The logarithm is the natural
            one, as in the paper's code.
        block: predictions that are read at once.
        monitor: receives the progress.

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
        # Models are sorted by size, so those of one size are neighbours: the largest and the
        # smallest loss among the models of each size, [predictions, sizes].
        highest = np.maximum.reduceat(rows, starts, axis=1)
        lowest = np.minimum.reduceat(rows, starts, axis=1)
        # The largest loss at this and all larger sizes, and the smallest at this and all smaller.
        larger = np.maximum.accumulate(highest[:, ::-1], axis=1)[:, ::-1]
        smaller = np.minimum.accumulate(lowest, axis=1)
        solved += (highest < monogenic.below).sum(0)
        lasting += (larger < monogenic.below).sum(0)
        # For each size j from the second on: by how much, in nats, a drop at j misses the worse of
        # the two thresholds. The token is monogenic if that is negative for some j.
        drops = np.maximum(monogenic.above - smaller[:, :-1], larger[:, 1:] - monogenic.below)
        at, short = drops.argmin(1) + 1, drops.min(1)
        slope, r2 = lines(rows, log_sizes)
        # Tokens that are not steep enough miss the kind by infinity: they are never shown as near.
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
    losses: Float[np.ndarray, "predictions M"], log_sizes: Float64[np.ndarray, " M"]
) -> tuple[Float64[np.ndarray, " predictions"], Float64[np.ndarray, " predictions"]]:
    """Fit a least-squares line of loss over ln N for each of P predictions.

    Args:
        losses: [predictions, M] in nats.
        log_sizes: [M] ln N of the models.

    Returns:
        [predictions] slopes in nats per factor e, and [predictions] R² (NaN for a constant loss).
    """
    # With x and y centred, slope = Σ x y / Σ x², and the explained sum of squares is slope² Σ x².
    x = log_sizes - log_sizes.mean()
    y = np.array(unmasked(losses, "losses"), np.float64)  # a copy
    y -= y.mean(1, keepdims=True)
    slope = y @ x / (x @ x)
    total = np.square(y).sum(1)
    explained = np.square(slope) * (x @ x)
    with np.errstate(invalid="ignore", divide="ignore"):
        return slope, explained / total


def straight_by_chance(points: int, r2: float) -> float:
    """Probability that a line explains more than the share ``r2`` of the variance of pure noise.

    For independent normal noise of equal variance, R² has a Beta(1/2, (n - 2)/2) distribution for n
    points. Half of these lines fall. Four points exceed R² = 0.98 with a probability of 1%, seven
    points with 0.002%. So with few sizes, some of the tokens classified as polygenic have no
    trend, provided their noise is large enough for the threshold of the slope.

    Args:
        points: number of points of a line, at least 3.
        r2: threshold of R².
    """
    return float(betainc((points - 2) / 2, 0.5, 1 - r2))


def _tiles(
    losses: xr.Dataset, block: int, monitor: Monitor | None
) -> Iterator[tuple[int, Float64[np.ndarray, "predictions M"]]]:
    """Cut blocks into tiles in float64 that are small enough for their arrays to stay in the cache.

    Yields:
        The number of the first prediction of each tile, and its losses [predictions, M] in nats.
    """
    for first, part in blocks(losses, block, monitor):
        for start in range(0, len(part), TILE):
            yield first + start, part[start : start + TILE].astype(np.float64)


class _Found:
    """Collects the tokens of a kind, and those nearest to it, tile by tile."""

    def __init__(self) -> None:
        self.kinds: list[Kind] = []
        self.nearest = Kind.none()

    def add(self, tokens: Kind) -> None:
        """Keep the tokens of the kind (``short`` < 0), and the ``NEAREST`` nearest ones so far."""
        self.kinds.append(tokens.take(np.flatnonzero(tokens.short < 0)))
        near = tokens.take(np.flatnonzero(np.isfinite(tokens.short)))
        # A partial sort first, which is linear; then the order of the corpus again, so that the
        # stable sort below breaks ties by it.
        if len(near) > NEAREST:
            near = near.take(np.sort(np.argpartition(near.short, NEAREST)[:NEAREST]))
        both = Kind.joined([self.nearest, near])
        self.nearest = both.take(np.argsort(both.short, kind="stable")[:NEAREST])

    def all(self) -> Kind:
        """All tokens of the kind, in the order of the corpus."""
        return Kind.joined([Kind.none(), *self.kinds])
