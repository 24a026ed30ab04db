"""What a reader sees of an open page, and what it should show."""

import base64
import gzip
import json
import re
import time
from pathlib import Path
from typing import Any

from jquanta.qdg.pages.page import Page, most_central

WORDS = [*(f" word{i}" for i in range(50)), " needle", "\n", "\n    ", "\t", "Straße", " x+y (z)"]


def until(tab: Any, expression: str) -> None:
    """Wait until it holds. (The page's policy forbids playwright's own way, which needs eval.)"""
    begun = time.monotonic()
    while not tab.evaluate(expression):
        assert time.monotonic() - begun < 20, expression
        tab.wait_for_timeout(20)


def heading(tab: Any) -> str:
    return tab.inner_text("h2").replace("\n", " ")


def listed(tab: Any) -> list[int]:
    """Labels of the clusters in the list, in its order."""
    return [int(text) for text in tab.locator("#rows a").all_inner_texts()]


def samples(tab: Any) -> list[str]:
    """The texts on the screen, as they stand in the document."""
    return tab.locator("#list .text").all_text_contents()


def wanted(made: Page, count: int, cluster: int, before: int = 6, after: int = 6) -> list[str]:
    """The texts that a cluster's samples should show, the most central first."""
    texts = [made.texts[i] for i in most_central(made, count, cluster)]
    return [
        "".join(t.before[len(t.before) - before :]) + t.target + "".join(t.after[:after])
        for t in texts
    ]


def copied(tab: Any, button: str) -> str:
    """What a button puts into the clipboard."""
    tab.evaluate("navigator.clipboard.writeText('nothing yet')")
    tab.click(button)
    until(tab, "navigator.clipboard.readText().then((text) => text !== 'nothing yet')")
    return tab.evaluate("navigator.clipboard.readText()")


def unpacked(text: str) -> tuple[dict[str, Any], bytes]:
    """The table and the numbers of what ``embedded`` gives."""
    whole = gzip.decompress(base64.b64decode(text))
    end = 4 + int.from_bytes(whole[:4], "little")
    assert end % 8 == 0  # where typed arrays may begin
    return json.loads(whole[4:end]), whole[end:]


def held(file: Path) -> dict[str, Any]:
    """The table in a page on disk."""
    found = re.search(r'<script id="data"[^>]*>([^<]*)<', file.read_text("utf-8"))
    assert found
    return unpacked(found[1])[0]
