import errno
import fcntl
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest

import jquanta as jq
from jquanta.errors import BadInput, RunFailed
from jquanta.run.files import write_whole
from jquanta.run.folder import DONE, RUNNING
from jquanta.sweep.config import load_config
from jquanta.sweep.folder import SweepFolder
from tests.sweep.examples import TINY, tree

CONFIG = load_config(TINY)


def test_a_new_folder_and_an_empty_one_will_do(tmp_path: Path) -> None:
    before = tree(tmp_path)
    SweepFolder(tmp_path / "a" / "b").check(CONFIG)
    SweepFolder(tmp_path).check(CONFIG)
    assert tree(tmp_path) == before


def test_beginning_writes_what_a_reader_needs(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    assert folder.state is None
    folder.begin(CONFIG.name, CONFIG.to_toml(), extra=3)
    assert folder.state == RUNNING
    assert folder.read_config().runs() == CONFIG.runs()
    record = folder.read_record()
    assert record["extra"] == 3
    assert {"jquanta", "python", "jax", "flax", "optax"} <= set(record["versions"])
    folder.update_record(state=DONE, started="then")
    folder.begin(CONFIG.name, CONFIG.to_toml())
    assert folder.read_record()["started"] == "then"  # beginning again is continuing


def test_the_same_runs_may_be_written_differently(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    folder.begin(CONFIG.name, CONFIG.to_toml())
    folder.check(load_config(TINY | {"name": "other", "network.width": "lin(3, 5, 2)"}))
    for change in ({"network.width": [5, 3]}, {"network.width": 3}, {"train.seed": 1}):
        with pytest.raises(BadInput, match="another configuration"):
            folder.check(load_config(TINY | change))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("name = 'x'\n[task\n", r"config.toml: not valid TOML .*at line 2"),
        (
            "name = 'x'\n[input]\nmodel = 'm'\n",
            "is a folder that jquanta qdg made .*, not a sweep's folder",
        ),
    ],
)
def test_a_folder_of_something_else_says_so(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "config.toml").write_text(content)
    for call in (lambda: SweepFolder(tmp_path).check(CONFIG), lambda: jq.open_results(tmp_path)):
        with pytest.raises(BadInput, match=says):
            call()


def test_what_a_kill_at_the_very_start_leaves_is_no_obstacle(tmp_path: Path) -> None:
    """The lock, and the configuration's temporary file."""
    folder = SweepFolder(tmp_path)
    folder.lock.write_text("process 1 on elsewhere\n")
    folder.config.with_name("config.toml.part").write_text("name")
    folder.check(CONFIG)
    with folder.locked():
        folder.begin(CONFIG.name, CONFIG.to_toml())
    folder.check(CONFIG)


def test_text_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    write_whole(path, "old")

    def half(self: Path, text: str, **options: Any) -> int:
        with self.open("w") as file:
            file.write(text[: len(text) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "new text")
    assert path.read_text() == "old"


# The lock


def hold(path: Path, ready: Any, release: Any) -> None:
    with SweepFolder(path).locked():
        ready.set()
        release.wait(60)


def test_another_process_is_kept_out_while_the_lock_is_held(tmp_path: Path) -> None:
    new = multiprocessing.get_context("spawn")
    ready, release = new.Event(), new.Event()
    process = new.Process(target=hold, args=(tmp_path, ready, release))
    process.start()
    try:
        assert ready.wait(60)
        before = tree(tmp_path)
        with (
            pytest.raises(BadInput, match=f"in use by process {process.pid} on ") as error,
            SweepFolder(tmp_path).locked(),
        ):
            raise AssertionError("two processes hold the folder")
        assert str(error.value).startswith(f"--out {tmp_path}: ")
        assert tree(tmp_path) == before
    finally:
        release.set()
        process.join(60)
    assert process.exitcode == 0
    assert tree(tmp_path) == {}  # the lock goes with its holder
    with SweepFolder(tmp_path).locked():
        assert {path.name for path in tmp_path.iterdir()} == {"lock"}


def test_the_lock_of_a_killed_process_holds_nobody_up(tmp_path: Path) -> None:
    new = multiprocessing.get_context("spawn")
    ready, release = new.Event(), new.Event()
    process = new.Process(target=hold, args=(tmp_path, ready, release))
    process.start()
    assert ready.wait(60)
    process.kill()
    process.join(60)
    folder = SweepFolder(tmp_path)
    assert folder.lock.exists()
    folder.check(CONFIG)
    with folder.locked():
        assert str(process.pid) not in folder.lock.read_text()


def test_a_lock_that_was_just_given_up_is_not_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder removes the file between our opening and our locking of it: what we then hold is
    no file that others would find."""
    folder, lock = SweepFolder(tmp_path), fcntl.flock

    def late(file: Any, operation: int) -> None:
        folder.lock.unlink()
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(BadInput, match="run the command again"), folder.locked():
        raise AssertionError("a lock that nobody else sees")


def test_what_a_kill_after_the_last_step_leaves_is_cleared(tiny: Path, tmp_path: Path) -> None:
    """Checkpoints and a lock of a finished sweep."""
    copy = tmp_path / "run"
    shutil.copytree(tiny, copy)
    (copy / "checkpoints" / "pack-0000").mkdir(parents=True)
    (copy / "lock").write_text("process 1 on elsewhere")
    assert jq.run_sweep(TINY, copy).equals(jq.open_results(tiny))
    assert {path.name for path in copy.iterdir()} == {path.name for path in tiny.iterdir()}


def test_a_run_that_goes_on_forgets_why_it_had_stopped(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    folder.begin(CONFIG.name, CONFIG.to_toml())
    with pytest.raises(RunFailed, match="disk is full"), folder.failures_recorded(""):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert folder.read_record()["error"].startswith("the disk is full")
    folder.begin(CONFIG.name, CONFIG.to_toml())
    folder.finish()
    record = folder.read_record()
    assert (record["state"], "error" in record) == ("done", False)
