"""The tour: its stops are commands that can be read, it continues, and its page shows them."""

import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from jquanta.cli import door, tour
from jquanta.cli.flags import parse
from jquanta.cli.qdg import Options as QDGOptions
from jquanta.figures.catalogue import FIGURES
from jquanta.lm.pretrain.config import load_suite
from jquanta.qdg.config import load_qdg


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The commands that ran, each of which only makes the files that its stop shows."""
    ran: list[str] = []

    def stand_in(name: str) -> SimpleNamespace:
        def main(words: Sequence[str]) -> int:
            stop = next(s for s in tour.stops(tmp_path / "t") if s.command == (name, *words))
            for file in stop.files:
                (tmp_path / "t" / file).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / "t" / file).write_text("<made>")
            print(f"{name} <printed>")
            ran.append(name)
            return 0

        return SimpleNamespace(main=main)

    monkeypatch.setattr(door, "module", stand_in)
    return ran


def test_every_stop_can_be_read() -> None:
    for stop in tour.stops(Path("runs/tour")):
        name, *words = stop.command
        options = parse(door.module(name).Options, words, name)
        assert stop.line.startswith(f"jquanta {name}")
        if name == "figures":
            assert options.figure in FIGURES
            assert stop.pictures[0].endswith(f"/figures/{options.figure}")


def test_the_quanta_are_of_the_suite_s_largest_model() -> None:
    stop = next(s for s in tour.stops(Path("t")) if s.command[0] == "qdg")
    given = parse(QDGOptions, stop.command[1:], "qdg").fields
    plain, suite = load_qdg(mini=True).input, load_suite(mini=True)
    assert given["input.model"] == f"t/suite/models/{suite.models[-1].label}"
    assert given["input.revision"] == plain.revision == f"step{suite.train.checkpoint_steps[-1]}"
    assert plain.model == f"runs/{suite.name}/models/{suite.models[-1].label}"


def test_it_makes_everything_once(
    made: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--out", str(tmp_path / "t")]
    assert tour.main(words) == 0
    stops = tour.stops(tmp_path / "t")
    assert made == [stop.command[0] for stop in stops]
    told = capsys.readouterr().out
    for stop in stops:
        assert f"$ {stop.line}\n" in told
    assert told.splitlines()[-1] == f"page      {tmp_path / 't' / 'index.html'}"
    made.clear()
    (tmp_path / "t" / "suite/losses/figures/fig3.png").unlink()
    assert tour.main(words) == 0
    assert made == ["figures"]  # the one whose picture is gone
    assert capsys.readouterr().out.count("done before") == len(stops) - 1


def test_the_page_shows_every_result(made: list[str], tmp_path: Path) -> None:
    assert tour.main(["--out", str(tmp_path / "t")]) == 0
    page = (tmp_path / "t" / "index.html").read_text()
    for path in re.findall(r'(?:src|href)="([^"#]+)"', page):
        if not path.endswith((".pdf", ".json")):
            assert (tmp_path / "t" / path).exists(), path
    assert "http" not in re.sub(r"http-equiv", "", page)
    assert "sweep &lt;printed&gt;" in page
    assert page.count("<section") == len(tour.stops(tmp_path / "t"))
    assert 'href="quanta/quanta.html"' in page


@pytest.mark.parametrize("stops_at", ["sweep", "qdg"])
def test_a_stop_that_fails_ends_it_and_it_goes_on_from_there(
    stops_at: str,
    made: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = door.module

    def failing(name: str) -> SimpleNamespace:
        def main(words: Sequence[str]) -> int:
            (tmp_path / "t" / name).mkdir()
            return 130

        return SimpleNamespace(main=main) if name == stops_at else whole(name)

    monkeypatch.setattr(door, "module", failing)
    with pytest.raises(SystemExit) as stopped:
        tour.main(["--out", str(tmp_path / "t")])
    assert stopped.value.code == 130
    assert "continues here, with the same command" in capsys.readouterr().err
    assert "stops are still to come" in (tmp_path / "t" / "index.html").read_text()
    monkeypatch.setattr(door, "module", whole)
    made.clear()
    assert tour.main(["--out", str(tmp_path / "t")]) == 0
    assert made[0] == stops_at
    assert "still to come" not in (tmp_path / "t" / "index.html").read_text()


def test_another_folder_is_left_alone(
    made: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "thesis.txt").write_text("mine")
    assert tour.main(["--out", str(tmp_path / "t")]) == 2
    assert not made
    assert "holds other files" in capsys.readouterr().err
