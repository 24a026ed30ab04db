"""Two clusterings side by side in headless Chromium: what they share, and the way between them."""

import dataclasses
import re
from typing import Any

import numpy as np
import pytest

from jquanta.qdg.pages.beside import beside_groups
from jquanta.qdg.pages.page import NO_CLUSTER, NO_SAMPLE, Beside, Page, most_central
from tests.qdg.pages.conftest import Open
from tests.qdg.pages.examples import page
from tests.qdg.pages.reading import WORDS, heading, listed, samples, until, wanted
from tests.qdg.pages.test_browser_looks import PHONE

OTHER = "big@step9"


def planted(some: Page) -> Page:
    """Beside the second count: of cluster 0, of 24 samples, more are in the giant cluster 0 (13)
    than in cluster 6 (9), which is the likest since it holds nothing else. Cluster 1 is cluster 3
    there, but for a sample that is in no cluster; cluster 2 is no sample there; the rest is in the
    giant and in 1, 2, 4, 5 and 7. Of cluster 3 there are 8 samples which the page does not have."""
    here = some.labels[1]
    label = np.zeros(len(here), np.int32)
    own = [np.flatnonzero(here == k) for k in range(10)]
    label[own[0][:9]] = 6
    label[own[0][9:11]] = 4, 5
    label[own[1]] = 3
    label[own[1][4]] = NO_CLUSTER
    label[own[2]] = NO_SAMPLE
    label[own[3]] = np.tile([0, 1, 2, 0, 4, 5, 0, 7], 3)
    sizes = np.bincount(label[label >= 0], minlength=10)
    sizes[3] += 8
    few = np.array([0, 1, 1])[some.labels[0]].astype(np.int32)
    other = Beside(
        OTHER, [("Beside", "a run")], [few, label, None], [np.bincount(few), sizes, None]
    )
    return dataclasses.replace(some, beside=other)


@pytest.fixture(scope="module")
def both(some: Page) -> Page:
    return planted(some)


def row_of(made: Page, count: int) -> np.ndarray:
    assert made.beside is not None
    row = made.beside.labels[count]
    assert row is not None
    return row


def jaccard(made: Page, count: int, here: int, there: int) -> float:
    """By sets: of the samples that both clusterings have."""
    row = row_of(made, count)
    one = set(np.flatnonzero((made.labels[count] == here) & (row != NO_SAMPLE)).tolist())
    two = set(np.flatnonzero(row == there).tolist())
    return len(one & two) / len(one | two) if one | two else 0.0


def likest(made: Page, count: int, here: int) -> float:
    """NaN for a cluster that has no sample in any of the other's."""
    found = max(jaccard(made, count, here, k) for k in range(row_of(made, count).max() + 1))
    return found or float("nan")


def column(tab: Any) -> list[float]:
    """What the list says in the column Beside, in the order of the list; NaN for a dash."""
    texts = tab.locator("#rows tr td:nth-last-child(2)").all_text_contents()
    return [float("nan") if text == "–" else float(text) for text in texts]


def close(numbers: list[float]) -> Any:
    """Two digits after the point; ties are rounded in another way than Python does."""
    return pytest.approx(numbers, abs=0.0051, nan_ok=True)


def bars(tab: Any) -> list[list[str]]:
    return [text.split("\n") for text in tab.locator("#bars li").all_inner_texts()]


def there(tab: Any) -> list[str]:
    return tab.locator("#list-there .text").all_text_contents()


def text_of(made: Page, sample: int) -> str:
    text = made.texts[sample]
    return "".join((*text.before, text.target, *text.after))


def test_the_list_tells_the_jaccard_index_of_the_likest(both: Page, show: Open) -> None:
    tab = show(both, "#count=10")
    found = [likest(both, 1, k) for k in range(10)]
    assert np.isnan(found[2])
    assert found[0] == 9 / 24
    assert column(tab) == close(found)
    tab.locator("th[data-sort=beside] button").first.click()
    order = sorted(range(10), key=lambda k: (np.isnan(found[k]), -found[k], k))
    assert listed(tab) == order
    assert tab.get_attribute("th[data-sort=beside]", "aria-sort") == "descending"
    tab.locator("th[data-sort=beside] button").first.click()
    order = sorted(range(10), key=lambda k: (np.isnan(found[k]), found[k], k))
    assert listed(tab) == order
    until(tab, "location.hash.includes('sort=-beside')")
    tab = show(both, "#count=3")
    assert column(tab) == close([likest(both, 0, k) for k in range(3)])
    assert column(tab) == [1, 0.5, 0.5]


