"""LaTeX of samples: it reads back as the text that it was, and compiles."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jquanta.qdg.pages.latex import (
    DEFINITIONS,
    ESCAPES,
    RUN,
    Shown,
    document,
    escape,
    fragment,
    sample,
)
from tests.qdg.pages.examples import HOSTILE

ASCII = "".join(map(chr, range(32, 127)))
SAMPLES = [
    *(Shown(text, "x", text, text) for text in HOSTILE),
    *(Shown("a", text, "b", "") for text in HOSTILE),
    Shown(ASCII, "--", "<< >> ,, '' `` ?` !` --- \\input{x} ^^41 %x\n\n\n[1]\\\\[2]", "#1_%{"),
    Shown("ñ — … “q” Ж α ∑ → ½", "日", "\u0301\ue000\U0001f389", ""),
    Shown("", "\t", "", ""),
]


def read(text: str) -> str:
    """What TeX prints, as the characters that it stands for."""
    commands = {
        r"\textbackslash{}": "\\",
        r"\textasciicircum{}": "^",
        r"\textasciitilde{}": "~",
        r"\textless{}": "<",
        r"\textgreater{}": ">",
        r"\textbar{}": "|",
        r"\textquotedbl{}": '"',
        r"\textquotesingle{}": "'",
        r"\textasciigrave{}": "`",
        "\\QLine{}%\n": "\n",
        r"\QReturn{}": "\n",
        r"\QTab{}": "\t",
        r"\QSpace{}": " ",
        r"\QDot{}": " ",
        r"\allowbreak{}": "",
        "-{}": "-",
        ",{}": ",",
    } | {"\\" + c: c for c in "{}$&#%_"}
    made, at = [], 0
    # What TeX would not print as itself is no match, and so an error.
    plain = r"[A-Za-z0-9!()*+./:;=?@\[\]]| (?! )"
    patterns = sorted(map(re.escape, commands), key=len, reverse=True)
    code = r"\\QCode\{([0-9A-F]{4,6})\}|\\QChar\{([0-9A-F]{4,6})\}\{(.)\}"
    token = re.compile(f"{code}|{'|'.join(patterns)}|{plain}", re.DOTALL)
    while at < len(text):
        found = token.match(text, at)
        assert found, text[at : at + 40]
        if found[1] or found[2]:
            made.append(chr(int(found[1] or found[2], 16)))
            assert not found[2] or found[3] == made[-1]
        else:
            made.append(commands.get(found[0], found[0]))
        at = found.end()
    return "".join(made)


@given(st.text(), st.booleans())
def test_what_is_escaped_reads_back(text: str, boxed: bool) -> None:
    assert read(escape(text, boxed)) == text


@given(st.text(st.sampled_from([*ESCAPES, " ", "\n", "\t", "a"])))
def test_what_is_special_reads_back(text: str) -> None:
    made = escape(text)
    assert read(made) == text
    # TeX drops spaces where a line begins.
    assert not re.search(r"(^|\n) |  ", made)
    assert "\n" not in escape(text, boxed=True)


def test_long_words_may_break() -> None:
    assert escape("a" * RUN) == "a" * RUN
    assert escape("a" * (RUN + 1)) == "a" * RUN + r"\allowbreak{}a"
    assert escape("a" * RUN + " " + "a" * RUN) == "a" * RUN + " " + "a" * RUN


def test_a_sample() -> None:
    made = sample(Shown("if x_1:\n  ", "return", " 0", "prediction 7"))
    text = "if x\\_1:\\QLine{}%\n\\QSpace{}\\QSpace{}\\QTarget{return}\\QAfter{\\QSpace{}0}"
    assert made == f"\\QSample{{prediction 7}}{{%\n{text}}}"
    assert sample(Shown("", "\n", "", "")) == "\\QSample{}{%\n\\QTarget{\\QReturn{}}\\newline\n}"


def test_a_fragment_is_the_document_without_its_frame() -> None:
    part = fragment(SAMPLES, "A title")
    assert part.startswith(DEFINITIONS)
    assert document(SAMPLES, "A title").endswith(f"\\begin{{document}}\n{part}\\end{{document}}\n")
    assert r"\textbf{A title}" in part
    assert r"\textbf" not in fragment(SAMPLES)


def compiler(name: str) -> str:
    """Where a TeX engine is."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed; other tests read what is escaped back")
    return path


@pytest.mark.parametrize("engine", ["pdflatex", "lualatex"])
def test_the_document_compiles(engine: str, tmp_path: Path) -> None:
    (tmp_path / "samples.tex").write_text(document(SAMPLES, "Samples #1_%"), encoding="utf-8")
    words = [compiler(engine), "-halt-on-error", "-interaction=nonstopmode", "samples.tex"]
    ran = subprocess.run(words, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout.decode(errors="replace")[-3000:]
    assert (tmp_path / "samples.pdf").stat().st_size > 1000
    # No word runs out of its box by more than a character.
    wide = re.findall(rb"Overfull \\hbox \((\d+\.\d+)pt", ran.stdout)
    assert not [points for points in wide if float(points) > 10]
