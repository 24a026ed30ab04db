"""Is a token learned at the same size, and at the same step, in every seed?

Each token has in every seed a place among n sizes (or checkpoints): the first from which its loss
is below a threshold for good, there and at all later ones. A token jumps in a seed if that place is
neither the first of all (it was learned before the curve began) nor behind the last (it never is).
Three numbers tell how far seeds agree:

- the share of tokens that jump at the same place in every seed, of those that jump in any seed, and
  of those that jump in all of them;
- what that share would be by chance: if in each seed the same places were dealt out to other tokens
  (of the corpus; or of those that jump in all seeds);
- the intraclass correlation of the logarithm of the size or step of the jump, over the tokens that
  jump in all seeds: the share of its variance that lies between tokens, not between seeds of a
  token (one-way random effects, ICC(1) of Shrout and Fleiss, Psychological Bulletin 86, 1979). 1 if
  seeds agree on all tokens, 0 if the seed decides alone.

Neighbouring tokens are not independent, so intervals are from blocks of the corpus that are left
out one by one (a jackknife). They tell how far other text would move the numbers, for these seeds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float64, Int, Int64, Num
from scipy.special import stdtrit

from jquanta.errors import BadInput
from jquanta.lm.losses.column import CHUNK
from jquanta.lm.taxonomy.tables import require_losses
from jquanta.lm.taxonomy.thresholds import MONOGENIC
from jquanta.run.progress import Monitor, Silence

BLOCKS = 50
"""Of the corpus, for the intervals: then the jackknife's own error is a tenth of its interval."""

LEVEL = 0.95

