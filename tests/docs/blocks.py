"""The blocks of the documents, and what a comment above each says of running it.

A block of commands or of Python is run by ``make snippets``, unless a comment in the line above it
gives a reason why not::

    <!-- not run: needs a GPU -->
    <!-- not compared: another Python has other files in its library -->
    <!-- run with sweep --train.steps 50: the whole takes an hour -->

The second runs it, whatever it prints; the third gives flags to every command of that name. Blocks
of the language ``text`` are neither.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

DOCUMENTS = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
)

BLOCK = re.compile(r"^((?:<!--(?:(?!-->).)*-->\n)*)```(\w*)\n(.*?)^```$", re.M | re.S)
NOTE = re.compile(r"<!-- (not run|not compared|run with [a-z]+ [^:]+): (\S.*?) -->", re.S)
COMMANDS = ("", "sh", "console")
LANGUAGES = (*COMMANDS, "python", "text", "toml")


class Block(NamedTuple):
    """A block of a document.

    Attributes:
        where: document and line.
        notes: the comments above it.
        language: that it names.
        text: its lines.
    """

    where: str
    notes: str
    language: str
    text: str

    @property
    def says(self) -> dict[str, str]:
        """What the comments say, with the reasons."""
        return {kind: " ".join(reason.split()) for kind, reason in NOTE.findall(self.notes)}

    @property
    def is_run(self) -> bool:
        return self.language in (*COMMANDS, "python") and "not run" not in self.says

    @property
    def script(self) -> str:
        """A block of commands as the shell takes it: of a block with prompts what stands after
        them, with the flags that a comment adds."""
        text = self.text
        if text.startswith("$ "):
            text = "\n".join(command for command, _ in self.prompts) + "\n"
        for says in self.says:
            if says.startswith("run with "):
                name, flags = says.removeprefix("run with ").split(maxsplit=1)
                text = re.sub(rf"^(jquanta {name}\b)", rf"\1 {flags}", text, flags=re.M)
        return text

    @property
    def prompts(self) -> list[tuple[str, str]]:
        """Of a block with prompts: each command with what it prints. A command ends where its
        quotes do."""
        found = []
        for part in re.split(r"^\$ ", self.text, flags=re.M)[1:]:
            lines = part.splitlines(keepends=True)
            end = 1
            while "".join(lines[:end]).count('"') % 2 or lines[end - 1].endswith("\\\n"):
                end += 1
            found.append(("".join(lines[:end]).rstrip(), "".join(lines[end:])))
        return found


def blocks(path: Path) -> Iterator[Block]:
    """Every block of a document, in order."""
    text = path.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start(3)) + 1
        yield Block(f"{path.relative_to(ROOT)}:{line}", found[1], found[2], found[3])


def without_blocks(text: str) -> str:
    """The text of a document outside its blocks."""
    return BLOCK.sub("", text)


def agree(expected: str, printed: str) -> bool:
    """Whether a command or a cell printed what a document says.

    Spaces at the ends of lines do not count. After two spaces an expected line may hold an
    explanation; a line of nothing but … stands for any lines.
    """
    wanted = [line.rstrip() for line in expected.rstrip().splitlines()]
    given = [line.rstrip() for line in printed.rstrip().splitlines()]
    if not wanted:
        return not given
    if wanted[0].strip() == "…":
        return any(
            agree("\n".join(wanted[1:]), "\n".join(given[i:])) for i in range(len(given) + 1)
        )
    first = bool(given) and (wanted[0] == given[0] or wanted[0].startswith(f"{given[0]}  "))
    return first and agree("\n".join(wanted[1:]), "\n".join(given[1:]))