def test_bars_tell_where_the_samples_are(both: Page, show: Open) -> None:
    tab = show(both, "#count=10&cluster=0")
    assert tab.inner_text("#overlap") == f"In {OTHER} its 24 samples are in"
    # The likest first, then those of most samples; the giant's samples are many.
    giant = jaccard(both, 1, 0, 0)
    assert giant < 9 / 24
    assert bars(tab) == [
        ["cluster 6", "9", "Jaccard 0.38"],
        ["cluster 0", "13", f"Jaccard {giant:.2f}"],
        ["cluster 4", "1", f"Jaccard {jaccard(both, 1, 0, 4):.2f}"],
        ["cluster 5", "1", f"Jaccard {jaccard(both, 1, 0, 5):.2f}"],
    ]
    widths = tab.evaluate(
        "[...document.querySelectorAll('#bars .bar')]"
        ".map((e) => e.offsetWidth / e.parentElement.offsetWidth)"
    )
    # A pixel of the some 200 of a bar.
    assert widths == pytest.approx([9 / 24, 13 / 24, 1 / 24, 1 / 24], abs=0.01)
    tab = show(both, "#count=10&cluster=1")
    assert bars(tab) == [
        ["cluster 3", "23", f"Jaccard {likest(both, 1, 1):.2f}"],
        ["no cluster", "1"],
    ]
    assert "31 samples" in tab.inner_text("#there")
    assert "8 are not on this page" in tab.inner_text("#there")
    tab = show(both, "#count=10&cluster=2")
    assert tab.inner_text("#overlap") == f"In {OTHER} none of its 24 samples is in a cluster."
    assert bars(tab) == [["no sample there", "24"]]
    assert not tab.locator("#other").is_visible()
    assert samples(tab) == wanted(both, 1, 2)[:20]
    tab = show(both, "#count=10&cluster=3")
    row = row_of(both, 1)[both.labels[1] == 3]
    assert len(set(row.tolist())) == 6  # five with a bar, and another
    assert bars(tab)[-1][0] == "1 other cluster"
    assert sum(int(bar[1]) for bar in bars(tab)) == 24


def test_the_samples_of_both_side_by_side(both: Page, show: Open) -> None:
    tab = show(both, "#count=10&cluster=0")
    assert samples(tab) == wanted(both, 1, 0)[:20]
    row = row_of(both, 1)
    central = most_central(both, 1, 0)
    shared = [text_of(both, i) for i in central if row[i] == 6]
    assert there(tab)[:9] == shared
    marks = tab.locator("#list > li").evaluate_all("all => all.map((e) => e.className)")
    assert marks == ["both" if row[i] == 6 else "apart" for i in central[:20]]
    said = tab.locator("#list .where").all_inner_texts()
    assert said == [
        "in both" if row[i] == 6 else f"only here; there in {row[i]}" for i in central[:20]
    ]
    styles = tab.evaluate(
        "['both', 'apart'].map((name) =>"
        " getComputedStyle(document.querySelector(`#list .${name}`)).borderLeftStyle)"
    )
    assert styles == ["solid", "dotted"]
    tab.click("#bars button >> nth=1")
    assert tab.inner_text("#there").startswith(f"{OTHER}: cluster 0, ")
    assert tab.get_attribute("#bars button >> nth=1", "aria-pressed") == "true"
    assert tab.get_attribute("#bars button >> nth=0", "aria-pressed") == "false"
    until(tab, "location.hash.includes('beside=0')")
    # First those in both, in the order of the left; then the others by their clusters here, those
    # of most first.
    members = np.flatnonzero(row == 0)
    here = both.labels[1]
    times = np.bincount(here[members], minlength=10)
    rest = sorted(
        (i for i in members.tolist() if here[i] != 0),
        key=lambda i: (-times[here[i]], here[i], -round(float(both.centrality[1, i]) * 32767), i),
    )
    order = [*(int(i) for i in central if row[i] == 0), *rest]
    assert there(tab) == [text_of(both, i) for i in order[:20]]
    tab.click("#more-there")
    assert there(tab) == [text_of(both, i) for i in order[:40]]
    assert (
        tab.evaluate(
            "[...document.querySelectorAll('#list-there > li')].indexOf(document.activeElement)"
        )
        == 20
    )
    # Another cluster here stands beside its likest again.
    tab.get_by_role("button", name="Next").click()
    assert tab.inner_text("#there").startswith(f"{OTHER}: cluster 3, ")
    until(tab, "!location.hash.includes('beside')")


