"""Figures 4 and 12 from planted tokens in a text: which are shown, and how."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import jquanta as jq
from jquanta.cli.figures import main
from jquanta.errors import BadInput
from jquanta.figures.drawing import Drawing, Note, Share, Token
from jquanta.figures.lm import typeset
from jquanta.figures.lm.tokens import EACH, fig4, fig12
from jquanta.lm.corpus.reader import Context, Corpus
from jquanta.lm.taxonomy.tables import open_table
from jquanta.lm.taxonomy.thresholds import Monogenic, Polygenic
from jquanta.sweep.scaling import NATS_PER_BIT
from tests.figures.layout import assert_legible, drawn
from tests.lm.taxonomy.examples import SIZES, planted, store, table

MONO = {0: 1, 11: 2, 30: 3, 60: 1, 75: 2}  # prediction: place of the size at which it drops
POLY = [2, 20, 36, 80, 100]
NAMES = [f"suite-{size}" for size in SIZES]

TEXTS = [
    "cost = $x^2 $ y_1\n\treturn a\n",
    "日本 🎉 e\u0301 \\frac{a}{b}\n",
    "def f(a):\n  pass\n",
] * 2


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Losses and their corpus: a byte-level tokenizer, some odd texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("tokens")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
    (folder / "docs.jsonl").write_text(lines)
    text = jq.build_corpus(folder / "docs.jsonl", folder / "tokenizer.json", folder / "corpus")
    losses = planted(text.n_predictions, MONO, POLY)
    return (
        store(folder / "losses", text, losses, NAMES, SIZES, ["step9"] * 4),
        folder / "corpus",
    )


@pytest.fixture(scope="module")
def corpus(folders: tuple[Path, Path]) -> Corpus:
    return jq.open_corpus(folders[1])


@pytest.fixture(scope="module")
def losses(folders: tuple[Path, Path]) -> xr.Dataset:
    return open_table([folders[0]])


def page(
    draw: Callable[..., Drawing], losses: xr.Dataset, corpus: Corpus, folder: Path, **options: Any
) -> tuple[Figure, list[Any]]:
    return drawn(draw, losses, folder, corpus=corpus.path, **options)


def shown(measured: list[Any], kind: str) -> list[int]:
    return [row.prediction for row in measured if isinstance(row, Token) and row.name == kind]


def test_shares_and_tokens_are_reported(losses: xr.Dataset, corpus: Corpus, tmp_path: Path) -> None:
    figure, measured = page(fig12, losses, corpus, tmp_path)
    assert shown(measured, "monogenic") == list(MONO)
    assert shown(measured, "polygenic") == POLY
    shares = {(row.name, row.of): row.number for row in measured if isinstance(row, Share)}
    assert [shares["monogenic", f"N = {size:,}"] for size in SIZES[1:]] == [2, 2, 1]
    assert shares["polygenic", "all N"] == 5
    assert shares["stay solved", f"N = {SIZES[1]:,}"] == 2
    one = next(row for row in measured if isinstance(row, Token))
    assert one.losses == pytest.approx((6, 0.1, 0.1, 0.1))
    assert one.target == "o"  # of "cost"
    assert one.sizes == SIZES
    assert_legible(figure)


def test_curves_are_in_bits(losses: xr.Dataset, corpus: Corpus, tmp_path: Path) -> None:
    figure, _ = page(fig12, losses, corpus, tmp_path)
    first = figure.axes[0]
    points = next(line for line in first.get_lines() if line.get_marker() == "o")
    np.testing.assert_array_equal(points.get_xdata(), SIZES)
    np.testing.assert_allclose(points.get_ydata(), losses.loss[0] / NATS_PER_BIT)
    thresholds = {line.get_ydata()[0] for line in first.get_lines() if line.get_ls() == ":"}
    assert thresholds == {5.0 / NATS_PER_BIT, 0.3 / NATS_PER_BIT}


def test_every_file_has_the_layout_that_the_text_was_wrapped_for(
    losses: xr.Dataset, corpus: Corpus, tmp_path: Path
) -> None:
    figure, _ = page(fig4, losses, corpus, tmp_path)
    before = [axes.get_position().bounds for axes in figure.axes]
    for kind in ("png", "pdf"):
        figure.savefig(tmp_path / f"page.{kind}")
        assert [axes.get_position().bounds for axes in figure.axes] == before
    for axes, (*_, width, _) in zip(figure.axes, before, strict=True):
        if not axes.axison:  # in points, one for one
            assert axes.get_xlim()[1] == pytest.approx(width * figure.get_size_inches()[0] * 72)


def test_the_choice_is_seeded_and_of_different_documents(
    losses: xr.Dataset, corpus: Corpus, tmp_path: Path
) -> None:
    chosen = set()
    for seed in range(6):
        _, measured = page(fig4, losses, corpus, tmp_path, seed=seed)
        _, again = page(fig4, losses, corpus, tmp_path, seed=seed)
        one = shown(measured, "monogenic")
        assert one == shown(again, "monogenic")
        assert set(one) < set(MONO)
        assert len({int(corpus.locate(index)[0]) for index in one}) == EACH["fig4"]
        chosen.add(tuple(one))
    assert len(chosen) > 1


def test_tokens_asked_for(losses: xr.Dataset, corpus: Corpus, tmp_path: Path) -> None:
    figure, measured = page(fig4, losses, corpus, tmp_path, token=(11, 2, 5))
    tokens = [row for row in measured if isinstance(row, Token)]
    assert [(row.prediction, row.name) for row in tokens] == [
        (11, "monogenic"),
        (2, "polygenic"),
        (5, "neither kind"),
    ]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:2] == ["monogenic", "learned at $N$ = 300k"]
    assert titles[2:4] == ["polygenic", "slope −0.70, $R^2$ 1.000"]
    assert_legible(figure)
    many = tuple(range(9))
    figure, measured = page(fig4, losses, corpus, tmp_path, token=many)
    assert [row.prediction for row in measured if isinstance(row, Token)] == list(many)
    with pytest.raises(BadInput, match="--token: 25 given, and a page holds 24"):
        page(fig4, losses, corpus, tmp_path, token=range(25))
    with pytest.raises(BadInput, match=r"prediction 9999: this corpus has predictions 0 to"):
        page(fig4, losses, corpus, tmp_path, token=(9999,))


def test_where_there_are_none_the_nearest_are_shown_and_it_is_said(
    losses: xr.Dataset, corpus: Corpus, tmp_path: Path
) -> None:
    rules = {"monogenic": Monogenic(6.5, 0.05), "polygenic": Polygenic(-0.75, 0.98)}
    figure, measured = page(fig4, losses, corpus, tmp_path, **rules)
    chance, *notes = [row.note for row in measured if isinstance(row, Note)]
    assert "0.01 have R² above 0.98 by chance through 4 points" in chance
    assert notes[0].startswith("no token of ")
    assert "(above 6.5, then below 0.05 nats); the nearest falls 0.50 nats short" in notes[0]
    assert "--monogenic.above --monogenic.below" in notes[0]
    assert "--polygenic.slope --polygenic.r2" in notes[1]
    near = shown(measured, "nearest to monogenic")
    assert len(near) == EACH["fig4"]
    assert set(near) <= set(MONO)
    assert_legible(figure)
    steep = {"polygenic": Polygenic(-50, 0.5)}
    _, measured = page(fig4, losses, corpus, tmp_path, **steep)
    assert shown(measured, "monogenic")
    assert not shown(measured, "nearest to polygenic")


def test_too_few_are_filled_up(losses: xr.Dataset, corpus: Corpus, tmp_path: Path) -> None:
    """All but one of the planted drops begin too low, by 0.1 to 0.5 nats."""
    changed = losses.copy()
    values = losses.loss.to_numpy().copy()
    values[[0, 11, 30, 60], 0] = [4.9, 4.5, 4.7, 4.8]
    changed["loss"] = (("prediction", "model"), values)
    _, measured = page(fig4, changed, corpus, tmp_path)
    assert shown(measured, "monogenic") == [75]
    assert shown(measured, "nearest to monogenic") == [0, 60]
    assert any(str(row).startswith("1 token of ") and "0.10 nats" in str(row) for row in measured)


def test_kinds_by_each_seed_alone(corpus: Corpus, tmp_path: Path) -> None:
    """In seed 1 one monogenic token drops at another size, and one polygenic token is none."""
    rows = corpus.n_predictions
    one, other = planted(rows, MONO, POLY), planted(rows, MONO | {60: 3}, POLY[1:])
    other[POLY[0]] = [3.0, 1.0, 4.0, 2.0]
    both = np.stack([one, other], 2).reshape(rows, -1)
    names = [f"net{size}-seed{seed}" for size in SIZES for seed in (0, 1)]
    losses = table(both, [size for size in SIZES for _ in (0, 1)], names)
    figure, measured = page(fig12, losses, corpus, tmp_path)
    shares = {row.name: (row.number, row.total) for row in measured if isinstance(row, Share)}
    for kind, alone in (("monogenic", (5, 5)), ("polygenic", (5, 4))):
        for seed, number in enumerate(alone):
            assert shares[f"{kind} by seed {seed} alone"] == (number, rows)
    every = "in each of 2 seeds (0, 1), of those in any"
    assert shares[f"monogenic at the same size {every}"] == (4, 5)
    assert shares[f"polygenic {every}"] == (4, 5)
    assert shown(measured, "monogenic") == [place for place in MONO if place != 60]
    marks = {line.get_marker() for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 2}
    assert "_" in marks
    assert_legible(figure)


def test_what_is_refused(losses: xr.Dataset, corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--corpus is missing"):
        drawn(fig4, losses, tmp_path)
    with pytest.raises(BadInput, match="losses of 2 sizes"):
        page(fig4, losses.isel(model=[0, 1]), corpus, tmp_path)
    other = losses.assign_attrs(corpus="other")
    with pytest.raises(BadInput, match="not the corpus of these losses"):
        page(fig4, other, corpus, tmp_path)


def test_the_command(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--losses", str(folders[0]), "--corpus", str(folders[1]), "--out", str(tmp_path)]
    assert main(["fig4", *given, "--token", "11", "--monogenic.above", "5.5"]) == 0
    said = capsys.readouterr().out
    assert "monogenic: --token 11  " in said
    assert "polygenic at all N = " in said
    rows = json.loads((tmp_path / "fig4.json").read_text())
    assert rows[-1]["prediction"] == 11
    assert {path.name for path in tmp_path.iterdir()} == {"fig4.png", "fig4.pdf", "fig4.json"}
    for wrong, message in (
        (["fig3", *given], "fig3 takes no --corpus: it takes --losses, --fit, --step"),
        (["fig4", *given, "--step", "8"], "fig4: --step 8: no losses of suite-"),
        (["fig4", *given, "--monogenic.above", "0.1"], "0 < below < above"),
        (["fig4", "--corpus", str(folders[1])], "--losses is missing"),
        (["fig4", *given, "--token", "-1"], "fig4: prediction -1: this corpus has"),
        (["fig2", "--losses", str(folders[0])], "fig2 takes no --losses: it takes --runs"),
    ):
        assert main(wrong) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


# Text on the page


def context(before: str, target: str, after: str = "") -> list[str]:
    return [
        "".join(c.character for c in line) for line in typeset.cells(Context(before, target, after))
    ]


def test_ends_of_lines_tabs_and_what_the_font_lacks_are_shown() -> None:
    assert context("a\n\tb", "\n", "c") == ["a↵", "→   b↵", "c"]
    assert context("ab\tc", "d") == ["ab→ cd"]
    assert context("\x00日é\u0301🎉", "ж$", "_^\\") == ["□□é□□ж$_^\\"]
    assert context("x\r\n", "y") == ["x↵", "y"]


@pytest.mark.parametrize("columns", [15, 16, 40])
def test_lines_are_broken_after_spaces_and_nothing_is_lost(columns: int) -> None:
    before = "some words that are wrapped, " + "x" * 50 + "  and\n    more of them "
    lines = typeset.cells(Context(before, "here", " and after"))
    made = typeset.wrapped(lines, columns)
    assert max(map(len, made)) <= columns
    assert [cell for line in made for cell in line] == [cell for line in lines for cell in line]
    assert any(line[-1].character == " " for line in made)


@pytest.mark.parametrize("rows", [3, 5, 30])
@pytest.mark.parametrize("lines_before", [0, 1, 9])
def test_the_target_is_always_in_sight(rows: int, lines_before: int) -> None:
    lines = typeset.cells(Context("line\n" * lines_before, "target", " rest\nafter\nmore"))
    some = typeset.visible(lines, rows)
    assert len(some) <= rows
    words = "".join(cell.character for line in some for cell in line if cell.part == 1)
    assert words == "target"
    assert ("…" in "".join(c.character for c in some[0])) == (
        len(lines) > len(some) and rows < 30 and lines_before + 2 > rows
    )


def test_a_character_is_as_wide_as_the_text_is_drawn() -> None:
    """The highlight lies behind its token: at the resolution of the files, to a pixel a line."""
    import matplotlib.pyplot as plt

    figure = plt.figure(dpi=200)
    text = figure.text(0, 0, "m" * 100, family=typeset.FONT, fontsize=typeset.POINTS)
    width = text.get_window_extent(figure.canvas.get_renderer()).width
    plt.close(figure)
    assert width == pytest.approx(100 * typeset._advance() * typeset.POINTS * 200 / 72, abs=1)
