"""Real results held against the contract, which is written out here once more."""

import datetime
import json
import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from safetensors.numpy import load_file

import jquanta as jq
from jquanta.errors import BadInput
from jquanta.parity.config import FIELDS, to_values
from jquanta.sweep import schema
from tests.sweep.examples import RAGGED

RUNS = jq.load_config(RAGGED).runs()
STEPS = [0, 10, 20, 25, 30, 40, 45]  # every step at which any run is evaluated

DATA = {
    "loss": (("run", "step"), np.float32, "nats"),
    "accuracy": (("run", "step"), np.float32, "1"),
    "validation_loss": (("run", "step"), np.float32, "nats"),
    "subtask_loss": (("run", "step", "subtask"), np.float32, "nats"),
    "subtask_accuracy": (("run", "step", "subtask"), np.float32, "1"),
    "frequency": (("run", "subtask"), np.float64, "1"),
    "subset": (("run", "subtask", "position"), np.int16, "1"),
}
EVALUATED = [name for name, (dims, _, _) in DATA.items() if "step" in dims]


@pytest.fixture(scope="module")
def results(ragged: Path) -> xr.Dataset:
    return jq.open_results(ragged).load()


def test_dimensions(results: xr.Dataset) -> None:
    assert dict(results.sizes) == {"run": 5, "step": len(STEPS), "subtask": 7, "position": 3}
    assert results.step.to_numpy().tolist() == STEPS
    assert results.run.to_numpy().tolist() == [0, 1, 2, 3, 4]
    assert results.subtask.to_numpy().tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_variables(results: xr.Dataset) -> None:
    assert set(results.data_vars) == set(DATA)
    for name, (dims, dtype, units) in DATA.items():
        array = results[name]
        assert (array.dims, array.dtype, array.attrs["units"]) == (dims, dtype, units), name


def test_everything_has_a_unit_and_a_name(results: xr.Dataset) -> None:
    for name, array in results.variables.items():
        assert array.attrs.get("units"), name
        assert array.attrs.get("long_name"), name


def test_the_schema_holds(results: xr.Dataset) -> None:
    schema.check(results)
    assert results.attrs["schema_version"] == schema.SCHEMA_VERSION


def test_run_coordinates_are_the_configuration(results: xr.Dataset) -> None:
    for field, knob in FIELDS.items():
        column = results[field.split(".")[1]]
        assert column.dims == ("run",)
        assert column.to_numpy().tolist() == [to_values(run)[field] for run in RUNS], field
        kind = {int: "i", float: "f", bool: "b", str: "OUT"}[knob.type]  # type: ignore[index]
        assert column.dtype.kind in kind, field


def test_online_training_has_infinite_data(results: xr.Dataset) -> None:
    assert results.train_size.to_numpy().tolist() == [math.inf, math.inf, 50, 100, math.inf]


def test_parameters_are_those_of_the_weights(ragged: Path, results: xr.Dataset) -> None:
    for run in range(5):
        weights = load_file(ragged / "weights" / f"{run:05d}.safetensors")
        assert results.n_params[run] == sum(w.size for w in weights.values())
    # (5 subtasks + 8 bits + bias + 2 outputs) * width + 2 biases: see the paper, section 3.
    assert results.n_params[:4].to_numpy().tolist() == [50, 82, 386, 386]


def test_ragged_runs_are_missing_where_they_were_not_evaluated(results: xr.Dataset) -> None:
    for number, run in enumerate(RUNS):
        reached = np.isin(STEPS, [*range(0, run.train.steps, run.eval.log_every), run.train.steps])
        for name in EVALUATED:
            if name == "validation_loss" and run.online:
                assert results[name][number].isnull().all()
                continue
            values = results[name][number].to_numpy()
            if values.ndim == 2:
                values, beyond = np.split(values, [run.task.n_tasks], axis=1)
                assert np.isnan(beyond).all(), (name, number)
                values = np.where(np.isnan(values).all(1), np.nan, values.sum(1))
            np.testing.assert_array_equal(np.isfinite(values), reached, f"{name} of run {number}")


def test_first_and_last_updates_are_there(results: xr.Dataset) -> None:
    assert results.last_step.to_numpy().tolist() == [30, 30, 45, 45, 25]
    assert results.diverged_at.to_numpy().tolist() == [-1] * 5
    for number, run in enumerate(RUNS):
        assert np.isfinite(results.loss[number].sel(step=[0, run.train.steps])).all()


def test_an_untrained_network_guesses_in_nats(results: xr.Dataset) -> None:
    """ln 2 = 0.693 nats, where 1 would be bits. Initial logits differ by O(1 / sqrt(width)): their
    square, at most about 0.3, raises the loss by an eighth of itself."""
    start = results.sel(step=0)
    assert np.abs(start.loss - math.log(2)).max() < 0.05
    assert np.abs(start.subtask_loss - math.log(2)).max() < 0.1
    # 256 points a subtask: a guess is right half the time, ± 5 standard deviations of 1/32.
    assert np.abs(start.subtask_accuracy - 0.5).max() < 0.16


