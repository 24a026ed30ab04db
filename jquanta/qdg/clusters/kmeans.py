"""k-means in JAX: all restarts for one number of clusters in one compiled program.

The algorithm is scikit-learn's: greedy k-means++ seeding (Arthur and Vassilvitskii, 2007), Lloyd
iterations until the same tolerance, empty clusters moved to the samples that are farthest from
their centres, and of all restarts the one with the least inertia.

On a CPU it is faster because the squared distances between all samples, d_ij = |x_i - x_j|², are
computed once:

* A step of k-means++ reads one row of them for each candidate centre, whatever the dimension, so
  more candidates can be tried. All restarts take their steps together.
* With c the mean of a cluster of n members, |x_i - c|² = Σ_j d_ij / n - Σ_jk d_jk / (2n²): the
  mean squared distance to its members, less the cluster's variance. Distances to centres are sums
  of rows in place of k · F products for each sample.

Different numbers of clusters share programs: clusters and dimensions are padded to a few sizes.
Padding changes no result: padded clusters are never nearest, padded dimensions are zero, and a
random number depends on its centre and candidate alone, not on the padded shape.

Shapes: Q samples, F dimensions, K clusters (with padding), ``restarts``, ``candidates`` for a
centre; ``n``: any number, ``blocks`` of samples.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Float32, Int, Int32, UInt32

from jquanta.errors import BadInput
from jquanta.masks import unmasked

MAX_ITER = 300
TOLERANCE = 1e-4
"""Iterations end when the squared movement of all centres together is at most this, in units of the
mean variance of a dimension."""

KEPT = 2**28
"""Distances between samples are kept up to so many: 2^28 × 4 bytes = 1 GiB, 16,384 samples."""

AT_ONCE = 2**30
"""Distances of samples to centres in memory at a time on an accelerator, over the restarts that run
together: 2^30 × 4 bytes = 4 GiB."""

SMALLEST = 128
"""Clusters in the smallest program of a CPU."""

SIZES = 384, 1024, 1536
"""Padded numbers of clusters on an accelerator; beyond the last, multiples of it.

Few sizes, because a program takes up to a minute to compile there (XLA times several kernels for
each matrix product), while all restarts for one number of clusters take a second at most. Among all
choices of three multiples of 128 these need the fewest multiplications for the paper's thirty
numbers of clusters: 1.8 times those without padding. The eight sizes on a CPU need 1.4 times.
"""

CANDIDATES = 4
"""How many times scikit-learn's 2 + ln k candidates are tried for each next centre, where distances
are kept.

