"""What compiling costs here: noted once a program, kept by device, and never in the way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jquanta.machine import cache, prices

PROGRAM = """
from jquanta.machine import cache, prices
assert cache.keep_programs() is None
import jax, jax.numpy as jnp
prices.LEAST = 0.0  # these programs are small
with prices.noted():
    for n in (1, 2, 3):
        jax.block_until_ready(jax.jit(lambda x: jnp.sin(x) * n)(jnp.ones(7)))
print(len(prices.prices()))
"""


def noted(folder: Path) -> int:
    # Not the cache of the tests, in which programs of an earlier run may be.
    env = {name: value for name, value in os.environ.items() if "COMPILATION_CACHE" not in name}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=env | {cache.VARIABLE: str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return int(run.stdout)


def test_programs_are_priced_once_and_not_when_they_are_read(tmp_path: Path) -> None:
    first = noted(tmp_path / "cache")
    assert first >= 3
    assert noted(tmp_path / "cache") == first
    (key,) = json.loads((tmp_path / "cache" / prices.FILE).read_text(encoding="utf-8"))
    assert "JAX" in key


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    return tmp_path


def test_the_median_of_enough(folder: Path) -> None:
    def keep(*found: float) -> None:
        prices._write(folder / prices.FILE, {prices._key(): list(found), "another card": [99.0]})

    assert prices.price(7.0) == 7.0
    keep(1.0, 2.0)
    assert prices.price(7.0) == 7.0  # too few
    keep(1.0, 2.0, 30.0)
    assert prices.price(7.0) == 2.0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"KEY": 3}', '{"KEY": [1, "two", 3]}', "\0"])
def test_a_damaged_file_is_none(folder: Path, text: str) -> None:
    (folder / prices.FILE).write_text(text.replace("KEY", prices._key()), encoding="utf-8")
    assert prices.price(7.0) == 7.0


def test_the_newest_are_kept(folder: Path) -> None:
    with prices.noted():
        prices._LISTENER.prices += [float(n) for n in range(1, prices.KEPT + 3)]
    assert prices.prices() == [float(n) for n in range(3, prices.KEPT + 3)]
    assert [path.name for path in folder.iterdir()] == [prices.FILE]


def test_nothing_is_kept_where_programs_are_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cache.VARIABLE, "off")
    with prices.noted():
        prices._LISTENER.prices.append(1.0)
    assert prices.prices() == []
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_not_there_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "none"))
    with prices.noted():
        prices._LISTENER.prices.append(1.0)
    assert list(tmp_path.iterdir()) == []
