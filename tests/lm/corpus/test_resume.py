"""Interrupted, killed or out of disk at any moment, a build continues to the same bytes."""

import errno
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import jquanta
from jquanta.errors import BadInput, Interrupted, RunFailed
from jquanta.lm.corpus import build
from jquanta.lm.corpus.build import build_corpus
from jquanta.run.progress import Silence
from tests.lm.corpus.samples import FORMATS, jsonl, jsonl_zst, texts, tree

MAX_LENGTH = 50
DOCUMENTS = texts(120)

Writer = Callable[[Path, Sequence[str]], Path]


class Crash(BaseException):
    """Ends a build as a kill would: nothing of ours handles it."""


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """``steps[0]`` is how many steps that change the disk are left before a crash."""
    left = [10**9]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Crash
            return function(*args, **options)

        return step

    for owner, name in (
        (os, "fsync"),
        (Path, "replace"),
        (Path, "rename"),
        (Path, "touch"),
        (Path, "unlink"),
        (Path, "write_bytes"),
        (Path, "write_text"),
        (build._Arrays, "append"),
    ):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    return left


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("long", ["cut", "split"])
def test_a_crash_at_any_step_changes_nothing(
    long: str, tokenizer: Path, tmp_path: Path, steps: list[int]
) -> None:
    source = jsonl(tmp_path, DOCUMENTS[:40])
    whole, out = tmp_path / "whole", tmp_path / "out"

    def attempt() -> bool:
        try:
            build_corpus(source, tokenizer, out, max_length=MAX_LENGTH, long=long)
        except Crash:
            return False
        return True

    build_corpus(source, tokenizer, whole, max_length=MAX_LENGTH, long=long)
    crashes, done = 0, False
    while not done:
        steps[0] = crashes
        if not (done := attempt()):
            if not out.exists():  # bytes that came to the disk and that nothing counts on
                for path in (tmp_path / "out.part").glob("*.npy"):
                    with path.open("ab") as file:
                        file.write(b"\xff" * 1001)
            steps[0] = 10**9
            assert attempt(), crashes
        assert tree(out) == tree(whole), crashes
        assert not (tmp_path / "out.part").exists()
        for path in sorted(out.iterdir()):
            os.remove(path)
        out.rmdir()
        crashes += 1
    assert crashes > 30


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("long", ["cut", "split"])
@pytest.mark.parametrize("write", FORMATS)
def test_what_is_done_is_not_done_again(
    write: Writer, long: str, tokenizer: Path, tmp_path: Path
) -> None:
    class Saboteur(Silence):
        stop = True
        first: int | None = None
        said = ""

        def work(
            self, stage: str, share: float, detail: str = "", *, measured: bool = True
        ) -> None:
            documents = int(detail.split()[0]) if detail else 0
            if documents and self.first is None:
                self.first = documents
            if documents > 60 and self.stop:
                signal.raise_signal(signal.SIGINT)  # as Ctrl-C does

        def say(self, line: str) -> None:
            self.said = line

    source, out = write(tmp_path, DOCUMENTS), tmp_path / "out"
    options: dict[str, Any] = {"max_length": MAX_LENGTH, "long": long}
    build_corpus(source, tokenizer, tmp_path / "whole", **options)
    monitor = Saboteur()
    with pytest.raises(Interrupted, match=r"out\.part: the same command continues"):
        build_corpus(source, tokenizer, out, monitor=monitor, **options)
    assert not out.exists()
    monitor.stop, monitor.first = False, None
    build_corpus(source, tokenizer, out, monitor=monitor, **options)
    assert monitor.first > 60
    assert "out.part: continuing after " in monitor.said
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


COMMAND = """
import os, sys, time
from jquanta.lm.corpus import build
from jquanta.cli.corpus import main
for name, value in (("BATCH_CHARACTERS", 2000), ("LEAST_INTERVAL", 0.02), ("COST_SHARE", 1e9)):
    assert hasattr(build, name)
    setattr(build, name, value)
append = build._Arrays.append
def slow(self, *batch):
    append(self, *batch)
    os.write(int(os.environ["BEATS"]), b".")
    time.sleep(0.01)
build._Arrays.append = slow
sys.exit(main(sys.argv[1:]))
"""

KILLS = int(os.environ.get("JQUANTA_TEST_KILLS", "4"))


def start(source: Path, tokenizer: Path, out: Path) -> tuple[subprocess.Popen[str], int]:
    """The command as a process, and a pipe with a byte for each batch."""
    beats, write = os.pipe()
    root = str(Path(jquanta.__file__).parents[1])
    words = [str(source), "--tokenizer", str(tokenizer), "--out", str(out), "--max_length", "50"]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words],
        env=os.environ | {"PYTHONPATH": root, "BEATS": str(write)},
        pass_fds=[write],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    return process, beats


def test_killed_at_random_moments(tokenizer: Path, tmp_path: Path) -> None:
    source, chance = jsonl_zst(tmp_path, DOCUMENTS), random.Random(3)
    build_corpus(source, tokenizer, tmp_path / "whole", max_length=MAX_LENGTH)
    for _ in range(KILLS):
        process, beats = start(source, tokenizer, tmp_path / "out")
        for _ in range(chance.randrange(1, 8)):
            os.read(beats, 1)
        try:
            process.wait(chance.uniform(0, 0.03))
        except subprocess.TimeoutExpired:
            process.kill()
        _, said = process.communicate(timeout=60)
        os.close(beats)
        assert process.returncode in (-signal.SIGKILL, 0), said
    build_corpus(source, tokenizer, tmp_path / "out", max_length=MAX_LENGTH)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert not (tmp_path / "out.part").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_says_so(
    number: signal.Signals, tokenizer: Path, tmp_path: Path
) -> None:
    source = jsonl(tmp_path, DOCUMENTS)
    process, beats = start(source, tokenizer, tmp_path / "out")
    for _ in range(4):
        assert os.read(beats, 1)
    with pytest.raises(BadInput, match=f"in use by process {process.pid} on "):
        build_corpus(source, tokenizer, tmp_path / "out", max_length=MAX_LENGTH)
    process.send_signal(number)
    out, said = process.communicate(timeout=60)
    os.close(beats)
    line = f"jquanta: interrupted; {tmp_path / 'out.part'}: the same command continues\n"
    assert (process.returncode, out, said) == (130, "", line)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("small")
def test_a_full_disk_can_be_resumed(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = jsonl(tmp_path, DOCUMENTS)
    build_corpus(source, tokenizer, tmp_path / "whole", max_length=MAX_LENGTH)
    with monkeypatch.context() as patch:
        append, calls = build._Arrays.append, iter(range(5))

        def full(self: Any, *batch: Any) -> None:
            if next(calls, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            append(self, *batch)

        patch.setattr(build._Arrays, "append", full)
        with pytest.raises(RunFailed, match=r"the disk is full.*the same command continues"):
            build_corpus(source, tokenizer, tmp_path / "out", max_length=MAX_LENGTH)
    assert not (tmp_path / "out").exists()
    build_corpus(source, tokenizer, tmp_path / "out", max_length=MAX_LENGTH)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
