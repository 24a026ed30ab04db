"""Figure 17 from cells whose envelopes have given slopes."""

from pathlib import Path

import numpy as np
import pytest

from jquanta.errors import BadInput
from jquanta.figures.qdg import fig17
from jquanta.qdg.known.toy import EXPONENTS
from tests.figures.layout import assert_legible, drawn, panels
from tests.figures.qdg.toy import planted

ERROR = {a: 0.1 if a < 1.15 else -0.05 for a in EXPONENTS}


def test_slopes_and_errors(tmp_path: Path) -> None:
    folder = planted(tmp_path / "toy", ERROR)
    figure, measured = drawn(fig17.draw, folder, tmp_path)
    fits, (mean, root) = measured[:-2], measured[-2:]
    for row, a in zip(fits, EXPONENTS, strict=True):
        assert row.of == f"a {a:g}"
        assert row.theory == a
        assert row.window[0] == 20  # 100 of 1000 subtasks
        # sizes of 10,000 · rank^-a, rounded up: 4 and more at the end
        assert row.exponent == pytest.approx(a + ERROR[a], abs=0.06)
    assert mean.value == pytest.approx(np.mean(list(ERROR.values())), abs=0.03)
    assert root.value == pytest.approx(np.sqrt(np.mean(np.square(list(ERROR.values())))), abs=0.03)
    (panel,) = panels(figure)
    assert panel.get_legend() is None  # it stands below, where no point can be
    same = panel.get_lines()[0]
    np.testing.assert_array_equal(*same.get_data())
    # Few vectors make few clusters: 100 at most at a = 1.5. In the paper the window ends at 1000.
    assert panel.get_title(loc="right") == "ranks 20…100 to 20…200"
    assert_legible(figure)


def test_intervals_are_of_seeds(tmp_path: Path) -> None:
    folder = planted(tmp_path / "toy", ERROR, seeds=(0, 1, 2))
    _, measured = drawn(fig17.draw, folder, tmp_path)
    low, high = measured[2].interval
    # exponents 0.1 apart: Student's t with 2 degrees of freedom, 4.303 · 0.1 / √3
    assert (high - low) / 2 == pytest.approx(0.2484, abs=0.03)


def test_too_few_cells(tmp_path: Path) -> None:
    import shutil

    folder = planted(tmp_path / "toy", ERROR)
    for path in folder.glob("a*-d1000-noise2-*"):
        if not path.name.startswith("a1-"):
            shutil.rmtree(path)
    with pytest.raises(BadInput, match="cells of 1 exponents"):
        fig17.draw(folder, tmp_path)
