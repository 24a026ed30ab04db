"""The figure of groups, from values made by hand."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from jquanta.errors import BadInput
from jquanta.figures.qdg import groups
from jquanta.qdg.clusters.cluster import imported, save_clusters
from jquanta.qdg.questions.groups import save_groups
from tests.figures.layout import assert_legible, drawn, panels


def found(label: list[int], kind: str) -> xr.Dataset:
    """Groups of a kind."""
    own = np.array(label, np.int32)
    size = np.bincount(own[own >= 0]).astype(float)
    return xr.Dataset(
        {
            "label": ("sample", own),
            "size": ("group", size),
            "sure": ("group", 0.9 - 0.1 * np.arange(len(size))),
            "score": ("group", np.arange(len(size)) + 0.5),
        },
        attrs={"kind": kind, "found": 5, "null_found": [3, 4]},
    )


def test_what_is_drawn(tmp_path: Path) -> None:
    clusters = imported([[0, 0, 0, 0, 1, 1, 1, 2]], [3])
    save_clusters(clusters, tmp_path)
    save_groups(found([0, 0, 0, 0, 1, 1, -1, -1], "consensus"), clusters, tmp_path)
    save_groups(found([0, 0, 0, 0, -1, -1, -1, -1], "local"), clusters, tmp_path)
    figure, rows = drawn(groups.draw, tmp_path, tmp_path / "figures")
    left, middle, right = panels(figure)
    points = [line.get_xydata().tolist() for line in left.get_lines()]
    np.testing.assert_allclose(points[0], [[4, 0.9], [2, 0.8]])
    np.testing.assert_allclose(points[1], [[4, 0.9]])
    assert middle.get_lines()[0].get_ydata().tolist() == [0.5, 1.5]
    np.testing.assert_allclose(right.get_lines()[0].get_ydata(), [1, 2 / 3])
    assert "(6 of 8)" in str(rows[0])
    assert "(1 of 2)" in str(rows[1])
    assert str(rows[2]) == "consensus: 2 groups beyond chance of 5 found; in null models 3, 4"
    assert_legible(figure)


def test_where_there_are_none(tmp_path: Path) -> None:
    clusters = imported([[0, 0, 1]], [2])
    save_clusters(clusters, tmp_path)
    with pytest.raises(BadInput, match="no consensus groups here; make them: jquanta groups"):
        groups.draw(tmp_path, tmp_path)
    save_groups(found([-1, -1, -1], "local"), clusters, tmp_path)
    with pytest.raises(BadInput, match="no groups beyond chance were found; nothing to draw"):
        groups.draw(tmp_path, tmp_path)
