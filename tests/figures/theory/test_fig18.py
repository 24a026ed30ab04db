"""Figure 18: what was published, entered twice."""

from pathlib import Path

import numpy as np

from jquanta.figures.theory import fig18
from tests.figures.layout import assert_legible, drawn, panels

PUBLISHED = """
Rosenfeld et al.: .81 .34  1.01 .22  .74 .56  .75 .61  .66 .53  .70 .51  .40 1.16  1.10 .83  .93 .54
Kaplan et al.: .076 .095
Hoffmann et al.: .34 .28
Ardalani et al.: 4.0 .1
Gordon et al.: .11 .38  .13 .35  .12 .43
Droppo & Elibol: .016 .019
"""


def test_points_and_lines(tmp_path: Path) -> None:
    figure, measured = drawn(fig18.draw, [], tmp_path)
    assert ["source table, alpha_N 4 and alpha_D 0.1" in str(row) for row in measured] == [True]
    (panel,) = panels(figure)
    lines = {line.get_label(): np.array(line.get_data()) for line in panel.get_lines()}
    for row in PUBLISHED.strip().splitlines():
        study, numbers = row.split(":")
        pairs = np.array(numbers.split(), float).reshape(-1, 2)
        np.testing.assert_array_equal(lines.pop(study).T, pairs)
    related, equal = lines.values()
    np.testing.assert_allclose(1 / related[1], 1 + 1 / related[0])
    np.testing.assert_array_equal(*equal)
    (low_x, high_x), (low_y, high_y) = panel.get_xlim(), panel.get_ylim()
    for line in panel.get_lines()[2:]:
        x, y = line.get_data()
        assert (low_x < x).all()
        assert (x < high_x).all()
        assert (low_y < y).all()
        assert (y < high_y).all()


def test_it_can_be_read(tmp_path: Path) -> None:
    figure, _ = drawn(fig18.draw, [], tmp_path)
    assert_legible(figure)
    (panel,) = panels(figure)
    assert panel.get_xlabel() == r"parameter exponent $\alpha_N$"
    assert panel.get_ylabel() == r"data exponent $\alpha_D$"
    marks = {line.get_marker() for line in panel.get_lines()[2:]}
    assert len(marks) == 6  # told apart without colour
    assert figure.get_size_inches()[0] <= 3.4  # one column