LEAST_PLACES = 3
"""Sizes or checkpoints: of two, only one is neither the first nor behind the last."""


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far seeds agree on where tokens jump.

    Attributes:
        at: [n] the sizes or steps, ascending.
        seeds: as texts.
        below: the threshold, in nats.
        predictions: number of tokens of the corpus.
        places: [seeds, n + 1] number of tokens by their place in each seed; the last: never
            learned.
        pairs: [n + 1, n + 1] number of tokens by their places in two seeds, over all ordered pairs
            of seeds.
        any, all: number of tokens that jump in any seed, and in all seeds.
        same: number of tokens that jump at the same place in every seed.
        near: number of tokens that jump in every seed, at places that differ by one at most.
        chance_any, chance_all: what ``same / any`` and ``same / all`` would be by chance.
        chance_near: what ``near / all`` would be by chance.
        chance_icc: what ``icc`` would be by chance: 0, or less if the seeds differ as a whole.
        icc: of the logarithm of the size or step of the jump; NaN if all jump at one place.
        any_interval, all_interval, near_interval, icc_interval: 95% intervals of ``same / any``,
            ``same / all``, ``near / all`` and ``icc``.
    """

    at: Int64[np.ndarray, " n"]
    seeds: tuple[str, ...]
    below: float
    predictions: int
    places: Int64[np.ndarray, "seeds places"]
    pairs: Int64[np.ndarray, "places places"]
    any: int
    all: int
    same: int
    near: int
    chance_any: float
    chance_all: float
    chance_near: float
    chance_icc: float
    icc: float
    any_interval: tuple[float, float]
    all_interval: tuple[float, float]
    near_interval: tuple[float, float]
    icc_interval: tuple[float, float]


def agreement(
    losses: xr.Dataset,
    at: Int[np.ndarray, " n"],
    below: float = MONOGENIC.below,
    *,
    block: int = CHUNK,
    monitor: Monitor | None = None,
) -> Agreement:
    """Find the place at which every token is learned in every seed, reading each loss once::

        losses = by_seed(at_step(open_table(["runs/stdlib-seeds"])))
        agreement(losses, losses["size"].to_numpy()).icc

    Args:
        losses: of ``by_seed``, in nats: along ``model`` the sizes, or the checkpoints of one size,
            in ascending order.
        at: [n] their sizes, or steps; positive.
        below: nats; a token is learned where its loss is below.
        block: predictions that are read at once, of one model and seed.
        monitor: receives the progress.

    Raises:
        BadInput: for fewer than two seeds or three places, places that do not ascend, a threshold
            that is not positive, or a loss that is NaN, infinite or negative.
    """
    monitor = monitor or Silence()
    seeds = tuple(losses.seed.to_numpy().tolist())
    n, predictions = losses.sizes["model"], losses.sizes["prediction"]
    at = np.asarray(at, np.int64)
    if len(seeds) < 2:
        raise BadInput(
            "losses of one seed: whether seeds agree can be told from two "
            '(jquanta pretrain --train.seeds "0, 1")'
        )
    if n < LEAST_PLACES or (np.diff(at) <= 0).any() or at[0] < 1:
        raise BadInput(f"{n} sizes or steps: give at least {LEAST_PLACES}, positive and ascending")
    if not 0 < below < np.inf:
        raise BadInput(f"below = {below:g}: give a positive number of nats")
    found = _Counts(len(seeds), np.log(at.astype(np.float64)))
    edges = np.linspace(0, predictions, min(BLOCKS, predictions) + 1).astype(np.int64)
    for first in range(0, predictions, block):
        end = min(first + block, predictions)
        rows = losses.isel(prediction=slice(first, end))
        place = np.stack(
            [
                _learned(rows, seed, first, below, monitor, predictions)
                for seed in range(len(seeds))
            ],
            axis=1,
        )
        # The block of each token, since the blocks of the jackknife are not those of reading.
        found.add(place, np.searchsorted(edges, np.arange(first, end), side="right") - 1)
    return found.report(at, seeds, below, predictions)


def learned(
    losses: Num[np.ndarray, "predictions n"], below: float
) -> Int[np.ndarray, " predictions"]:
    """The first place from which a loss is below a threshold for good; n for never.

    Args:
        losses: [predictions, n].
        below: the threshold.
    """
    lasting = np.logical_and.accumulate(losses[:, ::-1] < below, axis=1)
    return np.asarray(losses.shape[1] - lasting.sum(1))


def chance_same(shares: Float64[np.ndarray, "seeds n"]) -> float:
    """Probability that independent places, of which each seed has its own distribution, all
    agree."""
    return float(shares.prod(0).sum())


def chance_near(shares: Float64[np.ndarray, "seeds n"]) -> float:
    """Probability that independent places all lie at two neighbouring ones, or at one."""
    # The events "all at j or j + 1" overlap, for neighbouring j, in "all at j + 1".
    two = (shares[:, :-1] + shares[:, 1:]).prod(0).sum()
    return float(two - shares[:, 1:-1].prod(0).sum())


def chance_correlation(
    shares: Float64[np.ndarray, "seeds n"], values: Float64[np.ndarray, " n"]
) -> float:
    """The intraclass correlation that independent places have if each seed has its own
    distribution.

    0 if all have the same one; below where they differ, since that is variance within tokens.

    Args:
        shares: of the places in each seed.
        values: of the places.
    """
    means = shares @ values
    variances = shares @ np.square(values) - np.square(means)
    tokens = 10**9  # of as many, whose own chance is none: the sums are expectations
    rows = variances.sum() + means.sum() ** 2
    squares = (variances + np.square(means)).sum()
    sums = (tokens * float(each) for each in (means.sum(), squares, rows))
    total, all_squares, all_rows = sums
    return correlation(tokens, total, all_squares, all_rows, len(shares))


def correlation(tokens: float, total: float, squares: float, rows: float, seeds: int) -> float:
    """The intraclass correlation ICC(1) of numbers [tokens, seeds], from their sums.

    Args:
        tokens: their number.
        total: sum of all numbers.
        squares: sum of their squares.
        rows: sum over tokens of the square of the sum over seeds.
        seeds: numbers of a token.
    """
    if tokens < 2:
        return float("nan")
    between = (rows / seeds - total**2 / (tokens * seeds)) / (tokens - 1)
    within = (squares - rows / seeds) / (tokens * (seeds - 1))
    whole = between + (seeds - 1) * within
    # Where all numbers are one, what is left of both is rounding.
    return (between - within) / whole if whole > 1e-12 * squares / tokens else float("nan")


def _learned(
    rows: xr.Dataset, seed: int, first: int, below: float, monitor: Monitor, predictions: int
) -> Int[np.ndarray, " predictions"]:
    """``learned`` of a block in one seed, a column at a time from the last: so there is never more
    than one in memory, however many checkpoints there are."""
    n, seeds = rows.sizes["model"], rows.sizes["seed"]
    lasting = np.ones(rows.sizes["prediction"], bool)
    place = np.full(rows.sizes["prediction"], n, np.int32)
    for done, column in enumerate(reversed(range(n))):
        one = rows.isel(model=column, seed=seed)
        loss = one.loss.to_numpy()
        label = f"{one.model.item()}, seed {one.seed.item()}"
        require_losses(loss[:, None], first, [label])
        lasting &= loss < below
        place -= lasting
        read = first * n * seeds + len(loss) * (seed * n + done + 1)
        monitor.work("reading losses", read / (predictions * n * seeds))
    return place


class _Counts:
    """Sums over tokens from which all numbers follow, in each block of the jackknife."""

    NAMES = "any", "all", "same", "near", "total", "squares", "rows"

    def __init__(self, seeds: int, logs: Float64[np.ndarray, " n"]):
        self.n = len(logs)
        self.logs = np.append(logs, 0.0)
        self.places = np.zeros((seeds, self.n + 1), np.int64)
        self.jumping = np.zeros((seeds, self.n + 1), np.int64)  # of tokens that jump in all seeds
        self.pairs = np.zeros((self.n + 1, self.n + 1), np.int64)
        self.sums = np.zeros((BLOCKS, len(self.NAMES)))

    def add(
        self, place: Int[np.ndarray, "predictions seeds"], block: Int[np.ndarray, " predictions"]
    ) -> None:
        """Add tokens with these places, of these blocks."""
        seeds, wide = place.shape[1], self.n + 1
        jumps = (place > 0) & (place < self.n)
        every = np.asarray(jumps.all(1))
        apart = np.ptp(place, axis=1)
        logs = np.where(every[:, None], self.logs[place], 0.0)
        sums = logs.sum(1)
        values = (
            jumps.any(1),
            every,
            every & (apart == 0),
            every & (apart <= 1),
            sums,
            np.square(logs).sum(1),
            np.square(sums),
        )
        for i, value in enumerate(values):
            self.sums[:, i] += np.bincount(block, value, minlength=BLOCKS)
        for seed in range(seeds):
            self.places[seed] += np.bincount(place[:, seed], minlength=wide)
            self.jumping[seed] += np.bincount(place[every, seed], minlength=wide)
            for other in range(seed):
                both = place[:, seed].astype(np.int64) * wide + place[:, other]
                table = np.bincount(both, minlength=wide**2).reshape(wide, wide)
                self.pairs += table + table.T

    def report(
        self, at: np.ndarray, seeds: tuple[str, ...], below: float, predictions: int
    ) -> Agreement:
        """All numbers, of the tokens added so far."""
        used = self.sums[: min(BLOCKS, predictions)]
        total = self._named(used.sum(0))
        shares = self.places / predictions
        jumps = slice(1, self.n)
        any_by_chance = 1 - (1 - shares[:, jumps].sum(1)).prod()
        among = self.jumping[:, jumps] / max(total["all"], 1)

        def ratio(part: str, whole: str) -> tuple[float, float]:
            return jackknife(used, lambda sums: _share(*self._take(sums, part, whole)))

        def icc(sums: np.ndarray) -> float:
            every, logs, squares, rows = self._take(sums, "all", "total", "squares", "rows")
            return correlation(every, logs, squares, rows, len(seeds))

        return Agreement(
            at=at,
            seeds=seeds,
            below=below,
            predictions=predictions,
            places=self.places,
            pairs=self.pairs,
            any=int(total["any"]),
            all=int(total["all"]),
            same=int(total["same"]),
            near=int(total["near"]),
            chance_any=_share(chance_same(shares[:, jumps]), float(any_by_chance)),
            chance_all=chance_same(among) if total["all"] else float("nan"),
            chance_near=chance_near(among) if total["all"] else float("nan"),
            chance_icc=chance_correlation(among, self.logs[jumps])
            if total["all"]
            else float("nan"),
            icc=icc(used.sum(0)),
            any_interval=ratio("same", "any"),
            all_interval=ratio("same", "all"),
            near_interval=ratio("near", "all"),
            icc_interval=jackknife(used, icc),
        )

    def _named(self, sums: np.ndarray) -> dict[str, float]:
        return dict(zip(self.NAMES, sums.tolist(), strict=True))

    def _take(self, sums: np.ndarray, *names: str) -> list[float]:
        return [self._named(sums)[name] for name in names]


def jackknife(
    sums: Float64[np.ndarray, "blocks sums"], of: Callable[[np.ndarray], float]
) -> tuple[float, float]:
    """Student's t interval of a function of sums, from leaving out one block at a time.

    (NaN, NaN) if the function is not defined, or with fewer than two blocks.
    """
    blocks, total = len(sums), sums.sum(0)
    if blocks < 2:
        return (float("nan"), float("nan"))
    without = np.array([of(total - one) for one in sums])
    error = np.sqrt((blocks - 1) / blocks * np.square(without - without.mean()).sum())
    half, value = float(stdtrit(blocks - 1, (1 + LEVEL) / 2) * error), of(total)
    return (value - half, value + half)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
