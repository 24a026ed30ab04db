"""Dataclasses as flags: every kind of field, every way to write it, and what is refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jquanta.cli.flags import argument, configured, needed, parse
from jquanta.errors import BadInput
from jquanta.run.settings import Schema, knob, same_knob


@dataclass(frozen=True)
class Part:
    """Two numbers."""

    low: float = knob(0.5, "the lower")
    high: float = knob(2.0, "the higher")


@dataclass(frozen=True)
class Table:
    """A table of a configuration."""

    steps: int = knob(7, "updates")
    lr: float = knob(0.1, "learning rate: 10% of what is usual")
    fast: bool = knob(False, "whether in a hurry")
    words: str = knob("", "such as 'a, b'", list=True)


SCHEMA = Schema("tried", Path("none.toml"), "configs/", {"train": Table})


@dataclass(frozen=True)
class Options:
    """Try every kind of flag.

    More about it.
    """

    source: Path = argument("a file", "SOURCE")
    out: Path = needed("the folder for it", "DIR")
    count: int | None = knob(None, "how many (default: all)")
    share: float = knob(0.25, "a share")
    text: str | None = knob(None, "a text", "WORDS")
    index: tuple[int, ...] = knob((), "some numbers")
    files: tuple[Path, ...] = knob((), "some files", "FILE")
    fit: tuple[float, float] | None = knob(None, "two numbers")
    mini: bool = knob(False, "small", was="smoke")
    steps: int = same_knob(Table, "steps")
    part: Part = Part()
    fields: Mapping[str, str] = configured(SCHEMA)


LEAST = ["docs", "--out", "there"]


def parsed(words: str | list[str]) -> dict[str, Any]:
    """What differs from the least that has to be given."""
    least = vars(parse(Options, LEAST, "jquanta try"))
    found = vars(parse(Options, words.split() if isinstance(words, str) else words, "jquanta try"))
    return {name: value for name, value in found.items() if value != least[name]}


def test_defaults_are_those_of_the_fields() -> None:
    assert parse(Options, LEAST, "jquanta try") == Options(Path("docs"), Path("there"))
    assert parse(Options, LEAST, "jquanta try").steps == Table.steps


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("docs --out there --count 3", {"count": 3}),
        ("--count=3 docs --out=there", {"count": 3}),
        ("--out there --mini docs", {"mini": True}),
        ("docs --out there --share -1", {"share": -1.0}),
        ("docs --out there --share -1e-3", {"share": -0.001}),
        ("docs --out there --share -inf", {"share": -float("inf")}),
        ("docs --out there --index 1 -2 3 --mini", {"index": (1, -2, 3), "mini": True}),
        ("docs --out there --index 1 --index 2", {"index": (1, 2)}),
        ("docs --out there --files a b/c", {"files": (Path("a"), Path("b/c"))}),
        ("docs --out there --fit 1e3 2", {"fit": (1000.0, 2.0)}),
        ("docs --out there --text 3", {"text": "3"}),
        ("docs --out there --part.high 9", {"part": Part(high=9.0)}),
        ("docs --out there --train.steps 5", {"fields": {"train.steps": "5"}}),
        ("docs --out there --train.lr=-1", {"fields": {"train.lr": "-1"}}),
        ("docs --out there --train.fast true", {"fields": {"train.fast": "true"}}),
        ("docs --out there --debug", {}),
    ],
)
def test_every_way_to_write_a_flag(words: str, wanted: dict[str, Any]) -> None:
    assert parsed(words) == wanted


def test_values_may_hold_spaces_and_dashes() -> None:
    assert parsed([*LEAST, "--text", "-a b"]) == {"text": "-a b"}
    assert parsed([*LEAST, "--text=--a b"]) == {"text": "--a b"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--out there", "^SOURCE is missing: give a file$"),
        ("docs", "^--out is missing: give the folder for it$"),
        ("docs other --out there", "other: no flag stands before it; see jquanta try --help$"),
        ("docs --out there --count", "^--count: expected one argument; see"),
        ("docs --out there --count --mini", "^--count: expected one argument; see"),
        ("docs --out there --count 1.5", "^--count = 1.5: wrong type; give a whole number$"),
        ("docs --out there --index 1 x", "^--index = 'x': wrong type; give a whole number$"),
        ("docs --out there --fit 1", "^--fit: expected 2 arguments; see"),
        ("docs --out there --mini=yes", "^--mini: ignored explicit argument 'yes'; see"),
        ("docs --out there --cuont 1", "^unknown flag --cuont: did you mean --count?"),
        ("docs --out there --high 1", r"^unknown flag --high: did you mean --part\.high?"),
        ("docs --out there --stesp 1", "^unknown flag --stesp: did you mean --steps?"),
        ("docs --out there --hihg 1", r"^unknown flag --hihg: did you mean --part\.high?"),
        ("docs --out there --lr 1", r"^unknown flag --lr: did you mean --train\.lr?"),
        ("docs --out there --source x", "^unknown flag --source"),
        ("docs --out there --smoke", "^--smoke is called --mini now$"),
        ("docs --out there --colour red", "^unknown flag --colour$"),
    ],
)
def test_what_is_refused(words: str, says: str) -> None:
    with pytest.raises(BadInput, match=says) as error:
        parse(Options, words.split(), "jquanta try")
    assert "\n" not in str(error.value)


def test_usage_tells_what_may_be_given_several_times(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass(frozen=True)
    class Several:
        """Take one, and others."""

        source: Path = argument("a file", "SOURCE")
        others: tuple[Path, ...] = argument("other files", "OTHER")

    with pytest.raises(SystemExit):
        parse(Several, ["--help"], "jquanta try")
    assert capsys.readouterr().out.splitlines()[0] == "usage: jquanta try SOURCE OTHER… [FLAGS]"


def test_help_says_everything(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(Options, ["--help"], "jquanta try")
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0] == "usage: jquanta try SOURCE --out DIR [FLAGS]"
    assert "Try every kind of flag.\n\nMore about it.\n" in text
    words = " ".join(text.split())
    for part in (
        "--count INT how many (default: all)",
        "--share NUMBER a share (default: 0.25)",
        "--text WORDS a text",
        "--mini small",
        "--steps INT updates (default: 7)",
        "[part]: Two numbers.",
        "--part.low NUMBER the lower (default: 0.5)",
        "[train]: A table of a configuration.",
        "--train.lr NUMBER learning rate: 10% of what is usual (unless configured: 0.1)",
        "--train.fast true|false whether in a hurry (unless configured: false)",
        "--train.words TEXT such as 'a, b' (unless configured: none)",
        "Exit codes: 0 done; 2 bad input",
    ):
        assert part in words
