"""The command lines: what they refuse, with which exit code, and that they open quickly."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import jquanta
from jquanta import __main__ as front
from jquanta.cli import door
from jquanta.cli import figures as figures
from jquanta.errors import BadInput, Interrupted, RunFailed
from jquanta.sweep import __main__ as sweep
from jquanta.sweep.config import load_config
from jquanta.sweep.folder import SweepFolder
from tests.sweep.examples import TINY, toml, tree

HEAVY = {"jax", "flax", "orbax", "optax", "sklearn", "xarray", "zarr", "matplotlib", "scipy"}
HEAVY |= {"numpy", "rich", "pandas", "pyarrow", "tokenizers"}

Main = Callable[[list[str]], int]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(main: Main, argv: list[str], capsys: pytest.CaptureFixture[str], here: Path) -> str:
    """The one line that says why ``argv`` is bad input, after which ``here`` is as it was."""
    before = tree(here)
    capsys.readouterr()
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert said.startswith("jquanta: ")
    assert said.count("\n") == 1
    assert said.endswith("\n")
    assert "Traceback" not in said
    assert tree(here) == before
    return said


def python(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A new Python with the package on its path."""
    root = str(Path(jquanta.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": root}
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        timeout=120,
        check=False,
    )


# Bad input of the sweep


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("--task.k 9 --task.n_bits 8", "task.k = 9"),
        ("--task.n_bits 8 --task.k 2 --task.n_tasks 29", "task.n_tasks = 29"),  # (8 choose 2) = 28
        ("--task.n_tasks 0", "task.n_tasks = 0"),
        ("--task.k 0", "task.k = 0"),
        ("--task.alpha -1", "task.alpha = -1"),
        ("--task.alpha -1.5", "task.alpha = -1.5"),
        ("--task.alpha nan", "task.alpha = nan"),
        ("--task.alpha inf", "task.alpha = inf"),
        ("--task.offset -0.1", "task.offset = -0.1"),
        ("--task.frequencies flat", "task.frequencies = 'flat'"),
        ("--network.width 0", "network.width = 0"),
        ("--network.width -5", "network.width = -5"),
        ("--network.width 1.5", "network.width = 1.5"),
        ("--network.width wide", "network.width = 'wide'"),
        ("--network.width log(500,10,30)", "network.width = 'log(500,10,30)'"),
        ("--network.width log(10,500,0)", "network.width = 'log(10,500,0)'"),
        ("--network.width lin(5,5,3)", "network.width = 'lin(5,5,3)'"),
        ("--network.depth 1", "network.depth = 1"),
        ("--network.activation gelu", "network.activation = 'gelu'"),
        ("--train.train_size 0", "train.train_size = 0"),
        ("--train.train_size 1.5", "train.train_size = 1.5"),
        ("--train.train_size nan", "train.train_size = nan"),
        ("--train.train_size -inf", "train.train_size"),
        ("--train.batch_size 0", "train.batch_size = 0"),
        ("--train.batch_size -2", "train.batch_size = -2"),
        ("--train.steps 0", "train.steps = 0"),
        ("--train.steps -1", "train.steps = -1"),
        ("--train.lr 0", "train.lr = 0"),
        ("--train.lr nan", "train.lr = nan"),
        ("--train.weight_decay -1", "train.weight_decay = -1"),
        ("--train.early_stop 1", "train.early_stop = 1"),
        ("--train.seed -1", "train.seed = -1"),
        ("--eval.log_every 0", "eval.log_every = 0"),
        ("--eval.points_per_task 0", "eval.points_per_task = 0"),
        ("--train.stpes 5", "--train.steps"),
        ("--train.stpes=5", "--train.steps"),
        ("--width 5", "--network.width"),
        ("--no-mini", "--no-mini"),
        ("--train.steps", "--train.steps"),
        ("--mini", "[mini]"),
        ("none.toml", "none.toml"),
        ("none.toml other.toml", "other.toml"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--plan"]])
def test_bad_flags(
    words: str, names: str, more: list[str], capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    assert names in refused(sweep.main, [*words.split(), *more], capsys, here)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("[network]\nwidht = 3\n", "network.widht"),
        ("[network]\nwidth = 'wide'\n", "network.width = 'wide'"),
        ("[network]\nwidth = 0\n", "network.width = 0"),
        ("[task]\nalpha = nan\n", "task.alpha = nan"),
        ("[[sweep]]\ntrain.steps = 'lin(9, 1, 3)'\n", "train.steps = 'lin(9, 1, 3)'"),
        ("[task\n", "config.toml: not valid TOML"),
    ],
)
def test_bad_files(
    content: str, names: str, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    (here / "config.toml").write_text(content)
    assert names in refused(sweep.main, ["config.toml", "--out", "run"], capsys, here)


@pytest.fixture
def begun(here: Path) -> Path:
    """A run folder that another sweep has begun."""
    folder = SweepFolder(here / "other")
    folder.path.mkdir()
    other = load_config(TINY | {"train.seed": 7})
    folder.begin(other.name, other.to_toml())
    return folder.path


def occupied_by_a_file(here: Path) -> Path:
    (here / "file").write_text("mine")
    return here / "file"


def below_a_file(here: Path) -> Path:
    return occupied_by_a_file(here) / "run"


def with_foreign_files(here: Path) -> Path:
    (here / "thesis").mkdir()
    (here / "thesis" / "chapter.tex").write_text("mine")
    return here / "thesis"


def with_a_broken_config(here: Path) -> Path:
    (here / "run").mkdir()
    (here / "run" / "config.toml").write_text("[task")
    return here / "run"


def where_nothing_can_be_made(here: Path) -> Path:
    """Permissions do not stop every user, such as root; the process table does."""
    return Path("/proc/jquanta/run")


@pytest.mark.parametrize(
    ("place", "names"),
    [
        (occupied_by_a_file, "is a file"),
        (below_a_file, "writable"),
        (with_foreign_files, "other files"),
        (with_a_broken_config, "not valid TOML"),
        (where_nothing_can_be_made, "writ"),
    ],
)
def test_bad_run_folders(
    place: Callable[[Path], Path], names: str, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    (here / "tiny.toml").write_text(toml(TINY))
    out = place(here)
    said = refused(sweep.main, ["tiny.toml", "--out", str(out)], capsys, here)
    assert names in said
    assert str(out) in said


def test_the_folder_of_another_configuration(
    begun: Path, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    (here / "tiny.toml").write_text(toml(TINY))
    said = refused(sweep.main, ["tiny.toml", "--out", "other"], capsys, here)
    assert "another configuration" in said
    assert "other/config.toml" in said


def test_a_folder_without_permission(
    capsys: pytest.CaptureFixture[str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    said = refused(sweep.main, ["--out", "deep/er/run"], capsys, here)
    assert "not writable" in said


def test_a_damaged_record(begun: Path, capsys: pytest.CaptureFixture[str], here: Path) -> None:
    (here / "tiny.toml").write_text(toml(TINY | {"train.seed": 7}))
    (begun / "record.json").write_text('{"state": "run')
    said = refused(sweep.main, ["tiny.toml", "--out", "other"], capsys, here)
    assert "record.json: damaged" in said


def test_bad_input_from_a_shell(here: Path) -> None:
    """The real commands, where nothing is set up by a test."""
    (here / "bad.toml").write_text("[network]\nwidth = 0\n")
    for words in (
        ["-m", "jquanta.sweep", "bad.toml", "--out", "run"],
        ["-m", "jquanta", "sweep", "bad.toml"],
        ["-m", "jquanta", "swep"],
    ):
        before = tree(here)
        done = python(*words, cwd=here)
        assert done.returncode == 2, words
        assert done.stderr.startswith("jquanta: ")
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
        assert tree(here) == before


# Exit codes


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (None, 0, ""),
        (BadInput("task.k = 0: give 1"), 2, "jquanta: task.k = 0: give 1\n"),
        (RunFailed("the disk is full"), 1, "jquanta: the disk is full\n"),
        (MemoryError(), 1, "jquanta: out of memory: free some, or give less to do at a time\n"),
        (Interrupted("interrupted; continue"), 130, "jquanta: interrupted; continue\n"),
        (KeyboardInterrupt(), 130, "jquanta: interrupted\n"),
        (
            ValueError("first\nsecond"),
            1,
            "jquanta: ValueError: first second (--debug shows the traceback)\n",
        ),
        (
            AssertionError(),
            1,
            "jquanta: AssertionError: no message (--debug shows the traceback)\n",
        ),
    ],
)
def test_every_end_has_its_exit_code_and_line(
    error: BaseException | None, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(argv: object) -> None:
        if error:
            raise error

    assert door.enter(command, []) == code
    assert capsys.readouterr().err == line


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main(["--network.width", "0", "--debug"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("Traceback")
    assert said.splitlines()[-1].startswith("jquanta: network.width = 0")

    def command(argv: object) -> None:
        raise OSError(errno.EIO, "input/output error")

    with pytest.raises(OSError, match="input/output"):
        door.enter(command, ["--debug"])


def test_a_reader_that_leaves_early_is_no_error() -> None:
    """As in ``jquanta sweep --help | head -1``."""
    root = str(Path(jquanta.__file__).parents[1])
    for words in (["-m", "jquanta"], ["-m", "jquanta.sweep", "--help"]):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            [sys.executable, *words],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": root},
            timeout=120,
            check=False,
        )
        os.close(write)
        assert (done.returncode, done.stderr) == (0, ""), words


# Help


def help_of(main: Main, argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    try:
        code = main(argv)
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr()
    assert (code, said.err) == (0, "")
    return said.out


def test_help_names_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    from jquanta.parity.config import FIELDS

    text = help_of(sweep.main, ["--help"], capsys)
    for field in FIELDS:
        assert f"--{field}" in text
    for flag in ("--out", "--mini", "--plan", "--debug", "CONFIG"):
        assert flag in text
    assert "Zipf exponent of the frequencies is alpha + 1" in " ".join(
        text.replace("│", " ").split()
    )


def test_help_of_the_other_commands(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(figures.main, ["--help"], capsys)
    assert "--runs" in text
    assert "fig2" in text
    for argv in ([], ["--help"], ["-h"], ["help"]):
        text = help_of(front.main, argv, capsys)
        assert "sweep" in text
        assert "figures" in text
    assert help_of(front.main, ["sweep", "--help"], capsys) == help_of(
        sweep.main, ["--help"], capsys
    )
    for command in ("sweep", "pretrain", "qdg"):  # they have a default
        assert "[CONFIG]" in help_of(front.main, [command, "--help"], capsys).splitlines()[0]
    assert help_of(front.main, ["--version"], capsys) == f"{jquanta.__version__}\n"


@pytest.mark.parametrize("command", door.COMMANDS)
def test_every_command_explains_itself(
    command: str, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    text = help_of(front.main, [command, "--help"], capsys)
    assert text.splitlines()[0].startswith(f"usage: jquanta {command} ")
    assert door.summary(command) in help_of(front.main, [], capsys)
    assert door.summary(command) in text
    assert f"  jquanta {command} " in text.replace("\n", " \n")  # an example
    assert "In Python: j" in " ".join(text.split())
    assert "Exit codes: 0 done; 2 bad input" in text
    assert f"unknown flag --zzz; see jquanta {command} --help" in refused(
        front.main, [command, "--zzz", "red"], capsys, here
    )


def test_a_flag_of_another_command_is_known(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    said = refused(front.main, ["corpus", "--below", "3"], capsys, here)
    having = "jquanta spectrum and jquanta emergence and jquanta figures"
    assert f"unknown flag --below, which {having} have" in said
    said = refused(front.main, ["corpus", "--nearest", "3"], capsys, here)
    assert "unknown flag --nearest, which jquanta assign has" in said


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("sweeep", "did you mean sweep?"),
        ("figure", "did you mean figures?"),
        ("pretrian", "did you mean pretrain?"),
        ("zzz", "give one of tour, sweep"),
    ],
)
def test_an_unknown_command(
    typed: str, meant: str, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    assert f"unknown command {typed!r}: {meant}" in refused(front.main, [typed], capsys, here)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("figures", "figures"),
        ("lm.corpus", "corpus"),
        ("lm.losses", "losses"),
        ("lm.pretrain", "pretrain"),
        ("qdg", "qdg"),
    ],
)
def test_old_spellings_say_what_to_type(old: str, new: str, here: Path) -> None:
    done = python("-m", f"jquanta.{old}", "a b", "--out", "x", cwd=here)
    assert (done.returncode, done.stdout) == (2, "")
    wanted = f"jquanta: this command has moved; type: jquanta {new} 'a b' --out x\n"
    assert done.stderr == wanted


def test_doors_open_without_the_heavy_libraries() -> None:
    """Imports and help load nothing heavy: jax alone takes longer than the 0.3 s they may take."""
    script = f"""
import sys
import jquanta
from jquanta.__main__ import main
for command in ([], ["figures", "fig2"], *([name] for name in {door.COMMANDS!r})):
    try:
        code = main([*command, "--help"])
    except SystemExit as stop:
        code = stop.code
    assert not code, command
print("loaded:", *sorted({HEAVY!r} & set(sys.modules)))
"""
    done = python("-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_public_names_load_on_first_use() -> None:
    script = """
import sys
import jquanta as jq
assert "jax" not in sys.modules
for name in jq.__all__:
    assert name in dir(jq)
    getattr(jq, name)
assert jq.load_config().runs()
try:
    jq.train_everything
except AttributeError as error:
    assert "train_everything" in str(error)
else:
    raise AssertionError
"""
    done = python("-c", script)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "words",
    [
        "stability RUN",
        "parts RUN",
        "groups RUN",
        "mechanism RUN",
        "emergence RUN",
        "compare RUN RUN",
    ],
)
def test_where_no_result_can_be_stored_none_is_computed(
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.toml").write_text("[input]\n", encoding="utf-8")
    monkeypatch.setattr("jquanta.cli.places.os.access", lambda *_: False)
    assert front.main([word.replace("RUN", str(run)) for word in words.split()]) == 2
    said = capsys.readouterr().err
    assert f"{run}: cannot be written, and the result is stored there; give a copy" in said
