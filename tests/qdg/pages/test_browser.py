"""The page in headless Chromium, opened from disk: states, keys, search, escaping, copies."""

import dataclasses
import json
import re

import numpy as np
import pytest

from jquanta.qdg.pages import latex
from jquanta.qdg.pages.page import Page, Trust, most_central, shown
from tests.qdg.pages.conftest import Open
from tests.qdg.pages.examples import HOSTILE, page
from tests.qdg.pages.reading import copied, heading, listed, samples, until, wanted


def test_clusters_that_are_no_quantum_bear_a_badge(some: Page, show: Open) -> None:
    """Of the second count alone is anything known."""
    p = np.full(10, 0.005, np.float32)
    p[[2, 4]] = 0.75, np.nan
    again = np.linspace(1, 0, 10, dtype=np.float32)
    trust = Trust(np.full(10, 0.5, np.float32), np.full(10, 0.625, np.float32), p, again)
    known = dataclasses.replace(some, trust=[None, trust, None])
    tab = show(known, "#count=10&cluster=2&sort=-again")
    assert listed(tab) == list(range(9, -1, -1))
    badges = tab.locator("#rows .none-here")
    assert badges.all_text_contents() == ["no quantum"]
    assert badges.locator("xpath=ancestor::tr").locator("a").text_content() == "2"
    facts = tab.inner_text("#facts")
    assert "p 0.750, conductance 0.500 (chance 0.625)" in facts
    assert "found again 0.78" in facts
    assert "no quantum" in facts
    tab = show(known, "#count=10&cluster=4")
    assert "chance" not in tab.inner_text("#facts")  # a single sample, of which nothing is told
    tab = show(known, "#count=40&cluster=0")
    assert not tab.locator("#rows .none-here").count()
    assert "chance" not in tab.inner_text("#facts")
    assert tab.locator("#rows tr").first.locator("td").all_text_contents()[2] == "–"
    assert not show(some, "#count=10").locator("th[data-sort=again]").count()


def test_the_stability_of_the_count_that_is_shown(some: Page, show: Open) -> None:
    tab = show(some, "#count=10")
    assert tab.text_content("#stability") == some.stability[1]
    tab.evaluate("location.hash = '#count=3'")
    until(tab, f"document.getElementById('stability').textContent === {some.stability[0]!r}")
    unknown = dataclasses.replace(some, stability=["", "known", ""])
    tab = show(unknown, "#count=3")
    assert not tab.is_visible("#stability")
    tab.select_option("#count", label="10")
    assert tab.inner_text("#stability") == "known"


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
        button = tab.locator("th > button:not(.what)", has_text=name)
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
        assert sample["similarity"] == pytest.approx(
            float(made.centrality[0, i]),
            abs=0.51 / 32767,  # half a step of what is embedded
        )
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
            "([texts, boxed]) => texts.map((text) =>"
            " quanta.escapeLatex(quanta.data.latex, text, boxed))",
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
