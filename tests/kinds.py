"""What a test needs beyond the package, read from its module and its fixtures; and how many of its
cases are run.

``conftest.py`` marks every test with these kinds, so that ``make quick`` can leave them out. No
list is kept: a test that starts a process is marked because its module imports ``subprocess``.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import pytest

KINDS = {
    "processes": "starts commands as processes, which import JAX anew",
    "browser": "opens a page in a browser",
    "rivals": "computes with PyTorch, or trains and times what a benchmark compares with",
    "drawings": "draws figures, and looks at them",
    "crashes": "interrupts long work, and has it continue",
}
"""Markers and their meaning."""

_HOMES = {
    "processes": ("subprocess", "tests.processes"),
    "rivals": ("torch", "transformers", "benchmarks"),
    "drawings": ("jquanta.figures",),
    "crashes": ("tests.monitors",),
}
"""Where the names of a module come from, by the kind that they make of its tests."""

THOROUGH = (
    "thorough(keep=0): expensive, and others find most of what it finds; make test runs so many of "
    "its cases, make thorough all"
)


def left_out(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Cases of tests that are marked as ``thorough``, but for those that are kept: spread evenly
    from the first to the last, the same in every run."""
    cases = defaultdict(list)
    for item in items:
        if mark := item.get_closest_marker("thorough"):
            keep = mark.kwargs.get("keep", 0)
            cases[item.nodeid.split("[")[0], keep].append(item)
    out = []
    for (_, keep), some in cases.items():
        # Of 9 cases 4 are kept: 0, 2, 5 and 8.
        kept = {i * (len(some) - 1) // max(keep - 1, 1) for i in range(keep)}
        out += [item for i, item in enumerate(some) if i not in kept]
    return out


def kinds_of(namespace: Mapping[str, Any], fixtures: frozenset[str]) -> set[str]:
    """The kinds of a test.

    Args:
        namespace: the global names of its module.
        fixtures: names of the fixtures that it uses, directly or not.
    """
    homes = {_home(value) for name, value in namespace.items() if not name.startswith("__")}
    made = {kind for kind, packages in _HOMES.items() if any(_within(h, packages) for h in homes)}
    return made | ({"browser"} & fixtures)


def _home(value: Any) -> str:
    """The module that a value is, or that defines it."""
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "")
    return home if isinstance(home, str) else ""


def _within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)
