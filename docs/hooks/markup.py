"""Texts of the repository, as the site wants them: links, comments, docstrings."""

import posixpath
import re
from collections.abc import Callable, Iterator

CODE = re.compile(r"(^```.*?^```$|<!--.*?-->|``.*?``|`[^`\n]*`)", re.M | re.S)
"""What holds no links: blocks, comments, words between backticks."""

LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")


def links(markdown: str) -> Iterator[str]:
    """The targets of all links and pictures, in their order."""
    for part in CODE.split(markdown)[::2]:
        yield from LINK.findall(part)


def rewritten(markdown: str, new: Callable[[str], str]) -> str:
    """The same text with every link's target replaced."""
    parts = CODE.split(markdown)
    parts[::2] = [LINK.sub(lambda found: new(found[1]), part) for part in parts[::2]]
    return "".join(parts)


def without_comments(markdown: str) -> str:
    """The same text without HTML comments outside blocks. One that begins with ``on the site:`` is
    shown, since what it links is nowhere else."""
    parts = []
    for part in CODE.split(markdown):
        if part.startswith("<!--"):
            part = "".join(re.findall(r"<!-- on the site: (.*) -->", part, re.S))
        parts.append(part)
    return "".join(parts)


def split(link: str, source: str) -> tuple[str, str] | None:
    """The file in the repository that a link of the file ``source`` names, and its anchor with #.

    None for what lies elsewhere.
    """
    if "://" in link or link.startswith(("mailto:", "/")):
        return None
    file, mark, anchor = link.partition("#")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), file)) if file else source
    return path, mark + anchor


def relative(target: str, source: str) -> str:
    """The way from the page ``source`` to ``target``, both from the root of the site."""
    return posixpath.relpath(target, posixpath.dirname(source) or ".")


LITERAL = re.compile(r"::\n\n((?:(?: {4}.*)?\n)*(?: {4}.*))", re.M)
"""Two colons at the end of a line, and the indented block that follows."""


def from_docstring(docstring: str) -> str:
    """A docstring as Markdown: two colons and an indented block become a block of Python."""

    def fenced(found: re.Match[str]) -> str:
        lines = [line[4:] for line in found[1].splitlines()]
        return "\n".join([":\n", "```python", *lines, "```"])

    return LITERAL.sub(fenced, docstring)
