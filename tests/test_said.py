"""What the documents, docstrings, help and messages name is there: Python names, commands with
their flags, configurations, files and headings. Nothing is run but the parsers of the commands."""

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import pytest

import jquanta as jq
from docs.hooks import markup
from jquanta.cli import door, known
from jquanta.cli.flags import parse
from jquanta.errors import BadInput
from jquanta.figures.catalogue import FIGURES
from jquanta.lm.pretrain.config import load_suite
from jquanta.qdg.config import load_qdg
from jquanta.sweep.config import load_config
from tests.docs.blocks import DOCUMENTS, ROOT, blocks, without_blocks

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.py"))
MODULES = sorted((ROOT / "jquanta").rglob("*.py"))
CONFIGS = sorted((ROOT / "jquanta").rglob("*.toml"))

LOADERS = {"sweep": load_config, "pretrain": load_suite, "qdg": load_qdg}
"""Of the commands that read a configuration: with its flags it has to make sense."""


class Said(NamedTuple):
    """A text and where it stands."""

    where: str
    text: str


@cache
def documents() -> list[Said]:
    return [Said(path.name, path.read_text(encoding="utf-8")) for path in DOCUMENTS]


@cache
def strings() -> list[Said]:
    """Every text in the package's modules: docstrings, help, messages. What an f-string inserts is
    a WORD."""
    found = []
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parts = {
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.JoinedStr)
            for part in node.values
        }
        for node in ast.walk(tree):
            text = ""
            if isinstance(node, ast.JoinedStr):
                text = "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "WORD"
                    for part in node.values
                )
            elif isinstance(node, ast.Constant) and id(node) not in parts:
                text = node.value if isinstance(node.value, str) else ""
            if text:
                found.append(Said(f"{path.relative_to(ROOT)}:{node.lineno}", text))
    return found


@cache
def everything() -> list[Said]:
    other = [Said(str(p.relative_to(ROOT)), p.read_text()) for p in (*CONFIGS, *TUTORIALS)]
    return [*documents(), *strings(), *other]


def resolve(name: str) -> Any:
    """The object of a dotted name, the longest part of which is a module."""
    words = name.split(".")
    for cut in range(len(words), 0, -1):
        try:
            found = importlib.import_module(".".join(words[:cut]))
        except ModuleNotFoundError:
            continue
        for word in words[cut:]:
            found = getattr(found, word)
        return found
    raise AttributeError(name)


def python_names() -> Iterator[Said]:
    for where, text in everything():
        for name in re.findall(r"\bjq\.\w+(?:\.\w+)*", text):
            yield Said(where, name.replace("jq.", "jquanta.", 1))
        for name in re.findall(r"\bjquanta(?:\.\w+)+", text):
            yield Said(where, name)


INSERTED = re.compile(r"\.(NAME|WORD)\b")
"""What stands for a name."""


def test_every_python_name_is_there() -> None:
    names = {(said.text, said.where) for said in python_names() if not INSERTED.search(said.text)}
    assert len(names) > 100
    missing = []
    for name, where in sorted(names):
        try:
            resolve(name)
        except AttributeError:
            missing.append(f"{where}: {name}")
    assert not missing


def test_qdg_is_a_part_of_the_package() -> None:
    assert jq.qdg.Sketch(size=4).size == 4
    for name in jq.qdg.__all__:
        getattr(jq.qdg, name)


def lines_of(text: str) -> Iterator[str]:
    """Lines, joined where one ends in a backslash or within quotes, without comments."""
    text = re.sub(r"\s*\\\n\s*", " ", text)
    text = re.sub(r'^(\$? *jquanta [^"\n]*"[^"\n]*)\n([^"\n]*")', r"\1 \2", text, flags=re.M)
    for line in text.splitlines():
        yield re.sub(r"\s\s+#.*|\s# .*", "", line.strip().removeprefix("$ "))


PROMPT = re.compile(r"^(?:time |exec )?(jquanta|python -m [\w.]+|make) ")
EXAMPLE = re.compile(r"^(jquanta|python -m [\w.]+) ")
SENTENCE = re.compile(r"[.,:;)]$|[.:;] |, [a-z]")
QUOTED = re.compile(r"``?((?:jquanta|python -m [\w.]+|make) [^`]+)``?")


def commands() -> Iterator[Said]:
    """Whole commands: what stands on a line of its own in a block, or between backticks."""
    for path in DOCUMENTS:
        for block in blocks(path):
            text = block.text
            for made in re.findall(r"^cat > (\S+) <<", text, re.M):
                text = text.replace(made, "CONFIG")
            yield from (Said(block.where, line) for line in lines_of(text) if PROMPT.match(line))
        outside = without_blocks(path.read_text(encoding="utf-8")).replace("\n", " ")
        yield from (Said(path.name, one) for one in QUOTED.findall(outside))
    for where, text in strings():
        for line in lines_of(text):
            if EXAMPLE.match(line) and not SENTENCE.search(line):
                yield Said(where, re.split(r"\s{2,}", line)[0])
        yield from (Said(where, one) for one in QUOTED.findall(text))


HOLE = re.compile(r"NAME|WORD|\{\}")
"""What stands for a path or a word."""

PARTS = re.compile(r"\s(?:&&|\||>|;)\s")


def words_of(command: str) -> list[str]:
    """As the shell cuts them; a variable is 0."""
    command = re.sub(r"\$\w+", "0", command)
    try:
        return shlex.split(command.replace("…", "ELSE"))
    except ValueError:
        return command.split()


