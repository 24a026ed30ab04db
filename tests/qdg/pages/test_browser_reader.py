"""The page for who has never seen one: what terms mean, what tells clusters apart, own notes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jquanta.qdg.pages.page import Page
from jquanta.qdg.pages.texts import Text
from tests.qdg.pages.conftest import Open
from tests.qdg.pages.examples import page
from tests.qdg.pages.reading import heading, listed, until


def planted() -> Page:
    """Three clusters that predict a line break, after ``else``, ``try`` and ``for``, and a fourth,
    the smallest, of anything."""
    made = page(["x"], samples=40, counts=(4,))
    line = "\n    "
    kinds = [(" else", ":"), (" try", ":"), (" for", " i", " in", " y", ":")]
    texts, labels = [], []
    for i in range(40):
        label = i % 3 if i < 36 else 3
        words = kinds[label] if label < 3 else ()
        target = line if label < 3 else f" other{i}"
        texts.append(Text((f" w{i}", f" v{i}", line, *words), target, (" after",)))
        labels.append(label)
    return Page(**{**vars(made), "texts": texts, "labels": np.array([labels], np.int32)})


def contexts(tab: Any) -> list[str]:
    return tab.locator("#rows .context").all_text_contents()


def test_clusters_that_predict_a_line_break_are_told_apart(show: Open) -> None:
    tab = show(planted())
    assert contexts(tab) == ["after else", "after try", "after for … i … in"]
    assert "often after" in tab.inner_text("#predicts")
    # The fourth predicts no token more often than others: nothing is said of it.
    assert tab.locator("#rows tr").nth(3).locator(".context").count() == 0


def test_clusters_are_grouped_by_what_they_predict(show: Open) -> None:
    made = planted()
    labels = made.labels.copy()
    labels[0, labels[0] == 1] = 9
    labels[0, labels[0] == 3] = 1
    labels[0, labels[0] == 9] = 3
    tab = show(Page(**{**vars(made), "labels": labels}))
    assert listed(tab) == [0, 1, 2, 3]
    tab.locator("th[data-sort=token] button").click()
    assert listed(tab) == [0, 2, 3, 1]
    groups = tab.locator("#rows .group").all_text_contents()
    assert [text.split(" ", 1)[0] for text in groups][1] == ""  # the space before « other»
    assert "3 clusters, 36 samples" in groups[0]
    assert "1 cluster, 4 samples" in groups[1]
    until(tab, "location.hash.includes('sort=token')")
    tab.keyboard.press("ArrowRight")
    assert heading(tab) == "Cluster 2 of 4"


def test_every_term_has_its_meaning(some: Page, show: Open) -> None:
    tab = show(some)
    assert tab.locator("#explain").get_attribute("open") is not None
    assert some.title in tab.inner_text("#explain p")
    terms = tab.evaluate("[...document.querySelectorAll('.what')].map((e) => e.dataset.term)")
    assert {"cluster", "yellow", "similarity", "tight", "predicts", "loss", "matrix"} == set(terms)
    for term in sorted(set(terms)):
        tab.locator(f".what[data-term={term}]").first.click()
        assert tab.locator("#term").is_visible()
        text = tab.text_content(f"#terms [data-term={term}] dd")
        assert tab.text_content("#term") == f"{term} {text}"
        box = tab.locator("#term").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 1440
        tab.keyboard.press("Escape")
        assert not tab.locator("#term").is_visible()
    tab = show(some, "#count=10&cluster=1")  # who follows a link sees the samples at once
    assert tab.locator("#explain").get_attribute("open") is None


def test_a_note_is_kept_in_the_link(some: Page, show: Open) -> None:
    tab = show(some, "#count=10&cluster=3")
    tab.fill("#note", 'the end of "if" & <b>')
    until(tab, "location.hash.includes('notes=')")
    assert tab.locator("#rows .own-note").all_text_contents() == ['the end of "if" & <b>']
    tab.keyboard.press("Escape")
    tab.locator("#rows a[data-label='4']").click()
    assert tab.input_value("#note") == ""
    tab.fill("#note", "another")
    until(tab, "decodeURIComponent(location.hash).includes('another')")
    again = show(some, "#" + tab.evaluate("location.hash.slice(1)"))
    assert again.input_value("#note") == "another"
    assert again.locator("#rows .own-note").all_text_contents() == [
        'the end of "if" & <b>',
        "another",
    ]
    again.fill("#note", "")
    until(again, "document.querySelectorAll('.own-note').length === 1")


def test_notes_are_saved_and_opened(some: Page, show: Open, tmp_path: Path) -> None:
    tab = show(some, "#count=10&cluster=3", accept_downloads=True)
    assert tab.locator("#save-notes").is_disabled()
    tab.fill("#note", "a quantum")
    with tab.expect_download() as download:
        tab.click("#save-notes")
    download.value.save_as(tmp_path / "notes.json")
    told = json.loads((tmp_path / "notes.json").read_text())
    assert told == {
        "page": "A page",
        "notes": [{"count": 10, "cluster": 3, "note": "a quantum"}],
    }
    other = show(some, "#count=10&cluster=3")
    other.set_input_files("#open-notes", tmp_path / "notes.json")
    until(other, "document.getElementById('note').value === 'a quantum'")
    assert other.inner_text("#notice") == "1 notes read."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("not JSON", "holds no notes"),
        ('{"notes": 3}', "holds no notes"),
        (
            '{"page": "B", "notes": [{"count": 11, "cluster": 0, "note": "x"}]}',
            "0 notes read. 1 are of clusters that are not here. The file is of another page, B.",
        ),
    ],
)
def test_a_file_of_something_else(
    some: Page, show: Open, tmp_path: Path, content: str, said: str
) -> None:
    tab = show(some)
    (tmp_path / "x.json").write_text(content)
    tab.set_input_files("#open-notes", tmp_path / "x.json")
    until(tab, "!document.getElementById('notice').hidden")
    assert said in tab.inner_text("#notice")


def test_too_many_notes_for_a_link(some: Page, show: Open) -> None:
    tab = show(some, "#count=40&cluster=0")
    tab.evaluate(
        "quanta.go({ notes: new Map(Array.from({ length: 40 },"
        " (_, i) => [`40/${i}`, 'x'.repeat(200)])) })"
    )
    assert "save them as a file" in tab.inner_text("#notes-where")
    tab.wait_for_timeout(400)  # longer than the address waits
    assert "notes=" not in tab.evaluate("location.hash")


def test_a_link_with_notes_that_make_no_sense(some: Page, show: Open) -> None:
    for notes in ("{", "3", '[[10,99,"x"]]', '[[10,"0","x"]]', "[[10,0,7]]", "[null,[10]]"):
        tab = show(some, f"#count=10&cluster=0&notes={notes}")
        assert tab.locator(".own-note").count() == 0
        assert heading(tab) == "Cluster 0 of 10"
