import json
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jquanta as jq
from jquanta.errors import BadInput
from jquanta.sweep import schema
from tests.sweep.examples import RAGGED, SUM_ROUNDING, TINY, evaluated, tree
from tests.sweep.synthetic import PLANTED, planted, stored

RUNS = jq.load_config(RAGGED).runs()


@pytest.mark.parametrize("number", range(len(RUNS)))
def test_the_weights_give_the_stored_last_losses(ragged: Path, number: int) -> None:
    """Whole one-hot inputs through the public network, labels counted bit by bit."""
    stored = jq.open_results(ragged).isel(run=number, subtask=slice(RUNS[number].task.n_tasks))
    stored = stored.sel(step=int(stored.last_step))
    task, network = jq.load_run(ragged, number)
    loss, accuracy = evaluated(RUNS[number], task, network)
    np.testing.assert_allclose(loss, stored.subtask_loss, rtol=SUM_ROUNDING)
    np.testing.assert_allclose(accuracy, stored.subtask_accuracy, rtol=1e-6)
    assert task.frequencies @ loss == pytest.approx(float(stored.loss), rel=SUM_ROUNDING)


def test_load_run_gives_the_task_of_the_run(ragged: Path) -> None:
    task, network = jq.load_run(ragged / "results.zarr", 4)
    stored = jq.open_results(ragged).isel(run=4)
    np.testing.assert_array_equal(task.subsets, stored.subset)
    np.testing.assert_array_equal(task.frequencies, stored.frequency)
    assert task.config == RUNS[4].task
    assert {leaf.dtype for _, leaf in nnx.to_flat_state(nnx.state(network))} == {
        np.dtype(np.float32)
    }


@pytest.mark.parametrize("number", [-1, 5])
def test_a_run_that_is_not_there_is_refused(ragged: Path, number: int) -> None:
    with pytest.raises(BadInput, match=f": run = {number}: give a whole number from 0 to 4"):
        jq.load_run(ragged, number)


def test_opening_is_lazy_and_leaves_the_folder_alone(ragged: Path) -> None:
    before = tree(ragged)
    results = jq.open_results(ragged)
    assert not isinstance(results.loss.variable._data, np.ndarray)
    assert results.loss.sel(step=0).shape == (5,)
    assert jq.open_results(ragged / "results.zarr").equals(results)
    assert jq.open_results(str(ragged)).equals(results)
    assert tree(ragged) == before


def test_three_lines_of_a_notebook(ragged: Path) -> None:
    results = jq.open_results(ragged)
    curve = results.where(results.width == 5, drop=True).loss.squeeze().to_series()
    assert curve.index.name == "step"
    assert np.isfinite(curve[30])


def test_nothing_to_open_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such folder; train one: jquanta sweep"):
        jq.open_results(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="is a file, not a sweep's folder; train one: jquanta sweep"):
        jq.open_results(tmp_path / "file")
    with pytest.raises(
        BadInput, match=r"is a folder without config\.toml, not a sweep's folder; train one"
    ):
        jq.open_results(tmp_path)
    unfinished = tmp_path / "run"
    shutil.copytree(tiny, unfinished)
    record = unfinished / "record.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"state": "running"}))
    with pytest.raises(BadInput, match=r"not finished; resume it with .*--out .*run"):
        jq.open_results(unfinished)
    shutil.rmtree(unfinished / "results.zarr")
    with pytest.raises(BadInput, match="not finished"):
        jq.open_results(unfinished)
    with pytest.raises(BadInput, match="not finished"):
        jq.load_run(unfinished, 0)


