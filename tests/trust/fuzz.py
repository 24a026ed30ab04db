"""Give every reader what nobody should give it, and see that it answers rightly or refuses.

The promise: a function that reads something either gives what was written, or raises ``BadInput``,
a line that names what is wrong. A value that is merely strange (a learning rate of 1e308) may be
accepted. A damaged file of a format without check sums (a text, a configuration, a downloaded
model) may tell something else. A finished folder of ours may not, unless ``jquanta check`` sees it.
"""

import argparse
import json
import math
import random
import re
import shutil
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jquanta as jq
from jquanta.errors import BadInput
from tests.qdg.pages.reading import unpacked
from tests.trust import places
from tests.trust.answers import ANSWERS
from tests.trust.damage import MISSING, damaged

PATIENCE = 60
"""Seconds after which a case counts as hanging, on a busy machine too."""

HOSTILE: tuple[Any, ...] = (
    *(0, -1, 1, 2, 3, 10**9, 10**10, -(10**10), 10**400, 0.5, -0.5, 1e-320, 1e308, 1e-7),
    *(math.inf, -math.inf, math.nan, True, False, "", " ", "0", "1e400", "nan", "x", "None"),
    *(
        "1, 2",
        "1, x",
        "log(1, 10, 3)",
        "log(0, 1, 9999999999)",
        "lin(1, 2, -3)",
        "log(",
        "9" * 5000,
    ),
    *(
        "\0",
        "\ud800",
        "é" * 300,
        "../..",
        "/",
        "~nobody/x",
        [],
        [1],
        [1, 2],
        [[1]],
        [1, "x"],
        [None],
    ),
    *({}, {"a": 1}, {"": {}}, [{}], 10**30, "0 1 0+1", "a" * 100_000, list(range(1000))),
)
"""Values of every kind, for a field that wants another one."""


class Hanging(Exception):
    """A case took longer than ``PATIENCE``."""


class Case(NamedTuple):
    """One thing tried: ``outcome`` is right, accepted, refused, seen by check or fault."""

    kind: str
    number: int
    what: str
    outcome: str
    fault: str = ""


Try = Callable[[random.Random, Callable[[str], None]], str]
"""Tries one thing, drawn at random; says what it is, and returns the outcome. Any exception but
``BadInput`` is a fault."""


# Values: configurations and flags


def configurations(place: Path) -> Try:
    """Fields of all three kinds of configurations, with other values, as mappings and as files."""
    from jquanta.lm.pretrain.config import SCHEMA as SUITE
    from jquanta.lm.pretrain.config import load_suite
    from jquanta.qdg.config import SCHEMA as QUANTA
    from jquanta.qdg.config import load_qdg
    from jquanta.run.settings import fields_of
    from jquanta.sweep.config import SCHEMA as SWEEP
    from jquanta.sweep.config import load_config

    further = ["name", "model", "sweep", "mini", "train", "no.such"]
    loaders: list[tuple[Any, list[str], dict[str, Any]]] = [
        (load, [*fields_of(schema.tables), *further], right)
        for load, schema, right in (
            (load_config, SWEEP, {"train.steps": 60}),
            (load_suite, SUITE, {"model": [{"layers": 1, "width": 16, "heads": 2}]}),
            (load_qdg, QUANTA, {"input.model": "model", "input.corpus": "corpus"}),
        )
    ]

    def attempt(chance: random.Random, say: Callable[[str], None]) -> str:
        load, names, right = chance.choice(loaders)
        if chance.random() < 0.3:
            text = _scribbled(chance.choice([places.SWEEP, places.SUITE, places.QDG]), chance)
            path = place / "tried.toml"
            path.write_bytes(text)
            say(f"{load.__name__}({text!r})")
            return _outcome(lambda: load(path))
        values = {
            chance.choice(names): chance.choice(HOSTILE) for _ in range(chance.choice([1, 1, 2]))
        }
        say(f"{load.__name__}({_short(values)})")
        return _outcome(lambda: load(right | values))

    return attempt


def flags(place: Path) -> Try:
    """Words after every command."""
    from jquanta.cli import door
    from jquanta.cli.flags import flags_of, parse

    options = {name: door.module(name).Options for name in door.COMMANDS}
    known = {name: [f"--{flag.name}" for flag in flags_of(of)] for name, of in options.items()}

    def attempt(chance: random.Random, say: Callable[[str], None]) -> str:
        name = chance.choice(list(options))
        words = [
            chance.choice(known[name])
            if chance.random() < 0.5
            else chance.choice(["--", "-", "-x", "--no-such", "--out", "=", "", *map(str, HOSTILE)])
            for _ in range(chance.randrange(5))
        ]
        say(f"jquanta {name} {_short(words)}")
        return _outcome(lambda: parse(options[name], words, f"jquanta {name}"))

    return attempt


