"""Spherical k-means in JAX: clusters of unit vectors by their cosines to the clusters' centres.

Where there are too many samples for a matrix of all pairs, their features themselves are clustered.
A sample belongs to the centre to which it has the highest cosine, and a centre is the sum of its
samples, scaled to unit length (Dhillon and Modha, 2001). Iterations of the two never lower Σ cos of
the samples with their own centres. Since |x - c|² = 2 - 2 cos for unit vectors, this is k-means in
which centres are kept on the sphere.

An iteration is one product of all samples with all centres, 2·Q·K·F operations, and one sum over
members. Samples pass in chunks of one shape, and numbers of clusters are padded to a few sizes, so
that few programs serve all. On a GPU the sum is a product, too, whose order of summation is fixed.

Shapes: Q samples, F features, K clusters (with padding), B samples of a chunk.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float32, Float64, Int, Int32

from jquanta.errors import BadInput
from jquanta.machine.devices import on_host
from jquanta.machine.memory import usable
from jquanta.qdg.clusters.kmeans import KMeans

MAX_ITER = 100
"""Iterations of a restart, at most."""

SETTLED = 1e-3
"""Iterations end when at most this share of the samples changed their cluster in the last one."""

CHUNK = 2**12
"""Samples of a chunk on a CPU: with 1,024 clusters their cosines take 16 MiB."""

GPU_CHUNK = 2**15
"""Samples of a chunk on an accelerator: with 4,096 clusters their cosines take 512 MiB."""

SIZES = 256, 1024, 4096
"""Padded numbers of clusters on an accelerator; beyond the last, multiples of it. Each is a program
that takes longer to compile than its iterations take to run."""

CPU_SIZE = 128
"""On a CPU, where programs compile in half a second, numbers of clusters are padded to multiples of
this."""

ROUNDS = 8
"""Rounds in which the first centres are drawn."""

_dot = partial(jnp.matmul, precision=lax.Precision.HIGHEST)  # a GPU's default would be TF32


class Points(NamedTuple):
    """Unit vectors where they are computed with.

    Attributes:
        host: [Q, F], in the memory of the computer.
        device: the same on the device.
    """

    host: Float32[np.ndarray, "Q F"]
    device: Float32[Array, "Q F"]


def points(unit: Float32[np.ndarray, "Q F"]) -> Points:
    """Unit vectors, given to the device once for all numbers of clusters.

    Raises:
        BadInput: if they do not fit there.
    """
    if unit.nbytes > usable():
        raise BadInput(
            f"{len(unit):,} vectors of {unit.shape[1]:,} numbers take {unit.nbytes / 1e9:.3g} GB, "
            f"and {usable() / 1e9:.3g} GB are free; give a smaller sketch, or fewer samples"
        )
    return Points(unit, jnp.asarray(unit))


def spherical(
    of: Points,
    k: int,
    *,
    seed: int = 0,
    n_init: int = 1,
    max_iter: int = MAX_ITER,
    settled: float = SETTLED,
    watch: Callable[[float, str], None] = lambda share, detail: None,
) -> KMeans:
    """Partition unit vectors into ``k`` clusters by spherical k-means, float32.

    Args:
        of: Q samples of F features; see ``points``.
        k: clusters, at most Q.
        seed: of the random numbers; equal arguments give equal labels on one kind of device.
        n_init: restarts.
        max_iter: iterations of a restart, at most.
        settled: see ``SETTLED``; at 0, iterations end when no label changes.
        watch: is told the share of the work that is done, as far as it can be known, and in words
            how it goes.

    Returns:
        The restart of least inertia, Σ |x - c|² = Σ 2 (1 - cos) over samples x and the centres c,
        of unit length, of their clusters. An empty cluster takes the sample that is farthest from
        its centre, and fewer than k labels occur if fewer than k samples differ.

    Raises:
        BadInput: for fewer samples than clusters, no clusters or no restarts.
    """
    samples = len(of.host)
    if not 1 <= k <= samples:
        raise BadInput(f"{k} clusters of {samples} samples: give 1 to {samples} clusters")
    if n_init < 1:
        raise BadInput(f"n_init = {n_init}: give at least 1 restart")
    best = None
    for restart in range(n_init):
        draw = np.random.default_rng([seed, k, restart])

        def done(share: float, detail: str, before: int = restart) -> None:
            watch((before + share) / n_init, detail)

        found = _restart(of, k, draw, max_iter, settled, done)
        if best is None or found.inertia < best.inertia:
            best = found
    assert best is not None
    return best


def _restart(
    of: Points,
    k: int,
    draw: np.random.Generator,
    max_iter: int,
    settled: float,
    watch: Callable[[float, str], None],
) -> KMeans:
    """One restart: assign each sample to its nearest centre, move each centre to its samples."""
    centres = jnp.asarray(_padded(of.host[seeds(of, k, draw)], k))
    label, share = np.full(len(of.host), -1, np.int32), 0.0
    for iteration in range(1, max_iter + 1):
        pass_ = assigned(of, centres, k)
        changed = int((pass_.label != label).sum())
        label = pass_.label
        share = max(share, _share(iteration, max_iter, changed / len(label), settled))
        watch(share, f"{k:,} clusters, {changed / len(label):.2%} of samples moved")
        if changed <= settled * len(label):
            break
        centres = _moved(pass_.sums, centres)
        empty = np.flatnonzero(np.asarray(pass_.sizes)[:k] == 0)
        if len(empty):
            far = np.argsort(pass_.cosine, kind="stable")[: len(empty)]
            there = pass_.cosine[far] < 1 - 1e-6  # of equal samples one cluster is enough
            centres = centres.at[empty[there]].set(of.host[far[there]])
    cosine = pass_.cosine.astype(np.float64)
    return KMeans(label, float(2 * (1 - cosine).sum()), iteration)


def _share(iteration: int, most: int, changed: float, settled: float) -> float:
    """How much of a restart is done: of its iterations, or of the way on which fewer and fewer
    labels change, which falls by about the same factor in each iteration."""
    way = np.log(max(changed, 1e-9)) / np.log(max(settled, 1e-9))
    return float(min(1.0, max(iteration / most, way**2)))


class Pass(NamedTuple):
    """What one pass over all samples finds.

    Attributes:
        label: [Q] the centre to which each sample has the highest cosine, the first of several.
        cosine: [Q] that cosine.
        sums: [K, F] sums of the samples of each cluster, on the device.
        sizes: [K] their numbers.
    """

    label: Int32[np.ndarray, " Q"]
    cosine: Float32[np.ndarray, " Q"]
    sums: Float32[Array, "K F"]
    sizes: Float32[Array, " K"]


def assigned(of: Points, centres: Float32[Array, "K F"], k: int) -> Pass:
    """Each sample's nearest of the first ``k`` centres, and the sums over their clusters."""
    samples = len(of.host)
    rows = min(samples, CHUNK if on_host() else GPU_CHUNK)
    sums, sizes, labels, cosines = _pass(of.device, centres, k, rows, on_host())
    label, cosine = np.empty(samples, np.int32), np.empty(samples, np.float32)
    for number, chunk in enumerate(zip(np.asarray(labels), np.asarray(cosines), strict=True)):
        start = min(number * rows, samples - rows)
        label[start : start + rows], cosine[start : start + rows] = chunk
    return Pass(label, cosine, sums, sizes)


