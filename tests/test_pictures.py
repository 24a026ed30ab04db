"""The pictures of the documents, and the output of commands that they quote, are those that
``make pictures`` makes and stores."""

import json
import re
import runpy
import shlex
from pathlib import Path

import pytest

from jquanta.cli.door import COMMANDS
from tests.docs.blocks import blocks

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
STORED = json.loads((DOCS / "figures" / "numbers.json").read_text(encoding="utf-8"))
MADE = runpy.run_path(str(DOCS / "pictures.py"))
SUITE, SWEEPS, LONG = (MADE[name] for name in ("SUITE", "SWEEPS", "LONG"))
OTHERS = {*MADE["OF_PAGE"], *MADE["OF_BENCHMARKS"]}


def quoted(path: Path) -> list[tuple[str, list[str]]]:
    """Commands that a document shows with a part of what they print: words, and lines of it."""
    return [
        (command.removeprefix("jquanta "), [x.strip() for x in said.splitlines() if x.strip()])
        for block in blocks(path)
        for command, said in block.prompts
    ]


@pytest.mark.parametrize("name", ["language-models", "quanta"])
def test_quoted_output_is_stored(name: str) -> None:
    found = quoted(DOCS / f"{name}.md")
    assert found
    for command, said in found:
        stored = STORED["commands"][command]["said"].splitlines()
        rest = iter(line.strip() for line in stored)
        assert said, command
        assert [line for line in said if line != "…" and line not in rest] == [], (
            command
        )  # in this order


def test_every_picture_is_made_and_shown() -> None:
    pictures = {name for name in (SUITE | SWEEPS | LONG).values() if name} | OTHERS
    files = {f"../{path.stem}" for path in DOCS.glob("*.png")}
    assert pictures == files | {path.stem for path in (DOCS / "figures").glob("*.png")}
    text = "\n".join(path.read_text("utf-8") for path in DOCS.rglob("*.md"))
    for name in pictures:
        assert f"{Path(name).name}.png)" in text, name


def test_what_is_stored_is_what_is_made() -> None:
    assert set(SUITE | SWEEPS) <= set(STORED["commands"]) <= set(SUITE | SWEEPS | LONG)
    assert {shlex.split(command)[0] for command in SUITE | SWEEPS | LONG} <= set(COMMANDS)
    for command, one in STORED["commands"].items():
        assert re.match("[0-9a-f]{40}", one["commit"]), command
        assert str(ROOT) not in one["said"]
