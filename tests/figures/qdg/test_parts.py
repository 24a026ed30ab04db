"""The figure of parts, from numbers made by hand."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from jquanta.figures.qdg import parts
from jquanta.qdg.clusters.parts import save_parts
from tests.figures.layout import assert_legible, drawn, panels

MEANS = {
    "paper": ("whole", 0.3),
    "layer 0": ("layer", 0.2),
    "layer 1": ("layer", 0.4),
    "layer 0 head 0": ("head", 0.1),
    "layer 0 head 1": ("head", 0.15),
    "layer 1 head 0": ("head", 0.5),
    "layer 1 head 1": ("head", 0.05),
}
"""Kind and ARI, by part."""


def stored(folder: Path, names: list[str]) -> None:
    means = np.array([MEANS[name][1] for name in names])
    # Seeds differ by 0.02 about the mean, and so do the two counts.
    ari = means[:, None, None, None] + np.array([[0.01], [-0.01]]) + np.array([0.01, -0.01])
    found = xr.Dataset(
        {
            "ari": (("part", "truth", "count", "seed"), ari),
            "chance": (("truth", "count"), np.full((1, 2), 0.02)),
            "groups": ("truth", [7]),
        },
        {
            "part": names,
            "kind": ("part", [MEANS[name][0] for name in names]),
            "truth": ["subtask"],
            "count": [5, 10],
            "seed": [0, 1],
        },
        {"number": 100},
    )
    save_parts(found, folder)


def test_parts_by_rank_beside_heads(tmp_path: Path) -> None:
    stored(tmp_path, list(MEANS))
    figure, (note, *rows) = drawn(parts.draw, tmp_path, tmp_path)
    left, right = panels(figure)
    assert [text.get_text() for text in left.get_yticklabels()] == ["layer 1", "paper", "layer 0"]
    points = [line.get_xdata() for line in left.get_lines() if line.get_marker() == "o"]
    np.testing.assert_allclose(points, [[0.41, 0.39], [0.31, 0.29], [0.21, 0.19]])
    np.testing.assert_allclose(right.get_images()[0].get_array(), [[0.1, 0.15], [0.5, 0.05]])
    assert "7 groups by subtask" in str(note)
    assert rows[0].value == pytest.approx(0.3)
    assert rows[1].value == pytest.approx(0.5)
    assert_legible(figure)


def test_networks_without_heads_have_one_panel(tmp_path: Path) -> None:
    stored(tmp_path, ["paper", "layer 0", "layer 1"])
    figure, _ = drawn(parts.draw, tmp_path, tmp_path)
    assert len(panels(figure)) == 1
    assert_legible(figure)
