"""The losses command: what it prints and refuses, and what a kill leaves behind."""

import os
import random
import re
import signal
import subprocess
from pathlib import Path

import pytest

import jquanta as jq
from jquanta import __main__ as front
from jquanta.cli.losses import main
from jquanta.lm.losses.compute import compute_losses
from tests.lm.corpus.samples import tree
from tests.lm.losses import examples
from tests.processes import Command

KILLS = int(os.environ.get("JQUANTA_TEST_KILLS", "3"))
"""CI has one run with 20."""

# The command itself, with a beat (a byte on a pipe) and a nap after each batch, so that a signal
# can be sent at a chosen place whatever the machine's speed, and a mark after every batch.
COMMAND = """
import os, sys, time
from jquanta.cli.losses import main
from jquanta.lm.losses import column
from jquanta.run import progress
assert hasattr(column, "LEAST_INTERVAL") and hasattr(column, "MARK_SHARE")
column.LEAST_INTERVAL, column.MARK_SHARE = 0.0, 1e9
work = progress.Bar.work
def slow(self, *report, **more):
    work(self, *report, **more)
    os.write(int(os.environ["BEATS"]), b".")
    time.sleep(0.05)
progress.Bar.work = slow
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of equal batches and a model with two revisions."""
    path = tmp_path_factory.mktemp("losses")
    examples.corpus(path / "corpus", [64, 60, 0, 64, 50, 1, 64, 55] * 5)
    for step in (1, 2):
        examples.model(path / "suite" / f"step{step}", seed=step)
    return path


def arguments(home: Path, out: Path) -> list[str]:
    words = f"--corpus {home / 'corpus'} --model {home / 'suite'} --out {out}"
    return [*words.split(), "--revision", "step1", "step2", "--batch_tokens", "128"]


@pytest.fixture(scope="module")
def whole(home: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The losses of one call that nothing disturbs."""
    out = tmp_path_factory.mktemp("whole") / "out"
    revisions = ["step1", "step2"]
    found = compute_losses(
        home / "corpus", home / "suite", out, revisions=revisions, batch_tokens=128
    )
    return found.loss.to_numpy().tobytes()


def test_killed_commands_continue(home: Path, whole: bytes, tmp_path: Path) -> None:
    """``kill -9`` at random moments; the end is what it would have been, bit for bit."""
    out, chance = tmp_path / "out", random.Random(7)
    for _ in range(KILLS):
        command = Command(COMMAND, arguments(home, out), tmp_path / "cache")
        assert command.wait_for_beats(chance.randrange(2, 5))
        try:
            command.process.wait(chance.uniform(0, 0.1))
        except subprocess.TimeoutExpired:
            command.process.kill()
        code, _, said = command.end()
        assert code == -signal.SIGKILL
        assert "Traceback" not in said
    command = Command(COMMAND, arguments(home, out), tmp_path / "cache")
    code, _, said = command.end()
    assert code == 0
    assert "continuing after" in said
    assert jq.open_losses(out).loss.to_numpy().tobytes() == whole


def test_an_interrupted_command_says_so_and_continues(
    home: Path, whole: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = Command(COMMAND, arguments(home, out), tmp_path / "cache")
    assert command.wait_for_beats(3)
    command.process.send_signal(signal.SIGTERM)
    code, _, said = command.end()
    assert code == 130
    line = f"jquanta: interrupted; {out / 'suite@step1'}: the same command continues"
    assert said.splitlines()[-1] == line
    assert not (out / "lock").exists()
    assert main(arguments(home, out)) == 0
    told = capsys.readouterr()
    assert "suite@step1: continuing after" in told.err
    assert told.out.splitlines()[-1] == f"losses    {out}"
    assert jq.open_losses(out).loss.to_numpy().tobytes() == whole
    assert main(arguments(home, out)) == 0
    assert "suite@step2: already computed; nothing to do" in capsys.readouterr().err


def test_the_plan(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(tmp_path)
    assert main([*arguments(home, tmp_path / "out"), "--plan"]) == 0
    told = capsys.readouterr().out
    assert "suite@step1: " in told
    assert "parameters without embeddings, float32" in told
    assert "15 batches of 2 rows, 64 positions each: " in told
    number = r"[\d,.]+"
    taken = rf"about {number} s of computing, .*{number} GB of memory, 4 MB of disk"
    for step in (1, 2):  # here, and on a card
        assert len(re.findall(rf"^  suite@step{step}: {taken}$", told, re.MULTILINE)) == 2
    assert "of the positions are padding" in told
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("", "--corpus is missing"),
        ("--corpus CORPUS --model SUITE/step1", "--out is missing"),
        ("--corpus CORPUS --out OUT", "--model is missing"),
        ("--corpus SUITE --model SUITE/step1 --out OUT", "not a corpus"),
        (
            "--corpus CORPUS --model SUITE --out OUT",
            "not a language model; give --revision too: step1, step2",
        ),
        ("--corpus CORPUS --model SUITE --revision step3 --out OUT", "has no revision"),
        ("--corpus CORPUS --model SUITE/step1 --out OUT --dtype half", "--dtype half"),
        ("--corpus CORPUS --model SUITE/step1 --out OUT --batch_tokens 0", "--batch_tokens 0"),
        ("--corpus CORPUS --model SUITE/step1 --out OUT --batch_token 9", "did you mean"),
        ("--corpus CORPUS --model SUITE/step1 --out CORPUS", "holds other files"),
    ],
)
def test_bad_input_is_one_line(
    words: str, names: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"CORPUS": home / "corpus", "SUITE": home / "suite", "OUT": tmp_path / "out"}
    for word, path in places.items():
        words = words.replace(word, str(path))
    before = tree(home), tree(tmp_path)
    assert main(words.split()) == 2
    # That the model has no tokenizer is a warning, and comes before.
    (said,) = [x for x in capsys.readouterr().err.splitlines() if not x.startswith("warning: ")]
    assert names in said
    assert said.startswith("jquanta: ")
    assert (tree(home), tree(tmp_path)) == before


def test_the_front_door_knows_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        front.main(["losses", "--help"])
    assert "Compute the loss of every prediction of a corpus" in capsys.readouterr().out
