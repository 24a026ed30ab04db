"""What whole runs of QDG are made from."""

from pathlib import Path

import pytest

from tests.lm.losses import examples
from tests.qdg.clusters import planted


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small corpus and a tiny random model."""
    place = tmp_path_factory.mktemp("place")
    planted.corpus(place / "corpus")
    examples.model(place / "tiny")
    return place
