"""The embedding beside scikit-learn's."""

import numpy as np
import pytest
from sklearn.manifold import spectral_embedding

from jquanta.errors import BadInput
from jquanta.qdg.clusters.affinity import affinity_of, neighbour_graph
from jquanta.qdg.clusters.cluster import cluster
from jquanta.qdg.clusters.spectral import (
    embed,
    embed_as_scikit_learn,
    refuse_disconnected,
    start_vector,
)
from tests.qdg.clusters.vectors import cosines, groups

SIZES = [40, 30, 20, 15, 10, 5]


@pytest.fixture(scope="module")
def affinity() -> np.ndarray:
    return affinity_of(cosines(groups(SIZES, 50, 0.7)[0]))


@pytest.mark.parametrize("count", [1, 6, 25])
def test_dense_is_scikit_learns_up_to_sign(affinity: np.ndarray, count: int) -> None:
    mine = embed(affinity, count)
    theirs = spectral_embedding(
        affinity.astype(np.float64),  # as SpectralClustering gives it
        n_components=count,
        random_state=3,
        drop_first=False,
    )
    signs = np.sign((mine.vectors * theirs).sum(axis=0))
    # vectors of order 0.1, in float64: 1e-16 over gaps of 1e-4 between eigenvalues
    np.testing.assert_allclose(mine.vectors * signs, theirs, atol=1e-10)
    assert (np.diff(mine.values) > 0).all()
    assert mine.values[0] == pytest.approx(0, abs=1e-12)


def test_sparse_is_dense() -> None:
    points, _ = groups(SIZES, 50, 0.7)
    graph = neighbour_graph(points, 45)
    mine, dense = embed(graph, 8), embed(graph.toarray(), 8)
    np.testing.assert_allclose(mine.values, dense.values, atol=1e-10)
    np.testing.assert_allclose(np.abs(mine.vectors), np.abs(dense.vectors), atol=1e-8)
    other = embed(graph, 8, seed=1)
    np.testing.assert_allclose(np.abs(other.vectors), np.abs(mine.vectors), atol=1e-8)
    assert (other.vectors != mine.vectors).any()  # it starts elsewhere


def test_fewer_dimensions_are_the_first_of_more(affinity: np.ndarray) -> None:
    more = embed(affinity, 25).vectors
    np.testing.assert_allclose(embed(affinity, 6).vectors, more[:, :6], atol=1e-10)


def test_the_port_of_scikit_learns_is_exact(affinity: np.ndarray) -> None:
    start = start_vector(7, len(affinity))
    mine = embed_as_scikit_learn(affinity, 6, start).vectors
    theirs = spectral_embedding(
        affinity.astype(np.float64), n_components=6, random_state=7, drop_first=False
    )
    np.testing.assert_array_equal(mine, theirs)


def parts(sizes: tuple[int, int]) -> np.ndarray:
    block = np.zeros((sum(sizes), sum(sizes)))
    block[: sizes[0], : sizes[0]] = block[sizes[0] :, sizes[0] :] = 0.5
    return block


def test_a_disconnected_affinity_is_refused() -> None:
    with pytest.raises(BadInput, match=r"falls apart: 2 parts or more .* one of 3 samples"):
        refuse_disconnected(parts((4, 3)))
    points = np.repeat(np.eye(3), 4, axis=0) + 0.01 * np.arange(12)[:, None]
    with pytest.raises(BadInput, match=r"falls apart: 3 parts .* give more neig"):
        refuse_disconnected(neighbour_graph(points, 2))
    chain = np.diag(np.ones(5), 1) + np.diag(np.ones(5), -1)  # joined through others
    refuse_disconnected(chain)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("angular", "their cosine to all others is -1: leave these out, or cluster them apart"),
        ("shifted", "their cosine to all others is -1: leave these out, or cluster them apart"),
        ("absolute", "leave these out, or choose affinity = 'angular'"),
    ],
)
def test_the_remedy_for_parts_is_one_for_this_affinity(name: str, remedy: str) -> None:
    cosine = np.ones((20, 20), np.float32)
    cosine[:6, 6:] = cosine[6:, :6] = 0 if name == "absolute" else -1
    with pytest.raises(BadInput, match=rf"one of 6 samples \(0, 1, 2, 3, 4, 5\); {remedy}$"):
        cluster(cosine, 2, affinity=name)
