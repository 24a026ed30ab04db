"""k-means beside scikit-learn: the same path from the same seeds, and as good an end."""

from collections.abc import Sequence
from functools import partial
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

from jquanta.errors import BadInput
from jquanta.qdg.clusters import kmeans as fast
from jquanta.qdg.clusters.cluster import COUNTS
from jquanta.qdg.clusters.kmeans import TOLERANCE, kmeans
from tests.cuda import as_on_a_gpu
from tests.qdg.clusters.vectors import groups

CPU = fast.Layout(clusters=128, kept=True, scatter=True, batch=1, candidates=6)
LAYOUTS = {
    "cpu": CPU,
    "many samples": CPU._replace(kept=False),
    "accelerator": CPU._replace(scatter=False, batch=3),
    "accelerator, many samples": CPU._replace(kept=False, scatter=False, batch=4),
}


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    """Blobs that overlap, so that Lloyd's takes its time: mean 0, mean square 1, float32."""
    found, _ = groups([120, 100, 80, 60, 40, 20], 128, 1.5)
    found -= found.mean(axis=0)
    return found / np.sqrt((found**2).mean())


def inertia(points: np.ndarray, label: np.ndarray) -> float:
    """Sum of squared distances to the means of clusters, in float64."""
    parts = [points[label == c].astype(np.float64) for c in np.unique(label)]
    return float(sum(((part - part.mean(axis=0)) ** 2).sum() for part in parts))


def squared_distances(points: np.ndarray) -> jax.Array:
    return jnp.asarray(((points[:, None] - points) ** 2).sum(axis=2))


def solve(points: np.ndarray, first: np.ndarray, layout: fast.Layout) -> tuple[np.ndarray, ...]:
    """One restart of ours from the samples ``first``."""
    apart = squared_distances(points) if layout.kept else None
    padded = np.zeros(layout.clusters, np.int32)
    padded[: len(first)] = first
    tol = np.float32(TOLERANCE)
    run = jax.jit(partial(fast._lloyd, layout=layout, max_iter=300))
    found = run(jnp.asarray(points), apart, len(first), tol, first=jnp.asarray(padded))
    return tuple(map(np.asarray, found))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize(
    "first",
    [
        np.arange(0, 200, 10),
        np.array([3, 3, 3, 50, 50, 120]),  # centres that no sample is nearest to are moved
    ],
    ids=["apart", "some alike"],
)
def test_a_restart_takes_scikit_learns_path(
    points: np.ndarray, first: np.ndarray, layout: fast.Layout
) -> None:
    label, cost, iterations = solve(points, first, layout)
    # centred already, but for rounding; given centres, not drawn ones
    theirs = KMeans(len(first), init=points[first], n_init=1).fit(points)
    np.testing.assert_array_equal(label, theirs.labels_)
    assert cost == pytest.approx(theirs.inertia_, rel=1e-5)  # float32 sums of 54,000 squares
    assert int(iterations) == theirs.n_iter_
    assert len(np.unique(label)) == len(first)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_agree(points: np.ndarray, layout: fast.Layout) -> None:
    keys = jax.random.key_data(jax.random.split(jax.random.key(0, impl="threefry2x32"), 7))
    results = [
        fast._best(points, 13, 6, keys, np.float32(TOLERANCE), some, 300) for some in (CPU, layout)
    ]
    for mine, other in zip(*results, strict=True):
        np.testing.assert_allclose(np.asarray(mine), np.asarray(other), rtol=1e-5)


def test_the_best_restart_is_kept(points: np.ndarray) -> None:
    keys = jax.random.key_data(jax.random.split(jax.random.key(1, impl="threefry2x32"), 5))
    apart = squared_distances(points)
    first = np.asarray(fast._seeds(jnp.asarray(points), apart, 13, 6, keys, CPU))
    costs = [inertia(points, solve(points, some[:13], CPU)[0]) for some in first]
    label, cost, _ = fast._best(points, 13, 6, keys, np.float32(TOLERANCE), CPU, 300)
    assert inertia(points, np.asarray(label)) == min(costs)
    assert float(cost) == pytest.approx(min(costs), rel=1e-5)
    assert len(set(costs)) > 1


def test_seeds_are_all_different_samples(points: np.ndarray) -> None:
    keys = jax.random.key_data(jax.random.split(jax.random.key(2, impl="threefry2x32"), 4))
    for apart in (squared_distances(points), None):
        first = np.asarray(fast._seeds(jnp.asarray(points), apart, 100, 6, keys, CPU))
        assert all(len(set(some[:100].tolist())) == 100 for some in first)
        assert len(set(first[:, 0].tolist())) > 1
        assert not first[:, 100:].any()


