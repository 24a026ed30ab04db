"""Figure 5 from clusters whose sizes are an exact power of their rank."""

from pathlib import Path

import numpy as np
import pytest

import jquanta as jq
from jquanta.errors import BadInput
from jquanta.figures.qdg import fig5
from jquanta.figures.qdg.panels import CELLS
from jquanta.qdg.clusters.cluster import imported, save_clusters
from jquanta.run import arrays
from tests.figures.layout import assert_legible, drawn, labels, panels
from tests.sweep.examples import tree

COUNTS = (10, 30, 60)


def made_up() -> np.ndarray:
    """Labels [3, Q], shuffled: sizes 1200 / rank, the rest in the last cluster of all."""
    samples = sum(1200 // rank for rank in range(1, 61))
    rows = []
    for count in COUNTS:
        size = [1200 // rank for rank in range(1, count + 1)]
        size[0] += samples - sum(size)
        rows.append(np.repeat(np.arange(count), size))
    order = np.random.default_rng(0).permutation(samples)
    return np.stack(rows)[:, order]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Results of QDG: 0.9 in each of the 60 clusters, 0.1 between them."""
    found = imported(made_up())
    save_clusters(found, tmp_path)
    label = found.label.to_numpy()[-1]
    cosine = np.where(label[:, None] == label, 0.9, 0.1).astype(np.float32)
    arrays.write(
        tmp_path / "similarity.zarr", {"cosine": arrays.variable(("sample", "other"), cosine)}, {}
    )
    return tmp_path


def test_slopes_and_curves(folder: Path, tmp_path: Path) -> None:
    figure, measured = drawn(fig5.draw, folder, tmp_path)
    matrix, curves = panels(figure)
    lines = {line.get_label(): line for line in curves.get_lines()}
    size = [1200 // rank for rank in range(2, 61)]
    np.testing.assert_array_equal(lines["envelope"].get_ydata()[1:], size)
    shown = [len(line.get_xdata()) for line in curves.get_lines()]
    assert shown[:3] == list(COUNTS)
    first = measured[0]
    assert first.name == "alpha + 1 by the envelope"
    assert first.window == (20, 60)  # a factor of 3 at the end of the ranks there are
    assert first.exponent == pytest.approx(1, abs=0.02)  # whole numbers of 20 to 60
    assert [row.window for row in measured[1:]] == []  # no other window has so few ranks
    # It bends, so no interval is told, in the figure, the table and the line.
    (label,) = (label for label in labels(curves) if r"\alpha + 1" in label)
    assert "[" not in label
    assert np.isnan(first.interval).all()
    assert "[" not in str(first)
    assert str(first).endswith("the curve bends, so no interval is told")
    assert matrix.get_title(loc="right") == "60 clusters, the largest first"
    tops = [panel.get_position().y1 for panel in (matrix, curves)]
    assert tops[0] == pytest.approx(tops[1], abs=0.02)  # of the figure's height: side by side
    assert_legible(figure)


def test_the_matrix_is_in_the_order_of_clusters(folder: Path, tmp_path: Path) -> None:
    figure, _ = drawn(fig5.draw, folder, tmp_path)
    (image,) = panels(figure)[0].get_images()
    cells = np.asarray(image.get_array())
    assert cells.shape == (CELLS, CELLS)
    label = imported(made_up()).label.to_numpy()[-1]
    size = np.bincount(label)
    samples = len(label)
    inside = int(size[0] / samples * CELLS) - 1
    np.testing.assert_allclose(cells[:inside, :inside], 0.9, atol=1e-6)  # float32 means
    np.testing.assert_allclose(cells[:inside, inside + 2 :], 0.1, atol=1e-6)
    second = slice(inside + 2, inside + int(size[1] / samples * CELLS))
    np.testing.assert_allclose(cells[second, second], 0.9, atol=1e-6)


def test_labels_made_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "labels.npy"
    np.save(path, made_up())
    drawing = jq.draw("fig5", qdg=path)
    assert {p.name for p in drawing.paths} == {"fig5.png", "fig5.pdf", "fig5.json"}
    assert {p.parent for p in drawing.paths} == {tmp_path / "figures"}
    assert drawing.measured[0].exponent == pytest.approx(1, abs=0.02)
    assert "labels alone" in str(drawing.measured[-1])
    figure, _ = drawn(fig5.draw, path, tmp_path)
    assert len(panels(figure)) == 1
    assert_legible(figure)


def test_bad_input(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(BadInput, match="no clusters here"):
        fig5.draw(out, out)
    (tmp_path / "text.npy").write_text("no array")
    with pytest.raises(BadInput, match=r"damaged, or no .npy array .*; give integers"):
        fig5.draw(tmp_path / "text.npy", out)
    save_clusters(imported(np.arange(30) // 3), folder)
    with pytest.raises(BadInput, match="labels of 30 samples beside the similarity of 5"):
        fig5.draw(folder, out)
    assert tree(out) == {}
