"""Docstrings are written for a terminal; here they become what Markdown wants."""

import re
from typing import Any

import griffe

LITERAL = re.compile(r"::\n\n((?:(?: {4}.*)?\n)*(?: {4}.*))", re.M)
"""Two colons, and the indented block that follows."""


class Literal(griffe.Extension):
    """``::`` and an indented block become a colon and a block of Python."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every object that griffe reads."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(docstring: str) -> str:
    """A docstring as Markdown."""
    return LITERAL.sub(fenced, docstring)


def fenced(found: re.Match[str]) -> str:
    """A literal block as a fenced one."""
    lines = [line[4:] for line in found[1].splitlines()]
    return "\n".join([":\n", "```python", *lines, "```"])
