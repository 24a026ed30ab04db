"""The figure of trust in clusters, from values made by hand."""

from pathlib import Path

import numpy as np
import pytest

from jquanta.errors import BadInput
from jquanta.figures import style
from jquanta.figures.qdg import stability
from jquanta.qdg.clusters.cluster import imported, save_clusters
from jquanta.qdg.questions.stability import save_stability
from tests.figures.layout import assert_legible, drawn, panels
from tests.qdg.questions.test_stability import of_clusters, values


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    clusters = imported([[0, 0, 0, 1, 1], [0, 0, 1, 2, 3]], [2, 4])
    save_clusters(clusters, tmp_path)
    save_stability(of_clusters().sel(count=[2, 4]), clusters, tmp_path)
    return tmp_path


def test_what_is_drawn(folder: Path, tmp_path: Path) -> None:
    figure, rows = drawn(stability.draw, folder, tmp_path)
    left, right = panels(figure)
    assert [line.get_label() for line in left.get_lines()] == [
        "null model: median to 95%",
        "more than chance",
        "no quantum",
    ]
    # Of four clusters (the count nearest to 400) one has two samples; single ones are not drawn.
    lines = {line.get_label(): line.get_xydata().tolist() for line in left.get_lines()}
    assert lines["more than chance"] == [[2, 0.5]]
    assert lines["no quantum"] == []
    curves = {line.get_label(): line.get_ydata() for line in right.get_lines()}
    np.testing.assert_array_equal(curves["more than chance"], [1, 1])
    np.testing.assert_array_equal(curves["and found again"], [1, 0.5])
    assert [line.get_label() for line in right.get_lines()] == [
        "all",
        "more than chance",
        "and found again",
        "recommended, 95%",
    ]
    none, best = map(str, rows)
    assert "0 of 1" in none
    assert best.endswith("recommended: 2 clusters; by 95% of resampled clusterings 2 to 2")
    assert_legible(figure)


def test_those_that_are_no_quantum_are_named(folder: Path, tmp_path: Path) -> None:
    figure, ((axes,),) = style.new_figure(style.COLUMN, 2.5, 1, 1)
    stability._clusters(axes, of_clusters(), 2)
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}
    assert lines["more than chance"] == [[3, 0.5]]
    assert lines["no quantum"] == [[2, 0.01]]
    assert [text.get_text() for text in axes.texts] == ["1"]
    style.save(figure, tmp_path, "one")


def test_an_older_stability_is_refused(tmp_path: Path) -> None:
    clusters = imported([[0, 0, 0, 1, 1], [0, 0, 1, 2, 3]], [2, 4])
    save_clusters(clusters, tmp_path)
    save_stability(values(), clusters, tmp_path)
    with pytest.raises(BadInput, match="nothing of single clusters; make it anew: jquanta stab"):
        stability.draw(tmp_path, tmp_path)