def test_what_is_in_both_or_in_one_only(both: Page, show: Open) -> None:
    tab = show(both, "#count=10&cluster=0&beside=0")
    row, here = row_of(both, 1), both.labels[1]
    size = int((row == 0).sum())
    assert tab.inner_text("[data-part=both]") == "In both 13"
    assert tab.inner_text("[data-part=apart]") == f"In one only {24 - 13 + size - 13}"
    tab.click("[data-part=both]")
    central = most_central(both, 1, 0)
    shared = [text_of(both, i) for i in central if row[i] == 0]
    assert samples(tab) == there(tab) == shared
    assert tab.text_content("#status") == "Cluster 0 of 10: 13 of 24 samples in both."
    tab.click("[data-part=apart]")
    assert samples(tab) == [text_of(both, i) for i in central if row[i] != 0]
    assert not set(there(tab)) & set(shared)
    assert tab.get_attribute("[data-part=apart]", "aria-pressed") == "true"
    until(tab, "location.hash.includes('part=apart')")
    tab = show(both, "#" + tab.evaluate("location.hash.slice(1)"))
    assert samples(tab) == [text_of(both, i) for i in central if row[i] != 0]
    tab.locator("#list-there button").first.click()
    # The sample at the right belongs to another cluster here: the page goes there.
    goal = int(re.findall(r"\d+", heading(tab))[0])
    assert goal != 0
    others = np.bincount(here[(row == 0) & (here != 0)])
    assert goal == int(others.argmax())
    assert tab.evaluate("document.activeElement.id") == "samples"


def test_a_sample_leads_to_its_cluster_there(both: Page, show: Open) -> None:
    tab = show(both, "#count=10&cluster=0")
    button = tab.locator("#list button.place").first
    label = re.findall(r"\d+", button.inner_text())[0]
    button.click()
    assert heading(tab) == "Cluster 0 of 10"
    assert tab.inner_text("#there").startswith(f"{OTHER}: cluster {label}, ")
    assert tab.evaluate("document.activeElement.id") == "there"


def test_a_count_that_the_other_lacks(both: Page, show: Open) -> None:
    tab = show(both, "#count=40&cluster=3")
    assert tab.inner_text("#overlap") == (
        f"{OTHER} has no clustering with 40 clusters: show 10, which it has"
    )
    assert len(column(tab)) == 40
    assert np.isnan(column(tab)).all()
    assert samples(tab) == wanted(both, 2, 3)
    for hidden in ("#other", "#parts", "#here"):
        assert not tab.locator(hidden).is_visible()
    assert "NaN" not in tab.inner_text("body")
    tab.click("#overlap button")
    assert heading(tab) == "Cluster 0 of 10"
    assert tab.locator("#other").is_visible()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("#count=10&cluster=1&beside=10", "beside 10 is not one of 0 to 9"),
        ("#count=10&cluster=1&beside=x", "beside x is not one of 0 to 9"),
        ("#count=40&beside=1", f"{OTHER} has no clustering with 40 clusters"),
        ("#count=10&part=__proto__", "part __proto__ is neither both nor apart"),
        ("#count=10&cluster=1&beside=9", ""),
    ],
)
def test_a_link_to_what_is_not_beside(both: Page, show: Open, address: str, said: str) -> None:
    tab = show(both, address)
    assert said in tab.inner_text("#notice")
    assert tab.locator("#notice").is_visible() == bool(said)
    if not said:  # a cluster of which nothing is here
        assert bars(tab)[-1][:2] == ["cluster 9", "0"] or [
            "cluster 9",
            "0",
            "Jaccard 0.00",
        ] in bars(tab)
        assert tab.inner_text("#list-there") == "None to show."


def test_search_leaves_the_samples_that_have_it_on_both_sides(both: Page, show: Open) -> None:
    row, central = row_of(both, 1), most_central(both, 1, 0)
    tab = show(both, "#count=10&cluster=0&beside=0&search=word1")
    assert heading(tab) == "Cluster 0 of 10"
    for found, shown, more in (
        ([i for i in central if "word1" in text_of(both, i)], samples, "#more"),
        (
            [i for i in np.flatnonzero(row == 0) if "word1" in text_of(both, i)],
            there,
            "#more-there",
        ),
    ):
        assert 0 < len(found) < len(row)
        assert set(shown(tab)) <= {text_of(both, i) for i in found}
        assert len(shown(tab)) == min(20, len(found))
        assert tab.locator(more).is_visible() == (len(found) > 20)
        if len(found) > 20:
            assert tab.inner_text(more).endswith(f" more of {len(found)}")
    assert len(there(tab)) == 20


