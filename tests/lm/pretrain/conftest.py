from pathlib import Path

import pytest

import jquanta as jq
from tests.lm.pretrain import examples


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The text that the tests' suites are trained on."""
    return examples.source(tmp_path_factory.mktemp("source") / "text")


@pytest.fixture(scope="session")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished folder of the example, trained without a break."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    jq.pretrain(examples.suite(source), folder)
    return folder
