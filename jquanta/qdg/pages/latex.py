r"""Samples of a cluster as LaTeX, the predicted token highlighted (the paper's Figures 1, 13, 14).

The output is ASCII commands and the text itself, so that it stays readable; every character that
is special in TeX is escaped. It compiles with pdfLaTeX and LuaLaTeX. pdfLaTeX has few characters
beyond Latin ones: a character that the fonts lack is printed as its code, such as U+65E5.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "-": "-{}",  # no dash of two hyphens
    ",": ",{}",  # no quotation mark of two commas
}

INVISIBLE = (
    r"[\u0000-\u0008\u000b-\u001f\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    r"\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\u3164\ud800-\udfff\ue000-\uf8ff\ufe00-\ufe0f"
    r"\ufeff\uffa0\ufff0-\ufffc\ufffe\uffff]"
)
"""Characters shown by their code: controls, direction marks, unusual spaces, what has no glyph.

A regular expression that means the same in Python and in JavaScript, for the page uses it, too.
"""

RUN = 24
"""After so many characters without a space a line may break."""

DEFINITIONS = r"""
% Definitions, needed once. They take the packages color (or xcolor) and textcomp, and under
% pdfLaTeX \usepackage[T1]{fontenc}.
\definecolor{QTarget}{rgb}{1,0.84,0.4}
\definecolor{QGrey}{rgb}{0.5,0.5,0.5}
\providecommand{\QSample}[2]{\par\medskip\noindent{\fboxrule=0.3pt\fbox{%
  \begin{minipage}{\dimexpr\linewidth-2\fboxsep-2\fboxrule}\raggedright\sloppy\frenchspacing
  {\footnotesize\ttfamily #2\par}\smallskip{\scriptsize\sffamily\color{QGrey}#1\par}%
  \end{minipage}}}\par}
\providecommand{\QTarget}[1]{{\setlength{\fboxsep}{0pt}\colorbox{QTarget}{\strut #1}}}
\providecommand{\QAfter}[1]{{\color{QGrey}#1}}
\providecommand{\QReturn}{{\color{QGrey}$\hookleftarrow$}}
\providecommand{\QLine}{\QReturn\newline}
\providecommand{\QSpace}{\mbox{ }\allowbreak}
\providecommand{\QDot}{{\color{QGrey}\textvisiblespace}}
\providecommand{\QTab}{{\color{QGrey}$\rightarrow$}\mbox{ }\mbox{ }\allowbreak}
\providecommand{\QCode}[1]{{\fboxsep=1pt\fbox{\tiny U+#1}}}
\providecommand{\QChar}[2]{\ifdefined\Umathchar
    \iffontchar\font"#1 #2\else\QCode{#1}\fi
  \else
    \ifcsname u8:\detokenize{#2}\endcsname#2\else\QCode{#1}\fi
  \fi}
""".strip()

HEAD = r"""
\documentclass{article}
\usepackage[margin=2cm]{geometry}
\usepackage{color,textcomp}
% Characters that the fonts lack are printed as U+ and their code. pdfLaTeX knows Latin ones; for
% others, compile with LuaLaTeX and choose a font that has them.
\ifdefined\Umathchar\else
  \usepackage[T1]{fontenc}
  \usepackage[utf8]{inputenc}
  \IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\fi
\begin{document}
""".strip()


class Shown(NamedTuple):
    """A sample as a reader sees it: ``before + target + after`` is its text."""

    before: str
    target: str
    after: str
    note: str
    """A line below it, such as its loss in nats."""


def fragment(samples: Sequence[Shown], title: str = "") -> str:
    """Samples to ``\\input`` or paste into a paper, with the definitions that they need."""
    parts = [DEFINITIONS, *([rf"\noindent\textbf{{{escape(title)}}}\par"] if title else [])]
    return "\n\n".join([*parts, *map(sample, samples)]) + "\n"


def document(samples: Sequence[Shown], title: str = "") -> str:
    """A complete document, which compiles with pdfLaTeX and LuaLaTeX."""
    return f"{HEAD}\n{fragment(samples, title)}\\end{{document}}\n"


def sample(shown: Shown) -> str:
    """One sample: the text, its target highlighted, what follows in grey, and the note."""
    # A box cannot break over lines: a long target gets several boxes, and if it holds a line end,
    # the line ends after it.
    parts = [shown.target[i : i + RUN] for i in range(0, len(shown.target), RUN)]
    target = r"\allowbreak{}".join(rf"\QTarget{{{escape(part, boxed=True)}}}" for part in parts)
    line = "\\newline\n" if "\n" in shown.target else ""
    after = rf"\QAfter{{{escape(shown.after)}}}" if shown.after else ""
    return f"\\QSample{{{escape(shown.note)}}}{{%\n{escape(shown.before)}{target}{line}{after}}}"


def escape(text: str, boxed: bool = False) -> str:
    """Text as LaTeX that prints it, with line ends and tabs marked.

    Args:
        text: any string.
        boxed: for the target's box: on one line, with every space marked.
    """
    return "".join(_escaped(text, boxed))


def _escaped(text: str, boxed: bool) -> Iterable[str]:
    invisible, run = re.compile(INVISIBLE), 0
    for i, c in enumerate(text):
        run = 0 if c in " \n\t" else run + 1
        if run > RUN and not boxed:
            run = 1
            yield r"\allowbreak{}"
        if c == "\n":
            yield r"\QReturn{}" if boxed else "\\QLine{}%\n"
        elif c == "\t":
            yield r"\QTab{}"
        elif c == " ":
            # TeX merges consecutive spaces, and drops those at the start of a line.
            alone = 0 < i < len(text) - 1 and not {text[i - 1], text[i + 1]} & set(" \n\t")
            yield r"\QDot{}" if boxed else " " if alone else r"\QSpace{}"
        elif invisible.match(c):
            yield rf"\QCode{{{ord(c):04X}}}"
        elif ord(c) > 126:
            yield rf"\QChar{{{ord(c):04X}}}{{{c}}}"
        else:
            yield ESCAPES.get(c, c)