def test_groups_serve_every_count(some: Page, show: Open) -> None:
    label = np.where(np.arange(240) < 100, np.arange(240) % 4, NO_CLUSTER)
    made = dataclasses.replace(some, beside=beside_groups("groups", [], label, 3))
    for count, clusters in enumerate((3, 10, 40)):
        tab = show(made, f"#count={clusters}")
        found = [likest(made, count, k) for k in range(clusters)]
        assert column(tab) == close(found)
    tab = show(made, "#count=3&cluster=1")
    inside = int((label[some.labels[0] == 1] >= 0).sum())
    assert bars(tab)[-1] == ["no cluster", str(80 - inside)]


def test_keys_keep_their_place_among_the_bars(both: Page, show: Open) -> None:
    tab = show(both, "#count=10&cluster=0")
    tab.focus("#bars button >> nth=1")
    tab.keyboard.press("Enter")
    assert tab.inner_text("#there").startswith(f"{OTHER}: cluster 0, ")
    assert tab.evaluate("document.activeElement.dataset.beside") == "0"
    tab.keyboard.press("ArrowRight")
    assert heading(tab) == "Cluster 1 of 10"
    tab.get_by_role("button", name="In both").press("Enter")
    assert tab.evaluate("document.activeElement.dataset.part") == "both"


def test_a_screen_reader_is_told_what_stands_beside(both: Page, show: Open) -> None:
    tab = show(both, "#count=10&cluster=0")
    assert OTHER in tab.inner_text("summary >> nth=0")
    assert tab.get_by_role("region", name=f"Beside: {OTHER}").count() == 1
    for name in ("Here: cluster 0, 24 samples", f"{OTHER}: cluster 6, 9 samples"):
        assert tab.get_by_role("region", name=name).count() == 1, name
    assert tab.get_by_role("button", name="cluster 6 9 Jaccard 0.38", pressed=True).count() == 1
    assert tab.get_by_role("group", name="Which samples of both clusters").count() == 1
    tab.locator(".what[data-term=beside]").first.click()
    assert "Jaccard index" in tab.inner_text("#term")
    assert OTHER in tab.inner_text("#term")


def test_columns_stand_side_by_side_and_on_a_phone_one_below_the_other(
    both: Page, show: Open
) -> None:
    tab = show(both, "#count=10&cluster=0")
    left, right = (tab.locator(name).bounding_box() for name in ("#list", "#list-there"))
    assert left["x"] + left["width"] <= right["x"]
    assert left["y"] == right["y"]
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1440
    tab = show(both, "#count=10&cluster=0", **PHONE)
    left, right = (tab.locator(name).bounding_box() for name in ("#list", "#list-there"))
    assert left["y"] + left["height"] <= right["y"]
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    small = tab.evaluate(
        "[...document.querySelectorAll('button, select, input, summary')].filter((e) =>"
        " e.checkVisibility() && e.getBoundingClientRect().height < 44)"
        ".map((e) => e.id || e.textContent)"
    )
    assert small == []


def test_nothing_moves_while_a_page_with_both_opens(both: Page, show: Open) -> None:
    tab = show(both)
    tab.context.new_cdp_session(tab).send("Emulation.setCPUThrottlingRate", {"rate": 40})
    tab.reload()
    moved = tab.evaluate(
        "new Promise((done) => { let sum = 0; new PerformanceObserver((list) => {"
        " for (const shift of list.getEntries()) sum += shift.value;"
        " }).observe({type: 'layout-shift', buffered: true}); setTimeout(() => done(sum), 200) })"
    )
    assert moved < 0.02  # of a page; 0.1 counts as good


def test_a_page_without_one_knows_no_such_state(some: Page, show: Open) -> None:
    tab = show(some, "#count=10&cluster=1&beside=3&part=both")
    assert not tab.locator("#notice").is_visible()
    assert samples(tab) == wanted(some, 1, 1)[:20]
    assert not tab.locator("#list .where").count()
    tab = show(some, "#count=10&sort=beside")
    assert "nothing is sorted by beside" in tab.inner_text("#notice")


def test_a_cluster_of_few(show: Open) -> None:
    """A single sample, and a cluster that is the very same."""
    made = page(WORDS, samples=4, counts=(2,))
    labels = np.array([[0, 0, 0, 1]], np.int32)
    other = Beside(OTHER, [], [np.array([1, 1, 1, 0], np.int32)], [np.array([1, 3])])
    tab = show(dataclasses.replace(made, labels=labels, beside=other), "#cluster=1")
    assert tab.inner_text("#overlap") == f"In {OTHER} its 1 sample is in"
    assert bars(tab) == [["cluster 0", "1", "Jaccard 1.00"]]
    assert tab.inner_text("[data-part=apart]") == "In one only 0"
    tab.click("[data-part=apart]")
    assert "0 of 1 samples in one only" in tab.inner_text("#list")
