"""A page as one self-contained HTML file: no server, no network, no other file.

The data are JSON, escaped so that the browser cannot read any of it as HTML, whatever the corpus
holds; the scripts insert them as text only. A content security policy in the page allows only the
page's own script and style, identified by their hashes, and loads nothing else.
"""

import base64
import hashlib
import json
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from jquanta.qdg.pages import latex
from jquanta.qdg.pages.page import Page

SCRIPTS = ("labels.js", "data.js", "text.js", "notes.js", "help.js", "drawing.js", "page.js")
"""In this order: each uses those before it."""


def render(page: Page) -> str:
    """The page as HTML. Apart from the template's own characters it is ASCII."""
    script = "\n".join(["'use strict';", *map(_file, SCRIPTS)])
    style = _file("page.css")
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(_file("page.html"))
    return template.render(
        title=page.title,
        about=page.about,
        model=dict(page.about).get("Model") or "the model",
        notes=page.notes,
        samples=len(page.index),
        counts=page.counts.tolist(),
        longest=max((len(text.before) for text in page.texts), default=0),
        longest_after=max((len(text.after) for text in page.texts), default=0),
        has_losses=bool(page.columns),
        has_matrix=bool(len(page.drawn)),
        data=Markup(embedded(payload(page))),
        script=Markup(script),
        style=Markup(style),
        script_hash=_hash(script),
        style_hash=_hash(style),
    )


def payload(page: Page) -> dict[str, Any]:
    """What the scripts read. Each distinct piece of text is stored once, and a sample's text is a
    list of their numbers; arrays are base64, little-endian."""
    words: dict[str, int] = {}
    pieces = [
        [words.setdefault(word, len(words)) for word in (*text.before, text.target, *text.after)]
        for text in page.texts
    ]
    few = len(words) <= 2**16
    return {
        "title": page.title,
        "about": dict(page.about),
        "words": list(words),
        "pieces": array([i for row in pieces for i in row], np.uint16 if few else np.uint32),
        "starts": array(np.cumsum([0, *map(len, pieces)]), np.uint32),
        "targets": array([len(text.before) for text in page.texts], np.uint32),
        "index": page.index.tolist(),
        "counts": page.counts.tolist(),
        "labels": array(page.labels, np.int32),
        "centrality": array(page.centrality, np.float32),
        "tightness": [array(row, np.float32) for row in page.tightness],
        "stability": [*page.stability],
        "loss": array(page.loss, np.float32),
        "columns": [column._asdict() for column in page.columns],
        "losses": array(page.losses, np.float32),
        "drawn": array(page.drawn, np.uint32),
        "cosine": array(np.nan_to_num(np.round(page.cosine * 127)).clip(-127, 127), np.int8),
        "latex": {
            "definitions": latex.DEFINITIONS,
            "escapes": latex.ESCAPES,
            "invisible": latex.INVISIBLE,
            "run": latex.RUN,
        },
    }


def array(values: Any, dtype: type[np.generic]) -> dict[str, str]:
    """Numbers in the form that the browser's typed arrays read."""
    kind = np.dtype(dtype)
    numbers: NDArray[Any] = np.asarray(values).astype(kind.newbyteorder("<"))
    return {"dtype": kind.name, "data": base64.b64encode(numbers.tobytes()).decode("ascii")}


def embedded(data: Any) -> str:
    """JSON that is safe within a script element: ASCII without ``<``, ``>`` and ``&``."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _file(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
