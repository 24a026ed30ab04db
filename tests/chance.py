"""Tests of chance. Seeds are fixed, so each outcome is, too: it can change only with the streams.

Then, for correct code, each call below fails with probability ``FALSE_ALARM``: a few dozen calls
make about one false alarm in 30,000 changes of the streams.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

FALSE_ALARM = 1e-6


def follows(counts: ArrayLike, probabilities: ArrayLike) -> bool:
    """Pearson's chi-square: whether each row of counts can come from the probabilities.

    Rows need not be independent: each has its share of the false alarms. Every cell must expect
    at least 5, as the chi-square distribution is the limit of many.
    """
    rows = np.atleast_2d(np.asarray(counts, float))
    expected = rows.sum(1, keepdims=True) * np.asarray(probabilities, float)
    assert expected.min() >= 5, "too few draws for a chi-square test"
    statistic = ((rows - expected) ** 2 / expected).sum(1)
    return bool((stats.chi2.sf(statistic, rows.shape[1] - 1) > FALSE_ALARM / len(rows)).all())


def normal_bound(count: int) -> float:
    """What none of ``count`` standard normal numbers exceeds in size, but for a false alarm."""
    return float(stats.norm.isf(FALSE_ALARM / 2 / count))


def uncorrelated(columns: ArrayLike) -> bool:
    """Whether no two columns of [draws, columns] correlate, and none is constant.

    Correlations of independent columns are nearly normal with deviation 1/√draws.
    """
    columns = np.asarray(columns, float)
    assert (columns.std(0) > 0).all(), "a constant column"
    pairs = np.triu_indices(columns.shape[1], 1)
    correlation = np.corrcoef(columns.T)[pairs]
    return bool(np.abs(correlation).max() * len(columns) ** 0.5 < normal_bound(len(pairs[0])))


def fair(bits: ArrayLike) -> bool:
    """Whether every column of 0s and 1s [draws, columns] has as many 1s as fair coins have."""
    bits = np.asarray(bits, float)
    deviation = (bits.mean(0) - 0.5) * 2 * len(bits) ** 0.5
    return bool(np.abs(deviation).max() < normal_bound(bits.shape[1]))