def parse_jquanta(words: list[str]) -> None:
    """Read ``jquanta WORDS`` as the command would. Raises ``BadInput``."""
    name, *rest = words or [""]
    if name in ("COMMAND", "WORD", "--help", "--version"):
        return
    if name not in door.COMMANDS:
        raise BadInput(f"no command {name}")
    options = door.module(name).Options
    if name == "known" and rest[:1] in (["parity"], ["toy"]):
        options = {"parity": known.ParityOptions, "toy": known.ToyOptions}[rest.pop(0)]
    rest = [word for word in rest if word != "--help"]
    try:
        found = parse(options, rest, f"jquanta {name}")
    except BadInput as error:
        # Where a command is only named, what it needs is left out.
        if "is missing" in str(error):
            return
        raise
    if name in LOADERS and "CONFIG" not in rest and not HOLE.search(str(found.config)):
        source = found.config
        if source is not None and len(source.parts) > 1:
            # The configuration of a run that the reader has made: flags are tried on the default.
            source = None if source.parts[0] == "runs" else ROOT / source
        LOADERS[name](source, flags=found.fields, mini=found.mini)
    if name == "figures" and found.figure not in ("FIGURE", "NAME"):
        assert found.figure in FIGURES, f"no figure {found.figure}"


def parse_module(module: str, words: list[str]) -> None:
    """Read ``python -m MODULE WORDS``."""
    if module == "jquanta.sweep":
        return parse_jquanta(["sweep", *words])
    if module == "jquanta":
        return parse_jquanta(words)
    if module.endswith(".NAME"):
        return None
    found = importlib.import_module(module)
    if not hasattr(found, "Options"):
        found = importlib.import_module(f"{module}.__main__")
    if hasattr(found, "Options"):
        parse(found.Options, words, module)
    return None


OLD = {f"jquanta.{name}" for name in ("figures", "lm.corpus", "lm.losses", "lm.pretrain", "qdg")}
"""Spellings that only say what to type now."""


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))


def check(command: str) -> None:
    for part in PARTS.split(command):
        first, *words = words_of(re.sub("^(time|exec) ", "", part).strip())
        if first == "jquanta":
            parse_jquanta(words)
        elif first == "make":
            named = [word for word in words if "=" not in word]
            assert set(named) <= targets(), f"no such target: {named}"
        elif first == "python" and words[1] not in OLD:
            parse_module(words[1], words[2:])


def test_every_command_can_be_read() -> None:
    found = sorted(set(commands()))
    assert len(found) > 120
    wrong = []
    for where, command in found:
        try:
            check(command)
        except (BadInput, AssertionError, AttributeError, ModuleNotFoundError) as error:
            wrong.append(f"{where}: {command}: {error}")
    assert not wrong


@pytest.mark.parametrize(
    "wrong",
    [
        "jquanta explor runs/x",
        "jquanta assign runs/x --tex 'a'",
        "jquanta sweep configs/none.toml",
        "jquanta sweep fig2-widht",
        "jquanta sweep --train.lr fast",
        "jquanta figures fig99",
        "jquanta pretrain --smoke",
        "python -m jquanta.swep",
        "make cake",
        "jquanta pretrain --mini && jquanta qdg --minni",
    ],
)
def test_a_wrong_command_is_found(wrong: str) -> None:
    with pytest.raises((BadInput, AssertionError, AttributeError, ModuleNotFoundError)):
        check(wrong)


def test_commands_in_sentences_have_their_flags() -> None:
    """``jquanta qdg``, with the flags that follow, wherever it stands within a sentence."""
    wrong, number = [], 0
    for where, text in everything():
        for name, rest in re.findall(
            r"\bjquanta (\w+)((?: [\w./-]+){0,3}(?: --[\w.-]+)*)", re.sub(r"\s+", " ", text)
        ):
            if name not in door.COMMANDS:
                continue
            number += 1
            options = door.module(name).Options
            if name == "known":
                options = known.ParityOptions if "parity" in rest else known.ToyOptions
            for flag in re.findall(r" --([\w.-]+)", rest):
                if flag.strip(".") == "help":
                    continue
                try:
                    parse(options, [f"--{flag.strip('.')}=0"], name)
                except BadInput as error:
                    if "unknown flag" in str(error):
                        wrong.append(f"{where}: jquanta {name}{rest}: {error}")
    assert number > 50
    assert not wrong


def test_configurations_and_files_are_there() -> None:
    missing = []
    for where, text in everything():
        for path in re.findall(
            r"(?<![\w/.-])((?:configs|docs|tests|benchmarks|jquanta)/[\w./-]*\w)", text
        ):
            if re.search("NAME|WORD|my_", path) or (ROOT / path).exists():
                continue
            # The tree of docs/architecture.md and the like name modules without .py.
            if not (ROOT / f"{path}.py").exists():
                missing.append(f"{where}: {path}")
    assert not missing


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_links_lead_to_files_and_headings() -> None:
    wrong, number = [], 0
    for path in DOCUMENTS:
        for link in markup.links(path.read_text()):
            if "://" in link:
                continue
            number += 1
            file, _, anchor = link.partition("#")
            place = (path.parent / file) if file else path
            headings = (
                {slug(one) for one in re.findall(r"^#+ (.*)$", place.read_text(), re.M)}
                if anchor and place.is_file()
                else set()
            )
            if not place.exists() or (anchor and anchor not in headings):
                wrong.append(f"{path.name}: {link}")
    assert number > 20
    assert not wrong
