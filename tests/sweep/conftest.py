"""Sweeps that several tests look at, trained once. Tests that write get a copy of the folder."""

from pathlib import Path

import pytest

import jquanta as jq
from tests.sweep.examples import LONG, RAGGED, TINY


@pytest.fixture(scope="session")
def ragged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished folder of ``RAGGED``."""
    folder = tmp_path_factory.mktemp("ragged") / "run"
    jq.run_sweep(RAGGED, folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished folder of ``TINY``."""
    folder = tmp_path_factory.mktemp("tiny") / "run"
    jq.run_sweep(TINY, folder)
    return folder


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``LONG``, trained without a break."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    jq.run_sweep(LONG, folder)
    return folder
