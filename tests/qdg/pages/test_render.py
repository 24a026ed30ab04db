"""The page as a file: whole in itself, its data as they were, whatever the corpus holds."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from jquanta.qdg.pages import latex
from jquanta.qdg.pages.page import Page, most_central, shown
from jquanta.qdg.pages.render import SCRIPTS, Arrays, _file, embedded, payload, render
from jquanta.qdg.pages.texts import Text
from tests.qdg.pages.examples import HOSTILE, page
from tests.qdg.pages.reading import unpacked


class Elements(HTMLParser):
    """What a browser sees: elements with their attributes, and the text of each script and style.

    Python's parser ends a script at the first ``</script``, as browsers do.
    """

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": [], "title": []}
        self.inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.inside = tag
        if tag in self.raw:
            self.raw[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside in self.raw:
            self.raw[self.inside][-1] += data


def numbers(place: dict[str, Any], found: bytes) -> np.ndarray:
    kind = np.dtype(place["dtype"]).newbyteorder("<")
    return np.frombuffer(found, kind, place["length"], place["at"])


def hostile() -> Page:
    return page(HOSTILE, samples=2 * len(HOSTILE), title=HOSTILE[1])


def test_hostile_text_makes_no_element() -> None:
    seen, plain = Elements(render(hostile())), Elements(render(page(["word"], samples=36)))
    assert [tag for tag, _ in seen.found] == [tag for tag, _ in plain.found]
    assert seen.raw["title"][0] == HOSTILE[1]
    data, script = seen.raw["script"]
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", data)
    assert script == plain.raw["script"][1]
    for tag, attributes in seen.found:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)


def test_data_arrive_as_they_were() -> None:
    made = hostile()
    told, found = unpacked(Elements(render(made)).raw["script"][0])
    starts, targets, pieces = (
        numbers(told[name], found) for name in ("starts", "targets", "pieces")
    )
    for i, text in enumerate(made.texts):
        words = [told["words"][piece] for piece in pieces[starts[i] : starts[i + 1]]]
        at = targets[i]
        assert (tuple(words[:at]), words[at], tuple(words[at + 1 :])) == text
    for name in ("labels", "loss", "drawn"):
        np.testing.assert_array_equal(numbers(told[name], found), getattr(made, name).ravel(), name)
    for packed, wanted in zip(told["tightness"], made.tightness, strict=True):
        np.testing.assert_array_equal(numbers(packed, found), wanted)
    # So many steps over 0 to 1: half a step of rounding.
    for name, steps in (("cosine", 127), ("centrality", 32767)):
        given = getattr(made, name).ravel()
        rounded = numbers(told[name], found) / steps
        np.testing.assert_allclose(rounded, given, atol=0.501 / steps)
    for label, packed in zip(made.labels, told["means"], strict=True):
        wanted = [
            [losses[label == k].mean() for k in range(label.max() + 1)] for losses in made.losses
        ]
        np.testing.assert_allclose(numbers(packed, found), np.ravel(wanted), rtol=1e-6)  # float32
    every = numbers(told["everyone"], found)
    np.testing.assert_allclose(every, made.losses.mean(axis=1), rtol=1e-6)  # float32
    assert told["index"] == made.index.tolist()
    assert told["counts"] == made.counts.tolist()
    assert told["stability"] == made.stability


def test_a_hundred_thousand_samples_take_less_than_30_megabytes() -> None:
    """2,000 of them, of texts that share nothing but their words, and those as frequent as words
    are (Zipf): more is the same again, but for the words themselves."""
    chance = np.random.default_rng(0)
    weights = 1 / np.arange(1, 20_001)
    drawn = chance.choice(20_000, (2000, 101), p=weights / weights.sum())
    texts = [
        Text(tuple(row[:80]), row[80], tuple(row[81:]))
        for row in ([f" word{i}" for i in row] for row in drawn.tolist())
    ]

    def size(samples: int) -> int:
        made = vars(page([" a"], samples=samples, counts=(100, 400, 1000)))
        labels = chance.permuted(made["labels"], axis=1)
        return len(render(Page(**{**made, "texts": texts[:samples], "labels": labels})))

    assert 100_000 * (size(2000) - size(1200)) / 800 < 30e6


def test_many_words_take_wider_numbers() -> None:
    words = [f"w{i}" for i in range(2**16 + 10)]
    made = page(words, samples=len(words), counts=(2,), tokens=1, drawn=2)
    told, found = payload(made)
    assert told["pieces"]["dtype"] == "uint32"
    assert numbers(told["pieces"], found).max() == len(words) - 1


def test_the_file_needs_nothing_else() -> None:
    text = render(page(["word"]))
    seen = Elements(text)
    assert not [tag for tag, _ in seen.found if tag in ("link", "img", "iframe", "object", "base")]
    assert not [a for _, a in seen.found if a.keys() & {"src", "srcset", "action", "style"}]
    assert all((a.get("href") or "#").startswith("#") for _, a in seen.found)
    assert "url(" not in seen.raw["style"][0]
    assert "@import" not in seen.raw["style"][0]
    (policy,) = [a["content"] for _, a in seen.found if a.get("http-equiv")]
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    for kind, part in (("script", seen.raw["script"][1]), ("style", seen.raw["style"][0])):
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_scripts_put_no_text_in_the_place_of_html() -> None:
    scripts = "".join(map(_file, SCRIPTS))
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function\(", scripts
    )


def test_what_should_be_known_before_losses_are_compared_stands_on_the_page() -> None:
    made = page(["word"], samples=20)
    noted = render(Page(**{**vars(made), "notes": ["a <suite> is not finished"]}))
    assert '<p class="notice">a &lt;suite&gt; is not finished</p>' in noted
    assert noted.count('class="notice"') == render(made).count('class="notice"') + 1


def test_a_page_without_losses_or_similarity() -> None:
    made = page(["word"], samples=20)
    nothing: dict[str, Any] = {
        "columns": [],
        "losses": np.empty((0, 20), np.float32),
        "loss": np.full(20, np.nan, np.float32),
        "centrality": np.full((2, 20), np.nan, np.float32),
        "drawn": np.empty(0, np.int64),
        "cosine": np.empty((0, 0), np.float32),
    }
    text = render(Page(**{**vars(made), **nothing}))
    seen = {attributes.get("id") for _, attributes in Elements(text).found}
    assert not seen & {"matrix", "charts"}
    assert "list" in seen


def test_arrays_are_little_endian() -> None:
    arrays = Arrays()
    assert arrays.add(np.array([1], ">i4"), np.int32) == {"dtype": "int32", "at": 0, "length": 1}
    assert arrays.add(np.array([2], ">i2"), np.int16)["at"] == 8  # typed arrays are aligned
    assert b"".join(arrays.parts) == bytes([1, *[0] * 7, 2, *[0] * 7])


def test_cosines_that_are_unknown_have_a_step_of_their_own() -> None:
    made = page(["word"], samples=20, counts=(2,))
    some = np.array([*[-1.0, 1.0, np.nan], *[0.5] * 17], np.float32)[None]
    told, found = payload(Page(**{**vars(made), "centrality": some}))
    steps = numbers(told["centrality"], found)
    assert steps[:4].tolist() == [-32767, 32767, -32768, 16384]


def test_numbers_that_json_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        embedded(({"x": float("nan")}, b""))


def test_most_central_first_and_its_note() -> None:
    made = page(["word"], samples=20, counts=(2,))
    members = most_central(made, 0, 1)
    assert set(members) == set(np.flatnonzero(made.labels[0] == 1))
    assert (np.diff(made.centrality[0, members]) <= 0).all()
    i = int(members[0])
    note = f"prediction {7 * i}; {made.loss[i]:.3f} nats; similarity {made.centrality[0, i]:.2f}"
    assert shown(made, 0, i) == latex.Shown("word" * 6, "word", "word" * 6, note)


def luminance(colour: str) -> float:
    """Of ``#rrggbb`` (WCAG 2, relative luminance)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(scheme: str) -> None:
    """4.5 to 1, as WCAG 2 asks of text."""
    blocks = re.findall(r":root \{(.*?)\n\s*\}", _file("page.css"), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", blocks[("light", "dark").index(scheme)]))
    for ink, papers in (
        ("ink", ("paper", "panel", "chosen", "found")),
        ("soft", ("paper", "panel", "chosen")),
        ("accent", ("paper", "panel")),
        ("target-ink", ("target",)),
    ):
        for paper in papers:
            assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)
