"""The structure of the package, counted: ``python -m tests.structure [FOLDER]``.

Every module and every import between modules, read from the source. Modules stand on floors, and
each may import from those below only; ``test_floors.py`` holds that.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

PACKAGE = "jquanta"

FLOORS = (
    (
        *("errors", "masks", "version", "lazy", "powerlaw", "theory", "streams", "spectrum"),
        *("projection", "surface"),
    ),
    ("machine",),
    ("run",),
    ("parity",),
    ("sweep", "lm.models", "lm.corpus"),
    ("lm.weights",),
    ("lm.losses",),
    ("lm.pretrain", "lm.taxonomy"),
    ("qdg.config",),
    ("qdg.samples",),
    ("qdg.views",),
    ("qdg.cosines",),
    ("qdg.clusters",),
    ("qdg.estimate",),
    ("qdg.results",),
    ("qdg.questions", "qdg.known"),
    ("qdg.pages",),
    ("qdg.pipeline", "integrity"),
    ("qdg.forecast",),
    ("figures.catalogue", "figures.drawing"),
    ("figures.style",),
    ("figures.models", "figures.spectrum", "figures.sweep.select", "figures.sweep.panels"),
    ("figures.sweep.alphas", "figures.lm.panels", "figures.lm.typeset", "figures.qdg.panels"),
    ("figures.sweep", "figures.lm", "figures.qdg", "figures.theory"),
    ("figures.dispatch",),
    ("cli",),
    ("qdg.parity", "qdg.toy"),  # old spellings of commands
)
"""Rooms and single modules from the lowest floor to the highest. Those of one floor may import from
themselves, and not from each other, but for the lowest, whose modules form an order."""


class Import(NamedTuple):
    """A module imports another of the package.

    Attributes:
        source, target: the modules, without the package's name.
        line: where, in the source.
        late: whether inside a function.
    """

    source: str
    target: str
    line: int
    late: bool


def modules(root: Path) -> dict[str, Path]:
    """Every module of the package below ``root``, by its name without the package's."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root / PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imports(known: Mapping[str, Path]) -> list[Import]:
    """Every import of one module of the package by another."""
    return [found for name, path in known.items() for found in _imports(name, path, known)]


def late_imports(path: Path) -> list[int]:
    """Lines of imports inside functions, of whatever package."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return sorted({node.lineno for node, late in _import_nodes(tree) if late})


def floor_of(module: str) -> int | None:
    """The number of a module's floor; None where it has none: package roots, which only name what
    lies in them, and ``__main__`` modules, which only call the command line."""
    if module.endswith("__main__"):
        return None
    fits = [
        (len(place), floor)
        for floor, places in enumerate(FLOORS)
        for place in places
        if module == place or module.startswith(f"{place}.")
    ]
    return max(fits)[1] if fits else None


def room_of(module: str) -> str:
    """The place in ``FLOORS`` that a module belongs to; empty where there is none."""
    places = [place for places in FLOORS for place in places]
    return max(
        (p for p in places if module == p or module.startswith(f"{p}.")), default="", key=len
    )


def circles(found: list[Import]) -> list[list[str]]:
    """Groups of modules that import each other, directly or not (Tarjan, 1972)."""
    graph: dict[str, set[str]] = {}
    for one in found:
        graph.setdefault(one.source, set()).add(one.target)
        graph.setdefault(one.target, set())
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                groups.append(sorted(group))

    for node in graph:
        if node not in index:
            visit(node)
    return groups


def upward(found: list[Import]) -> list[Import]:
    """Imports from a higher floor, or from another room of the same one."""
    wrong = []
    for one in found:
        source, target = floor_of(one.source), floor_of(one.target)
        if source is None or target is None:
            continue
        if target > source or (0 < target == source and room_of(one.source) != room_of(one.target)):
            wrong.append(one)
    return wrong


def _imports(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[Import]:
    for node, late in _import_nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            # ``from room import module`` names a module, or something that a module holds.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for full in names:
            first, _, inner = full.partition(".")
            if first != PACKAGE:
                continue
            target = inner if inner in known else inner.rpartition(".")[0]
            if target != name:
                yield Import(name, target, node.lineno, late)


def _import_nodes(tree: ast.AST) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Every import, those for types only included, and whether it lies inside a function."""

    def walk(node: ast.AST, late: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                yield child, late
            else:
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, late or inside)

    return walk(tree, False)


def main() -> None:
    """Print the counts of a checkout."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    known = modules(root)
    found = imports(known)
    rooms = {(room_of(one.source), room_of(one.target)) for one in found}
    rooms = {(a, b) for a, b in rooms if a and b and a != b}
    lines = {
        place: sum(len(p.read_text().splitlines()) for p in (root / place).rglob("*.py"))
        for place in (PACKAGE, "tests", "benchmarks")
    }
    late = sum(len(late_imports(path)) for path in known.values())
    groups = circles(found)
    print(f"modules               {len(known)}, {lines[PACKAGE]:,} lines")
    print(f"tests                 {lines['tests']:,} lines; benchmarks {lines['benchmarks']:,}")
    print(f"imports between them  {len({(one.source, one.target) for one in found})}")
    print(f"arrows between rooms  {len(rooms)}")
    print(f"imports in functions  {late}")
    print(f"circles               {len(groups)}: {', '.join(str(len(g)) for g in groups)} modules")
    print(f"against the floors    {len(upward(found))}")
    for one in upward(found):
        print(f"  {one.source}:{one.line} imports {one.target}")
    for group in groups:
        print(f"  circle: {', '.join(group)}")


if __name__ == "__main__":
    main()
