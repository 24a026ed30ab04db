"""Several devices train the packs of a sweep side by side, with no flag and the same results."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

import jquanta as jq
from jquanta.cli.sweep import train
from jquanta.cli.sweep_plan import print_plan
from jquanta.machine import cores
from jquanta.parity.config import from_values
from jquanta.sweep.config import load_config
from jquanta.sweep.estimate import run_bytes, run_operations
from jquanta.sweep.folder import SweepFolder
from jquanta.sweep.plan import plan, shared_out, use_cores
from tests.processes import with_devices
from tests.sweep.examples import TINY

SWEEP = TINY | {"train.lr": [0.001, 0.003]}  # four runs of two widths

PROGRAM = """
import json, sys
import jax
import jquanta as jq
from jquanta.sweep.drive import PackRun
devices = set()
finish = PackRun.finish
def watched(self):
    devices.add(str(jax.numpy.zeros(()).device))
    finish(self)
PackRun.finish = watched
jq.run_sweep(json.loads(sys.argv[1]), sys.argv[2])
print(json.dumps([jax.local_device_count(), sorted(devices)]))
"""


def test_eight_devices_train_what_one_does(tmp_path: Path) -> None:
    """To rounding: a pack's company decides the order of sums in a tile, 1e-7 of a loss a step."""
    printed = with_devices(8, PROGRAM, json.dumps(SWEEP), str(tmp_path / "eight"))
    count, used = json.loads(printed.splitlines()[-1])
    assert count == 8
    assert len(used) > 1
    one, eight = jq.run_sweep(SWEEP, tmp_path / "one"), jq.open_results(tmp_path / "eight")
    packs = [len(SweepFolder(tmp_path / name).read_record()["packs"]) for name in ("one", "eight")]
    assert packs == [1, 4]
    np.testing.assert_allclose(eight.loss, one.loss, atol=1e-5)
    np.testing.assert_allclose(eight.subtask_loss, one.subtask_loss, atol=1e-4)
    np.testing.assert_array_equal(eight.subset, one.subset)


def test_devices_get_equal_parts_of_a_group() -> None:
    runs = [from_values({"network.width": width}) for width in range(10, 500, 10)]
    packs = plan(runs, 10**12, devices=4)
    assert sorted(i for pack in packs for i in pack.members) == list(range(len(runs)))
    parts = [sum(run_operations(runs[i]) for i in pack.members) for pack in packs]
    # Dealt from the largest down, no part is ahead of another by more than a smallest piece.
    assert len(parts) == 4
    assert max(parts) - min(parts) <= 2 * run_operations(runs[0])
    assert all(list(pack.members) == sorted(pack.members) for pack in packs)


def test_a_hand_too_many_stays_empty_and_is_left_out() -> None:
    assert shared_out([3.0, 1.0, 2.0], 2) == [[0], [1, 2]]
    assert shared_out([1.0], 3) == [[0]]


@pytest.mark.parametrize(
    ("field", "values", "used"),
    [
        ("network.width", range(10, 110, 10), True),
        ("network.width", [100], False),  # one pack: the cores had better share it
        ("train.seed", [0, 1, 2], False),  # three packs: one core of two would wait for a third
        ("train.seed", [0, 1, 2, 3], True),
    ],
)
def test_cores_are_devices_where_all_would_be_busy(
    field: str, values: Iterable[int], used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[bool] = []
    monkeypatch.setattr(cores, "count", lambda: 2)
    monkeypatch.setattr(cores, "as_devices", lambda: called.append(True))
    use_cores([from_values({field: value}) for value in values])
    assert bool(called) == used


def test_memory_cuts_packs() -> None:
    runs = [from_values({"network.width": 100, "train.lr": 10.0**-i}) for i in range(1, 9)]
    whole = plan(runs, 10**12)
    half = plan(runs, sum(map(run_bytes, runs)) // 2)
    assert [len(pack.members) for pack in whole] == [8]
    assert [len(pack.members) for pack in half] == [4, 4]
    assert [len(pack.members) for pack in plan(runs, 1)] == [1] * 8


def test_the_command_asks_for_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []
    monkeypatch.setattr("jquanta.sweep.plan.use_cores", lambda runs, _: asked.append(len(runs)))
    config = load_config(SWEEP)
    print_plan(config)
    train(config, tmp_path / "run")
    assert asked == [4, 4]
