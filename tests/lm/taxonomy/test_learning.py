"""Learning times of tokens as a Dataset: planted ones, block by block, on disk and after a kill."""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import stdtrit

import jquanta as jq
from jquanta.errors import BadInput
from jquanta.lm.taxonomy import learning
from jquanta.run.progress import Silence
from jquanta.spectrum import KINDS, LEARNED, Checkpoints
from tests.lm.taxonomy.learnable import STEPS, TIMES, of_sizes, suite


def test_planted_times_of_every_network() -> None:
    found = jq.learning_times(suite())
    assert found.name.to_numpy().tolist() == ["n20000", "n110000"]
    assert found.learning_time.attrs["units"] == "updates"
    assert found.kind.attrs["flag_meanings"].split() == list(KINDS)
    learned = (found.kind == LEARNED).to_numpy()
    assert learned.mean() > 0.97
    error = np.log(found.learning_time.to_numpy() / TIMES)[learned]
    inside = np.abs(error) < stdtrit(4, 0.975) * found.log_time_error.to_numpy()[learned]
    assert inside.mean() == pytest.approx(0.95, abs=0.04)  # four standard errors of the share
    assert np.median(np.abs(error)) < 0.05
    np.testing.assert_allclose(found.high.median(), 7, atol=0.1)
    assert found.high.attrs["units"] == found.low.attrs["units"] == "nats"


def test_along_sizes() -> None:
    losses = of_sizes(8)
    found = jq.learning_times(losses, along="size")
    assert found.learning_time.attrs["units"] == "parameters"
    assert found.attrs["at"] == [[1000 * 4**i for i in range(8)]]
    sizes, rows = losses["size"].to_numpy(), losses.loss.to_numpy()
    first = sizes[(rows < 3).argmax(1)]
    # A step between two sizes is placed at their geometric mean.
    np.testing.assert_allclose(found.learning_time[0], first / 2, rtol=0.01)
    two = jq.learning_times(of_sizes(8, seeds=2), along="size")
    assert two.seed.to_numpy().tolist() == ["0", "1"]
    np.testing.assert_array_equal(two.learning_time[0], two.learning_time[1])


def test_seeds_are_series_and_their_sums_one_spectrum() -> None:
    losses = suite(seeds=2)
    found = jq.learning_times(losses)
    assert found.seed.to_numpy().tolist() == ["0", "1", "0", "1"]
    (small, _) = learning.curves_along(losses, "step")
    assert small.seeds == ("0", "1")
    spectrum = learning.spectrum_of(losses, small, block=77)
    assert spectrum.total == 2 * TIMES.shape[1]
    assert spectrum.number[LEARNED] == int((found.kind[:2] == LEARNED).sum())
    mean = losses.loss.to_numpy().mean(0).reshape(2, 2, -1)[0, :, 1:].mean(0)
    np.testing.assert_allclose(spectrum.mean, mean, rtol=1e-6)


class Killed(Exception):
    pass


class Kill(Silence):
    """A process that dies after so many blocks."""

    def __init__(self, blocks: int) -> None:
        self.left = blocks

    def work(self, stage: str, share: float, detail: str = "", *, measured: bool = True) -> None:
        self.left -= 1
        if not self.left:
            raise Killed


def test_on_disk_it_is_the_same_and_goes_on_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, out = suite(), tmp_path / "spectrum.zarr"
    whole = jq.learning_times(losses)
    for _ in range(2):  # after two more of three blocks a series
        with pytest.raises(Killed):
            jq.learning_times(losses, out, block=128, monitor=Kill(2))
        assert not out.exists()
    fitted: list[int] = []
    fit = Checkpoints.fit

    def counted(self: Checkpoints, rows: np.ndarray, below: float) -> object:
        fitted.append(len(rows))
        return fit(self, rows, below)

    monkeypatch.setattr(Checkpoints, "fit", counted)
    found = jq.learning_times(losses, out, block=128)
    assert fitted == [128, 44]
    for name in learning.VARIABLES:
        np.testing.assert_array_equal(found[name], whole[name])
        assert found[name].attrs["units"] == whole[name].attrs["units"]
    assert found.name.to_numpy().tolist() == whole.name.to_numpy().tolist()
    assert [part.state for part in jq.check(out)] == ["whole"]
    jq.learning_times(losses, out, block=128)
    assert fitted == [128, 44]  # what is there is left alone
    with pytest.raises(BadInput, match="holds learning times of other losses, or by other"):
        jq.learning_times(losses, out, block=128, below=0.5)
    (out / "kind" / "c" / "1" / "0").unlink()
    with pytest.raises(BadInput, match="kind/c/1/0 is missing"):
        jq.open_learning_times(out)


def test_bad_input(tmp_path: Path) -> None:
    losses = suite()
    few = losses.isel(model=losses.revision.isin([f"step{step}" for step in STEPS[:5]]))
    with pytest.raises(BadInput, match="losses at 5 checkpoints: a sigmoid has four numbers"):
        jq.learning_times(few)
    with pytest.raises(BadInput, match="losses of 5 sizes: a sigmoid has four numbers"):
        jq.learning_times(of_sizes(5), along="size")
    with pytest.raises(BadInput, match="losses of 1 sizes of models"):
        jq.learning_times(of_sizes(1), along="size")
    with pytest.raises(BadInput, match="no model has losses at two steps"):
        jq.learning_times(of_sizes(8))
    with pytest.raises(BadInput, match="no losses of n110000, n20000 at step7"):
        jq.learning_times(losses, along="size", step=7)
    with pytest.raises(BadInput, match="along = 'width': give 'step' or 'size'"):
        jq.learning_times(losses, along="width")
    for below in (0.0, -1.0, float("nan")):
        with pytest.raises(BadInput, match=f"below = {below:g}: give a positive number of nats"):
            jq.learning_times(losses, below=below)
    wrong = losses.copy(deep=True)
    wrong.loss[4, 3] = np.nan
    with pytest.raises(BadInput, match=r"n20000@step52: no loss of prediction 4 \(NaN\)"):
        jq.learning_times(wrong, tmp_path / "spectrum.zarr")
    assert not (tmp_path / "spectrum.zarr").exists()
    with pytest.raises(BadInput, match="this corpus has no predictions"):
        jq.learning_times(losses.isel(prediction=slice(0)))
    with pytest.raises(BadInput, match="no learning times here; make it: jquanta spectrum"):
        jq.open_learning_times(tmp_path / "none.zarr")
