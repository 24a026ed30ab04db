"""Sweeps that several tests read, trained once for all workers. Tests that write use a copy."""

from functools import partial
from pathlib import Path

import pytest

import jquanta as jq
from tests.shared import made_once
from tests.sweep.examples import LONG, RAGGED, TINY


@pytest.fixture(scope="session")
def ragged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished folder of ``RAGGED``."""
    return made_once(tmp_path_factory, "ragged", partial(jq.run_sweep, RAGGED))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished folder of ``TINY``."""
    return made_once(tmp_path_factory, "tiny", partial(jq.run_sweep, TINY))


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``LONG``, trained without a break."""
    return made_once(tmp_path_factory, "long", partial(jq.run_sweep, LONG))
