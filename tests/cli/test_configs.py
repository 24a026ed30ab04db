"""Configurations by name: what comes with the package is listed, printed, and found."""

import os
from pathlib import Path

import pytest

from jquanta.__main__ import main
from jquanta.cli.configs import about
from jquanta.errors import BadInput
from jquanta.lm.pretrain.config import load_suite
from jquanta.qdg.config import load_qdg
from jquanta.run import settings
from jquanta.sweep.config import load_config

ROOT = Path(__file__).parents[2]


def test_all_are_listed_with_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 95
    own = [path for folder in settings.COMMANDS for path in settings.shipped(folder).values()]
    assert sorted(own) == sorted(settings.CONFIGS.rglob("*.toml"))
    assert len(lines) == len(own) + len(settings.COMMANDS)
    for path in own:
        assert len(about(path)) > 20
        assert any(line.split()[0] == path.stem and len(line.split()) > 4 for line in lines)


def test_one_is_printed_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs", "fig2-width"]) == 0
    assert capsys.readouterr().out == (ROOT / "configs/fig2-width.toml").read_text()
    assert main(["configs", "qdg/stdlib"]) == 0
    assert 'name = "stdlib-quanta"' in capsys.readouterr().out


def test_a_name_is_the_file_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fig2-width").mkdir()  # a run folder of that name is in nobody's way
    assert load_config("fig2-width") == load_config(ROOT / "configs/fig2-width.toml")
    assert load_config("fig2-width", mini=True).name == "fig2-width-mini"
    assert load_suite("stdlib") == load_suite() == load_suite(ROOT / "configs/lm/stdlib.toml")
    assert load_qdg("pythia-70m") == load_qdg(ROOT / "configs/qdg/pythia-70m.toml")


def test_a_file_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fig2-width").write_text('name = "mine"\n')
    assert load_config("fig2-width").name == "mine"


@pytest.mark.parametrize(
    ("command", "name", "said"),
    [
        ("sweep", "fig2-widht", "no such configuration; did you mean fig2-width?"),
        ("sweep", "pythia-70m", "another command; type jquanta qdg pythia-70m"),
        ("qdg", "zzz", "a name: jquanta configs lists them"),
        ("sweep", "none.toml", "no such configuration; give the path of a TOML file"),
        ("sweep", "elsewhere/fig2-width.toml", "no such file; give the name alone: fig2-width"),
        ("configs", "stdlib", "there are several; give one of lm/stdlib, qdg/stdlib"),
        ("configs", "fig2-widht", "did you mean fig2-width?"),
        ("configs", "zzz", "no such configuration"),
    ],
)
def test_a_name_that_is_not_there(
    command: str, name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, name]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert (told.out, told.err.count("\n")) == ("", 1)


def test_the_paths_of_a_checkout_stay() -> None:
    assert os.readlink(ROOT / "configs") == "jquanta/configs"
    with pytest.raises(BadInput, match="no such configuration"):
        load_config("configs/none.toml")
