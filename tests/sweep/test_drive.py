"""Training through the front door: it can be stopped anywhere, and nothing disturbs a run."""

import errno
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import jquanta as jq
from jquanta.errors import BadInput, Interrupted
from jquanta.run import checkpoint
from jquanta.run.folder import FAILED, RUNNING
from jquanta.sweep.__main__ import main
from jquanta.sweep.folder import SweepFolder
from tests.monitors import Watch
from tests.sweep.examples import (
    LONG,
    SUM_ROUNDING,
    TINY,
    Crash,
    assert_same,
    crash,
    evaluated,
    toml,
    tree,
)


@pytest.fixture
def saving_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every evaluation."""
    monkeypatch.setattr(checkpoint, "LEAST_INTERVAL", 0.0)
    monkeypatch.setattr(checkpoint, "COST_SHARE", 1e9)


# Determinism


def test_the_same_sweep_twice_is_equal_bit_for_bit(tiny: Path, tmp_path: Path) -> None:
    jq.run_sweep(TINY, tmp_path / "again")
    assert_same(tiny, tmp_path / "again")


def final_weights(folder: Path, run: int) -> dict[str, np.ndarray]:
    return load_file(SweepFolder(folder).weight_file(run))


# Runs in other company are compiled in other shapes: sums of float32 products are rounded in
# another order (1e-7 of each sum), and Adam's early steps divide by such sums where they are small,
# which moves a weight by some 1e-3 of a step of 1e-3. After 30 steps: a few 1e-5 of weights around
# 0.3, and less in the losses, which are means over 256 points.
COMPANY = {"rtol": 1e-4, "atol": 3e-5}


def assert_same_run(one: Path, run: int, other: Path, other_run: int) -> None:
    first, second = jq.open_results(one).isel(run=run), jq.open_results(other).isel(run=other_run)
    steps = first.step.to_numpy()[np.isfinite(first.loss)]
    second = second.sel(step=steps)
    for name in ("loss", "subtask_loss", "validation_loss"):
        np.testing.assert_allclose(
            first[name].sel(step=steps)[..., :], second[name], **COMPANY, err_msg=name
        )
    np.testing.assert_array_equal(first.subset, second.subset)
    theirs = final_weights(other, other_run)
    for name, weight in final_weights(one, run).items():
        np.testing.assert_allclose(weight, theirs[name], **COMPANY, err_msg=name)


def test_a_run_does_not_depend_on_its_company(tiny: Path, tmp_path: Path) -> None:
    """Other widths, exponents, rates and seeds beside it change nothing beyond rounding."""
    crowd = tmp_path / "crowd"
    config = TINY | {
        "network.width": [9, 3, 5],
        "task.alpha": [1.0, 0.4],
        "train.lr": [1e-2, 1e-3],
        "sweep": [{"train.seed": 1, "network.width": 3, "task.alpha": 0.4, "train.lr": 0.1}, {}],
    }
    results = jq.run_sweep(config, crowd)
    assert results.seed[0] == 1  # the company comes first, too
    for run, width in enumerate((3, 5)):
        same = (results.width == width) & (results.alpha == 0.4)
        same &= (results.lr == 1e-3) & (results.seed == 0)
        (number,) = np.flatnonzero(same)
        assert_same_run(tiny, run, crowd, int(number))
    # The company is different indeed: no two of the 13 runs have the same curve.
    assert len(np.unique(results.loss.to_numpy(), axis=0)) == 13


def test_a_diverging_run_is_marked_and_touches_nobody(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    results = jq.run_sweep(TINY | {"train.lr": [1e20, 1e-3], "network.width": [3, 5]}, folder)
    assert results.lr.to_numpy().tolist() == [1e20, 1e-3] * 2  # widths before rates
    assert results.diverged_at.to_numpy().tolist() == [10, -1] * 2
    diverged = results.isel(run=results.lr == 1e20)
    assert np.isfinite(diverged.loss.sel(step=0)).all()
    assert not np.isfinite(diverged.loss.sel(step=[10, 20, 30])).any()
    assert_same_run(tiny, 0, folder, 1)
    assert_same_run(tiny, 1, folder, 3)


# Early stopping


def test_early_stopping_ends_a_run_and_its_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin that trains on tells where ten rises in a row end; patience begins early here."""
    monkeypatch.setattr("jquanta.parity.stopping.PATIENCE_FROM", 200)
    config = TINY | {
        "train.train_size": 50,
        "train.lr": 0.002,  # slow overfitting: the test loss rises for long
        "train.steps": 2600,
        "train.early_stop": [True, False],
        "network.width": [24, 48],
        "eval.log_every": 100,
        "eval.points_per_task": 1000,
    }
    folder, runs = tmp_path / "run", jq.load_config(config).runs()
    results = jq.run_sweep(config, folder).load()
    steps = results.step.to_numpy()
    ended_early = 0
    for number, run in enumerate(runs):
        twin = results.isel(
            run=runs.index(replace(run, train=replace(run.train, early_stop=False)))
        )
        rises = np.diff(twin.loss) > 0
        ends = [i for i in range(10, len(steps)) if rises[i - 10 : i].all() and steps[i - 10] > 200]
        last = int(steps[ends[0]]) if ends and run.train.early_stop else 2600
        ended_early += last < 2600
        own = results.isel(run=number)
        assert int(own.last_step) == last
        until, after = own.sel(step=slice(None, last)), own.sel(step=slice(last + 1, None))
        for name in ("loss", "accuracy", "validation_loss", "subtask_loss", "subtask_accuracy"):
            assert after[name].isnull().all(), name
            # Twins differ in their place in the pack alone, which may change the rounding; over
            # 2,600 steps of overfitting that grows to what COMPANY allows for 30.
            np.testing.assert_allclose(
                until[name], twin[name].sel(step=slice(None, last)), **COMPANY, err_msg=name
            )
        # The weights are those of the run's own end.
        task, network = jq.load_run(folder, number)
        loss, _ = evaluated(run, task, network, step=last)
        stored = own.subtask_loss.sel(step=last)
        np.testing.assert_allclose(loss, stored, rtol=5 * SUM_ROUNDING)  # logits grow to some 50
    assert ended_early, "no test loss rises ten times in a row: choose another size"


