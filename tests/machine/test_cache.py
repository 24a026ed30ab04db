"""Compiled programs that commands keep: where, until when, and that they change no result."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jquanta as jq
from jquanta.machine import cache
from tests.sweep.examples import TINY, toml

COUNTED = """
import collections, json, sys

def counted():
    # What the cache does from now on, by the last part of the event's name.
    import jax
    events = collections.Counter()
    jax.monitoring.register_event_listener(lambda name, **_: events.update([name.split("/")[-1]]))
    return events

def report(events):
    names = "compile_requests_use_cache", "cache_hits", "cache_misses"
    print(json.dumps([events[name] for name in names]))
"""

COMMAND = (
    COUNTED
    + """
from jquanta.cli import door

def command(argv):
    events = counted()
    import jax, jax.numpy as jnp
    if "full" in argv:  # no file may grow beyond 100 bytes, as on a disk that fills up
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    print(jax.jit(lambda x: jnp.sin(x).sum())(jnp.arange(100.0)))
    report(events)

sys.exit(door.enter(command, sys.argv[1:], keeps_programs="measured" not in sys.argv))
"""
)

SWEEP = (
    COUNTED
    + """
from jquanta.sweep.__main__ import main

events = counted()
code = main(sys.argv[1:])
report(events)
sys.exit(code)
"""
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of a user who has kept nothing yet."""
    return tmp_path / "home"


