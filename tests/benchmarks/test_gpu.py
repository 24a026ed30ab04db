"""The GPU benchmark: what a part costs and leaves behind, whatever becomes of it."""

import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import child
from benchmarks.gpu.catalogue import PARTS, Part
from benchmarks.gpu.record import Row
from benchmarks.gpu.supervisor import FAILED, OK, SKIPPED, TIMED_OUT, limit_of, run_parts

# What stands for the process of a part: words of Python, with the path of its file in OUT.
WRITES = "import json; open(OUT, 'w').write(json.dumps({'part': 'x', 'rows': [{'name': 'a'}]}))"
FAILS = "import sys; print('one', file=sys.stderr); sys.exit('the last line\\n\\n')"
HANGS = "import time; time.sleep(600)"
# A child that ignores what it is asked, and says who it is.
BREEDS = (
    "import subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import signal, time;"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)']);"
    "open(OUT + '.child', 'w').write(str(child.pid)); "
)


def run(
    scripts: Mapping[str, str], out: Path, seconds: float = 100.0, limits: Sequence[float] = ()
) -> list[dict[str, Any]]:
    """Run a part for each script, in this order; each may take 10 seconds if nothing is said."""
    own = [*limits, *[10.0] * (len(scripts) - len(limits))]
    parts = [Part(name, "", limit, "") for name, limit in zip(scripts, own, strict=True)]

    def command(part: Part, file: Path, small: bool) -> list[str]:
        return [sys.executable, "-c", f"OUT = {str(file)!r}\n{scripts[part.name]}"]

    return run_parts(parts, seconds, out, out / "scratch", small=True, command=command)


def stored(out: Path, name: str) -> dict[str, Any]:
    return json.loads((out / f"{name}.json").read_text())


