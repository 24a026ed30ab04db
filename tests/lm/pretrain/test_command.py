"""The pretrain command: what it prints and refuses, and what a kill leaves behind."""

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

import jquanta as jq
from jquanta import __main__ as front
from jquanta.cli.pretrain import main
from jquanta.lm.losses.reader import mean_loss
from tests.lm.corpus.samples import tree
from tests.lm.pretrain.examples import content, suite
from tests.processes import Command

KILLS = int(os.environ.get("JQUANTA_TEST_KILLS", "2"))
"""CI has one run with 20."""

# The command itself, with a beat (a byte on a pipe) and a nap after each report of
# training or losses, so that a signal
# can be sent at a chosen place whatever the machine's speed, and a state saved after each step.
COMMAND = """
import os, sys, time
from jquanta.cli.pretrain import main
from jquanta.lm.pretrain import drive
from jquanta.run import progress
assert hasattr(drive, "SAVE_SECONDS")
drive.SAVE_SECONDS, drive.SAVE_SHARE = -1.0, 1e9
work = progress.Bar.work
def slow(self, *report, **more):
    work(self, *report, **more)
    if "step" in report[0]:
        os.write(int(os.environ["BEATS"]), b".")
        time.sleep(0.05)
progress.Bar.work = slow
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def config(source: Path, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(suite(source).to_toml())
    return path


def test_killed_and_interrupted_commands_continue(
    config: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``kill -9`` at random moments, then Ctrl-C; the end is what it would have been."""
    folder, chance = tmp_path / "run", random.Random(11)
    arguments = [str(config), "--out", str(folder)]
    for _ in range(KILLS):
        command = Command(COMMAND, arguments, tmp_path / "cache")
        assert command.wait_for_beats(chance.randrange(5, 12))
        try:
            command.process.wait(chance.uniform(0, 0.1))
        except subprocess.TimeoutExpired:
            command.process.kill()
        code, _, said = command.end()
        assert code == -signal.SIGKILL
        assert "Traceback" not in said
    command = Command(COMMAND, arguments, tmp_path / "cache")
    assert command.wait_for_beats(5)
    command.process.send_signal(signal.SIGINT)
    code, _, said = command.end()
    assert code == 130
    assert said.splitlines()[-1] == f"jquanta: interrupted; {folder}: the same command continues"
    assert not (folder / "lock").exists()
    assert main(arguments) == 0
    told = capsys.readouterr()
    assert "k: continuing after " in told.err
    assert told.out.splitlines()[-2:] == [
        f"models    {folder / 'models'}",
        f"losses    {folder / 'losses'}",
    ]
    assert content(folder) == content(whole)
    assert main(arguments) == 0
    assert f"{folder}: already trained; nothing to do" in capsys.readouterr().out


def test_the_mini_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The one that people try first, on fewer files and in fewer steps."""
    words = "--corpus.pattern json/* --corpus.vocab 300 --corpus.test 0.3 --train.tokens 1024"
    words += " --train.batch 8 --train.context 32 --train.checkpoints 2"
    assert main([*words.split(), "--mini", "--out", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().out
    assert "stdlib-mini: " in told
    assert "models saved after 2, 4" in told
    losses = jq.open_losses(tmp_path / "run" / "losses")
    assert set(losses.revision.values) == {"step2", "step4"}
    assert f"{float(mean_loss(losses)[-1]):.3f}" in told


def test_the_plan_of_a_source_that_is_not_there(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(config), "--plan", "--corpus.source", "nowhere"]) == 2
    assert "nowhere: no such file or folder" in capsys.readouterr().err


def test_the_plan(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(tmp_path)
    assert main([str(config), "--plan", "--out", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().out
    assert "3.31k" in told
    assert "3,312 parameters without embeddings: 1 layers, width 16, 2 heads" in told
    assert "16 steps of 4 × 16 tokens" in told
    assert "s a step" in told
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("CONFIG --train.token 4", "did you mean --train.tokens"),
        ("CONFIG --train.tokens many", "train.tokens = 'many'"),
        ("CONFIG --mini", "has no [mini] table"),
        ("CONFIG --smoke", "--smoke is called --mini now"),
        ("none.toml", "no such configuration"),
        ("CONFIG --out CONFIG", "is a file"),
        ("CONFIG --corpus.source none.jsonl", "none.jsonl: no such file"),
    ],
)
def test_bad_input_is_one_line(
    words: str,
    names: str,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    assert main(words.replace("CONFIG", str(config)).split()) == 2
    said = capsys.readouterr().err
    assert names in said
    assert said.startswith("jquanta: ")
    assert said.count("\n") == 1
    assert tree(tmp_path) == before


def test_the_front_door_knows_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        front.main(["pretrain", "--help"])
    assert "Pretrain a small suite of Pythia-shaped language models" in capsys.readouterr().out
