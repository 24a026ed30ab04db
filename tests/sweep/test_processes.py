"""The sweep command as a real process: interrupted, terminated and killed in the middle."""

import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import jquanta as jq
from jquanta.errors import BadInput
from tests.monitors import Watch
from tests.processes import Command
from tests.sweep.examples import LONG, assert_same, toml

# The command itself, with a beat (a byte on a pipe) and a nap after each slice of updates, so that
# a signal can be sent at a chosen place whatever the machine's speed, and frequent checkpoints.
COMMAND = """
import os, sys, time
from jquanta.run import checkpoint, progress
from jquanta.sweep.__main__ import main
for name, value in (("LEAST_INTERVAL", 0.0), ("COST_SHARE", 1e9)):
    assert hasattr(checkpoint, name)
    setattr(checkpoint, name, value)
work = progress.Bar.work
def slow(self, *report, **more):
    work(self, *report, **more)
    os.write(int(os.environ["BEATS"]), b".")
    time.sleep(0.05)
progress.Bar.work = slow
sys.exit(main(sys.argv[1:]))
"""


KILLS = int(os.environ.get("JQUANTA_TEST_KILLS", "3"))
"""CI has one run with 20."""


def sweep(config: Path, folder: Path, cache: Path) -> Command:
    """The sweep command as a process of its own."""
    return Command(COMMAND, [str(config), "--out", str(folder)], cache)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "long.toml"
    path.write_text(toml(LONG))
    return path


@pytest.mark.parametrize(
    ("number", "beats"), [(signal.SIGINT, 9), (signal.SIGTERM, 26)], ids=["Ctrl-C", "SIGTERM"]
)
def test_an_interrupted_command_says_so_and_continues(
    number: signal.Signals,
    beats: int,
    config: Path,
    cache: Path,
    whole: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    command = sweep(config, folder, cache)
    assert command.wait_for_beats(beats)
    with pytest.raises(BadInput, match=f"in use by process {command.process.pid} on "):
        jq.run_sweep(LONG, folder)
    command.process.send_signal(number)
    code, _, said = command.end()
    assert code == 130
    line = f"jquanta: interrupted; {folder} holds a checkpoint: the same command continues\n"
    assert said == line
    assert {path.name for path in folder.iterdir()} <= {
        "config.toml",
        "record.json",
        "checkpoints",
        "weights",
    }
    monitor = Watch()
    jq.run_sweep(LONG, folder, monitor=monitor)
    assert monitor.shares[0] > 0  # what was done is not done again
    assert monitor.lines == []
    assert_same(folder, whole)


def test_a_killed_command_continues(config: Path, cache: Path, whole: Path, tmp_path: Path) -> None:
    """``kill -9`` at random moments of one training; checkpoints are written all the time."""
    folder, chance = tmp_path / "run", random.Random(5)
    for _ in range(KILLS):
        command = sweep(config, folder, cache)
        assert command.wait_for_beats(chance.randrange(2, 10))
        try:
            command.process.wait(chance.uniform(0, 0.1))
        except subprocess.TimeoutExpired:
            command.process.kill()
        code, _, said = command.end()
        assert (code, said) == (-signal.SIGKILL, "")
    jq.run_sweep(LONG, folder)
    assert_same(folder, whole)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 KiB, which root may make: room to begin, and not for all checkpoints."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], capture_output=True
    )
    if made.returncode:
        pytest.skip("only root can make a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_one_line_and_can_be_resumed(
    config: Path, cache: Path, whole: Path, small_disk: Path
) -> None:
    folder = small_disk / "run"
    code, _, said = sweep(config, folder, cache).end()
    assert code == 1
    assert said == "jquanta: the disk is full: free some space; then the same command continues\n"
    assert not (folder / "results.zarr").exists()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    jq.run_sweep(LONG, folder)
    assert_same(folder, whole)
