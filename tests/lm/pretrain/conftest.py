"""A suite that several tests read, trained once for all workers. Tests that write use a copy."""

from functools import partial
from pathlib import Path

import pytest

import jquanta as jq
from tests.lm.pretrain import examples
from tests.shared import made_once


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The text that the tests' suites are trained on."""
    return made_once(tmp_path_factory, "suite-text", examples.source)


@pytest.fixture(scope="session")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished folder of the example, trained without a break."""
    return made_once(tmp_path_factory, "suite", partial(jq.pretrain, examples.suite(source)))
