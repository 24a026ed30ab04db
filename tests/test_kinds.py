"""How tests are marked for ``make quick``."""

import subprocess
from types import ModuleType
from typing import cast

import pytest

from tests.kinds import kinds_of, left_out
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


@pytest.mark.parametrize(
    ("keep", "kept"), [({}, ""), ({"keep": 1}, "a"), ({"keep": 3}, "acf"), ({"keep": 9}, "abcdef")]
)
def test_cases_that_are_kept_are_spread_evenly(keep: dict[str, int], kept: str) -> None:
    class Case:
        """A test with one parameter, as far as the choice looks at it."""

        def __init__(self, name: str, marks: list[pytest.Mark]):
            self.nodeid, self.marks = name, marks

        def get_closest_marker(self, name: str) -> pytest.Mark | None:
            return next((mark for mark in self.marks if mark.name == name), None)

    marked = [Case(f"test_one[{case}]", [pytest.mark.thorough(**keep).mark]) for case in "abcdef"]
    others = [Case(f"test_other[{case}]", []) for case in "abcdef"]
    out = left_out(cast("list[pytest.Item]", marked + others))
    wanted = [case for case in marked if case.nodeid[-2] not in kept]
    assert out == wanted


def test_this_test_is_marked_by_its_module(request: pytest.FixtureRequest) -> None:
    """It imports ``tests.processes``."""
    assert request.node.get_closest_marker("processes")
    assert not request.node.get_closest_marker("browser")