def test_seeds_do_not_depend_on_padding(points: np.ndarray) -> None:
    """More places for clusters and candidates than count: the same numbers, the same samples."""
    keys = jax.random.key_data(jax.random.split(jax.random.key(3, impl="threefry2x32"), 4))
    apart = squared_distances(points)
    wide = CPU._replace(clusters=384, candidates=28)
    few, same, more = (
        np.asarray(fast._seeds(jnp.asarray(points), apart, 100, candidates, keys, layout))
        for layout, candidates in ((CPU, 6), (wide, 6), (wide, 28))
    )
    np.testing.assert_array_equal(few[:, :100], same[:, :100])
    assert not same[:, 100:].any()
    assert (same != more).any()  # so candidates that do not count would be seen


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize(
    ("spread", "k"),
    [(0.02, 6), (1.5, 3), (1.5, 60), (1.5, 129), (1.5, 390)],
    ids=["well apart", *("overlapping" for _ in range(4))],
)
def test_a_gpus_padding_gives_a_cpus_labels(spread: float, k: int) -> None:
    """Equal, not nearly: the draws are the same, and sums differ by their order of adding, which
    decides nothing here. (It would where clusters are finer than the rounding of distances, as 60
    in groups that are well apart.)"""
    data, _ = groups([120, 100, 80, 60, 40, 20], 40, spread)
    wanted = kmeans(data, k, n_init=3)
    with as_on_a_gpu():
        assert fast.layout_for(len(data), k, 3, host=False).clusters in fast.SIZES
        found = kmeans(data, k, n_init=3)
    np.testing.assert_array_equal(found.label, wanted.label)
    assert found.iterations == wanted.iterations


def test_padding_changes_no_label_at_all(points: np.ndarray) -> None:
    """One way of adding, two paddings of clusters, two of dimensions."""
    keys = jax.random.key_data(jax.random.split(jax.random.key(0, impl="threefry2x32"), 4))
    narrow, wide = (CPU._replace(scatter=False, batch=4, clusters=size) for size in (128, 384))
    more = np.pad(points, ((0, 0), (0, 384 - points.shape[1])))
    results = [
        fast._best(of, 60, 6, keys, np.float32(TOLERANCE), layout, 300)
        for of, layout in ((points, narrow), (points, wide), (more, wide))
    ]
    for found in results[1:]:
        np.testing.assert_array_equal(np.asarray(found[0]), np.asarray(results[0][0]))
        assert int(found[2]) == int(results[0][2])


def programs(counts: Sequence[int], samples: int, host: bool) -> set[object]:
    """What tells the programs of ``counts`` apart, where points have as many dimensions."""
    return {(fast.layout_for(samples, k, 30, host), fast.padded_size(k, host)) for k in counts}


def test_the_papers_counts_are_three_programs_on_a_gpu() -> None:
    assert len(programs(COUNTS, 10_000, host=True)) == 8
    assert len(programs(COUNTS, 10_000, host=False)) == 3
    assert all(fast.padded_size(k, host=False) >= k for k in range(1, 5000))
    assert fast.padded_size(1537, host=False) == 2 * fast.padded_size(1536, host=False)


def test_the_sizes_of_a_gpu_need_the_fewest_multiplications() -> None:
    """Clusters times dimensions of the paper's counts, over all three multiples of 128."""

    def work(sizes: Sequence[int]) -> int:
        return sum(min(size for size in sizes if size >= k) ** 2 for k in COUNTS)

    choices = [(*two, 1536) for two in combinations(range(128, 1536, 128), 2)]
    assert min(choices, key=work) == fast.SIZES
    assert work(fast.SIZES) / sum(k**2 for k in COUNTS) == pytest.approx(1.76, abs=0.01)


def test_candidates_are_those_of_a_cpu_everywhere() -> None:
    wanted = [fast._candidates(10_000, k) for k in COUNTS]
    assert sorted(set(wanted)) == [24, 28, 32, 36]
    with as_on_a_gpu():
        assert [fast._candidates(10_000, k) for k in COUNTS] == wanted
    for k, candidates in zip(COUNTS, wanted, strict=True):
        assert fast.layout_for(10_000, k, 30, host=False).candidates >= candidates


