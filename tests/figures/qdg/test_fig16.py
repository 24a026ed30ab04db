"""Figure 16 from cells whose sizes are given."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from jquanta.errors import BadInput
from jquanta.figures.qdg import fig16
from jquanta.qdg.known.toy import DIMENSIONS, EXPONENTS, NOISES, sizes
from tests.figures.layout import assert_legible, drawn, labels, panels
from tests.figures.qdg.toy import planted


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted(tmp_path_factory.mktemp("toy") / "toy", dict.fromkeys(EXPONENTS, 0.0), (0, 1))


def test_sizes_and_the_true_ones(folder: Path, tmp_path: Path) -> None:
    figure, measured = drawn(fig16.draw, folder, tmp_path)
    grid = panels(figure)
    titles = [axes.get_title(loc="right") for axes in grid]
    expected = [rf"$d$ = {d}, $\sigma$ = {noise:g}" for d in DIMENSIONS for noise in NOISES]
    assert titles == expected
    for axes in grid:
        true, *clusters = axes.get_lines()
        np.testing.assert_array_equal(true.get_ydata(), sizes(1.0, 200))
        for line, count in zip(clusters, (20, 40, 100), strict=True):
            rank = np.arange(2, count + 1)
            # the first cluster holds the rest; seed 0, not 1, whose exponent is 1.1
            np.testing.assert_array_equal(line.get_ydata()[1:], np.ceil(1e4 / rank))
    assert labels(figure) == ["true subtasks", "20 clusters", "40 clusters", "100 clusters"]
    assert len(measured) == 27
    assert str(measured[0]).startswith("ARI with the subtasks of d 30, noise 0, 20 clusters = 0.2")
    assert_legible(figure)


def test_a_missing_cell(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "toy"
    shutil.copytree(folder, copy)
    for path in copy.glob("a1-d30-noise0-*"):
        shutil.rmtree(path)
    with pytest.raises(BadInput, match="1 of 9 cells are missing"):
        fig16.draw(copy, tmp_path)