# Stopped and continued


@pytest.mark.thorough(keep=2)
@pytest.mark.usefixtures("saving_often")
@pytest.mark.parametrize("at", [1, 6, 14, 17, 27])
def test_a_crash_anywhere_is_made_good(at: int, whole: Path, tmp_path: Path) -> None:
    """The monitor is called after each slice of updates; whatever it raises is a crash there."""
    folder = tmp_path / "run"
    with pytest.raises(Crash):
        jq.run_sweep(LONG, folder, monitor=Watch(at, happen=crash))
    record = SweepFolder(folder).read_record()
    assert (record["state"], record["error"]) == (FAILED, "on purpose")
    assert not (folder / "results.zarr").exists()
    assert not (folder / "lock").exists()
    monitor = Watch(3, happen=crash)  # and once more, somewhat further on
    with pytest.raises(Crash):
        jq.run_sweep(LONG, folder, monitor=monitor)
    assert monitor.lines == []
    jq.run_sweep(LONG, folder)
    assert_same(folder, whole)


def test_a_crash_without_a_checkpoint_begins_again(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Crash):
        jq.run_sweep(LONG, folder, monitor=Watch(12, happen=crash))
    jq.run_sweep(LONG, folder)
    assert_same(folder, whole)


@pytest.mark.usefixtures("saving_often")
def test_a_crash_between_evaluations_and_state_is_made_good(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluations are written first; those beyond the newest state are made again, not doubled."""
    from orbax.checkpoint import CheckpointManager

    folder, save, saves = tmp_path / "run", CheckpointManager.save, iter(range(100))

    def breaking(self: CheckpointManager, *arguments: object, **options: object) -> object:
        return crash() if next(saves) == 5 else save(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointManager, "save", breaking)
        with pytest.raises(Crash):
            jq.run_sweep(LONG, folder)
    pack = folder / "checkpoints" / "pack-0000"
    newest_state = max(
        int(path.name) for path in (pack / "states").iterdir() if path.name.isdigit()
    )
    written = max(int(path.stem.split("-")[-1]) for path in pack.glob("evaluations-*.npz"))
    assert (written - 1) * 30 > newest_state
    jq.run_sweep(LONG, folder)
    assert_same(folder, whole)


@pytest.mark.usefixtures("saving_often")
@pytest.mark.parametrize("broken", ["states", "evaluations"])
def test_a_damaged_checkpoint_is_said_and_passed_over(
    broken: str, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Crash):
        jq.run_sweep(LONG, folder, monitor=Watch(14, happen=crash))
    pack = folder / "checkpoints" / "pack-0000"
    states = sorted((pack / "states").iterdir(), key=lambda path: int(path.name))
    assert len(states) == 2
    if broken == "states":
        for path in states[-1].rglob("*"):
            if path.is_file():
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        newest = max(pack.glob("evaluations-*.npz"))
        newest.write_bytes(newest.read_bytes()[:100])
    monitor = Watch()
    jq.run_sweep(LONG, folder, monitor=monitor)
    (line,) = monitor.lines
    assert f"checkpoint at {int(states[-1].name)} updates cannot be read" in line
    assert_same(folder, whole)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (MemoryError(), "out of memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating"), "out of memory"),
    ],
)
def test_a_full_disk_or_device_is_one_line_and_can_be_resumed(
    error: Exception,
    reason: str,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: object) -> None:
        raise error

    (tmp_path / "tiny.toml").write_text(toml(TINY))
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("jquanta.sweep.drive.save_weights", full)
        assert main([str(tmp_path / "tiny.toml"), "--out", str(folder)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"jquanta: {reason}")
    assert said.count("\n") == 1
    assert SweepFolder(folder).state == FAILED
    with pytest.raises(BadInput, match="not finished"):
        jq.open_results(folder)
    jq.run_sweep(TINY, folder)
    assert_same(folder, tiny)


def test_a_folder_begun_on_another_kind_of_device_is_refused(
    tmp_path: Path, saving_often: None
) -> None:
    """Its checkpoints hold other arrays: taken for damaged, they would be deleted."""
    folder = SweepFolder(tmp_path / "run")
    with pytest.raises(Crash):
        jq.run_sweep(LONG, folder.path, monitor=Watch(9, happen=crash))
    packs = folder.read_record()["packs"]
    assert {pack["way"] for pack in packs} == {"TILES"}
    folder.update_record(packs=[pack | {"way": "KERNELS"} for pack in packs])
    before = sorted(path for path in folder.checkpoints.rglob("*"))
    told = r"begun with GPU kernels; this device would go on with XLA, in tiles"
    with pytest.raises(BadInput, match=told):
        jq.run_sweep(LONG, folder.path)
    assert sorted(path for path in folder.checkpoints.rglob("*")) == before
    # A folder of an older version does not tell, and goes on.
    folder.update_record(packs=[{k: pack[k] for k in ("name", "members")} for pack in packs])
    jq.run_sweep(LONG, folder.path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_where_it_stopped(
    number: signal.Signals, whole: Path, tmp_path: Path
) -> None:
    folder, before = tmp_path / "run", signal.getsignal(number)
    stop = Watch(9, happen=lambda: os.kill(os.getpid(), number))
    with pytest.raises(Interrupted, match=r"holds a checkpoint: the same command continues"):
        jq.run_sweep(LONG, folder, monitor=stop)
    assert signal.getsignal(number) == before
    assert len(stop.shares) == 9  # heard at once
    assert SweepFolder(folder).state == RUNNING
    monitor = Watch()
    jq.run_sweep(LONG, folder, monitor=monitor)
    assert monitor.shares[0] == pytest.approx(stop.shares[-1])  # nothing is trained again
    assert monitor.shares[-1] == pytest.approx(1)
    assert_same(folder, whole)


# Whole folders


def test_a_finished_folder_is_left_alone(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "run")  # other workers may open the shared one
    before = tree(folder)
    results = jq.run_sweep(TINY, folder, monitor=Watch(1, happen=crash))
    assert results.sizes["run"] == 2
    assert tree(folder) == before


def test_another_configuration_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "run")
    before = tree(folder)
    with pytest.raises(BadInput, match="another configuration"):
        jq.run_sweep(TINY | {"train.seed": 1}, folder)
    assert tree(folder) == before


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with SweepFolder(tmp_path).locked():
        before = tree(tmp_path)
        with pytest.raises(BadInput, match=f"in use by process {os.getpid()}"):
            jq.run_sweep(TINY, tmp_path)
        assert tree(tmp_path) == before


def test_a_folder_that_another_finished_meanwhile_is_left_alone(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the folder and the lock, the process that held it may have finished."""
    folder = tmp_path / "run"
    shutil.copytree(tiny, folder)
    SweepFolder(folder).update_record(state=RUNNING)
    locked, before = SweepFolder.locked, {}

    def late(self: SweepFolder) -> object:
        self.update_record(state="done")
        before.update(tree(folder))
        return locked(self)

    monkeypatch.setattr(SweepFolder, "locked", late)
    jq.run_sweep(TINY, folder, monitor=Watch(1, happen=crash))
    assert tree(folder) == before


@pytest.mark.parametrize("name", ["a::b", "s3:", "#?%[]", "two words"])
def test_any_name_of_a_folder_will_do(name: str, tmp_path: Path) -> None:
    """The store must not take a path for an address."""
    results = jq.run_sweep(TINY | {"train.steps": 2, "network.width": 3}, tmp_path / name)
    assert results.sizes["run"] == 1
    assert jq.open_results(tmp_path / name / "results.zarr").sizes["run"] == 1


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    jq.run_sweep(TINY | {"train.steps": 2, "network.width": 3}, "~/run")
    assert (tmp_path / "run" / "results.zarr").exists()
    assert jq.open_results("~/run").sizes["run"] == 1