They are cheap then, and as long as there are at least three samples a cluster they lower the
inertia of the best restart by 0.5 to 1%, more than it varies from seed to seed.
"""

BLOCK = 128
"""Samples in a block of ``_draw``."""

_IMPL = "threefry2x32"  # the random number generator, whatever JAX's default is
_dot = partial(jnp.matmul, precision=lax.Precision.HIGHEST)  # a GPU's default would be TF32


class KMeans(NamedTuple):
    """The best restart.

    Attributes:
        label: cluster of each sample, int32 [Q]. Fewer than k labels occur if fewer than k samples
            differ.
        inertia: sum of squared distances of samples to their centres, in the units of the points.
        iterations: Lloyd iterations of the best restart.
    """

    label: np.ndarray
    inertia: float
    iterations: int


def kmeans(
    points: Float[np.ndarray, "..."],
    k: int,
    *,
    seed: int = 0,
    n_init: int = 30,
    max_iter: int = MAX_ITER,
    tol: float = TOLERANCE,
) -> KMeans:
    """Partition ``points`` into ``k`` clusters, float32.

    Args:
        points: Q samples in F dimensions.
        k: clusters, at most Q.
        seed: of the random numbers; equal arguments give equal labels on one kind of device.
        n_init: restarts.
        max_iter: most Lloyd iterations of a restart.
        tol: see ``TOLERANCE``.

    Returns:
        The restart of least inertia.

    Raises:
        BadInput: for fewer samples than clusters, no clusters, no restarts, or points that are not
            finite.
    """
    points = unmasked(points, "points")
    _refuse(points, k, n_init)
    samples, dimensions = points.shape
    # Centred and scaled to unit variance: float32 then keeps most digits of the differences.
    centred = points - points.mean(axis=0)
    scale = float(np.sqrt((centred.astype(np.float64) ** 2).mean())) or 1.0
    host = jax.default_backend() == "cpu"
    layout = layout_for(samples, k, n_init, host)
    padded = np.zeros((samples, padded_size(dimensions, host)), np.float32)
    padded[:, :dimensions] = centred / scale
    keys = jax.random.key_data(jax.random.split(jax.random.key(seed, impl=_IMPL), n_init))
    label, inertia, iterations = _best(
        padded, k, _candidates(samples, k), keys, np.float32(tol), layout, max_iter
    )
    return KMeans(np.asarray(label), float(inertia) * scale**2, int(iterations))


class Layout(NamedTuple):
    """What a compiled program depends on besides the shape of its points. Nothing here changes a
    result beyond rounding.

    Attributes:
        clusters: k with padding.
        kept: whether the distances between all samples are kept.
        scatter: whether sums over the members of clusters are scatter-adds. Otherwise they are
            matrix products with one-hot labels, whose order of summation is fixed on an accelerator
            as well.
        batch: restarts that run together.
        candidates: T, places for candidates for a next centre; how many of them are used depends on
            k.
    """

    clusters: int
    kept: bool
    scatter: bool
    batch: int
    candidates: int


def layout_for(samples: int, k: int, n_init: int, host: bool) -> Layout:
    """The program for k clusters: on a CPU, or on an accelerator."""
    clusters = padded_size(k, host)
    batch = 1 if host else max(1, min(n_init, AT_ONCE // (samples * clusters)))
    return Layout(clusters, _kept(samples), host, batch, _candidates(samples, clusters))


def _kept(samples: int) -> bool:
    return samples**2 <= KEPT


def _candidates(samples: int, k: int) -> int:
    """How many candidates are tried for each of k centres."""
    return (CANDIDATES if _kept(samples) else 1) * (2 + int(math.log(_padded(k))))


def padded_size(count: int, host: bool) -> int:
    """A number of clusters or dimensions, padded as suits a CPU or an accelerator."""
    if host:
        return _padded(count)
    return next((size for size in SIZES if size >= count), -(-count // SIZES[-1]) * SIZES[-1])


def _refuse(points: np.ndarray, k: int, n_init: int) -> None:
    if points.ndim != 2 or points.shape[1] < 1:
        raise BadInput(f"points have shape {points.shape}: give samples × dimensions")
    if not 1 <= k <= len(points):
        raise BadInput(f"{k} clusters of {len(points)} samples: give 1 to {len(points)} clusters")
    if n_init < 1:
        raise BadInput(f"n_init = {n_init}: give at least 1 restart")
    if not np.isfinite(points).all():
        raise BadInput("points: NaN or infinite numbers; give finite ones")


def _padded(size: int) -> int:
    """The next larger 2^m or 3 · 2^m: less than half is padding, and the paper's thirty counts need
    eight programs."""
    power = max(SMALLEST, 2 ** math.ceil(math.log2(size)))
    return 3 * power // 4 if power > SMALLEST and size <= 3 * power // 4 else power


@partial(jax.jit, static_argnames=("layout", "max_iter"))
def _best(
    points: Float32[Array, "Q F"],
    k: int | Int[Array, ""],
    candidates: int | Int[Array, ""],
    keys: UInt32[Array, "restarts 2"],
    tol: Float32[Array, ""],
    layout: Layout,
    max_iter: int,
) -> tuple[Int32[Array, " Q"], Float32[Array, ""], Int32[Array, ""]]:
    """Labels, inertia and iterations of the best of all restarts."""
    apart = _squared_distances(points, points) if layout.kept else None
    first = _seeds(points, apart, k, candidates, keys, layout)
    solve = partial(_lloyd, points, apart, k, tol, layout, max_iter)
    solved = lax.map(solve, first, batch_size=layout.batch if layout.batch > 1 else None)
    best = jnp.argmin(solved[1])
    return jax.tree.map(lambda of_restarts: of_restarts[best], solved)


def _squared_distances(
    some: Float32[Array, "*n F"], points: Float32[Array, "Q F"]
) -> Float32[Array, "*n Q"]:
    squares = (some**2).sum(axis=-1)[..., None] + (points**2).sum(axis=1)
    return jnp.maximum(squares - 2 * _dot(some, points.T), 0)


def _seeds(
    points: Float32[Array, "Q F"],
    apart: Float32[Array, "Q Q"] | None,
    k: int | Int[Array, ""],
    candidates: int | Int[Array, ""],
    keys: UInt32[Array, "restarts 2"],
    layout: Layout,
) -> Int32[Array, "restarts K"]:
    """Greedy k-means++: the samples at which each restart puts its first centres; 0 beyond k.

    The first is drawn uniformly. For each next one, ``candidates`` samples are drawn with
    probabilities in proportion to their squared distance to the nearest centre so far, and the one
    is taken that leaves the least sum of squared distances to the nearest centre.
    """
    restarts, samples = len(keys), len(points)

    def distances(
        of: Int32[Array, "restarts candidates"],
    ) -> Float32[Array, "restarts candidates Q"]:
        return apart[of] if apart is not None else _squared_distances(points[of], points)

    wrapped = jax.random.wrap_key_data(keys, impl=_IMPL)
    # In one row, so that the numbers for centre i begin at place i · candidates whatever the
    # padding: JAX computes each from its place alone (jax_threefry_partitionable, the default).
    shape = (layout.clusters * layout.candidates,)
    uniform = jax.vmap(lambda key: jax.random.uniform(key, shape, jnp.float32))(wrapped)
    start = (uniform[:, :1] * samples).astype(jnp.int32)
    every, places = jnp.arange(restarts), jnp.arange(layout.candidates)

    def step(
        number: Int[Array, ""],
        state: tuple[Int32[Array, "restarts K"], Float32[Array, "restarts Q"]],
    ) -> tuple[Int32[Array, "restarts K"], Float32[Array, "restarts Q"]]:
        chosen, nearest = state
        own = lax.dynamic_slice_in_dim(uniform, number * candidates, layout.candidates, axis=1)
        drawn = _draw(nearest, own)
        nearer = jnp.minimum(nearest[:, None], distances(drawn))
        # A sum over samples, as a product with ones: that XLA vectorises and spreads over cores.
        left = _dot(nearer, jnp.ones(samples, jnp.float32))
        best = drawn[every, jnp.argmin(jnp.where(places < candidates, left, jnp.inf), axis=1)]
        # Computed again rather than taken from ``nearer``, so that XLA need not store that array.
        nearest = jnp.minimum(nearest, distances(best[:, None])[:, 0])
        return lax.dynamic_update_slice_in_dim(chosen, best[:, None], number, axis=1), nearest

    chosen = jnp.pad(start, ((0, 0), (0, layout.clusters - 1)))
    return lax.fori_loop(1, k, step, (chosen, distances(start)[:, 0]))[0]


def _draw(
    weights: Float32[Array, "restarts Q"], uniform: Float32[Array, "restarts candidates"]
) -> Int32[Array, "restarts candidates"]:
    """Samples drawn with probabilities in proportion to ``weights``, by inverting the cumulative
    sum: first of blocks of ``BLOCK`` samples, then within the block.

    A single cumulative sum over all samples would lose small weights to rounding, and take longer.
    """
    restarts, samples = weights.shape
    missing = -samples % BLOCK
    blocks = jnp.pad(weights, ((0, 0), (0, missing))).reshape(restarts, -1, BLOCK)
    sums = blocks.sum(axis=2)
    ends = jnp.cumsum(sums, axis=1)
    target = uniform * ends[:, -1:]
    block = _first_above(ends[:, None], target)
    every = jnp.arange(restarts)[:, None]
    inside = target - (ends[every, block] - sums[every, block])
    place = _first_above(jnp.cumsum(blocks[every, block], axis=2), inside)
    return jnp.minimum(block * BLOCK + place, samples - 1)


def _first_above(
    ends: Float32[Array, "restarts _ blocks"], target: Float32[Array, "restarts candidates"]
) -> Int32[Array, "restarts candidates"]:
    """The first place on the last axis of ``ends``, which ascends, where it exceeds the target; the
    last place if there is none."""
    below = (ends <= target[..., None]).sum(axis=2, dtype=jnp.int32)
    return jnp.minimum(below, ends.shape[2] - 1)


class _State(NamedTuple):
    centres: Float32[Array, "K F"]
    distance: Float32[Array, "K Q"]  # squared, from centres to samples
    label: Int32[Array, " Q"]
    iterations: Int32[Array, ""]
    settled: Bool[Array, ""]  # labels no longer change
    done: Bool[Array, ""]


def _lloyd(
    points: Float32[Array, "Q F"],
    apart: Float32[Array, "Q Q"] | None,
    k: int | Int[Array, ""],
    tol: Float32[Array, ""],
    layout: Layout,
    max_iter: int,
    first: Int32[Array, " K"],
) -> tuple[Int32[Array, " Q"], Float32[Array, ""], Int32[Array, ""]]:
    """One restart, by Lloyd iterations from centres at the samples ``first``: assign each sample to
    its nearest centre, move each centre to the mean of its samples. Labels, inertia, iterations."""
    samples, clusters = len(points), len(first)
    real = jnp.arange(clusters) < k
    squares = (points**2).sum(axis=1)

    def assign(distance: Float32[Array, "K Q"]) -> Int32[Array, " Q"]:
        distance = jnp.where(real[:, None], distance, jnp.inf)
        # First the minimum, then its first place: XLA's argmin is several times slower on a CPU.
        least = distance == distance.min(axis=0)
        places = jnp.where(least, jnp.arange(clusters, dtype=jnp.int32)[:, None], clusters - 1)
        return places.min(axis=0)

    def sizes_of(label: Int32[Array, " Q"]) -> Float32[Array, " K"]:
        if layout.scatter:
            return jnp.zeros(clusters, jnp.float32).at[label].add(1.0)
        return (label == jnp.arange(clusters)[:, None]).sum(axis=1, dtype=jnp.float32)

    def means(
        of: Float32[Array, "Q n"], member: Int32[Array, " Q"], sizes: Float32[Array, " K"]
    ) -> Float32[Array, "K n"]:
        """Means over the members of each cluster; 0 for an empty one."""
        if layout.scatter:
            sums = jax.ops.segment_sum(of, member, clusters)
        else:
            sums = _dot(jax.nn.one_hot(member, clusters, axis=0), of)
        return sums / jnp.maximum(sizes, 1)[:, None]

    def iterate(state: _State) -> _State:
        label = assign(state.distance)
        empty = real & (sizes_of(label) == 0)
        member = lax.cond(
            empty.any(), _refill, lambda *given: given[-1], points, state.centres, empty, label
        )
        sizes = sizes_of(member)
        there = (sizes > 0)[:, None]
        centres = jnp.where(there, means(points, member, sizes), state.centres)
        if apart is not None and layout.scatter:
            # The cluster's variance: the mean of |x|² less |c|².
            own = means(squares[:, None], member, sizes) - (centres**2).sum(axis=1)[:, None]
            distance = jnp.where(there, means(apart, member, sizes) - own, state.distance)
        else:
            distance = _squared_distances(centres, points)
        settled = (label == state.label).all()
        moved = ((centres - state.centres) ** 2).sum()
        done = settled | (moved <= tol)
        return _State(centres, distance, label, state.iterations + 1, settled, done)

    def unfinished(state: _State) -> Bool[Array, ""]:
        return ~state.done & (state.iterations < max_iter)

    centres = points[first]
    distance = apart[first] if apart is not None else _squared_distances(centres, points)
    none = jnp.full(samples, -1, jnp.int32)
    start = _State(centres, distance, none, jnp.int32(0), jnp.array(False), jnp.array(False))
    end = lax.while_loop(unfinished, iterate, start)
    # The last step moved the centres after the labels were assigned, unless they were the same.
    label = lax.cond(end.settled, lambda: end.label, lambda: assign(end.distance))
    return label, _distances(points, end.centres, label).sum(), end.iterations


def _distances(
    points: Float32[Array, "Q F"], centres: Float32[Array, "K F"], label: Int32[Array, " Q"]
) -> Float32[Array, " Q"]:
    """Squared distance of each sample to its centre."""
    return ((points - centres[label]) ** 2).sum(axis=1)


def _refill(
    points: Float32[Array, "Q F"],
    centres: Float32[Array, "K F"],
    empty: Bool[Array, " K"],
    label: Int32[Array, " Q"],
) -> Int32[Array, " Q"]:
    """Labels after each empty cluster has taken one sample, those farthest from their centres
    first."""
    far = _distances(points, centres, label)
    order = jnp.argsort(-far)
    sample = order[jnp.minimum(jnp.cumsum(empty) - 1, len(points) - 1)]
    taken = jnp.where(empty & (far[sample] > 0), sample, len(points))  # beyond the last: none
    # Each sample is taken by at most one cluster. All pairs are compared, which on a GPU is quicker
    # than a scatter.
    taker = jnp.where(
        taken[:, None] == jnp.arange(len(points)),
        jnp.arange(len(empty), dtype=jnp.int32)[:, None],
        -1,
    ).max(axis=0)
    return jnp.where(taker >= 0, taker, label)
