"""A passage of a corpus drawn on a figure: monospaced, wrapped, with one token highlighted.

The text is drawn literally: dollar signs do not start mathematics, line ends are shown as arrows,
and characters that the font lacks are replaced by a white square.
"""

import unicodedata
from functools import cache
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.font_manager import findfont, get_font
from matplotlib.patches import Rectangle

from jquanta.figures import style
from jquanta.lm.corpus.reader import Context

FONT = "DejaVu Sans Mono"  # included in matplotlib
# At this size a character is 3.24 points wide, which is 9 pixels at 200 dpi: matplotlib places
# glyphs on whole pixels, so that other sizes would be spaced unevenly.
POINTS = 5.38
LEADING = 1.35  # distance between lines, in font sizes
HIGHLIGHT = "#F6B9A4"
END, TAB, LACKING, CUT = "↵", "→", "□", "…"
TAB_STOP = 4
SOFT = 14  # a line is broken after a space if there is one among its last characters


class Cell(NamedTuple):
    """A character, and the part of the context it belongs to: 0 before, 1 target, 2 after."""

    character: str
    part: int


def draw_context(axes: Axes, context: Context) -> None:
    """Fill ``axes`` with a token's context, as many lines as fit.

    The target is near the end, since the text before it is what it is predicted from. The text
    after it is grey. The position of ``axes`` on the figure must be final: the room is computed
    from it.
    """

    page: Any = axes.figure
    width, height = 72 * page.get_size_inches() * axes.get_position().size
    advance, leading = _advance() * POINTS, LEADING * POINTS
    columns, rows = max(20, int(width / advance)), max(3, int(height / leading))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    lines = visible(wrapped(cells(context), columns), rows)
    for number, line in enumerate(lines):
        top = number * leading
        for start, end, part in _runs(line):
            text = "".join(cell.character for cell in line[start:end])
            if part == 1:
                place, size = (start * advance, top), ((end - start) * advance, leading)
                axes.add_patch(Rectangle(place, *size, color=HIGHLIGHT, linewidth=0))
            if text.strip():
                axes.text(
                    start * advance,
                    top + leading / 2,
                    text,
                    family=FONT,
                    fontsize=POINTS,
                    color=style.GREY if part == 2 else "black",
                    verticalalignment="center_baseline",
                    parse_math=False,
                )
    if not axes.patches:  # a target of no width
        axes.add_patch(Rectangle((0, 0), 0, 0, color=HIGHLIGHT))


def cells(context: Context) -> list[list[Cell]]:
    """The characters of the context by line; a line end is the last character of its line."""
    lines: list[list[Cell]] = [[]]
    for part, text in enumerate((context.before, context.target, context.after)):
        for character in text.replace("\r\n", "\n"):
            if character == "\n":
                lines[-1].append(Cell(END, part))
                lines.append([])
            elif character == "\t":
                fill = TAB_STOP - len(lines[-1]) % TAB_STOP - 1
                lines[-1] += [Cell(TAB, part), *[Cell(" ", part)] * fill]
            else:
                lines[-1].append(Cell(shown(character), part))
    return lines


def wrapped(lines: list[list[Cell]], columns: int) -> list[list[Cell]]:
    """Lines of at most ``columns`` characters, broken after a space if one is near the end."""
    made = []
    for line in lines:
        while len(line) > columns:
            spaces = [
                place + 1
                for place in range(columns - SOFT, columns)
                if line[place].character == " "
            ]
            cut = spaces[-1] if spaces else columns
            made.append(line[:cut])
            line = line[cut:]
        made.append(line)
    return made


def visible(lines: list[list[Cell]], rows: int) -> list[list[Cell]]:
    """At most ``rows`` lines, the last the one after the target; … stands for omitted ones."""
    last = max((n for n, line in enumerate(lines) if any(c.part == 1 for c in line)), default=0)
    end = min(len(lines), max(last + 2, rows))
    first = max(0, end - rows)
    some = lines[first:end]
    if first and some and some[0] and some[0][0].part == 0:
        some[0] = [Cell(CUT, 2), *some[0][1:]]
    return some


def shown(character: str) -> str:
    """The character if it can be drawn in a single cell, otherwise the sign of a missing one."""
    if character == " " or (_drawn(character) and character.isprintable()):
        return character
    return LACKING


def _runs(line: list[Cell]) -> list[tuple[int, int, int]]:
    """Runs of characters of one part, as (start, end, part)."""
    runs: list[tuple[int, int, int]] = []
    for place, cell in enumerate(line):
        if runs and runs[-1][2] == cell.part:
            runs[-1] = (runs[-1][0], place + 1, cell.part)
        else:
            runs.append((place, place + 1, cell.part))
    return runs


@cache
def _font() -> Any:

    return get_font(findfont(FONT))


def _drawn(character: str) -> bool:
    """Whether the font has the character as a glyph of its own (combining accents are none)."""

    return bool(_font().get_char_index(ord(character))) and not unicodedata.combining(character)


@cache
def _advance() -> float:
    """Width of a character in font sizes, the same for all of a monospaced font."""
    font = _font()
    font.set_size(1000, 72)
    return float(font.load_char(ord("m")).linearHoriAdvance / 65536 / 1000)
