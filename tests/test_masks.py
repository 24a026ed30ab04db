"""What is masked is missing, to every public function that takes arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from jquanta import powerlaw, theory
from jquanta.errors import BadInput
from jquanta.lm.taxonomy.kinds import lines
from jquanta.lm.taxonomy.laws import fit_sizes, step_window
from jquanta.masks import unmasked
from jquanta.qdg.clusters.affinity import affinity_of, neighbour_graph
from jquanta.qdg.clusters.centres import centres
from jquanta.qdg.clusters.cluster import cluster, imported
from jquanta.qdg.clusters.kmeans import kmeans
from jquanta.qdg.clusters.quality import agreement, shuffled
from jquanta.qdg.clusters.ranks import rank_sizes

X = np.arange(1.0, 7.0)
OUTLIER = np.array([False] * 5 + [True])
Y = np.where(OUTLIER, 1e6, X**-0.5)
MASKED_Y, MISSING_Y = np.ma.masked_array(Y, OUTLIER), np.where(OUTLIER, np.nan, Y)


def test_a_masked_outlier_is_left_out_of_a_fit() -> None:
    found = powerlaw.fit(X, MASKED_Y)
    assert found.exponent == pytest.approx(0.5)
    assert (found.n_points, found.n_missing) == (5, 1)


FITS: list[Callable[[Any], Any]] = [
    lambda y: powerlaw.fit(X, y),
    lambda y: powerlaw.fit(y, X),
    lambda y: powerlaw.fit(X, [y, y], groups=[[0], [1]]),
    lambda y: powerlaw.fit_irreducible(X, y),
    lambda y: powerlaw.window_sensitivity(X, y, [(1, 6), (2, 6)]),
    lambda y: fit_sizes(X, y),
    lambda y: fit_sizes(y, X, window=(0.01, 2)),
    lambda y: step_window("any", y),
    lambda y: np.nan_to_num(powerlaw.fit(X, X).predict(y), nan=-1.0).tolist(),
    lambda y: np.nan_to_num(lines(np.stack([X, X[::-1]]) + 0 * y, np.log(X)), nan=-1.0).tolist(),
]


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("of", FITS)
def test_a_mask_is_as_good_as_nan(of: Callable[[Any], Any]) -> None:
    assert of(MASKED_Y) == of(MISSING_Y)


def test_masked_whole_numbers_are_missing_from_a_fit() -> None:
    x = np.ma.masked_equal([1, 2, 3, 4, 5, 9_999], 9_999)
    assert powerlaw.fit(x, Y).n_missing == 1


MATRIX = np.ma.masked_array(np.eye(4, dtype=np.float32), np.eye(4, k=2) + np.eye(4, k=-2))
LABELS = np.ma.masked_array([0, 0, 1, 1], [False, True, False, False])

REFUSED: list[Callable[[], Any]] = [
    lambda: powerlaw.fit(X, X, groups=np.ma.masked_array([0, 0, 0, 1, 1, 1], OUTLIER)),
    lambda: theory.loss(np.ma.masked_equal([1.0, 5.0], 5), powerlaw.zipf(9, 0.4)),
    lambda: theory.loss(1.0, np.ma.masked_equal(powerlaw.zipf(9, 0.4), powerlaw.zipf(9, 0.4)[-1])),
    lambda: theory.loss(1.0, powerlaw.zipf(2, 0.4), np.ma.masked_equal([0.0, -1.0], -1)),
    lambda: theory.learned(np.ma.masked_equal([1.0, 5.0], 5), powerlaw.zipf(9, 0.4)),
    lambda: theory.loss_infinite(np.ma.masked_equal([1.0, 5.0], 5), 0.4),
    lambda: theory.case1_infinite(np.ma.masked_equal([1.0, 5.0], 5), 0.4),
    lambda: affinity_of(MATRIX),
    lambda: cluster(MATRIX, 2),
    lambda: neighbour_graph(MATRIX, 2),
    lambda: shuffled(MATRIX),
    lambda: kmeans(MATRIX, 2),
    lambda: imported(LABELS),
    lambda: centres(np.eye(4, dtype=np.float32), LABELS),
    lambda: agreement(LABELS[None], np.array([[0, 0, 1, 1]])),
    lambda: rank_sizes(LABELS),
]


@pytest.mark.parametrize("call", REFUSED)
def test_where_nothing_may_be_missing_a_mask_is_refused(call: Callable[[], Any]) -> None:
    with pytest.raises(BadInput):
        call()


ODD: list[Any] = [["a", "b"], [[1, 2], [3]], np.array([1 + 2j, 2.0]), [10**400]]


@pytest.mark.parametrize("values", ODD)
@pytest.mark.parametrize(
    "of",
    [
        lambda values: unmasked(values, "x", np.float64),
        lambda values: powerlaw.fit(values, X),
        lambda values: theory.loss_infinite(values, 0.4),
    ],
)
def test_what_is_no_array_of_numbers(of: Callable[[Any], Any], values: Any) -> None:
    with pytest.raises(BadInput, match="not an array of numbers"):
        of(values)


def test_a_mask_without_anything_masked_changes_nothing() -> None:
    whole = np.ma.masked_array([1, 2, 3], False)
    assert unmasked(whole, "x").tolist() == [1, 2, 3]
    assert type(unmasked(whole, "x")) is np.ndarray