def python(
    script: str, home: Path, *words: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A new process of the user at ``home``, with nothing of this one's settings."""
    known = ("JAX_COMPILATION", "JAX_PERSISTENT", "XDG_CACHE", cache.VARIABLE)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(known)}
    root = str(Path(jq.__file__).parents[1])
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-c", script, *words],
        env=clean | {"HOME": str(home), "PYTHONPATH": root, "JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def counts(done: subprocess.CompletedProcess[str]) -> tuple[int, int, int]:
    """Programs asked for, loaded, and compiled and stored."""
    assert done.returncode == 0, done.stderr
    requests, hits, misses = json.loads(done.stdout.splitlines()[-1])
    return requests, hits, misses


def result(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout.splitlines()[0]


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("programs/*-cache"))


linux = pytest.mark.skipif(sys.platform != "linux", reason="the default folder of Linux")


@linux
def test_the_second_command_compiles_nothing(home: Path) -> None:
    first, second = python(COMMAND, home), python(COMMAND, home)
    requests, hits, misses = counts(first)
    assert hits + misses == requests
    assert misses == len(entries(home / ".cache" / "jquanta")) > 0
    assert counts(second) == (requests, requests, 0)
    assert result(first) == result(second) == result(python(COMMAND, home, "measured"))
    assert first.stderr == second.stderr == ""


@linux
def test_a_sweep_from_kept_programs_is_the_same_to_the_bit(home: Path, tmp_path: Path) -> None:
    """The first process runs what it compiled itself, the second what it loaded."""
    (tmp_path / "tiny.toml").write_text(toml(TINY))
    outs = [tmp_path / "first", tmp_path / "second"]
    first, second = (
        counts(python(SWEEP, home, str(tmp_path / "tiny.toml"), "--out", str(out))) for out in outs
    )
    assert first[2] > 0
    assert second == (first[0], first[0], 0)
    results, again = (jq.open_results(out) for out in outs)
    for name in results.data_vars:
        np.testing.assert_array_equal(results[name].values, again[name].values, err_msg=str(name))


def test_importing_the_package_changes_no_setting(home: Path) -> None:
    script = """
import os
before = dict(os.environ)
import jquanta as jq
jq.load_config, jq.run_sweep
import jax
assert dict(os.environ) == before
assert jax.config.jax_compilation_cache_dir is None
assert jax.config.jax_persistent_cache_min_compile_time_secs == 1
"""
    done = python(script, home)
    assert done.returncode == 0, done.stderr


def test_a_command_whose_module_imports_jax_keeps_programs_too(home: Path) -> None:
    kept = home / "kept"
    done = python("import jax\n" + COMMAND, home, JQUANTA_CACHE=str(kept))
    assert counts(done)[2] == len(entries(kept)) > 0


@pytest.mark.parametrize("off", ["off", "OFF"])
def test_off(home: Path, off: str) -> None:
    assert counts(python(COMMAND, home, JQUANTA_CACHE=off))[1:] == (0, 0)
    assert list(home.iterdir()) == []


def test_what_measures_compiling_keeps_nothing(home: Path) -> None:
    assert counts(python(COMMAND, home, "measured"))[1:] == (0, 0)
    assert list(home.iterdir()) == []


def test_help_writes_nothing(home: Path) -> None:
    done = python("import sys\nfrom jquanta.__main__ import main\nmain(sys.argv[1:])", home)
    assert done.returncode == 0, done.stderr
    done = python(SWEEP, home, "--help")
    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == []


def test_moved(home: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    assert counts(python(COMMAND, home, JQUANTA_CACHE=str(kept)))[2] == len(entries(kept)) > 0
    assert list(home.iterdir()) == []


def test_the_users_own_folder_of_jax_wins(home: Path, tmp_path: Path) -> None:
    own, settings = tmp_path / "own", {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    done = python(COMMAND, home, JAX_COMPILATION_CACHE_DIR=str(own), **settings)
    assert counts(done)[2] == len(list(own.glob("*-cache"))) > 0
    assert list(home.iterdir()) == []


def occupied(home: Path) -> Path:
    (home.parent / "file").write_text("mine")
    return home.parent / "file"


def below_a_file(home: Path) -> Path:
    return occupied(home) / "kept"


def where_nothing_can_be_made(home: Path) -> Path:
    """Permissions do not stop every user, such as root; the process table does."""
    return Path("/proc/jquanta")


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("place", [occupied, below_a_file, where_nothing_can_be_made])
def test_a_folder_that_cannot_be_written(home: Path, place: object) -> None:
    assert callable(place)
    kept = place(home)
    done = python(COMMAND, home, JQUANTA_CACHE=str(kept))
    assert counts(done)[1:] == (0, 0)
    assert result(done) == result(python(COMMAND, home, JQUANTA_CACHE="off"))
    assert done.stderr.startswith("jquanta: compiled programs are not kept: ")
    assert done.stderr.count("\n") == 1
    assert str(kept) in done.stderr
    assert "JQUANTA_CACHE=off" in done.stderr


def test_a_disk_that_is_full_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    monkeypatch.setattr(sys, "modules", sys.modules | {"jax": None})  # its settings stay
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (cache.PROBE - 1, before[1]))
    try:
        assert "not kept" in str(cache.keep_programs())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_a_disk_that_fills_up_on_the_way_stops_nothing(home: Path) -> None:
    done = python(COMMAND, home, "full", JQUANTA_CACHE=str(home))
    assert done.returncode == 0
    assert done.stderr == ""
    # What the failed writes left cannot be loaded either, and the result is still the same.
    again = python(COMMAND, home, JQUANTA_CACHE=str(home))
    assert counts(again)[1] == 0
    assert result(again) == result(done)


def test_damaged_entries_are_compiled_anew(home: Path) -> None:
    done = python(COMMAND, home, JQUANTA_CACHE=str(home))
    assert entries(home)
    for entry in entries(home):
        entry.write_bytes(entry.read_bytes()[:-100])
    again = python(COMMAND, home, JQUANTA_CACHE=str(home))
    assert counts(again)[1] == 0
    assert result(again) == result(done)


def test_the_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cache.VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.folder() == tmp_path / ".cache" / "jquanta"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert cache.folder() == tmp_path / "elsewhere" / "jquanta"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.folder() == tmp_path / ".cache" / "jquanta"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache.folder() == tmp_path / "Library" / "Caches" / "jquanta"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache.folder() == tmp_path / "local" / "jquanta"


def test_a_folder_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for given, meant in (("~/a", tmp_path / "a"), ("b", tmp_path / "b"), ("off", None)):
        monkeypatch.setenv(cache.VARIABLE, given)
        assert cache.folder() == meant


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    (tmp_path / "autotuned").mkdir()
    for number, name in enumerate(("read", "old", "autotuned/old", "new")):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (1000 + number, 1000 + number))
    os.utime(tmp_path / "read", (2000, 1000))  # written first, used last

    def left() -> set[str]:
        return {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}

    cache.trim(tmp_path, 400)
    assert left() == {"read", "old", "autotuned/old", "new"}
    cache.trim(tmp_path, 399)
    assert left() == {"read", "autotuned/old", "new"}
    cache.trim(tmp_path, 199)
    assert left() == {"read"}
    cache.trim(tmp_path / "none")
