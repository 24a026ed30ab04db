"""The page in headless Chromium: pictures, focus, a screen reader's view, phone, dark, size."""

import re
import time
from pathlib import Path

import numpy as np
import pytest

from jquanta.qdg.pages.page import Page
from tests.qdg.pages.conftest import Open
from tests.qdg.pages.examples import page
from tests.qdg.pages.reading import WORDS, heading, listed, samples, until, wanted

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def test_the_matrix_shows_cosines_by_cluster(some: Page, show: Open) -> None:
    tab = show(some, "#count=3&cluster=1")
    side = len(some.drawn)
    order = sorted(
        range(side),
        key=lambda i: (some.labels[0, some.drawn[i]], -some.centrality[0, some.drawn[i]]),
    )
    assert tab.evaluate("quanta.view.order") == order
    pixels = tab.evaluate(
        "Array.from(document.getElementById('matrix').getContext('2d')"
        f".getImageData(0, 0, {side}, {side}).data)"
    )
    white, hot, cold = (255, 255, 255), (0x12, 0x3F, 0x7D), (0xB5, 0x54, 0x1C)
    for y in range(side):
        for x in range(side):
            cosine = float(some.cosine[order[y], order[x]])
            end = hot if cosine > 0 else cold
            at = 4 * (y * side + x)
            for got, low, high in zip(pixels[at : at + 3], white, end, strict=True):
                # A cosine in 254 steps, a colour in 256.
                assert abs(got - (low + (high - low) * abs(cosine))) < 2
    inside = [y for y in range(side) if some.labels[0, some.drawn[order[y]]] == 1]
    style = tab.evaluate("document.getElementById('mark').style.cssText")
    assert float(re.findall(r"left: ([\d.]+)%", style)[0]) == pytest.approx(100 * inside[0] / side)
    assert float(re.findall(r"width: ([\d.]+)%", style)[0]) == pytest.approx(
        100 * len(inside) / side
    )
    told = tab.get_attribute("#matrix", "aria-label")
    assert f"{side} of 240 samples" in told
    assert f"{len(inside)} of them in this one" in told
    tab.hover("#matrix", position={"x": 1, "y": 1})
    assert f"cosine {some.cosine[order[0], order[0]]:.1f}" in tab.inner_text("#cell")


def test_the_charts_tell_mean_losses(some: Page, show: Open) -> None:
    tab = show(some, "#count=10&cluster=4")
    members = some.labels[1] == 4
    tab.click("aside summary")
    rows = tab.locator("#numbers tr").all_inner_texts()
    for row, column, losses in zip(rows, some.columns, some.losses, strict=True):
        label, size, own, every = row.split("\t")
        assert label == column.label
        assert size == {10**6: "1M", 10**8: "100M"}[column.size]
        # Three digits after the point.
        assert float(own) == pytest.approx(float(losses[members].mean()), abs=6e-4)
        assert float(every) == pytest.approx(float(losses.mean()), abs=6e-4)
    charts = tab.locator("#charts svg")
    assert charts.count() == 2
    assert charts.nth(0).locator("polyline").count() == 2
    assert charts.nth(1).locator("polyline").count() == 2
    assert charts.nth(1).locator("circle").count() == 6
    for chart, axis in ((0, "parameters without embeddings"), (1, "training step")):
        labels = charts.nth(chart).locator(".axis").all_text_contents()
        assert labels == [axis, "mean loss (nats)"]
        assert "nats" in charts.nth(chart).get_attribute("aria-label")


def test_without_losses_and_similarity(some: Page, show: Open) -> None:
    nothing = {
        "columns": [],
        "losses": some.losses[:0],
        "loss": np.full_like(some.loss, np.nan),
        "centrality": np.full_like(some.centrality, np.nan),
        "tightness": [np.full_like(row, np.nan) for row in some.tightness],
        "drawn": some.drawn[:0],
        "cosine": some.cosine[:0, :0],
    }
    tab = show(Page(**{**vars(some), **nothing}), "#count=10&cluster=1&sort=loss")
    assert heading(tab) == "Cluster 1 of 10"
    assert listed(tab) == list(range(10))
    tab.keyboard.press("ArrowRight")
    assert heading(tab) == "Cluster 2 of 10"
    assert "NaN" not in tab.inner_text("body")


def test_more_samples_take_the_focus(show: Open) -> None:
    made = page(WORDS, samples=70, counts=(1,))
    tab = show(made)
    assert len(samples(tab)) == 20
    for count in (40, 60, 70):
        tab.click("#more")
        assert len(samples(tab)) == count
        at = tab.evaluate(
            "[...document.querySelectorAll('#list > li')].indexOf(document.activeElement)"
        )
        assert at == (count - 1) // 20 * 20
    assert samples(tab) == wanted(made, 0, 0)
    assert tab.locator("#more").is_hidden()


def test_by_keyboard_alone(some: Page, show: Open) -> None:
    tab = show(some, "#count=10&cluster=0")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to the samples"
    assert tab.locator(".skip").bounding_box()["y"] >= 0
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "samples"
    tab.focus("#rows a[data-label='7']")
    outline = tab.evaluate("getComputedStyle(document.activeElement, '::after').outlineStyle")
    assert outline == "solid"
    tab.keyboard.press("Enter")
    assert heading(tab) == "Cluster 7 of 10"
    assert tab.evaluate("document.activeElement.dataset.label") == "7"