def test_results_of_another_schema_are_refused(tiny: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(tiny, copy)
    metadata = copy / "results.zarr" / "zarr.json"
    content = json.loads(metadata.read_text())
    content["attributes"]["schema_version"] = 99
    metadata.write_text(json.dumps(content))
    (metadata.parent / "sums.json").unlink()
    with pytest.raises(BadInput, match=r"results\.zarr: schema version 99"):
        jq.open_results(copy)


def test_without_a_folder_results_stay_in_memory(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results = jq.run_sweep(TINY)
    assert tree(tmp_path) == {}
    stored = jq.open_results(tiny)
    assert results.drop_attrs(deep=False).identical(stored.load().drop_attrs(deep=False))


def test_what_load_run_gives_is_used_in_three_lines(ragged: Path) -> None:
    """Its losses on fresh samples are those of the last evaluation, to the noise of the samples."""
    stored = jq.open_results(ragged).isel(run=3, subtask=slice(5)).sel(step=45)
    task, network = jq.load_run(ragged, 3)
    samples = task.draw(500)
    logits = np.asarray(network(samples.inputs))
    assert logits.shape == (500, 2)
    found = task.evaluate(network, points=4000)
    np.testing.assert_allclose(found.loss, stored.subtask_loss, rtol=0.1)
    right = (logits.argmax(1) == samples.label).mean()
    assert right == pytest.approx(task.frequencies @ found.accuracy, abs=4 * 0.5 / 500**0.5)


def test_samples_are_those_of_the_task(ragged: Path) -> None:
    task, network = jq.load_run(ragged, 4)
    samples = task.draw(2000, seed=1)
    bits = np.asarray(samples.inputs[:, task.config.n_tasks :])
    subtask = np.asarray(samples.subtask)
    control = np.asarray(samples.inputs[:, : task.config.n_tasks])
    np.testing.assert_array_equal(control, np.eye(task.config.n_tasks)[subtask])
    labels = np.take_along_axis(bits, task.subsets[subtask].astype(int), 1).sum(1) % 2
    np.testing.assert_array_equal(samples.label, labels)
    share = np.bincount(subtask, minlength=len(task.frequencies)) / len(subtask)
    np.testing.assert_allclose(share, task.frequencies, atol=4 * 0.5 / 2000**0.5)
    assert set(np.asarray(task.draw(20, code=3).subtask).tolist()) == {3}
    with pytest.raises(BadInput, match="code = 7: give a whole number from 0 to 6"):
        task.draw(3, code=7)
    for count in (0, 10**12):  # the memory of no machine holds the second
        with pytest.raises(BadInput, match=f"count = {count}: give a whole number from 1 to"):
            task.draw(count)
    with pytest.raises(BadInput, match=r"inputs of shape \[3, 5\]: give \[samples, 16\] numbers"):
        network(jnp.zeros((3, 5), jnp.float32))
    with pytest.raises(
        BadInput, match=r"gives \[10, 16\] numbers for 10 samples; give one with two"
    ):
        task.evaluate(lambda inputs: inputs, points=10)
    for each in (task, network, samples, task.evaluate(network, points=10)):
        assert "\n" not in repr(each)
        assert len(repr(each)) < 100
    assert repr(network) == "MLP(16 → 4 → 4 → 2, tanh)"


def test_weights_of_another_network_are_refused(ragged: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(ragged, copy)
    file = copy / "weights" / "00001.safetensors"
    shutil.copy(copy / "weights" / "00000.safetensors", file)
    with pytest.raises(BadInput, match=r"weights: damaged: 00001\.safetensors"):
        jq.load_run(copy, 1)
    (copy / "weights" / "sums.json").unlink()  # as in folders of version 0.1
    with pytest.raises(BadInput, match=r"00001\.safetensors: holds the weights of another network"):
        jq.load_run(copy, 1)
    file.write_bytes(b"")
    with pytest.raises(BadInput, match=r"00001\.safetensors: damaged; run the sweep again"):
        jq.load_run(copy, 1)
    file.unlink()
    with pytest.raises(BadInput, match=r"00001\.safetensors: missing; run the sweep again"):
        jq.load_run(copy, 1)


def test_results_of_version_0_1_lack_the_chunks_of_runs_that_diverged(tmp_path: Path) -> None:
    """It wrote no chunk of nothing but NaN, and no check sums; any other chunk is missed."""
    results = planted()
    for name, variable in results.data_vars.items():
        if variable.dtype.kind == "f":
            results[name] = variable.fillna(0.5)
    late = results.step.to_numpy() > results.step.to_numpy()[2]
    run = int((results.last_step > results.step[3]).argmax())
    for name in schema.VARIABLES:
        if schema.VARIABLES[name].dims[:2] == ("run", "step"):
            results[name][run, late] = np.nan
    results["diverged_at"][run] = int(results.step[3])
    folder = stored(results, jq.load_config(PLANTED), tmp_path / "run")
    shutil.rmtree(folder / "results.zarr")
    results.to_zarr(folder / "results.zarr", encoding={"loss": {"chunks": (1, 1)}})
    assert not (folder / "results.zarr" / "loss" / "c" / str(run) / "3").exists()
    assert np.isnan(jq.open_results(folder).loss[run, 3])
    (folder / "results.zarr" / "loss" / "c" / str(run) / "2").unlink()
    with pytest.raises(BadInput, match=r"loss/c/.*/2 is missing"):
        jq.open_results(folder)
