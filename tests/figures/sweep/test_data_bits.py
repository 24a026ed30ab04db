"""The figure of one subtask's data, from planted sizes at which it is learned."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from jquanta.errors import BadInput
from jquanta.figures.sweep import data_bits
from jquanta.parity.config import RunConfig
from tests.figures.layout import assert_legible, drawn, labels, panels
from tests.figures.sweep.results import results_of
from tests.sweep.examples import Config

SIZES = list(range(100, 4_000, 200))
NEEDED = {10: 100, 25: 300, 50: 900, 100: 2_100, 200: 9_999}
"""By n: the D at which the subtask is learned; that of 200 bits is not in the sweep."""

CONFIG: Config = {
    "name": "bits",
    "task.n_tasks": 1,
    "task.n_bits": list(NEEDED),
    "task.k": 2,
    "train.train_size": SIZES,
    "train.steps": 400,
    "eval.log_every": 100,
}


def best(n: int, size: float) -> float:
    """Bits at the best step."""
    return 0.02 if size >= NEEDED[n] else 0.3 + 0.5 * NEEDED[n] / (NEEDED[n] + size)


def losses(run: RunConfig, steps: np.ndarray) -> np.ndarray:
    """Best at step 200; higher before and after."""
    return best(run.task.n_bits, run.train.train_size) + np.abs(steps - 200) / 1_000


@pytest.fixture(scope="module")
def results() -> xr.Dataset:
    return results_of(CONFIG, losses)


def test_best_losses_by_size_and_bits(results: xr.Dataset, tmp_path: Path) -> None:
    figure, measured = drawn(data_bits.draw, [results], tmp_path)
    assert measured == []
    panel, _ = panels(figure)
    *curves, threshold = panel.get_lines()
    assert set(threshold.get_ydata()) == {0.1}
    assert labels(panel) == [str(n) for n in NEEDED]
    for n, line in zip(NEEDED, curves, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), SIZES)
        np.testing.assert_allclose(line.get_ydata(), [best(n, d) for d in SIZES], rtol=1e-6)


def test_the_size_that_each_number_of_bits_takes(results: xr.Dataset, tmp_path: Path) -> None:
    figure, _ = drawn(data_bits.draw, [results], tmp_path)
    _, panel = panels(figure)
    learned, never = panel.get_lines()
    np.testing.assert_array_equal(learned.get_xdata(), list(NEEDED))
    np.testing.assert_array_equal(learned.get_ydata(), [100, 300, 900, 2_100, np.nan])
    np.testing.assert_array_equal(never.get_xydata(), [[200, 3_900]])
    (bars,) = panel.collections  # from the next smaller size, which was too few
    ends = [segment[:, 1].tolist() for segment in bars.get_segments() if len(segment)]
    assert ends[1:4] == [[100, 300], [700, 900], [1_900, 2_100]]
    assert labels(panel) == ["above this $D$", "first $D$ with loss < 0.1 bit"]


def test_it_can_be_read(results: xr.Dataset, tmp_path: Path) -> None:
    figure, _ = drawn(data_bits.draw, [results], tmp_path)
    assert_legible(figure)
    left, right = panels(figure)
    assert (left.get_xlabel(), left.get_ylabel()) == (
        "training samples $D$",
        "best test loss (bits)",
    )
    assert (right.get_xlabel(), right.get_ylabel()) == ("task bits $n$", "training samples needed")
    assert right.get_title(loc="right") == "$k$ = 2, width 500"


def test_refusals(results: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="all runs have the same n_bits"):
        data_bits.draw([results.isel(run=(results.n_bits == 10).to_numpy())], tmp_path)
    with pytest.raises(BadInput, match="no data sweep in these results"):
        data_bits.draw([results.isel(run=(results.train_size == 100).to_numpy())], tmp_path)
    several = results.assign_coords(n_tasks=results.n_tasks * 3)
    with pytest.raises(BadInput, match=r"several subtasks; train with task\.n_tasks = 1"):
        data_bits.draw([several], tmp_path)
    assert list(tmp_path.iterdir()) == []