@partial(jax.jit, static_argnames=("rows", "scatter"))
def _pass(
    points: Float32[Array, "Q F"],
    centres: Float32[Array, "K F"],
    k: int | Int[Array, ""],
    rows: int,
    scatter: bool,
) -> tuple[
    Float32[Array, "K F"],
    Float32[Array, " K"],
    Int32[Array, "chunks B"],
    Float32[Array, "chunks B"],
]:
    """``assigned`` on the device, chunk by chunk. The last chunk ends with the last sample and
    overlaps the one before; what overlaps is not added up again."""
    samples, clusters = len(points), len(centres)
    every = jnp.arange(clusters, dtype=jnp.int32)

    def chunk(
        state: tuple[Float32[Array, "K F"], Float32[Array, " K"]], number: Int[Array, ""]
    ) -> tuple[Any, Any]:
        sums, sizes = state
        start = jnp.minimum(number * rows, samples - rows)
        some = lax.dynamic_slice_in_dim(points, start, rows)
        cosine = jnp.where(every < k, _dot(some, centres.T), -jnp.inf)
        best = cosine.max(axis=1)
        # First the maximum, then its first place: XLA's argmax is several times slower on a CPU.
        label = jnp.where(cosine == best[:, None], every, clusters - 1).min(axis=1)
        fresh = start + jnp.arange(rows) >= number * rows
        member = jnp.where(fresh, label, clusters)  # beyond the last: in no cluster
        if scatter:
            sums = sums.at[member].add(some, mode="drop")
            sizes = sizes.at[member].add(1.0, mode="drop")
        else:
            hot = (member == every[:, None]).astype(some.dtype)
            sums, sizes = sums + _dot(hot, some), sizes + hot.sum(axis=1)
        return (sums, sizes), (label, best)

    start = jnp.zeros_like(centres), jnp.zeros(clusters, centres.dtype)
    numbers = jnp.arange(-(-samples // rows))
    (sums, sizes), (labels, cosines) = lax.scan(chunk, start, numbers)
    return sums, sizes, labels, cosines


@jax.jit
def _moved(sums: Float32[Array, "K F"], before: Float32[Array, "K F"]) -> Float32[Array, "K F"]:
    """Sums scaled to unit length; where they are zero, the centres before."""
    length = jnp.linalg.norm(sums, axis=1, keepdims=True)
    return jnp.where(length > 0, sums / jnp.where(length > 0, length, 1), before)


def padded_clusters(k: int, host: bool) -> int:
    """A number of clusters, padded as suits a CPU (``host``) or an accelerator."""
    if host:
        return -(-k // CPU_SIZE) * CPU_SIZE
    return next((size for size in SIZES if size >= k), -(-k // SIZES[-1]) * SIZES[-1])


def _padded(centres: Float32[np.ndarray, "k F"], k: int) -> Float32[np.ndarray, "K F"]:
    out = np.zeros((padded_clusters(k, on_host()), centres.shape[1]), np.float32)
    out[: len(centres)] = centres
    return out


def seeds(of: Points, k: int, draw: np.random.Generator) -> Int[np.ndarray, " k"]:
    """The samples at which the first centres are put.

    Some are drawn uniformly, then in ``ROUNDS`` rounds further ones with probabilities in
    proportion to their squared distance, 2 - 2 cos, to the nearest one so far: k-means++ in which
    several centres are drawn at a time (as in k-means||), so that all draws together cost one pass.
    """
    samples = len(of.host)
    chosen = draw.choice(samples, -(-k // ROUNDS), replace=False)
    nearest = np.full(samples, -1.0, np.float32)
    new = chosen
    while len(chosen) < k:
        centres = jnp.asarray(_padded(of.host[new], len(new)))
        nearest = np.maximum(nearest, assigned(of, centres, len(new)).cosine)
        far = np.maximum(1 - nearest.astype(np.float64), 0)
        far[chosen] = 0
        want = min(k - len(chosen), -(-k // ROUNDS))
        new = _drawn(far, want, chosen, draw)
        chosen = np.concatenate([chosen, new])
    return chosen


def _drawn(
    weight: Float64[np.ndarray, " Q"],
    want: int,
    taken: Int[np.ndarray, " n"],
    draw: np.random.Generator,
) -> Int[np.ndarray, " want"]:
    """Different samples with probabilities in proportion to their weights; where too few have any,
    others that are not taken."""
    there = np.flatnonzero(weight > 0)
    few = min(want, len(there))
    if few:
        found = draw.choice(len(weight), few, replace=False, p=weight / weight.sum())
    else:
        found = np.empty(0, np.int64)
    if few < want:
        free = np.setdiff1d(np.arange(len(weight)), np.concatenate([taken, found]))
        found = np.concatenate([found, draw.choice(free, want - few, replace=False)])
    return found
