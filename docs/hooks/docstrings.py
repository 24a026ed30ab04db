"""Docstrings of the reference, written for a terminal, as Markdown."""

from typing import Any

import griffe
import markup


class Markdown(griffe.Extension):
    """Changes every docstring when it is read."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every object that griffe reads."""
        if obj.docstring:
            obj.docstring.value = markup.from_docstring(obj.docstring.value)
