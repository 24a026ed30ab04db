"""Sweeps over codes: configured, trained, stored, reported."""

import math
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from safetensors.numpy import load_file

import jquanta as jq
from jquanta.cli.sweep_result import summarise
from jquanta.errors import BadInput
from jquanta.parity.task import make_task
from jquanta.sweep.__main__ import main
from jquanta.sweep.values import parse_values
from tests.parity import twins
from tests.sweep.examples import SUM_ROUNDING, Config, evaluated, toml
from tests.sweep.synthetic import planted

CODES = ["0 1 2 0+1+2*2.5", "0+1+2", "2+1 0"]

SWEEP: Config = {
    "name": "coded",
    "task.n_tasks": 3,
    "task.n_bits": 9,
    "task.k": 1,
    "task.frequencies": "uniform",
    "network.width": 32,
    "train.batch_size": 128,
    "train.steps": 500,
    "train.lr": 0.02,
    "eval.log_every": 100,
    "eval.points_per_task": 256,
    "sweep": [
        {"task.codes": CODES},  # packed, each by itself: they differ in their number
        {"task.codes": "0 1 2 0+1+2", "task.alpha": [0.1, 0.2], "task.frequencies": "zipf"},
        {"task.codes": "1 0+2", "network.depth": 3, "train.train_size": 300},
        {},  # the plain task beside them
    ],
}

CONFIG = jq.load_config(SWEEP)
RUNS = CONFIG.runs()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("coded") / "run"
    jq.run_sweep(SWEEP, path)
    return path


@pytest.fixture(scope="module")
def results(folder: Path) -> xr.Dataset:
    return jq.open_results(folder).load()


# Configuration


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("", [""]),
        ("  ", [""]),
        ("0", ["0"]),  # a word, though it looks like a number
        ("0 1 0+1*2.5", ["0 1 0+1*2.5"]),
        ("0 1, 0+1", ["0 1", "0+1"]),
        (["", "0 1", "0+1*1e3, 2"], ["", "0 1", "0+1*1e3", "2"]),
    ],
)
def test_codes_are_values_of_a_field(spec: object, expected: list[str]) -> None:
    assert parse_values("task.codes", spec) == (tuple(expected), 0)


@pytest.mark.parametrize("spec", [0, [1], True, "log(1, 2, 3)"])
def test_codes_are_words(spec: object) -> None:
    with pytest.raises(BadInput, match=r"^task\.codes = .*wrong type; give a word"):
        parse_values("task.codes", spec)


def test_runs_of_several_codes() -> None:
    told = [run.task.codes for run in RUNS]
    assert told == [*CODES, "0 1 2 0+1+2", "0 1 2 0+1+2", "1 0+2", ""]


def test_toml_flags_and_the_resolved_configuration_agree(tmp_path: Path) -> None:
    path = tmp_path / "coded.toml"
    path.write_text(toml(SWEEP))
    assert jq.load_config(path).runs() == RUNS
    assert jq.load_config(tomllib.loads(CONFIG.to_toml())).runs() == RUNS
    plain = {name: value for name, value in SWEEP.items() if name != "sweep"}
    from_flags = jq.load_config(plain, flags={"task.codes": ", ".join(CODES)})
    assert from_flags.runs() == RUNS[:3]


