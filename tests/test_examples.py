"""What examples/ makes of documents of several kinds; the packages themselves are not fetched."""

import gzip
import shutil
from pathlib import Path

import pytest

from examples.smollm2 import corpus

HTML = """<html><head><title>Not this</title></head><body>
<div class="toc"><p>Nor <b>this</b></p><div>or this</div></div>
<h1>A title</h1><p>Some <i>words</i> &amp; more<br/>
of them.</p><pre>one
  two</pre><div class="navfooter"><a href="x">Next</a></div></body></html>"""

MALLARD = """<page><info><desc>Not this.</desc><link xref="a"/></info><title>Hide a file</title>
<steps><item><p>Press <key>H</key>.</p></item><item><p>Look.</p></item></steps></page>"""


def test_a_page_becomes_paragraphs() -> None:
    assert corpus.html(HTML) == "A title\n\nSome words & more of them.\n\none\n  two\n"
    assert corpus.html(MALLARD) == "Hide a file\n\nPress H.\n\nLook.\n"


def test_verses_are_gathered_by_chapter() -> None:
    lines = ["Hit '?' for help.", "Ge1:1 First.", "Ge1:1 First.", "Ge1:2 Then.", "1Sa12:3 Last."]
    assert dict(corpus.verses("\n".join(lines))) == {
        "Ge-001": "1:1 First.\n1:2 Then.\n",
        "1Sa-012": "12:3 Last.\n",
    }


def test_a_collection_is_cut_between_its_pieces() -> None:
    piece = "word " * 600
    found = dict(corpus.parts([("a", "\n%\n".join([piece, piece, "short"]))], "\n%\n"))
    assert [*found] == ["a-000", "a-001"]
    assert [len(text.split()) for text in found.values()] == [1200, 1]


def test_so_many_words_are_chosen_whatever_the_order() -> None:
    documents = [(str(i), f"word{i} " * 1500) for i in range(20)] + [("remark", "word " * 50)]
    found = dict(corpus.chosen(documents))
    assert sum(len(text.split()) for text in found.values()) == corpus.WORDS
    assert "remark" not in found
    assert found == dict(corpus.chosen(reversed(documents)))
    assert len(dict(corpus.chosen([("long", "word " * 9999)]))["long"].split()) == corpus.LONGEST


@pytest.mark.skipif(not shutil.which("pod2text"), reason="pod2text comes with perl")
def test_files_are_read_as_their_kind_asks(tmp_path: Path) -> None:
    (tmp_path / "a.pod").write_text(
        "=head1 NAME\n\nSome I<words>.\n\n=over\n\n=item * one\n\n=back\n"
    )
    (tmp_path / "b.html").write_text(HTML)
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"plain\n"))
    found = dict(corpus.read(tmp_path.iterdir()))
    assert [*found] == ["a", "b", "c"]
    assert found["a"].split() == ["NAME", "Some", "*words*.", "*", "one"]
    assert found["c"] == "plain\n"