def test_a_number_that_rounding_put_beyond_the_last_place_is_in_it() -> None:
    found = fast._first_above(jnp.array([[[1.0, 2.0, 4.0]]]), jnp.array([[0.0, 1.0, 4.0]]))
    assert found.tolist() == [[0, 1, 2]]


def test_no_distance_is_negative(points: np.ndarray) -> None:
    """Rounding would make some so, and weights of a draw they must not be."""
    moved = jnp.asarray(points + 30)
    assert (fast._squared_distances(moved, moved) >= 0).all()
    plain = (moved**2).sum(1)[:, None] + (moved**2).sum(1) - 2 * moved @ moved.T
    assert (plain < 0).any()


def test_samples_are_drawn_in_proportion_to_their_weight() -> None:
    draws = 4096
    weights = np.zeros(300, np.float32)
    weights[[3, 127, 128, 140, 299]] = [1, 2, 3, 4, 6]  # ends of blocks of 128, and the last
    uniform = (np.arange(draws, dtype=np.float32) + 0.5)[None] / draws
    drawn = np.asarray(fast._draw(jnp.asarray(weights)[None], jnp.asarray(uniform)))[0]
    counts = np.bincount(drawn, minlength=300)
    # evenly spaced numbers meet each share to one draw at either end
    np.testing.assert_allclose(counts, weights / 16 * draws, atol=2)
    assert counts[weights == 0].sum() == 0


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("k", [2, 13, 40, 129])  # 129: a larger program
def test_inertia_is_not_worse_than_scikit_learns(points: np.ndarray, k: int) -> None:
    mine = kmeans(points, k, n_init=30)
    theirs = KMeans(k, n_init=30, random_state=0).fit(points)
    assert mine.inertia == pytest.approx(inertia(points, mine.label), rel=1e-5)
    # Both are the best of 30, which differ by up to 0.5% over seeds; ours has more candidates.
    assert mine.inertia <= 1.003 * theirs.inertia_
    assert len(np.unique(mine.label)) == k


def test_iterations_end_at_the_tolerance_or_at_the_most(points: np.ndarray) -> None:
    patient = kmeans(points, 13, n_init=1, tol=0)
    assert patient.iterations > 2
    for settings, wanted in (({"tol": 1e6}, 1), ({"tol": 0, "max_iter": 2}, 2)):
        found = kmeans(points, 13, n_init=1, **settings)
        assert found.iterations == wanted
        assert found.inertia > patient.inertia


def test_equal_arguments_give_equal_labels(points: np.ndarray) -> None:
    first, second, other = (kmeans(points, 13, seed=s, n_init=2) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.label, second.label)
    assert (first.label != other.label).any()


def test_in_float64_programs_too(points: np.ndarray) -> None:
    """Ours stays in float32 where the user has switched JAX to float64."""
    with jax.enable_x64(True):
        found = kmeans(points, 12, n_init=3)
    wanted = kmeans(points, 12, n_init=3)
    np.testing.assert_array_equal(found.label, wanted.label)
    assert found.inertia == pytest.approx(wanted.inertia, rel=1e-6)


def test_units_do_not_matter(points: np.ndarray) -> None:
    """Nor does an offset: a spectral embedding is of order 1e-3, its first vector constant."""
    plain = kmeans(points, 13, n_init=3)
    moved = kmeans(points.astype(np.float64) * 2.0**-10 + 0.125, 13, n_init=3)
    np.testing.assert_array_equal(plain.label, moved.label)
    assert moved.inertia == pytest.approx(plain.inertia * 2.0**-20, rel=1e-5)


def test_fewer_different_samples_than_clusters() -> None:
    points = np.repeat(np.eye(3), 4, axis=0)
    found = kmeans(points, 5, n_init=2)
    assert len(np.unique(found.label)) == 3
    assert found.inertia == pytest.approx(0, abs=1e-6)
    same = kmeans(np.ones((4, 2)), 2, n_init=2)
    assert same.inertia == 0


@pytest.mark.parametrize(
    ("points", "k", "n_init", "says"),
    [
        (np.ones(4), 1, 1, r"shape \(4,\)"),
        (np.ones((4, 2)), 5, 1, "5 clusters of 4 samples"),
        (np.ones((4, 2)), 0, 1, "0 clusters"),
        (np.ones((4, 2)), 2, 0, "n_init = 0"),
        (np.array([[1.0], [np.nan]]), 1, 1, "NaN or infinite"),
    ],
)
def test_bad_input(points: np.ndarray, k: int, n_init: int, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        kmeans(points, k, n_init=n_init)
