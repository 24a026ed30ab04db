"""The pure parts of what builds the site: links, comments, docstrings, and scripts of cells."""

import sys
from pathlib import Path

import pytest

from docs.hooks import markup, percent

TEXT = """See [this](docs/a.md#x) and ![that](docs/b.png), not `[code](x)`.

<!-- [hidden](y) -->
```python
network[0](x)
```
[Elsewhere](https://example.org/a), [here](#there).
"""


def test_links_outside_code_are_rewritten() -> None:
    assert [*markup.links(TEXT)] == [
        "docs/a.md#x",
        "docs/b.png",
        "https://example.org/a",
        "#there",
    ]
    new = markup.rewritten(TEXT, lambda link: f"<{link}>")
    assert "[this](<docs/a.md#x>)" in new
    assert "network[0](x)" in new
    assert "`[code](x)`" in new
    assert markup.rewritten(TEXT, lambda link: link) == TEXT


def test_comments_are_left_out() -> None:
    assert "hidden" not in markup.without_comments(TEXT)
    some = markup.without_comments("a <!-- on the site: [b](c.html) --> d <!-- e -->")
    assert some == "a [b](c.html) d "
    kept = "```\n<!-- shown -->\n```\n"
    assert markup.without_comments(kept) == kept


def test_links_are_found_from_where_they_stand() -> None:
    assert markup.split("../CONTRIBUTING.md#a-task", "docs/howto.md") == (
        "CONTRIBUTING.md",
        "#a-task",
    )
    assert markup.split("#there", "docs/howto.md") == ("docs/howto.md", "#there")
    assert markup.split("https://example.org", "README.md") is None
    assert markup.relative("figures/a.png", "tutorials/b.md") == "../figures/a.png"
    assert markup.relative("a.md", "b.md") == "a.md"


def test_literal_blocks_of_docstrings() -> None:
    text = "Train::\n\n    jq.pretrain()\n\n    jq.draw()\n\nArgs:\n    x: one of a::b."
    assert markup.from_docstring(text) == (
        "Train:\n\n```python\njq.pretrain()\n\njq.draw()\n```\n\nArgs:\n    x: one of a::b."
    )


@pytest.fixture(autouse=True)
def _no_figures() -> None:
    """A cell shows the figures that are open; other tests may have left some."""
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


SCRIPT = '''"""Left out."""

# %% [markdown]
# # Title
#
# Words.

# %%
x = 1
print("printed")
x + 1
# %%
y = x
'''


def test_a_script_is_cut_into_cells() -> None:
    first, second, third = percent.cells(SCRIPT)
    assert first == percent.Cell(False, "# Title\n\nWords.", 3)
    assert second.code
    assert second.text.startswith("x = 1\n")
    assert third == percent.Cell(True, "y = x", 12)


def test_a_script_becomes_a_page(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    page = percent.markdown(path, tmp_path)
    assert page.startswith("# Title\n\nWords.\n\n```python\nx = 1\n")
    assert "```{.text .output}\nprinted\n2\n```" in page
    assert page.endswith("```python\ny = x\n```\n")


def test_a_picture_is_shown(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"PNG")
    path = tmp_path / "script.py"
    path.write_text(
        f"# %% [markdown]\n# # Title\n# %%\nfrom pathlib import Path\n\nPath({str(picture)!r})\n"
    )
    assert "![Figure: Title](script-1-0.png)" in percent.markdown(path, tmp_path)
    assert (tmp_path / "script-1-0.png").read_bytes() == b"PNG"


def test_an_error_says_its_line(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(f"{SCRIPT}1 / 0\n")
    with pytest.raises(ZeroDivisionError) as caught:
        percent.markdown(path, tmp_path)
    lines = path.read_text().splitlines()
    assert lines[caught.traceback[-1].lineno] == "1 / 0"
