"""A headless Chromium, and pages opened in it from disk."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jquanta.qdg.pages.page import Page
from jquanta.qdg.pages.render import render
from tests.qdg.pages.examples import page
from tests.qdg.pages.reading import WORDS, until

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

WANTED = os.environ.get("JQUANTA_TEST_BROWSER", "")
"""``required`` where a missing browser is a failure; or the path of one."""


def lacking(what: str) -> None:
    """Skip, or fail where a browser is required."""
    if WANTED == "required":
        pytest.fail(f"JQUANTA_TEST_BROWSER=required, and {what}")
    pytest.skip(f"{what}; JQUANTA_TEST_BROWSER=required makes this a failure")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The browser of this machine, driven by playwright."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        lacking("playwright is not installed (pip install playwright)")
    found = [shutil.which(name) for name in ((WANTED,) if os.sep in WANTED else BROWSERS)]
    path = next(filter(None, found), None)
    if path is None:
        lacking(f"there is no browser (apt-get install chromium): tried {', '.join(BROWSERS)}")
    # The root of a container may not make a sandbox.
    words = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=words)
        yield browser
        browser.close()


Open = Callable[..., Any]


@pytest.fixture(scope="session")
def some() -> Page:
    """A page of 240 samples in 3, 10 and 40 clusters."""
    return page(WORDS, samples=240, counts=(3, 10, 40))


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens a page from disk; afterwards nothing must have gone wrong in it, or been asked for."""
    contexts, troubles, asked = [], [], []

    def opened(page: Page, address: str = "", **settings: Any) -> Any:
        path = tmp_path / "page.html"
        path.write_text(render(page), encoding="utf-8")
        viewport = settings.pop("viewport", {"width": 1440, "height": 900})
        context = browser.new_context(viewport=viewport, offline=True, **settings)
        contexts.append(context)
        tab = context.new_page()
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        tab.on("console", lambda message: troubles.append(message.text))
        tab.on("request", lambda request: asked.append(request.url.split("#")[0]))
        tab.on("dialog", lambda dialog: troubles.append(dialog.message))
        tab.goto(path.as_uri() + address)
        if settings.get("java_script_enabled", True):  # unpacking does not hold up the load event
            until(tab, "globalThis.quanta !== undefined")
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []
    assert set(asked) <= {(tmp_path / "page.html").as_uri()}
