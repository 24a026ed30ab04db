"""The page in headless Chromium, opened from disk as a reader would."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jquanta.qdg import latex
from jquanta.qdg.pages.page import Page, most_central, shown
from tests.qdg.pages.examples import HOSTILE, page

Open = Callable[..., Any]

WORDS = [*(f" word{i}" for i in range(50)), " needle", "\n", "\n    ", "\t", "Straße", " x+y (z)"]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def some() -> Page:
    return page(WORDS, samples=240, counts=(3, 10, 40))


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


def test_it_opens_on_the_largest_cluster_of_the_count_nearest_400(some: Page, show: Open) -> None:
    tab = show(some)
    assert heading(tab) == "Cluster 0 of 40"
    assert samples(tab) == wanted(some, 2, 0)
    assert tab.locator("#list mark.target").all_text_contents() == [
        some.texts[i].target for i in most_central(some, 2, 0)
    ]
    assert tab.locator("#list .note").all_text_contents() == [
        shown(some, 2, int(i)).note for i in most_central(some, 2, 0)
    ]


def test_a_link_to_a_state(some: Page, show: Open) -> None:
    cluster = next(k for k in range(5, 10) if " needle" in "".join(wanted(some, 1, k, 3, 1)))
    tab = show(some, f"#count=10&cluster={cluster}&search=needle&sort=-loss&before=3&after=1")
    assert heading(tab) == f"Cluster {cluster} of 10"
    assert tab.input_value("#search") == "needle"
    assert tab.input_value("#before") == "3"
    assert tab.get_attribute("th[data-sort=loss]", "aria-sort") == "descending"
    texts = [text for text in wanted(some, 1, cluster, 3, 1) if "needle" in text]
    assert samples(tab) == texts[:20]
    tab.evaluate("location.hash = '#count=3&cluster=2'")
    until(tab, "document.querySelector('h2').innerText.includes('of 3')")
    assert heading(tab) == "Cluster 2 of 3"
    assert tab.input_value("#search") == ""
    tab.go_back()
    until(tab, "document.querySelector('h2').innerText.includes('of 10')")
    assert tab.input_value("#search") == "needle"


@pytest.mark.parametrize(
    ("address", "cluster", "said"),
    [
        ("#count=11&cluster=2", "Cluster 2 of 10", "no clustering with 11 clusters"),
        ("#count=abc", "Cluster 0 of 40", "no clustering with abc clusters"),
        ("#count=10&cluster=10", "Cluster 0 of 10", "cluster 10 is not one of 0 to 9"),
        ("#count=10&cluster=-1", "Cluster 0 of 10", "cluster -1 is not one of 0 to 9"),
        ("#count=10&cluster=1e0", "Cluster 0 of 10", "cluster 1e0 is not"),
        ("#count=10&before=999", "Cluster 0 of 10", "before 999 is not one of 0 to 6"),
        ("#count=10&sort=__proto__", "Cluster 0 of 10", "nothing is sorted by __proto__"),
        ("#count=<img src=x onerror=alert(1)>", "of 40", "no clustering with <img src=x"),
        ("#%E0%A4%A", "Cluster 0 of 40", ""),
    ],
)
def test_a_link_to_what_is_not_there(
    some: Page, show: Open, address: str, cluster: str, said: str
) -> None:
    tab = show(some, address)
    assert cluster in heading(tab)
    notice = tab.locator("#notice")
    assert notice.is_visible() == bool(said)
    assert said in notice.inner_text()


def test_keys_and_buttons_go_through_the_list(some: Page, show: Open) -> None:
    tab = show(some, "#count=10&cluster=0&sort=tightness")
    order = sorted(range(10), key=lambda k: -some.tightness[1][k])
    assert listed(tab) == order
    tab.locator("#rows a").first.click()
    seen = []
    for _ in range(9):
        tab.keyboard.press("ArrowRight")
        seen.append(heading(tab))
    assert seen == [f"Cluster {k} of 10" for k in order[1:]]
    assert tab.get_by_role("button", name="Next").is_disabled()
    tab.keyboard.press("ArrowRight")
    assert heading(tab) == seen[-1]
    tab.keyboard.press("ArrowLeft")
    tab.get_by_role("button", name="Previous").click()
    assert heading(tab) == f"Cluster {order[7]} of 10"
    assert tab.get_attribute("#rows a[aria-current]", "data-label") == str(order[7])
    # The address follows once the keys are at rest.
    until(tab, f"location.hash.includes('cluster={order[7]}&')")
    tab.keyboard.press("Control+ArrowRight")
    assert heading(tab) == f"Cluster {order[7]} of 10"


def test_keys_stay_with_the_fields_that_use_them(some: Page, show: Open) -> None:
    tab = show(some, "#count=10&cluster=3")
    for field in ("#search", "#before", "#after"):
        tab.focus(field)
        tab.keyboard.press("ArrowRight")
        assert heading(tab) == "Cluster 3 of 10", field
    assert tab.input_value("#before") == "6"
    tab.focus("#before")
    tab.keyboard.press("ArrowLeft")
    assert tab.input_value("#before") == "5"
    assert samples(tab) == wanted(some, 1, 3, before=5)[:20]


def test_search_leaves_the_clusters_and_samples_that_have_it(some: Page, show: Open) -> None:
    tab = show(some, "#count=40&cluster=0")
    tab.fill("#search", "NEEDLE")
    until(tab, "document.getElementById('caption').textContent.includes('NEEDLE')")
    found = [k for k in range(40) if any(" needle" in text for text in wanted(some, 2, k))]
    assert 0 < len(found) < 40
    assert listed(tab) == found
    cluster = int(re.findall(r"\d+", heading(tab))[0])
    assert cluster in found
    texts = [text for text in wanted(some, 2, cluster) if " needle" in text]
    assert samples(tab) == texts[:20]
    marked = tab.locator("#list mark.found").all_text_contents()
    assert marked == ["needle"] * sum(text.count("needle") for text in texts)
    assert f"{len(texts)} of " in tab.text_content("#status")
    tab.fill("#search", "no such text")
    until(tab, "document.querySelectorAll('#rows a').length === 0")
    assert "No cluster has it" in tab.inner_text("#list")
    assert tab.get_by_role("button", name="Next").is_disabled()
    tab.fill("#search", "")
    until(tab, "document.querySelectorAll('#rows a').length === 40")


def test_search_takes_text_as_text(show: Open) -> None:
    made = page(["x+y (z)[", "a.b", "axb", "Straße"], samples=8, counts=(2,))
    tab = show(made)
    for query, found in (("X+Y (Z)[", True), ("a.b", True), ("a*b", False), ("\\", False)):
        tab.fill("#search", query)
        tab.wait_for_timeout(200)  # longer than the page waits for the next key
        assert bool(listed(tab)) == found, query
        assert bool(tab.locator("mark.found").count()) == found, query
        assert not {text.lower() for text in tab.locator("mark.found").all_text_contents()} - {
            query.lower()
        }


def test_clusters_are_sorted(some: Page, show: Open) -> None:
    tab = show(some, "#count=10&cluster=0")
    assert listed(tab) == list(range(10))
    loss = [some.loss[some.labels[1] == k].mean() for k in range(10)]
    for name, key in (("Loss", loss), ("Tight", [-t for t in some.tightness[1]])):
        order = sorted(range(10), key=lambda k: key[k])
        button = tab.get_by_role("button", name=name)
        button.click()
        assert listed(tab) == order
        button.click()
        assert listed(tab) == order[::-1]
    assert tab.locator("th[aria-sort]").count() == 1


def test_hostile_text_stays_text(show: Open) -> None:
    made = page(HOSTILE, samples=2 * len(HOSTILE), counts=(1, 2), title=HOSTILE[0])
    tab = show(made, "#count=1&cluster=0")
    tab.click("#more")
    assert samples(tab) == wanted(made, 0, 0)
    for text in HOSTILE[:8]:
        tab.fill("#search", text)
        tab.wait_for_timeout(150)  # longer than the page waits for the next key
        assert tab.locator("#rows a").count() == 1, text
    assert tab.evaluate("window.pwned") is None
    assert tab.evaluate("document.scripts.length") == 2
    assert tab.locator("img").count() == 0
    assert tab.inner_text("h1") == HOSTILE[0]
    tab.click("summary")
    assert tab.inner_text("dd >> nth=0") == HOSTILE[0]


def test_what_is_selected_is_the_text_without_its_marks(show: Open) -> None:
    made = page(["a\tb", "\n\n", "    if x:\n", " ", "\u202eabc", "é日本"], samples=6, counts=(1,))
    tab = show(made)
    for i, text in enumerate(wanted(made, 0, 0)):
        copied = tab.evaluate(
            "i => { getSelection().selectAllChildren(document.querySelectorAll('#list .text')[i]);"
            " return getSelection().toString() }",
            i,
        )
        # Browsers leave out the last line end of a block.
        assert copied in (text, text.removesuffix("\n"))
    assert tab.locator(".line").count() > 0
    assert tab.locator(".odd").first.get_attribute("data-shown") == "U+202E"


def copied(tab: Any, button: str) -> str:
    """What a button puts into the clipboard."""
    tab.click(button)
    until(tab, "document.getElementById('copied').textContent === 'Copied'")
    return tab.evaluate("navigator.clipboard.readText()")


def test_copies_are_those_of_python(show: Open) -> None:
    made = page(HOSTILE, samples=2 * len(HOSTILE), counts=(2,))
    tab = show(made, "#cluster=1", permissions=["clipboard-read", "clipboard-write"])
    members = most_central(made, 0, 1)
    told = json.loads(copied(tab, "#copy-json"))
    assert (told["count"], told["cluster"], told["Rule"]) == (2, 1, HOSTILE[0])
    for i, sample in zip(members, told["samples"], strict=True):
        text = made.texts[i]
        assert (sample["before"], sample["target"]) == ("".join(text.before), text.target)
        assert sample["index"] == made.index[i]
        assert sample["loss_nats"] == pytest.approx(float(made.loss[i]), rel=1e-6)
        assert sample["similarity"] == pytest.approx(float(made.centrality[0, i]), rel=1e-6)
    title = f"Cluster 1 of 2: {len(members)} of {len(members)} samples"
    expected = latex.fragment([shown(made, 0, int(i)) for i in members], title)
    assert copied(tab, "#copy-latex") == expected
    assert copied(tab, "#copy-link").endswith("/page.html#count=2&cluster=1")


def test_latex_of_every_character(show: Open) -> None:
    """Escaping in the browser equals escaping in Python, character by character."""
    tab = show(page(["word"]))
    characters = [chr(c) for c in [*range(0x3000), *range(0xF8F0, 0x10010), 0x1F389]]
    texts = ["".join(characters[i : i + 50]) for i in range(0, len(characters), 50)]
    texts += [c + " " + c for c in characters[:128]]
    for boxed in (False, True):
        found = tab.evaluate(
            "([texts, boxed]) => texts.map((text) => escapeLatex(data.latex, text, boxed))",
            [texts, boxed],
        )
        assert found == [latex.escape(text, boxed) for text in texts]


def test_without_a_clipboard_the_text_is_shown(some: Page, show: Open) -> None:
    tab = show(some)
    tab.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error()) }")
    tab.click("#copy-latex")
    tab.wait_for_selector("dialog[open]")
    text = tab.input_value("#by-hand-text")
    assert text.startswith(latex.DEFINITIONS)
    assert tab.evaluate("getSelection().toString()") == text
    tab.keyboard.press("ArrowRight")
    assert heading(tab) == "Cluster 0 of 40"
    tab.keyboard.press("Escape")
    assert not tab.locator("dialog").is_visible()


def test_the_matrix_shows_cosines_by_cluster(some: Page, show: Open) -> None:
    tab = show(some, "#count=3&cluster=1")
    side = len(some.drawn)
    order = sorted(
        range(side),
        key=lambda i: (some.labels[0, some.drawn[i]], -some.centrality[0, some.drawn[i]]),
    )
    assert tab.evaluate("view.order") == order
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
    import numpy as np

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
    tab = show(some)
    moved = tab.evaluate(
        "new Promise((done) => { let sum = 0; new PerformanceObserver((list) => {"
        " for (const shift of list.getEntries()) sum += shift.value;"
        " }).observe({type: 'layout-shift', buffered: true}); setTimeout(() => done(sum), 200) })"
    )
    assert moved < 0.02  # of a page; 0.1 counts as good


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
    assert tab.evaluate(corner) != dark


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
