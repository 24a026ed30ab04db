"""How tests are marked for ``make quick``."""

import subprocess
from types import ModuleType

import pytest

from tests.kinds import kinds_of
from tests.processes import Command

NONE: frozenset[str] = frozenset()


def test_what_a_module_imports_marks_its_tests() -> None:
    class Model:
        __module__ = "transformers.models.gpt_neo"

    assert kinds_of({"pytest": pytest, "number": 1}, NONE) == set()
    assert kinds_of({"subprocess": subprocess}, NONE) == {"processes"}
    assert kinds_of({"start": subprocess.run}, NONE) == {"processes"}
    assert kinds_of({"Command": Command}, NONE) == {"processes"}
    assert kinds_of({"torch": ModuleType("torch")}, NONE) == {"rivals"}
    assert kinds_of({"torches": ModuleType("torches")}, NONE) == set()
    assert kinds_of({"Model": Model}, NONE) == {"rivals"}
    assert kinds_of({"timing": ModuleType("benchmarks.timing")}, NONE) == {"rivals"}
    assert kinds_of({}, frozenset({"show", "browser"})) == {"browser"}


def test_this_test_is_marked_by_its_module(request: pytest.FixtureRequest) -> None:
    """It imports ``tests.processes``."""
    assert request.node.get_closest_marker("processes")
    assert not request.node.get_closest_marker("browser")
