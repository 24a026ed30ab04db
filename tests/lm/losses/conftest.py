"""A corpus with two models, and the ways in which losses are computed, forced."""

from pathlib import Path

import pytest

from jquanta.lm.losses import packing, ways
from tests.lm.losses import examples


@pytest.fixture
def by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of an accelerator, on a CPU, with rows as short as the examples' longest document."""
    monkeypatch.setitem(ways.WAYS, "cpu", ways.ROWS)
    monkeypatch.setattr(packing, "ALIGNMENT", 32)
    monkeypatch.setattr(packing, "SHORTEST_ROW", 32)


@pytest.fixture(params=["lengths", "rows"])
def either_way(request: pytest.FixtureRequest) -> None:
    """Once the way of a CPU, once that of an accelerator."""
    if request.param == "rows":
        request.getfixturevalue("by_rows")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus and two models."""
    path = tmp_path_factory.mktemp("losses")
    examples.corpus(path / "corpus")
    examples.model(path / "neox")
    examples.model(path / "neo", examples.NEO)
    return path