def test_a_screen_reader_finds_its_way(some: Page, show: Open) -> None:
    tab = show(some, "#count=10&cluster=2")
    for role in ("banner", "navigation", "main", "complementary", "search"):
        assert tab.get_by_role(role).count() == 1, role
    assert tab.get_by_role("table", name="10 clusters").count() == 1
    assert tab.get_by_label("Clusters", exact=True).first.is_visible()
    assert tab.get_by_label("Tokens before").get_attribute("type") == "range"
    assert tab.get_by_role("img", name="Similarity matrix").count() == 1
    nameless = tab.evaluate(
        "[...document.querySelectorAll('button, a, select, input, textarea')].filter((e) =>"
        " !e.textContent.trim() && !e.labels?.length && !e.ariaLabel).length"
    )
    assert nameless == 0
    tab.keyboard.press("ArrowRight")
    status = tab.locator("#status")
    assert status.get_attribute("role") == "status"
    assert status.text_content() == f"Cluster 3 of 10: {(some.labels[1] == 3).sum()} samples."
    assert tab.evaluate("document.title") == "Cluster 3 of 10 · A page"


def test_nothing_moves_while_it_opens(some: Page, show: Open) -> None:
    """On a machine so slow that the browser paints while it still reads the page, too."""
    tab = show(some)
    tab.context.new_cdp_session(tab).send("Emulation.setCPUThrottlingRate", {"rate": 40})
    tab.reload()
    moved = tab.evaluate(
        "new Promise((done) => { let sum = 0; new PerformanceObserver((list) => {"
        " for (const shift of list.getEntries()) sum += shift.value;"
        " }).observe({type: 'layout-shift', buffered: true}); setTimeout(() => done(sum), 200) })"
    )
    assert moved < 0.02  # of a page; 0.1 counts as good


def test_nothing_is_shown_before_it_is_drawn(some: Page, show: Open) -> None:
    """What a browser would paint until the script has run: no empty frame that fills up later."""
    tab = show(some, java_script_enabled=False)
    assert not tab.locator("#top").is_visible()
    assert not tab.locator("#content").is_visible()


def test_a_phone(some: Page, show: Open, tmp_path: Path) -> None:
    tab = show(some, "#count=10&cluster=2", **PHONE)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert not tab.locator("#clusters").is_visible()
    small = tab.evaluate(
        "[...document.querySelectorAll('button, select, input, summary')].filter((e) =>"
        " e.checkVisibility() && e.getBoundingClientRect().height < 44)"
        ".map((e) => e.id || e.textContent)"
    )
    assert small == []
    box = tab.get_by_role("button", name="Next").bounding_box()
    assert box["y"] + box["height"] <= 844  # within reach, wherever the page is scrolled to
    tab.get_by_role("button", name="Next").tap()
    assert heading(tab) == "Cluster 3 of 10"
    tab.get_by_role("button", name="List of clusters").tap()
    tab.locator("#rows a[data-label='6']").tap()
    assert heading(tab) == "Cluster 6 of 10"
    assert not tab.locator("#clusters").is_visible()
    assert tab.locator("#matrix").bounding_box()["width"] <= 390
    picture = tmp_path / "phone.png"
    tab.screenshot(path=picture, full_page=True)
    assert picture.stat().st_size > 10_000


def test_colours_follow_the_reader(some: Page, show: Open) -> None:
    tab = show(some, color_scheme="dark")
    corner = "document.getElementById('matrix').toDataURL()"
    dark = tab.evaluate(corner)
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 23, 27)"
    tab.emulate_media(color_scheme="light")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(253, 253, 251)"
    until(tab, f"{corner} !== {dark!r}")


def test_ten_thousand_samples(show: Open, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f" w{i}" for i in range(5000)]
    counts = [*range(10, 101, 10), *range(125, 301, 25), 350, *range(400, 1201, 100), 1500]
    made = page(words, samples=10_000, counts=counts[:27], tokens=100, drawn=512)
    begun = time.monotonic()
    tab = show(made, "#count=400&cluster=50")
    taken = time.monotonic() - begun
    assert heading(tab) == "Cluster 50 of 400"
    assert tab.locator("#list > li").count() == 20
    timing = tab.evaluate("performance.getEntriesByType('navigation')[0].loadEventStart")
    stepped = tab.evaluate(
        "() => { const begun = performance.now(); for (let i = 0; i < 20; i++)"
        " document.getElementById('next').click(); return (performance.now() - begun) / 20 }"
    )
    assert heading(tab) == "Cluster 70 of 400"
    tab.fill("#search", "w4999")
    until(tab, "document.getElementById('caption').textContent.includes('w4999')")
    assert len(listed(tab)) > 0
    with capsys.disabled():
        print(
            f"\n10,000 samples × 27 counts: written and opened in {taken:.1f} s, loaded in "
            f"{timing / 1000:.2f} s, {stepped:.0f} ms a step"
        )
