"""Sets grown by conductance: each step against plain arithmetic."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from jquanta.errors import BadInput
from jquanta.qdg.clusters.affinity import affinity_of, neighbour_graph
from jquanta.qdg.clusters.cuts import Graph
from jquanta.qdg.clusters.likeness import Cosines, Vectors
from jquanta.qdg.clusters.local import (
    Chance,
    Sweeps,
    chance_of,
    conductances,
    graph_of,
    pagerank,
    returns,
    sets_of_sweeps,
    sweeps,
)
from tests.qdg.clusters.vectors import cosines, groups


def some() -> csr_array:
    """A graph of 60 samples in four groups."""
    return graph_of(Vectors(groups([25, 15, 12, 8], 20, 1.0)[0]), 5)


def exact(graph: csr_array, end: float) -> np.ndarray:
    """Personalised PageRank of every sample: α (1 - (1 - α) D⁻¹ A)⁻¹, a row each."""
    matrix = graph.toarray().astype(np.float64)
    step = matrix / matrix.sum(1, keepdims=True)
    return end * np.linalg.inv(np.eye(len(step)) - (1 - end) * step)


def test_a_matrix_gives_the_graph_of_its_vectors() -> None:
    points, _ = groups([20, 10], 15, 1.0)
    one, other = graph_of(Vectors(points), 4), graph_of(Cosines(cosines(points)), 4)
    np.testing.assert_allclose(one.toarray(), other.toarray(), atol=1e-5)  # float32 near an angle 0
    np.testing.assert_array_equal(one.toarray(), neighbour_graph(points, 4).toarray())
    blind = abs(cosines(points))
    found = graph_of(Cosines(blind, absolute=True), 3, "absolute").toarray()
    affinity = affinity_of(blind, "absolute")
    for i in range(30):
        nearest = sorted(set(range(30)) - {i}, key=lambda j: -affinity[i, j])[:3]
        np.testing.assert_array_equal(found[i, nearest], affinity[i, nearest])
    np.testing.assert_array_equal(found, found.T)
    assert not found.diagonal().any()


@pytest.mark.parametrize("end", [0.1, 0.5])
def test_pushing_is_the_linear_solution_to_its_error(end: float) -> None:
    """From below, by at most ``error`` × degree; and the work is bounded."""
    graph = some()
    degree = graph.sum(1)
    chosen = np.array([3, 41, 3, 59])
    truth = exact(graph, end)[chosen]
    for error in (1e-2, 1e-4, 1e-8):
        found = pagerank(graph, chosen, error, end).toarray()
        lacks = (truth - found) / degree
        assert lacks.min() > -1e-12  # of float64 sums
        assert lacks.max() <= error
        # Theorem 1: the volume of what is reached.
        assert ((found > 0) * degree).sum(1).max() <= 1 / (end * error)
    np.testing.assert_array_equal(found[0], found[2])


def test_a_sweep_is_that_of_plain_loops() -> None:
    graph = some()
    found = sweeps(graph, 30)
    matrix = graph.toarray().astype(np.float64)
    degree = matrix.sum(1)
    error = 1 / (2 * 30 * degree.mean())
    for sample in (0, 17, 59):
        p = pagerank(graph, np.array([sample]), error).toarray()[0]
        reached = sorted(np.flatnonzero(p), key=lambda i: -p[i] / degree[i])[:30]
        assert found.order[sample].tolist() == reached
        for n in range(1, 31):
            inside = np.zeros(60, bool)
            inside[reached[:n]] = True
            if n > len(reached):
                assert np.isnan(found.conductance[sample, n - 1])
                continue
            cut = matrix[inside][:, ~inside].sum()
            expected = cut / min(degree[inside].sum(), degree[~inside].sum())
            assert found.conductance[sample, n - 1] == pytest.approx(expected, abs=1e-6)  # float32
    assert np.isnan(conductances(Graph(graph), np.arange(60))[-1])


def test_no_cut_of_a_small_graph_is_better_than_the_best_sweep() -> None:
    """Two groups of five, nearly apart: of all 1,022 sets the sweep finds the best one."""
    chance = np.random.default_rng(0)
    matrix = np.kron(np.eye(2), np.ones((5, 5))) + 0.05 * chance.random((10, 10))
    matrix = (matrix + matrix.T) / 2
    np.fill_diagonal(matrix, 0)
    degree = matrix.sum(1)
    best = 1.0
    for chosen in range(1, 2**10 - 1):
        inside = np.array([bool(chosen >> i & 1) for i in range(10)])
        cut = matrix[inside][:, ~inside].sum()
        best = min(best, cut / min(degree[inside].sum(), degree[~inside].sum()))
    found = sweeps(csr_array(matrix), 5).conductance
    assert np.nanmin(found) == pytest.approx(best, abs=1e-6)


def test_chance_is_the_mean_and_spread_of_all_null_samples() -> None:
    nan = np.nan
    null = [
        Sweeps([], np.array([[1.0, 0.5, nan], [0.5, 0.7, nan]])),
        Sweeps([], np.array([[0.9, nan, nan]])),
    ]
    chance = chance_of(null)
    np.testing.assert_allclose(chance.mean, [0.8, 0.6, nan], rtol=1e-12)
    np.testing.assert_allclose(chance.spread, [np.std([1, 0.5, 0.9]), 0.1, nan], rtol=1e-12)


def test_of_sets_that_share_samples_the_better_stays() -> None:
    order = [np.array(row) for row in ([0, 1, 2, 3], [1, 0, 2, 3], [2, 0, 1, 4], [3, 4, 5, 0],
                                       [4, 5, 3, 2], [5])]  # fmt: skip
    nan = np.nan
    rows = np.array(
        [
            [0.1, 0.5, 0.2, 0.3],  # {0, 1, 2}; a single sample is no set
            [1.0, 0.5, 0.3, 0.3],  # nearly the same
            [1.0, 0.9, 0.8, 0.7],
            [1.0, 0.9, 0.5, 0.9],  # {3, 4, 5}
            [1.0, 0.9, 0.9, 0.55],  # the same and one of the first
            [1.0, nan, nan, nan],  # grows nothing
        ]
    )
    chance = Chance(np.full(4, 1.0), np.full(4, 0.1))
    found = sets_of_sweeps(Sweeps(order, rows), chance, 2)
    assert found.label.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_allclose(found.score, [8, 5])
    assert found.size.tolist() == [3, 3, 4, 3, 4, 0]
    sure = returns(Sweeps(order, rows), found.size, found.label)
    np.testing.assert_allclose(sure, [1, 1, 3 / 4, 1, 3 / 4, 0])
    # Where chance offers 0.5 at three samples, the 0.3 of four is less than the 0.2 of three.
    usual = Chance(np.array([1.0, 1.0, 0.5, 1.0]), np.full(4, 0.1))
    assert sets_of_sweeps(Sweeps(order, rows), usual, 2).size[0] == 4


def test_bad_input() -> None:
    for likeness in (Cosines(np.eye(5)), Vectors(np.eye(5, dtype=np.float32))):
        with pytest.raises(BadInput, match="neighbours = 5 of 5 samples: give 1 to 4"):
            graph_of(likeness, 5)
