"""Run a script of cells, and write it with all that it shows as Markdown.

    python docs/hooks/percent.py SCRIPT FOLDER

A cell begins with ``# %%``; one of text with ``# %% [markdown]``, and its lines are comments. After
each cell stand what it printed, the value of its last line, and its pictures: those that matplotlib
has open, and those that a drawn figure of the package has written. An error ends it.
"""

import ast
import contextlib
import io
import re
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple


class Cell(NamedTuple):
    """A cell: text, or code with the line on which it begins."""

    code: bool
    text: str
    line: int


def cells(script: str) -> list[Cell]:
    """The cells of a script. What stands before the first one is left out."""
    found = []
    marks = [*re.finditer(r"^# %%(.*)\n", script, re.M)]
    ends = [mark.start() for mark in marks[1:]] + [len(script)]
    for mark, end in zip(marks, ends, strict=True):
        text, code = script[mark.end() : end].strip("\n"), "[markdown]" not in mark[1]
        if not code:
            text = re.sub(r"^# ?", "", text, flags=re.M)
        found.append(Cell(code, text, script.count("\n", 0, mark.end())))
    return found


def run(cell: Cell, names: dict[str, Any], script: str) -> tuple[str, Any]:
    """Run a cell of code: what it printed, and the value of its last line if that is one."""
    tree = ast.parse(cell.text)
    ast.increment_lineno(tree, cell.line)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, script, "exec"), names)
        value = None
        if last is not None:
            value = eval(compile(ast.Expression(last.value), script, "eval"), names)
    return printed.getvalue(), value


def pictures(value: Any, folder: Path, stem: str) -> list[str]:
    """Put the pictures of a value and of matplotlib into the folder; their names."""
    made = [Path(path) for path in getattr(value, "paths", ())]
    made += [value] if isinstance(value, Path) else []
    names = []
    for path in made:
        if path.suffix == ".png":
            names.append(f"{stem}-{len(names)}.png")
            shutil.copy(path, folder / names[-1])
    if "matplotlib.pyplot" in sys.modules:
        plt = sys.modules["matplotlib.pyplot"]
        for number in plt.get_fignums():
            names.append(f"{stem}-{len(names)}.png")
            plt.figure(number).savefig(folder / names[-1], dpi=150, bbox_inches="tight")
            plt.close(number)
    return names


def shown(value: Any) -> str:
    """A value as text: nothing for None and for pictures; of a drawn figure its numbers."""
    if value is None or isinstance(value, Path):
        return ""
    if hasattr(value, "measured"):
        return "".join(f"{row}\n" for row in value.measured)
    return f"{value!r}\n"


def markdown(path: Path, folder: Path) -> str:
    """The script, run, as Markdown; its pictures go into the folder."""
    script = path.read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "__main__"}
    parts, heading = [], path.stem
    for number, cell in enumerate(cells(script)):
        if not cell.code:
            parts.append(cell.text)
            heading = [heading, *re.findall(r"^#+ (.*)$", cell.text, re.M)][-1]
            continue
        printed, value = run(cell, names, str(path))
        parts.append(f"```python\n{cell.text}\n```")
        if text := printed + shown(value):
            parts.append(f"```{{.text .output}}\n{text.rstrip()}\n```")
        made = pictures(value, folder, f"{path.stem}-{number}")
        parts += [f"![Figure: {heading}]({name})" for name in made]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """See the module."""
    import matplotlib

    from jquanta.machine import cache, cores

    matplotlib.use("agg")
    cores.as_devices()  # as the commands do
    cache.keep_programs()
    path, folder = Path(sys.argv[1]), Path(sys.argv[2])
    (folder / f"{path.stem}.md").write_text(markdown(path, folder), encoding="utf-8")


if __name__ == "__main__":
    main()
