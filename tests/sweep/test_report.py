"""What the sweep command tells a person, and that it says it of what is there."""

import math
import re
import shutil
import sys
from pathlib import Path

import pytest

import jquanta as jq
from jquanta.cli.sweep_result import summarise
from jquanta.run import progress
from jquanta.run.progress import Bar
from jquanta.sweep.__main__ import main
from jquanta.sweep.drive import Training
from tests.sweep.examples import TINY, flags, toml, tree
from tests.sweep.synthetic import ALPHA_D, ALPHA_N, ALPHA_S, planted


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a configuration in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(toml(TINY))
    return tmp_path


def test_a_sweep_from_one_command(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tiny.toml"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    out = said.out
    assert "tiny: 2 networks of 50 to 82 parameters" in out
    assert re.search(r"network\.width +3, 5", out)
    assert "5 subtasks of 2 out of 8 bits; alpha 0.4; 30 steps of 16 samples" in out
    assert "trained   2 networks in " in out
    assert "alpha_N   not fitted: " in out  # two points are no power law
    assert re.search(r"alpha_S   .*\n +\d of 5 subtasks below 0\.1 bit; mean loss down to", out)
    assert "results   runs/tiny/results.zarr" in out
    figures = re.findall(r"figure    (\S+)", out)
    assert figures == ["runs/tiny/figures/fig2.png", "runs/tiny/figures/fig2.pdf"]
    assert all((here / path).stat().st_size > 1000 for path in figures)
    assert jq.open_results(here / "runs" / "tiny").sizes["run"] == 2

    # Flags for the same runs, and the same folder: finished, said so, and left alone.
    before = tree(here)
    assert main(["tiny.toml", *flags(TINY), "--out", "runs/tiny"]) == 0
    said = capsys.readouterr()
    assert "runs/tiny: already trained; nothing to do" in said.out
    assert "trained   2" not in said.out
    assert sorted(re.findall(r"figure    (\S+)", said.out)) == sorted(figures)
    assert tree(here) == before

    # Figures that someone deleted are drawn again.
    shutil.rmtree(here / "runs" / "tiny" / "figures")
    assert main(["tiny.toml"]) == 0
    assert re.findall(r"figure    (\S+)", capsys.readouterr().out) == figures


@pytest.mark.parametrize("words", [["tiny.toml", "--plan"], ["--plan"]])
def test_a_plan_trains_nothing(
    words: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(here)
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.err == ""
    for wanted in (
        r"\d+ networks of [\d,]+ to [\d,]+ parameters",
        r"network\.width",
        r"memory    about \d+ (MB|GB)",
        r"results   about \d+ MB",
        r"time      about \d+",
    ):
        assert re.search(wanted, said.out), wanted
    assert tree(here) == before


def test_the_plan_of_the_default_is_the_miniature(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--plan"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("mini-fig2: ")
    assert "32 subtasks of 2 out of 32 bits" in out


def test_flags_reach_the_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--network.width", "log(1, 5, 10)", "--task.alpha=0.1,0.3", "--plan"]
    assert main(["tiny.toml", *words]) == 0
    out = capsys.readouterr().out
    assert "tiny: 10 networks" in out
    assert re.search(r"task\.alpha +0\.1, 0\.3", out)
    assert "note: network.width: 5 distinct of 10 values given" in out


def test_diverged_runs_are_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tiny.toml", "--train.lr", "1e20, 1e-3", "--out", "run"]) == 0
    assert "diverged  2 of 4 runs (run 0, 2)" in capsys.readouterr().out


def test_exponents_are_printed_beside_theory(capsys: pytest.CaptureFixture[str]) -> None:
    summarise(planted())
    lines = capsys.readouterr().out.splitlines()
    for fit, learned, name, exponent, theory in zip(
        lines[::2],
        lines[1::2],
        ("alpha_N", "alpha_S", "alpha_D"),
        (ALPHA_N, ALPHA_S, ALPHA_D),
        (0.4, 0.4 / 1.4, 0.4 / 1.4),  # paper, section 2
        strict=True,
    ):
        assert re.match(rf"{name}   {exponent:.2f}0* \[", fit)
        assert f"; theory {theory:.2f} (" in fit
        assert fit.endswith(" with only 12 subtasks)")
        assert re.search(
            r"\d of 12 subtasks below 0\.1 bit; mean loss down to 0\.\d+ bits", learned
        )


def test_one_seed_of_a_bent_curve_has_no_interval(capsys: pytest.CaptureFixture[str]) -> None:
    """12 subtasks bend the curves: the spread of points about a power law is no interval."""
    results = planted()
    summarise(results.isel(run=(results.seed == results.seed[0]).to_numpy()))
    for fit in capsys.readouterr().out.splitlines()[::2]:
        assert re.match(r"alpha_[NSD]   \d\.\d\d over .*, of a curve that bends; theory", fit)


def test_an_alpha_without_theory_is_reported_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    summarise(planted({"task.alpha": -0.5}))
    out = capsys.readouterr().out
    assert [f"alpha_{scale}" in out for scale in "NSD"] == [True] * 3
    assert "theory" not in out


# Progress


def test_progress_in_a_log_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Bar("training", "compiling") as line:
        training = Training(line)
        training.add(0.25, math.log(2))
        assert capsys.readouterr().err == ""  # not at every call
        monkeypatch.setattr(progress, "LINE_SECONDS", -1.0)
        training.add(0.25, math.log(2) / 2)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("50%  ")
    assert "left" in said
    assert said.endswith("mean loss 0.500 bits\n")


def test_progress_in_a_terminal_is_a_live_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with Bar("training", "compiling") as line:
        Training(line).add(0.5, math.log(2))
        line.say("checkpoint [1] cannot be read")
    said = capsys.readouterr().err
    assert "training" in said
    assert "50%" in said
    assert "mean loss 1.000 bits" in said
    assert "checkpoint [1] cannot be read" in said


def test_a_loss_that_is_not_known_is_no_measure_of_speed() -> None:
    """What was restored took no time now: time left is told from what this call trains."""
    with Bar("training", "compiling") as line:
        training = Training(line)
        training.add(0.9, None)
        assert line.left() == "compiling"
        training.add(0.01, 0.5)
        assert line.left().endswith("left")