def _scribbled(text: str, chance: random.Random) -> bytes:
    """A text with stretches removed, repeated, or replaced by characters that mean something."""
    content = text.encode()
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(content) + 1)
        piece = chance.choice(
            [
                b"",
                b"\0",
                b"\xff",
                b"[",
                b"]",
                b"=",
                b'"',
                b"'",
                b"\n",
                b"1e999",
                b"-",
                b".",
                b"[[x]]",
            ]
        )
        content = (
            content[:at] + piece * chance.choice([1, 1, 200]) + content[at + chance.randrange(9) :]
        )
    return content


# Texts that become corpora


def sources(place: Path) -> Try:
    """Damaged text files, in every format that a corpus is built from."""
    from jquanta.lm.corpus.build import build_corpus
    from tests.lm.corpus import samples

    folder = place / "formats"
    makers = (samples.jsonl, samples.jsonl_gz, samples.jsonl_zst, samples.parquet, samples.jsonl)
    made = []
    for number, make in enumerate(makers):
        (folder / str(number)).mkdir(parents=True)
        made.append(make(folder / str(number), samples.texts(8, seed=number)))

    def attempt(chance: random.Random, say: Callable[[str], None]) -> str:
        path = chance.choice(made)
        out = place / "built"
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(place / "built.part", ignore_errors=True)
        with damaged(path.parent, chance) as damage:
            say(f"{path.name}: {damage}")
            tokenizer = str(place / "suite" / "tokenizer.json")
            return _outcome(lambda: build_corpus(path, tokenizer, out, max_length=16))

    return attempt


# Models


def models(place: Path) -> Try:
    """Damaged models, and other values in their ``config.json`` and ``tokenizer.json``."""
    folder = place / "weights"
    shutil.copytree(place / "suite" / "models" / "12.8k" / "step16", folder)
    (folder / "sums.json").unlink()  # as a model from elsewhere, which has no check sums of ours

    def attempt(chance: random.Random, say: Callable[[str], None]) -> str:
        name = chance.choice(["", "config.json", "config.json", "tokenizer.json"])
        with damaged(folder, chance) if not name else changed(folder / name, chance) as what:
            say(str(what))
            return _outcome(lambda: jq.load_model(folder).tokenizer)

    return attempt


@contextmanager
def changed(path: Path, chance: random.Random) -> Iterator[str]:
    """A JSON file with another value somewhere in it; as it was when the context ends."""
    before = path.read_bytes()
    content = inside = json.loads(before)
    place = []
    while True:
        key = chance.choice(list(inside) if isinstance(inside, dict) else list(range(len(inside))))
        place.append(key)
        if not (isinstance(inside[key], dict | list) and inside[key] and chance.random() < 0.7):
            break
        inside = inside[key]
    inside[key] = chance.choice(HOSTILE)
    path.write_text(json.dumps(content))
    try:
        yield f"{path.name}: {place} = {_short(inside[key])}"
    finally:
        path.write_bytes(before)


# Folders of ours


def folders(command: str, *, sums: bool = True) -> Callable[[Path], Try]:
    """Damaged files of a finished folder, with its check sums or without.

    Without, as jquanta 0.1 left them, what was altered cannot be told from what was written. What
    is missing can.
    """

    def prepared(place: Path) -> Try:
        read, folder = ANSWERS[command], place / command
        right = read(folder)
        if not sums:
            folder = shutil.copytree(folder, place / f"{command}-bare")
            for path in folder.rglob("sums.json"):
                path.unlink()

        def attempt(chance: random.Random, say: Callable[[str], None]) -> str:
            with damaged(folder, chance) as damage:
                say(str(damage))
                try:
                    if read(folder) == right:
                        return "right"
                except BadInput:
                    return "refused"
                if sums and any(part.state == "damaged" for part in jq.check(folder)):
                    return "seen by check"
                if not sums and damage.what not in MISSING:
                    return "accepted"
                raise AssertionError("it tells something else, in silence")

        return attempt

    return prepared


# Text on a page


