"""Every block of the documents is run by ``make snippets``, or says why not."""

import ast
import re
from pathlib import Path

import pytest

from tests.docs.blocks import BLOCK, DOCUMENTS, LANGUAGES, NOTE, ROOT, Block, agree, blocks
from tests.docs.snippets import expected_after, run_python
from tests.test_said import check, lines_of

ALL = [block for path in DOCUMENTS for block in blocks(path)]


def test_every_block_is_found_and_has_a_known_language() -> None:
    fences = sum(len(re.findall(r"^\s*```", path.read_text(), re.M)) for path in DOCUMENTS)
    assert fences == 2 * len(ALL)
    assert not [block.where for block in ALL if block.language not in LANGUAGES]
    assert sum(block.is_run for block in ALL) >= 10


def test_every_comment_above_a_block_is_understood() -> None:
    """A note that is mistyped would have a block run that should not be, or the other way."""
    for block in ALL:
        assert not NOTE.sub("", block.notes).strip(), block.where
        assert "not run" not in block.says or len(block.says) == 1, block.where


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_notes_stand_directly_above_blocks(path: Path) -> None:
    text = path.read_text()
    above = "".join(found[1] for found in BLOCK.finditer(text))
    assert len(NOTE.findall(text)) == len(NOTE.findall(above))


def test_blocks_of_python_can_be_parsed() -> None:
    for block in ALL:
        if block.language == "python":
            ast.parse(block.text)


def test_added_flags_are_right_and_used() -> None:
    for block in ALL:
        if any(says.startswith("run with ") for says in block.says):
            assert block.script != block.text, block.where
            for line in lines_of(block.script):
                if line.startswith("jquanta "):
                    check(line)


def block(text: str, language: str = "sh", notes: str = "") -> Block:
    return Block("somewhere:1", notes, language, text)


def test_notes() -> None:
    one = block("jquanta sweep a\njquanta sweep b --plan\njquanta figures fig2\n")
    noted = one._replace(notes="<!-- run with sweep --train.steps 5 --x 1: or it\ntakes long -->\n")
    assert one.script == one.text
    assert noted.script == (
        "jquanta sweep --train.steps 5 --x 1 a\njquanta sweep --train.steps 5 --x 1 b --plan\n"
        "jquanta figures fig2\n"
    )
    assert one.is_run
    assert noted.is_run
    assert not one._replace(notes="<!-- not run: needs a GPU -->\n").is_run
    assert not block("a", "text").is_run


def test_prompts() -> None:
    one = block('$ jquanta a "b\n  c" d\nx\ny\n$ jquanta e \\\n  f\nz\n', "")
    assert one.prompts == [('jquanta a "b\n  c" d', "x\ny\n"), ("jquanta e \\\n  f", "z\n")]
    assert one.script == 'jquanta a "b\n  c" d\njquanta e \\\n  f\n'


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("1.50 a\n", "1.50 a\n", True),
        ("1.50 a", "1.51 a", False),
        ("[ 1.  2.]   the steps", "[ 1.  2.]", True),
        ("[ 1.  2.]   the steps", "[ 1.  3.]", False),
        ("[ 1.  2.] x", "[ 1.  2.]", False),
        ("a\n…\nz", "a\nb\nc\nz", True),
        ("a\n  …", "a\nb", True),
        ("a\n…\nz", "a\nb\nc", False),
        ("a", "a\nb", False),
        ("a\nb", "a", False),
        ("a", "", False),
    ],
)
def test_what_is_printed_is_compared(expected: str, printed: str, same: bool) -> None:
    assert agree(expected, printed) == same


def test_python_is_compared_print_by_print() -> None:
    right = block("x = 1\n# a remark\nprint(x)\n# 1  one\nprint(x + 1)\n# 2\n", "python")
    assert not run_python(right, {})
    assert "print(x + 1)" in run_python(right._replace(text=right.text.replace("# 2", "# 3")), {})
    assert "ZeroDivisionError" in run_python(block("1 / 0\n", "python"), {})
    loose = block("print(1)\n# 2\n", "python", "<!-- not compared: an example -->\n")
    assert not run_python(loose, {})


def test_a_remark_is_not_what_a_statement_prints() -> None:
    lines = ["x = 1", "# a remark", "print(x)", "# 1"]
    first, second = ast.parse("\n".join(lines)).body
    assert expected_after(lines, first) == ""
    assert expected_after(lines, second) == "1"


def test_documents_are_those_of_the_repository() -> None:
    assert {path.relative_to(ROOT).as_posix() for path in DOCUMENTS} >= {
        "README.md",
        "CONTRIBUTING.md",
        "docs/ideas.md",
        "docs/howto.md",
    }
