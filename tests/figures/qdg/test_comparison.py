"""The figure of clusters elsewhere, from runs whose agreement is planted."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from jquanta.errors import BadInput
from jquanta.figures.qdg import comparison
from jquanta.qdg.clusters.cluster import imported, save_clusters
from jquanta.qdg.questions.comparison import compare, save_comparison
from tests.figures.layout import assert_legible, drawn, panels
from tests.qdg import examples
from tests.qdg.questions.test_comparison import made

STEPS = (2, 32, 512)
"""Of checkpoints; of each the share of samples whose cluster is not that of the last is lower."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, three earlier checkpoints of its model, of which the first has fewer counts, and
    another model's."""
    place = tmp_path_factory.mktemp("compared")
    corpus = examples.corpus(place / "corpus", lengths=(601,), vocab=8)
    chance = np.random.default_rng(0)
    last = [chance.integers(0, count, 600) for count in (5, 20)]

    def moved(share: float) -> list[np.ndarray]:
        gone = chance.random(600) < share
        return [np.where(gone, chance.integers(0, own.max() + 1, 600), own) for own in last]

    run = made(corpus, place / "run", last, [5, 20], input={"revision": "step1024"})
    others = [
        made(
            corpus,
            place / f"step{step}",
            labels,
            [5, 20][-len(labels) :],
            input={"revision": f"step{step}"},
        )
        for step, labels in zip(STEPS, (moved(0.6)[1:], moved(0.3), moved(0.1)), strict=True)
    ]
    other = made(corpus, place / "other", moved(0.5), [5, 20], input={"model": "models/two"})
    found = compare(run, [*others[::-1], other])
    found["seed_ari"][:, 1] = 0.9  # as if jquanta stability had told
    for one in (run, *others, other):
        one.path.mkdir()
        save_clusters(one.clusters, one.path)
    save_comparison(found, run.path)
    return run.path


def test_what_is_drawn(folder: Path, tmp_path: Path) -> None:
    figure, rows = drawn(comparison.draw, folder, tmp_path)
    ari, within, found, steps = panels(figure)
    stored = xr.open_zarr(folder / "comparison.zarr")
    for axes, name in ((ari, "ari"), (within, "within")):
        for i, label in enumerate(("step512", "step32", "step2", "other")):
            line = next(c for c in axes.containers if c.get_label() == label)[0]
            values = stored[name].isel(other=i).dropna("count")
            np.testing.assert_array_equal(line.get_xdata(), values["count"])
            np.testing.assert_array_equal(line.get_ydata(), values)
    (ceiling,) = (line for line in ari.get_lines() if line.get_label() == "itself, other seed")
    assert ceiling.get_xydata().tolist() == [[20, 0.9]]
    shares = {line.get_label(): line.get_xydata().tolist() for line in found.get_lines()}
    assert shares["step512"] == [[5, 1], [20, 1]]  # nine of ten samples stay
    assert [x for x, _ in shares["step2"]] == [20]
    curves = {line.get_label(): line for line in steps.get_lines()}
    assert set(curves) == {"ARI", "AMI", "ARI within tokens", "share found"}
    np.testing.assert_array_equal(curves["ARI"].get_xdata(), STEPS)
    # The share that stays, squared: 0.16, 0.49, 0.81.
    np.testing.assert_allclose(curves["ARI"].get_ydata(), [0.16, 0.49, 0.81], atol=0.06)
    texts = [str(row) for row in rows]
    assert sum("ARI, " in text for text in texts) == 4
    assert "clusters found elsewhere at step512, 20 clusters = 1 (20 of 20)" in texts
    assert sum("at another seed: ARI 0.900" in text for text in texts) == 4
    assert_legible(figure)


def test_one_other_run_of_another_model(folder: Path, tmp_path: Path) -> None:
    """There is no panel over steps, and no ceiling."""
    stored = xr.open_zarr(folder / "comparison.zarr").load()
    one = stored.isel(other=[3]).assign(seed_ari=stored.seed_ari.isel(other=[3]) * np.nan)
    save_clusters(imported(np.zeros((1, 4), int)), tmp_path)
    with pytest.raises(BadInput, match="no comparison here; make it: jquanta compare"):
        comparison.draw(tmp_path, tmp_path)
    (folder.parent / "alone").mkdir(exist_ok=True)
    alone = folder.parent / "alone"
    save_clusters(xr.open_zarr(folder / "clusters.zarr").load(), alone)
    save_comparison(one, alone)
    figure, rows = drawn(comparison.draw, alone, tmp_path)
    assert len(panels(figure)) == 3
    assert not any("at another seed" in str(row) for row in rows)
    assert_legible(figure)