def alive(pid: int) -> bool:
    """Whether a process is there, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    """Whether a killed process is gone: the kernel may take a moment."""
    end = time.monotonic() + 10
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not alive(pid)


def test_a_part_that_fails_costs_nothing_but_itself(tmp_path: Path) -> None:
    records = run({"bad": FAILS, "good": WRITES}, tmp_path)
    assert [record["outcome"] for record in records] == [FAILED, OK]
    assert records == [stored(tmp_path, "bad"), stored(tmp_path, "good")]
    assert records[0]["reason"] == "the last line"
    assert records[0]["rows"] == []
    assert records[1]["rows"] == [{"name": "a"}]
    assert (tmp_path / "bad.log").read_text().startswith("one")


def test_a_part_that_hangs_keeps_its_rows_and_ends_with_its_children(tmp_path: Path) -> None:
    scripts = {"slow": f"{WRITES}\n{BREEDS}{HANGS}", "good": WRITES}
    slow, good = run(scripts, tmp_path, seconds=60.0, limits=(3.0, 57.0))
    assert slow["outcome"] == TIMED_OUT
    assert slow["limit_seconds"] == 3.0
    assert slow["rows"] == [{"name": "a"}]
    assert good["outcome"] == OK
    assert gone(int((tmp_path / "slow.json.child").read_text()))


def test_children_of_a_part_that_ended_do_not_stay(tmp_path: Path) -> None:
    (record,) = run({"quick": f"{BREEDS}{WRITES}"}, tmp_path)
    assert record["outcome"] == OK
    assert gone(int((tmp_path / "quick.json.child").read_text()))


def test_what_is_interrupted_ends_its_part(tmp_path: Path) -> None:
    told = tmp_path / "slow.json.child"
    names_itself = f"import os; open({str(told)!r}, 'w').write(f'{{os.getpid()}}.')"

    def interrupt(*_: Any) -> None:
        if told.exists() and told.read_text().endswith("."):
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        with pytest.raises(KeyboardInterrupt):
            run({"slow": f"{names_itself}; {HANGS}"}, tmp_path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert gone(int(told.read_text().rstrip(".")))


def test_a_killed_part_leaves_no_half_of_a_file(tmp_path: Path) -> None:
    half = "open(OUT + '.part', 'w').write('{'); import os; os.kill(os.getpid(), 9)"
    (record,) = run({"half": half}, tmp_path)
    assert record["outcome"] == FAILED
    assert record["reason"] == "exit code -9, no message"
    assert not list(tmp_path.glob("*.part"))


def test_numbers_of_an_earlier_run_do_not_pass_for_new_ones(tmp_path: Path) -> None:
    run({"part": WRITES}, tmp_path)
    run({"part": FAILS}, tmp_path)
    assert stored(tmp_path, "part")["rows"] == []


def test_the_last_parts_are_left_out_where_time_is_short(tmp_path: Path) -> None:
    records = run({"one": WRITES, "two": WRITES}, tmp_path, seconds=4.0)
    assert [record["outcome"] for record in records] == [SKIPPED, SKIPPED]
    assert "--minutes" in stored(tmp_path, "two")["reason"]


def test_a_missing_library_skips_a_part(tmp_path: Path) -> None:
    part = Part("rivals", "", 1.0, "", needs=("json", "no_such_library"))
    (record,) = run_parts([part], 10.0, tmp_path, tmp_path, small=True)
    assert record["outcome"] == SKIPPED
    assert record["reason"] == "no_such_library is not installed"


def test_limits_share_what_is_left() -> None:
    one, two, spare = (Part("", "", s, "", spare=s == 50) for s in (10.0, 30.0, 50.0))
    assert limit_of(one, [two, spare], 40.0) == 10.0  # as planned
    assert limit_of(one, [two, spare], 80.0) == 20.0  # twice the time
    assert limit_of(one, [two, spare], 8.0) == 8.0  # not all of it, but more than half
    assert limit_of(one, [two, spare], 4.9) is None
    assert limit_of(spare, [], 49.0) is None
    assert limit_of(spare, [], 60.0) == 60.0


def test_the_catalogue_fits_its_minutes() -> None:
    assert sum(part.seconds for part in PARTS if not part.spare) <= 60 * gpu.Options.minutes
    names = [part.name for part in PARTS]
    assert len({*names}) == len(names)
    assert {part.cache for part in PARTS} - {None} <= {*names}
    spare = [part.spare for part in PARTS]
    assert spare == sorted(spare)  # the spare ones last


def test_rows_are_stored_and_printed_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "part.json"

    def rows() -> Iterator[Row]:
        yield Row("a step", 0.75, "ms", note="300 in a row", samples=(0.7, 0.75, 0.8))
        assert len(json.loads(file.read_text())["rows"]) == 1
        assert capsys.readouterr().out == "  a step: 0.75 ms  (300 in a row)\n"
        yield Row("packs", 3)
        raise OSError("the device is lost")

    with pytest.raises(OSError, match="lost"):
        child.follow("part", rows(), True, file)
    found = json.loads(file.read_text())
    assert [row["name"] for row in found["rows"]] == ["a step", "packs"]
    assert found["mode"] == "small"
    assert found["outcome"] == "running"
    assert {"jax", "jquanta"} <= found["versions"].keys()
    assert found["hardware"]["cores"] == os.cpu_count()


def test_all_that_a_folder_holds_is_collected(tmp_path: Path) -> None:
    run({"rates": WRITES}, tmp_path)
    run({"step": FAILS}, tmp_path)
    (tmp_path / "notes.json").write_text("not ours")
    found = stored(tmp_path, "gpu")["parts"]
    assert [part["outcome"] for part in found] == [OK, FAILED]


def test_the_table_has_every_part_and_short_lines() -> None:
    rows = [vars(Row("a" * 60, None, note="b" * 200)), vars(Row("hidden", 1.0, shown=False))]
    records = [
        {"part": "step", "outcome": OK, "seconds": 9.0, "reason": "", "rows": rows},
        {"part": "grid", "outcome": FAILED, "seconds": 1.0, "reason": "why", "rows": []},
    ]
    lines = gpu.table(records)
    assert len(lines) == 4
    assert max(map(len, lines)) <= gpu.WIDTH
    assert lines[-1].split() == ["grid", "failed,", "1", "s", "why"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--parts", "steps"], "--parts steps: give one or more of rates, step"),
        (["--parts", ","], "give one or more of rates"),
        (["--minutes", "0"], "--minutes 0: give more than 0"),
        (["--minutes", "nan"], "--minutes nan: give more than 0"),
        (["--out", "pyproject.toml"], "--out pyproject.toml: cannot be written"),
        (["--smal"], "did you mean --small"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu.main(words) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.count("\n") == 1
    assert not said.out


def test_a_list_measures_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--list", "--parts", "step, rates", "--out", str(tmp_path / "new")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["rates", "step", "without"]
    assert not (tmp_path / "new").exists()


def test_a_failed_part_ends_the_command_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Through the real child, which knows no such part."""
    monkeypatch.setattr(gpu, "asked_for", lambda names: [Part("broken", "nothing", 60.0, "")])
    assert gpu.main(["--small", "--out", str(tmp_path)]) == 1
    said = capfd.readouterr()
    assert "broken: failed" in said.out
    assert said.err.splitlines() == [
        f"jquanta: broken: failed or timed out; {tmp_path}/PART.log says more"
    ]
    assert stored(tmp_path, "broken")["reason"].startswith("jquanta: --parts broken: give one")
    assert "Traceback" in (tmp_path / "broken.log").read_text()


def test_every_part_has_its_module() -> None:
    """Their imports; CI runs them all in miniature."""
    for part in PARTS:
        assert callable(importlib.import_module(f"benchmarks.gpu.{part.module}").measure)
