"""The short form of ``make kills``: every fate once for each command that is quick to repeat."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.trust import kills, places


@pytest.mark.thorough(keep=2)
@pytest.mark.slow
@pytest.mark.parametrize("command", places.COMMANDS)
def test_the_same_command_makes_it_good(command: str, tmp_path: Path) -> None:
    """In a process that has not used JAX: it forks."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.trust.kills",
            "--each",
            "2",
            "--only",
            command,
            "--seed",
            "1",
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert kills.table([]).splitlines()[0] in done.stdout
