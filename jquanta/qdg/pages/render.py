"""A page as one self-contained HTML file: no server, no network, no other file.

The data are compressed, in base64, so that the browser cannot read any of it as HTML, whatever the
corpus holds; the scripts insert them as text only. A content security policy in the page allows
only the page's own script and style, identified by their hashes, and loads nothing else.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from numpy.typing import DTypeLike, NDArray

from jquanta.qdg.config import ACTIVATIONS, GIVEN
from jquanta.qdg.pages import latex
from jquanta.qdg.pages.page import NO_SAMPLE, Beside, Page

SCRIPTS = (
    "labels.js",
    "data.js",
    "text.js",
    "notes.js",
    "help.js",
    "drawing.js",
    "beside.js",
    "page.js",
)
"""In this order: each uses those before it, and functions of ``page.js`` when they are called."""

ALIGNED = 8
"""Bytes: arrays begin at multiples of this, as typed arrays must."""


def render(page: Page) -> str:
    """The page as HTML. Apart from the template's own characters it is ASCII."""
    script = "\n".join(map(_file, SCRIPTS))  # a module, and so strict
    style = _file("page.css")
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(_file("page.html"))
    mode = dict(page.about).get("Similarity", "")
    return template.render(
        title=page.title,
        mode=mode,
        things={ACTIVATIONS: "activations", GIVEN: "features"}.get(mode, "gradients"),
        about=[*page.about, *(page.beside.about if page.beside else ())],
        beside=page.beside.name if page.beside else "",
        model=dict(page.about).get("Model") or "the model",
        notes=page.notes,
        samples=len(page.index),
        counts=page.counts.tolist(),
        longest=max((len(text.before) for text in page.texts), default=0),
        longest_after=max((len(text.after) for text in page.texts), default=0),
        has_losses=bool(page.columns),
        has_matrix=bool(len(page.drawn)),
        has_trust=any(page.trust),
        data=Markup(embedded(payload(page))),
        script=Markup(script),
        style=Markup(style),
        script_hash=_hash(script),
        style_hash=_hash(style),
    )


class Arrays:
    """Numbers one after another, as bytes: what a browser's typed arrays read, little-endian."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, values: Any, dtype: DTypeLike) -> dict[str, Any]:
        """Take numbers up; where they lie and what they are."""
        kind = np.dtype(dtype)
        numbers: NDArray[Any] = np.asarray(values).astype(kind.newbyteorder("<"))
        place = {"dtype": kind.name, "at": self.size, "length": numbers.size}
        missing = -numbers.nbytes % ALIGNED
        self.parts += [numbers.tobytes(), bytes(missing)]
        self.size += numbers.nbytes + missing
        return place


def payload(page: Page) -> tuple[dict[str, Any], bytes]:
    """What the scripts read: a table, and the numbers that it points into.

    Each distinct piece of text is stored once, and a sample's text is a list of their numbers. Of
    losses only the means of clusters are told, which are fewer numbers than the losses of many
    samples under many checkpoints.
    """
    arrays = Arrays()
    words: dict[str, int] = {}
    numbered = (
        words.setdefault(word, len(words))
        for text in page.texts
        for word in (*text.before, text.target, *text.after)
    )
    pieces = np.fromiter(numbered, np.uint32)
    starts = np.cumsum([0, *(len(t.before) + 1 + len(t.after) for t in page.texts)])
    found = {
        "title": page.title,
        "about": dict(page.about),
        "words": list(words),
        "pieces": arrays.add(pieces, np.uint16 if len(words) <= 2**16 else np.uint32),
        "starts": arrays.add(starts, np.uint32),
        "targets": arrays.add([len(text.before) for text in page.texts], np.uint32),
        "index": page.index.tolist(),
        "counts": page.counts.tolist(),
        "labels": arrays.add(page.labels, np.uint16 if page.labels.max() < 2**16 else np.uint32),
        "centrality": arrays.add(_sixteen_bits(page.centrality), np.int16),
        "tightness": [arrays.add(row, np.float32) for row in page.tightness],
        "stability": [*page.stability],
        "trust": [
            one and {name: arrays.add(row, np.float32) for name, row in one._asdict().items()}
            for one in page.trust or [None] * len(page.counts)
        ],
        "chance": page.chance,
        "loss": arrays.add(page.loss, np.float32),
        "columns": [column._asdict() for column in page.columns],
        "means": [arrays.add(row, np.float32) for row in _means(page.losses, page.labels)],
        "everyone": arrays.add(page.losses.mean(axis=1, dtype=np.float64), np.float32),
        "drawn": arrays.add(page.drawn, np.uint32),
        "cosine": arrays.add(np.nan_to_num(np.round(page.cosine * 127)).clip(-127, 127), np.int8),
        "latex": {
            "definitions": latex.DEFINITIONS,
            "escapes": latex.ESCAPES,
            "invisible": latex.INVISIBLE,
            "run": latex.RUN,
        },
    }
    if page.beside:
        found["beside"] = _beside(page.beside, arrays)
    return found, b"".join(arrays.parts)


def _beside(beside: Beside, arrays: Arrays) -> dict[str, Any]:
    """The labels from 0, with ``NO_SAMPLE`` as 0; a row that serves many counts is stored once."""
    places: dict[int, dict[str, Any]] = {}

    def place(values: NDArray[Any] | None, lowest: int = 0) -> dict[str, Any] | None:
        if values is None:
            return None
        if id(values) not in places:
            last = values.max(initial=0) - lowest
            kind = np.uint16 if last < 2**16 else np.uint32
            places[id(values)] = arrays.add(values - lowest, kind)
        return places[id(values)]

    return {
        "name": beside.name,
        "noun": beside.noun,
        "labels": [place(row, NO_SAMPLE) for row in beside.labels],
        "sizes": [place(size) for size in beside.sizes],
    }


def _sixteen_bits(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosines in steps of 1/32767; -32768 for NaN."""
    return np.nan_to_num(np.round(values * 32767), nan=-32768).clip(-32768, 32767)


def _means(losses: NDArray[np.float32], labels: NDArray[np.int32]) -> Iterator[NDArray[np.float64]]:
    """For each count the mean loss [M, K] of each cluster under each model, nats."""
    for label in labels:
        sizes = np.bincount(label)
        yield np.array([np.bincount(label, row) / sizes for row in losses])


def embedded(found: tuple[dict[str, Any], bytes]) -> str:
    """What ``payload`` gives as base64, which is safe within a script element: the length of the
    table as four bytes, the table as JSON, spaces up to a multiple of ``ALIGNED``, and the numbers;
    all compressed by gzip."""
    table, numbers = found
    text = json.dumps(table, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (-(4 + len(text)) % ALIGNED)
    whole = len(text).to_bytes(4, "little") + text + numbers
    return base64.b64encode(gzip.compress(whole, mtime=0)).decode("ascii")


def _file(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