def test_a_flag_makes_the_plain_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "coded.toml"
    path.write_text(toml(SWEEP | {"sweep": [{"task.codes": CODES}]}))
    assert main([str(path), "--task.codes", "", "--plan"]) == 0
    assert "coded: 1 network of" in capsys.readouterr().out
    assert main([str(path), "--task.codes", "0 0+1, 2", "--plan"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"task\.codes +0 0\+1, 2  \(2 values\)", out)
    assert "3 subtasks of 1 out of 9 bits; 1 to 2 codes; 500 steps" in out


def test_nonsense_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--task.codes", "0 1 999", "--plan"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "task.codes = '0 1 999': there is no subtask 999" in said


# Results


def test_dimensions_are_of_codes(results: xr.Dataset) -> None:
    assert results.sizes["subtask"] == 4
    assert results.sizes["position"] == 3
    assert results.codes.dims == ("run",)
    assert results.codes.to_numpy().tolist() == [run.task.codes for run in RUNS]
    assert results.n_tasks.to_numpy().tolist() == [3] * len(RUNS)


@pytest.mark.parametrize("number", range(len(RUNS)))
def test_what_a_code_has_not_is_missing(results: xr.Dataset, number: int) -> None:
    run, stored = RUNS[number], results.isel(run=number)
    members = twins.members(run.task)
    count = len(members)
    assert (
        (stored.subset >= 0).sum("position").to_numpy() == [*map(len, members)] + [0] * (4 - count)
    ).all()
    for name in ("subtask_loss", "subtask_accuracy"):
        values = stored[name].sel(step=[0, 500])
        assert np.isfinite(values[:, :count]).all()
        assert np.isnan(values[:, count:]).all()
    frequency = stored.frequency.to_numpy()
    assert frequency[:count].sum() == pytest.approx(1, abs=1e-12)
    assert np.isnan(frequency[count:]).all()
    mean = np.nansum(frequency * stored.subtask_loss, axis=1)
    np.testing.assert_allclose(stored.loss, mean, rtol=1e-6)  # float32 means of four


@pytest.mark.parametrize("number", range(len(RUNS)))
def test_the_weights_give_the_stored_last_losses(
    folder: Path, results: xr.Dataset, number: int
) -> None:
    """Whole multi-hot inputs through the public network, labels counted bit by bit."""
    stored = results.isel(run=number, subtask=slice(RUNS[number].task.n_codes)).sel(step=500)
    task, network = jq.load_run(folder, number)
    loss, accuracy = evaluated(RUNS[number], task, network)
    # Losses here go down to 1e-4: those are told apart from 0, not to a share of themselves.
    np.testing.assert_allclose(loss, stored.subtask_loss, rtol=SUM_ROUNDING, atol=1e-6)
    np.testing.assert_allclose(accuracy, stored.subtask_accuracy, rtol=1e-6)


def test_parameters_do_not_grow_with_codes(folder: Path, results: xr.Dataset) -> None:
    for number in (0, 5):
        weights = load_file(folder / "weights" / f"{number:05d}.safetensors")
        assert weights["layers.0.kernel"].shape == (3 + 9, 32)
        assert results.n_params[number] == sum(w.size for w in weights.values())


def test_a_code_is_learned_from_its_control_bits(results: xr.Dataset) -> None:
    """Parities of one to three bits: easy, but not without knowing which code is asked for."""
    assert (results.subtask_accuracy.sel(step=500).isel(run=[0, 1, 2]).fillna(1) > 0.99).all()
    # One code can be learned from the label alone; four with different answers cannot.
    masks = make_task(RUNS[0].task, 0).masks
    assert len(np.unique(masks)) == 4


def test_curves_of_codes_have_no_theory(results: xr.Dataset) -> None:
    """What the model predicts is of the plain task; the number of subtasks is that of codes."""
    coded = jq.scaling.step_curve(results.isel(run=[3]))
    plain = jq.scaling.step_curve(results.isel(run=[6]))
    assert (coded.attrs["n_tasks"], plain.attrs["n_tasks"]) == (4, 3)
    assert math.isnan(coded.attrs["alpha"])
    assert jq.scaling.predicted(coded) is None


def test_the_report_tells_which_codes_were_learned(
    results: xr.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    two_seeds: Any = xr.concat([results.isel(run=[0, 1])] * 2, "run")
    failed = two_seeds.assign(subtask_loss=two_seeds.subtask_loss.copy(deep=True))
    failed.subtask_loss[2, :, 3] = math.log(2)
    summarise(failed)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"codes     {CODES[0]}"
    for line, code, count in zip(lines[1:5], CODES[0].split(), (2, 2, 2, 1), strict=True):
        assert re.fullmatch(
            rf"  {re.escape(code)} +below 0\.1 bit in {count} of 2 runs, from step \d+", line
        )
    assert lines[5] == f"codes     {CODES[1]}"
    assert re.match(r"  0\+1\+2 +below 0\.1 bit in 2 of 2 runs", lines[6])
    assert len(lines) == 7


def test_a_long_list_of_codes_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*map(str, range(12)), *(f"0+{i}" for i in range(1, 12)), "2+3", "3+4"]
    summarise(planted({"task.n_bits": 24, "task.codes": " ".join(words)}))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 22  # the list, 20 of its codes, and the number of the others
    assert lines[0].endswith("…")
    assert lines[-1] == "  … and 5 more"
