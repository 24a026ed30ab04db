"""The page of the gallery, which lies in docs/ as it was made, and the gallery's numbers."""

import re

from tests.docs.blocks import ROOT
from tests.qdg.pages.reading import held

PAGE = ROOT / "docs" / "figures" / "smollm2-quanta.html"
GALLERY = ROOT / "docs" / "gallery.md"

ROW = re.compile(r"^\| (\d+) \| (\d+) \| (0\.\d\d) \| ([a-z ]+) \|.* \|(?: ([a-z ]+))? \|$", re.M)
"""Cluster, samples, mean cosine, first and second judgement."""


def test_the_page_is_that_of_the_configuration() -> None:
    table = held(PAGE)
    assert PAGE.stat().st_size < 1.5e6
    assert table["about"]["Model"] == "smollm2@main"
    assert len(table["index"]) == 2000
    assert 200 in table["counts"]
    assert table["pieces"]["length"] <= 2000 * 49  # no more of the texts than the gallery says


def test_the_gallery_counts_what_it_lists() -> None:
    text = GALLERY.read_text(encoding="utf-8")
    rows = ROW.findall(text)
    assert [int(row[0]) for row in rows] == [*range(50)]
    named = [row for row in rows if row[3] in ("pattern", "phrase")]
    kinds = {kind: sum(row[3] == kind for row in rows) for kind in {row[3] for row in rows}}
    assert f"**{len(named)} of the 50 can be named**" in text
    assert f"{kinds['pattern']} patterns and {kinds['phrase']} phrases" in text
    assert (
        f"{kinds['same token only']} have the same token only, {kinds['no name']} no name" in text
    )
    again = [row for row in rows if row[4]]
    same = sum(row[3] == row[4] for row in again)
    assert f"Of the {len(again)} that have\nenough other samples, {same} got the same" in text
    unnamed = sum(int(row[1]) for row in rows if row[3] == "no name")
    assert f"hold {unnamed} of the 2,000 samples" in text
    assert f"the {len(named)} hold {sum(int(row[1]) for row in named)}" in text
