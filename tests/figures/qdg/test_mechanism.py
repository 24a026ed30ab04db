"""The figure of mechanisms, from changes made by hand."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.lines import Line2D

from jquanta.errors import BadInput
from jquanta.figures.qdg import mechanism
from jquanta.qdg.questions.mechanism import save_mechanisms
from tests.figures.layout import assert_legible, drawn, labels, panels

OWN = np.array([-0.03, -0.02, 0.001])
"""Of three clusters, nats: the third one's samples lose by its step."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight held-out samples of each of clusters 0, 1, 2 and of another, 7, that is not stepped."""
    label = np.repeat([0, 1, 2, 7], 8)
    spread = np.tile(np.linspace(-1e-3, 1e-3, 8), 4)
    change = np.where(label == np.arange(3)[:, None], OWN[:, None], -0.002) + spread
    found = xr.Dataset(
        {
            "change": (("cluster", "sample"), change),
            "first_order": (("cluster", "sample"), 1.5 * change),
            "loss": ("sample", np.full(32, 0.05)),
            "label": ("sample", label),
            "samples": ("cluster", [16, 16, 16]),
        },
        {"cluster": [0, 1, 2], "sample": np.arange(32)},
        {"count": 400, "step": 1e-3},
    )
    save_mechanisms(found, tmp_path)
    return tmp_path


def test_changes_are_means_over_held_out_samples(folder: Path, tmp_path: Path) -> None:
    figure, rows = drawn(mechanism.draw, folder, tmp_path)
    left, right = panels(figure)
    wanted = np.full((3, 4), -2.0)  # thousandths of a nat; the last column is cluster 7
    np.fill_diagonal(wanted, 1e3 * OWN)
    np.testing.assert_allclose(left.get_images()[0].get_array(), wanted)
    assert [text.get_text() for text in left.get_xticklabels()] == ["0", "1", "2", "rest"]
    own, others = (bars.lines[0] for bars in right.containers)
    np.testing.assert_allclose(own.get_ydata(), 1e3 * OWN)
    np.testing.assert_allclose(others.get_ydata(), -2)
    assert labels(right) == ["its own", "other clusters'", "to first order"]
    in_legend = right.get_legend().findobj(Line2D)
    colours = [line.get_color() for line in in_legend if line.get_marker() == "_"]
    drawn_in = {line.get_color() for line in right.get_lines() if line.get_marker() == "_"}
    assert set(colours) == drawn_in
    assert "0.001 nats" in right.get_ylabel()
    assert "0.001 nats" in left.get_title(loc="right")
    (bar,) = (axes for axes in figure.axes if axes not in (left, right))
    assert bar.get_ylabel() == ""  # it would touch the label of the right panel
    note, gains, separation = rows
    assert "400 clusters, the 3 largest" in str(note)
    assert (gains.number, gains.total) == (2, 3)
    assert separation.value == 1  # of 1, 1 and 0
    assert_legible(figure)


def test_without_mechanisms_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="jquanta mechanism") as caught:
        mechanism.draw(tmp_path, tmp_path)
    assert "\n" not in str(caught.value)
