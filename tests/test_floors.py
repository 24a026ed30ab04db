"""The floors of the house: a module imports from those below only, at the top of its file."""

from pathlib import Path

import pytest

from tests import structure

ROOT = Path(__file__).parents[1]
MODULES = structure.modules(ROOT)
IMPORTS = structure.imports(MODULES)


def test_every_module_has_a_floor() -> None:
    roots = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    mains = {name for name in MODULES if name.endswith("__main__")}
    loose = {name for name in MODULES if structure.floor_of(name) is None}
    assert loose <= roots | mains


def test_imports_go_down() -> None:
    assert structure.upward(IMPORTS) == []


def test_there_is_no_circle() -> None:
    assert structure.circles(IMPORTS) == []


@pytest.mark.parametrize("name", sorted(name for name in MODULES if not name.startswith("cli")))
def test_imports_stand_at_the_top(name: str) -> None:
    """But for those that say on their line why they are late."""
    lines = MODULES[name].read_text(encoding="utf-8").splitlines()
    late = structure.late_imports(MODULES[name])
    assert [n for n in late if "# late:" not in lines[n - 1]] == []


def test_a_circle_and_a_step_up_are_seen() -> None:
    """The counting itself: three modules in a circle, one beside it, one import upward."""

    def one(source: str, target: str) -> structure.Import:
        return structure.Import(source, target, 1, late=False)

    found = [one("run.a", "run.b"), one("run.b", "run.c"), one("run.c", "run.a"), one("run.a", "x")]
    assert structure.circles(found) == [["run.a", "run.b", "run.c"]]
    assert structure.upward([one("run.a", "sweep.b")]) == [one("run.a", "sweep.b")]
    assert structure.upward([one("sweep.a", "run.b")]) == []