def pages(place: Path) -> Try:
    """Any text in a page: what the page's script reads is what was written, and no markup."""
    from jquanta.qdg.pages.render import embedded

    alphabet = [
        *(
            "</script>",
            "<!--",
            "<script",
            "]]>",
            "&lt;",
            "\u2028",
            "\u2029",
            "\0",
            '"',
            "'",
            "\\",
            "`",
        ),
        *("\x7f", "\u202e", "\ufeff", "\U0001f389", "{{", "{%", "${", "\r", "\n", "é", "日", "x"),
    ]

    def attempt(chance: random.Random, say: Callable[[str], None]) -> str:
        text = "".join(chance.choices(alphabet, k=chance.randrange(1, 40)))
        text += "".join(chr(chance.randrange(0xD800)) for _ in range(5))
        say(_short(text))
        written = embedded(({"words": [text], text: 1}, b"12345678"))
        if unpacked(written) != ({"words": [text], text: 1}, b"12345678"):
            raise AssertionError("the page's script reads another text")
        if not written.isascii() or re.search(r"[<>&]", written):
            raise AssertionError("a browser may take it for markup")
        return "right"

    return attempt


KINDS: Mapping[str, tuple[Callable[[Path], Try], str | None]] = {
    "configurations": (configurations, None),
    "flags": (flags, None),
    "page text": (pages, None),
    "texts": (sources, "suite"),
    "models": (models, "suite"),
    **{command: (folders(command), command) for command in places.COMMANDS},
    **{
        f"{command} without sums": (folders(command, sums=False), command)
        for command in places.COMMANDS
    },
}
"""What is tried, and the folder that it needs."""


def cases(kind: str, place: Path, count: int, first: int = 0) -> Iterator[Case]:
    """Cases number ``first`` to ``first + count - 1`` of a kind; a number is a seed.

    Args:
        kind: of ``KINDS``.
        place: where the folders are that the kind needs; files are written there, too.
        count: how many.
        first: number of the first.
    """
    attempt = KINDS[kind][0](place)
    for number in range(first, first + count):
        chance = random.Random(f"{kind} {number}")
        said: list[str] = []
        outcome, fault = "fault", ""
        try:
            with _patience(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                outcome = attempt(chance, said.append)
        except Exception as error:
            fault = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:150]}"
        yield Case(kind, number, said[0], outcome, fault)


def make(place: Path, kinds: Sequence[str]) -> None:
    """Make the folders that the cases of these kinds need, in the working directory ``place``."""
    from jquanta.__main__ import main

    places.prepare(place)
    for command in places.with_needs({need for kind in kinds if (need := KINDS[kind][1])}):
        if code := main([*places.COMMANDS[command], "--out", command]):
            raise RuntimeError(f"{command} fails by itself, with exit code {code}")


def _short(value: object) -> str:
    """A value in at most 200 characters, whatever is in it."""
    return ascii(value if not isinstance(value, int) or abs(value) < 10**99 else "10**99 or more")[
        :200
    ]


def _outcome(read: Callable[[], object]) -> str:
    try:
        read()
    except BadInput as error:
        if "\n" in str(error).strip():
            raise AssertionError("a refusal of several lines") from error
        return "refused"
    except SystemExit as end:
        if end.code:
            raise AssertionError(f"it exits with {end.code}") from end
    return "accepted"


@contextmanager
def _patience() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Hanging(f"not done after {PATIENCE} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def table(found: Sequence[Case]) -> str:
    """Counts by kind and outcome, as a table in Markdown."""
    counts = Counter((case.kind, case.outcome) for case in found)
    kinds = list(dict.fromkeys(case.kind for case in found))
    outcomes = ("right", "accepted", "refused", "seen by check", "fault")
    rows = [
        f"| {kind} | " + " | ".join(str(counts[kind, o]) for o in outcomes) + " |" for kind in kinds
    ]
    head = f"| what was damaged | {' | '.join(outcomes)} |"
    return "\n".join([head, "| --- " * (len(outcomes) + 1) + "|", *rows])


def main() -> int:
    """Print the faults and the table; the exit code is 1 if there was a fault."""
    import os

    parser = argparse.ArgumentParser(prog="python -m tests.trust.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="of each kind (default: 1000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first (default: 0)")
    parser.add_argument("--only", nargs="*", default=list(KINDS), help="kinds")
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        os.chdir(place)
        make(place, options.only)
        for kind in options.only:
            for case in cases(kind, place, options.cases, options.first):
                found.append(case)
                if case.fault:
                    print(f"{case.kind} {case.number}: {case.what}: {case.fault}", flush=True)
    print(table(found))
    return int(any(case.fault for case in found))


if __name__ == "__main__":
    sys.exit(main())
