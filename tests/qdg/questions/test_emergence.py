"""When clusters are learned: losses made by hand, and answers read off them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from jquanta.cli import emergence as door
from jquanta.errors import BadInput
from jquanta.lm.losses.reader import open_losses
from jquanta.qdg.clusters.cluster import imported, open_clusters, save_clusters
from jquanta.qdg.questions.emergence import cluster_losses, emerged, open_emergence, save_emergence
from jquanta.qdg.samples.predictions import Predictions, stored_selection
from tests.qdg import examples
from tests.qdg.clusters import planted

SELECTION = Predictions(
    examples.named("made", 20), np.array([2, 3, 5, 7, 11, 13]), model="big@step8"
)
LABELS = [[0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 2, 3]]  # counts 2 and 4, ranked
COLUMNS = {  # model@revision: size, mean losses of the clusters of count 2
    "small@step1": (100, 4.0, 3.0),
    "small@step4": (100, 0.3, 2.9),
    "small@step16": (100, 0.6, 2.8),  # forgotten again
    "big@step1": (1000, 4.0, 4.0),
    "big@step2": (1000, 3.5, 0.2),
    "big@step8": (1000, 0.1, 0.5),  # not below 0.5
    "big@main": (1000, 0.1, 0.1),
}


def clusters(**attributes: Any) -> xr.Dataset:
    return imported(LABELS, [2, 4], **attributes)


def losses(columns: Any = COLUMNS, corpus: str = "made") -> xr.Dataset:
    """Each sample's loss is its cluster's mean and a little that adds up to nothing."""
    table = np.full((20, len(columns)), 99.0)  # of predictions that are no samples
    spread = np.array([0.01, -0.01, 0.02, -0.02, 0.05, -0.05])
    for i, (_, *means) in enumerate(columns.values()):
        table[SELECTION.index, i] = np.array(means)[LABELS[0]] + spread
    names, revisions = zip(*(label.split("@") for label in columns), strict=True)
    return xr.Dataset(
        {"loss": (("prediction", "model"), table, {"units": "nats"})},
        {
            "model": list(columns),
            "name": ("model", list(names)),
            "revision": ("model", list(revisions)),
            "size": ("model", [size for size, *_ in columns.values()]),
        },
        {"corpus": corpus, "source": "by hand"},
    )


def curves() -> xr.Dataset:
    return cluster_losses(clusters(), losses(), SELECTION)


def test_mean_losses_of_clusters() -> None:
    found = curves()
    means = np.array([row[1:] for row in COLUMNS.values()])
    np.testing.assert_allclose(found.loss.sel(count=2)[:2].T, means, rtol=1e-12)
    assert found.loss.sel(count=2)[2:].isnull().all()  # a count of two has no third cluster
    np.testing.assert_array_equal(found.samples, [[4, 2, 0, 0], [2, 2, 1, 1]])
    wanted = [means[:, 0], means[:, 0], means[:, 1] + 0.05, means[:, 1] - 0.05]
    np.testing.assert_allclose(found.loss.sel(count=4), wanted, rtol=1e-12)
    np.testing.assert_array_equal(found.step, [1, 4, 16, 1, 2, 8, np.nan])


def test_emergence_by_hand() -> None:
    found = emerged(curves(), below=0.5).sel(count=2).isel(cluster=slice(2))
    assert found.series.to_numpy().tolist() == ["small", "big"]
    assert found.series_size.to_numpy().tolist() == [100, 1000]
    # Forgotten again does not count; nor does 0.5, which is not below; main has no step.
    np.testing.assert_array_equal(found.emergence_step, [[np.nan, 8], [np.nan, np.nan]])
    # By the last checkpoint, which is main where there is one.
    np.testing.assert_array_equal(found.emergence_size, [1000, 1000])
    np.testing.assert_allclose(
        found.step_sharpness, [[3.7 / 3.4, 3.4 / 3.9], [0.1 / 0.2, 3.8 / 3.5]], rtol=1e-9
    )
    assert found.size_sharpness.isnull().all()  # of two sizes, one drop is all


def test_thresholds() -> None:
    made = curves()
    low = emerged(made, below=0.15).sel(count=2)
    np.testing.assert_array_equal(low.emergence_step[0], [np.nan, 8])
    np.testing.assert_array_equal(low.emergence_size[:2], [1000, 1000])
    high = emerged(made, below=0.7).sel(count=2)
    np.testing.assert_array_equal(high.emergence_step[:2], [[4, 8], [np.nan, 2]])
    np.testing.assert_array_equal(high.emergence_size, [100, 1000, np.nan, np.nan])
    every = emerged(made, below=9).sel(count=2)
    np.testing.assert_array_equal(every.emergence_step[:2], [[1, 1], [1, 1]])
    assert every.emergence_step[2:].isnull().all()
    assert made.loss.identical(high.loss) or high.loss.shape == (4, 7)


def test_sharpness_over_sizes_and_what_never_falls() -> None:
    columns = {
        "a@main": (1, 4.0, 1.0),
        "b@main": (2, 3.0, 2.0),
        "c@main": (3, 0.9, 3.0),
        "d@main": (3, 1.1, 3.0),  # a second model of that size: their mean counts
        "e@main": (9, 0.0, 4.0),
    }
    found = emerged(cluster_losses(clusters(), losses(columns), SELECTION)).sel(count=2)
    np.testing.assert_allclose(found.size_sharpness[:2], [2.0 / 4.0, np.nan], rtol=1e-9)
    assert found.emergence_step.isnull().all()
    assert found.step_sharpness.isnull().all()
    np.testing.assert_array_equal(found.emergence_size[:2], [9, np.nan])


def test_only_the_samples_are_read() -> None:
    """A table of which only those rows exist."""

    class Rows:
        shape, dtype, ndim = (10**12, 1), np.dtype(float), 2

        def __array__(self, *_: Any) -> Any:
            raise AssertionError("all of it is read")

    from xarray.backends import BackendArray
    from xarray.core.indexing import IndexingSupport, LazilyIndexedArray, explicit_indexing_adapter

    asked = []

    class Lazy(BackendArray):
        shape, dtype = (10**9, 1), np.dtype(float)

        def __getitem__(self, key: Any) -> Any:
            return explicit_indexing_adapter(key, self.shape, IndexingSupport.OUTER, self.read)

        def read(self, key: Any) -> Any:
            asked.append(np.asarray(key[0]).tolist())
            return np.ones(len(key[0])) if np.ndim(key[1]) == 0 else np.ones((len(key[0]), 1))

    table = losses({"a@main": (1, 1.0, 1.0)}).drop_vars("loss")
    table["loss"] = xr.Variable(("prediction", "model"), LazilyIndexedArray(Lazy()))
    found = cluster_losses(clusters(), table, SELECTION)
    assert asked == [SELECTION.index.tolist()]
    assert (found.loss.sel(count=4) == 1).all()


def test_stored_and_read_again(tmp_path: Path) -> None:
    save_clusters(clusters(), tmp_path)
    found = emerged(curves())
    assert save_emergence(found, tmp_path) == tmp_path / "emergence.zarr"
    read = open_emergence(tmp_path)
    xr.testing.assert_identical(read, found)
    save_clusters(imported([row[::-1] for row in LABELS], [2, 4]), tmp_path)
    with pytest.raises(BadInput, match="of other clusters than are there now; make it: jquanta"):
        open_emergence(tmp_path)
    with pytest.raises(BadInput, match="no emergence here; make it: jquanta emergence"):
        open_emergence(tmp_path / "emergence.zarr")


def test_bad_input_is_one_clear_line() -> None:
    def refused(line: str, call: Any) -> None:
        with pytest.raises(BadInput, match=line) as caught:
            call()
        assert "\n" not in str(caught.value)

    other, short = losses(corpus="another"), losses(corpus="").isel(prediction=slice(13))
    refused("losses of another corpus", lambda: cluster_losses(clusters(), other, SELECTION))
    refused("losses of 13 predictions", lambda: cluster_losses(clusters(), short, SELECTION))
    unfinished = losses()
    unfinished.loss[11, 3] = np.nan
    refused(
        "big@step1: no finite loss of prediction 11",
        lambda: cluster_losses(clusters(), unfinished, SELECTION),
    )
    foreign = clusters(samples="others")
    refused("are not of this selection", lambda: cluster_losses(foreign, losses(), SELECTION))
    refused("below = 0: give nats above 0", lambda: emerged(curves(), 0))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = planted.folder(tmp_path)
    assert door.main([str(results), "--below", "9"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "4 clusters (count 4); learned: mean loss below 9 nats"
    assert out[-1] == str(results / "emergence.zarr")
    assert door.main([str(results), "--below", "9"]) == 0
    assert capsys.readouterr().out.endswith("emergence.zarr, in place of an earlier one\n")
    found = open_emergence(results)
    table = open_losses(tmp_path / "losses")
    index = stored_selection(results)["index"].to_numpy()
    labels = open_clusters(results).label.sel(count=4)
    for cluster in range(4):
        own = table.loss.to_numpy()[index[labels == cluster]]
        np.testing.assert_allclose(found.loss.sel(count=4)[cluster], own.mean(0), rtol=1e-6)
    assert door.main([str(results), "--count", "5"]) == 2
    assert "count 5: there are clusters for 2, 4" in capsys.readouterr().err
    assert door.main([str(results), "--losses", str(results)]) == 2
    assert "is a folder that jquanta qdg made" in capsys.readouterr().err
    assert door.main([]) == 2


def test_models_of_different_steps_are_told() -> None:
    """They may count as learned by none for want of training alone."""
    columns = {
        "small@step5": (10, 0.2, 0.2),
        "small@step50": (10, 0.2, 0.2),
        "big@step5": (20, 9.0, 9.0),
    }
    found = emerged(cluster_losses(clusters(), losses(columns), SELECTION))
    lines = door.summary(found, 2).splitlines()
    assert lines[1].startswith("note: the models end at different steps (small 50, big 5): ")
    assert lines[-1] == "learned by none: 2"
    assert "note" not in door.summary(emerged(curves()), 2)