def test_means_are_over_the_exact_frequencies(results: xr.Dataset) -> None:
    for name in ("loss", "accuracy"):
        mean = (results.frequency * results[f"subtask_{name}"]).sum("subtask", min_count=1)
        # Sums of at most 7 float32 numbers around 1.
        np.testing.assert_allclose(results[name], mean, rtol=1e-6)


def test_tasks_are_as_configured(results: xr.Dataset) -> None:
    for number, run in enumerate(RUNS):
        task, n, k = run.task, run.task.n_tasks, run.task.k
        ranks = np.arange(1, n + 1)
        share = (ranks + task.offset) ** -(task.alpha + 1)
        frequency, subset = results.frequency[number], results.subset[number]
        np.testing.assert_allclose(frequency[:n], share / share.sum(), rtol=1e-12)
        assert frequency[n:].isnull().all()
        assert ((subset[:n, :k] >= 0) & (subset[:n, :k] < task.n_bits)).all()
        assert (subset[n:] == -1).all()
        assert (subset[:, k:] == -1).all()
        assert len(np.unique(subset[:n, :k], axis=0)) == n
    assert not np.array_equal(results.subset[0, :5, :2], results.subset[4, :5, :2])  # other seed
    np.testing.assert_array_equal(results.subset[0], results.subset[2])  # same seed and task


def test_validation_is_for_finite_data_and_its_own(results: xr.Dataset) -> None:
    finite = np.isfinite(results.train_size)
    assert results.validation_loss.sel(run=~finite).isnull().all()
    held_out, test = results.validation_loss.sel(run=finite), results.loss.sel(run=finite)
    both = np.isfinite(test)
    np.testing.assert_array_equal(np.isfinite(held_out), both)
    assert (held_out.where(both, 0) != test.where(both, 1)).all()  # other points
    assert abs(held_out - test).max() < 0.3  # of the same task


def test_attributes_tell_where_the_numbers_come_from(results: xr.Dataset) -> None:
    import jax

    attributes: dict[str, Any] = results.attrs
    assert jq.load_config(tomllib.loads(attributes["config"])).runs() == RUNS
    assert attributes["title"] == "ragged"
    assert attributes["jquanta_version"] == jq.__version__
    assert attributes["jax_version"] == jax.__version__
    assert jax.devices()[0].device_kind in attributes["device"]
    assert attributes["precision"] == "float32"
    assert "commit" in attributes
    assert datetime.datetime.fromisoformat(attributes["created"]).tzinfo


def test_the_run_folder_explains_itself(ragged: Path) -> None:
    assert {path.name for path in ragged.iterdir()} == {
        "config.toml",
        "record.json",
        "results.zarr",
        "weights",
    }
    record = json.loads((ragged / "record.json").read_text())
    assert record["state"] == "done"
    assert {"name", "versions", "commit", "device", "dtype", "started", "finished"} <= set(record)
    assert record["started"] <= record["finished"]
    assert record["seconds"] > 0
    assert jq.load_config(ragged / "config.toml").runs() == RUNS
    assert len(list((ragged / "weights").glob("*.safetensors"))) == len(RUNS)


def test_another_program_can_read_it(ragged: Path) -> None:
    """Plain Zarr: opened by name, without this package's reader."""
    import zarr

    group = zarr.open_group(ragged / "results.zarr", mode="r")
    assert np.asarray(group["loss"]).shape == (5, len(STEPS))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ds: ds.drop_vars("loss"), "loss is missing"),
        (lambda ds: ds.drop_vars("width"), "width is missing"),
        (lambda ds: ds.assign(loss=ds.loss.astype(np.float64)), "loss is .*float64"),
        (lambda ds: ds.assign(loss=ds.loss.assign_attrs(units="bits")), "loss is .*bits"),
        (lambda ds: ds.assign(loss=ds.loss.transpose()), "loss is .*step.*run"),
        (lambda ds: ds.assign_attrs(schema_version=0), "schema version 0"),
        (lambda ds: ds.drop_attrs(), "schema version None"),
    ],
)
def test_what_breaks_the_schema_is_named(results: xr.Dataset, change: Any, message: str) -> None:
    with pytest.raises(BadInput, match=f"^somewhere: {message}"):
        schema.check(change(results), "somewhere")


def test_another_wording_breaks_nothing(results: xr.Dataset) -> None:
    """A help text is a field's long_name: rewording it must not close what is stored."""
    renamed = results.assign_coords(width=results.width.assign_attrs(long_name="units"))
    schema.check(renamed)
