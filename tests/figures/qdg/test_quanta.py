"""The figure of emergence, from losses made by hand."""

from pathlib import Path

import numpy as np
import pytest

from jquanta.errors import BadInput
from jquanta.figures.qdg import quanta
from jquanta.qdg.clusters.cluster import save_clusters
from jquanta.qdg.questions.emergence import cluster_losses, emerged, save_emergence
from jquanta.sweep.scaling import NATS_PER_BIT
from tests.figures.layout import assert_legible, drawn, labels, panels
from tests.qdg.questions.test_emergence import COLUMNS, SELECTION, clusters, losses


def folder(path: Path, columns: object = COLUMNS) -> Path:
    """A run folder with ``emergence.zarr``; the count nearest to 400 is 4."""
    found = clusters(samples=SELECTION.hash)
    save_clusters(found, path)
    save_emergence(emerged(cluster_losses(found, losses(columns), SELECTION)), path)
    return path


def test_curves_are_the_clusters_mean_losses(tmp_path: Path) -> None:
    figure, rows = drawn(quanta.draw, folder(tmp_path), tmp_path)
    steps, share, sizes = panels(figure)
    # Over the steps of the largest model; ``main`` has none. Cluster 0 is of samples 0 and 1, whose
    # deviations of 0.01 nats cancel.
    line = steps.get_lines()[0]
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 8])
    np.testing.assert_allclose(line.get_ydata(), np.array([4, 3.5, 0.1]) / NATS_PER_BIT, rtol=1e-6)
    assert "steps" in steps.get_xlabel()
    assert "bits" in steps.get_ylabel()
    # Of the big model's four clusters the last two, 0.2 ± 0.05 at step 2, are not below 0.5 at 8:
    # one is 0.55, the other 0.45.
    lines = {line.get_label(): line for line in share.get_lines()}
    big = next(line for label, line in lines.items() if "1k" in label.lower() or "1,000" in label)
    np.testing.assert_allclose(big.get_ydata(), [0, 0.25, 0.75])
    of_clusters = {line.get_color() for line in steps.get_lines()[:4]}
    assert not of_clusters & {line.get_color() for line in share.get_lines()}  # another quantity
    first = sizes.get_lines()[0]
    np.testing.assert_array_equal(first.get_xdata(), [100, 1000])
    np.testing.assert_allclose(first.get_ydata(), np.array([0.6, 0.1]) / NATS_PER_BIT, rtol=1e-6)
    assert any(label == "learned: 0.5 nats" for label in labels(steps))
    counted = [row for row in rows if getattr(row, "name", "").startswith("clusters learned")]
    assert [(row.number, row.total) for row in counted] == [(0, 4), (4, 4)]
    assert_legible(figure)


def test_of_one_checkpoint_nothing_emerges(tmp_path: Path) -> None:
    columns = {"big@step8": COLUMNS["big@step8"]}
    with pytest.raises(BadInput, match="a single model and checkpoint"):
        quanta.draw(folder(tmp_path, columns), tmp_path)
