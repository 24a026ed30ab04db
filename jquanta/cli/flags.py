"""A frozen dataclass as a command's flags: its fields are the single source of their names, types,
defaults and help texts, and its docstring is the text of ``--help``.

A field without a default has to be given. A field whose type is itself a dataclass gives a flag for
each field of that, such as ``--monogenic.above``; ``configured`` gives one for each field of a
configuration, such as ``--train.lr``. The words are sorted by argparse.
"""

import argparse
import dataclasses
import inspect
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar, get_args, get_origin

from jquanta.errors import BadInput
from jquanta.run import settings

Options = TypeVar("Options")

EXITS = "Exit codes: 0 done; 2 bad input, nothing written; 1 failed on the way; 130 interrupted."

METAVARS: Mapping[Any, str] = {
    int: "INT",
    float: "NUMBER",
    bool: "true|false",
    str: "TEXT",
    Path: "PATH",
}
"""What ``--help`` shows in place of a value, by type."""


def argument(help: str, metavar: str, **default: Any) -> Any:
    """A word that stands by itself. It may be left out if there is a ``default``."""
    return dataclasses.field(**default, metadata={"help": help, "metavar": metavar, "word": True})


def needed(help: str, metavar: str) -> Any:
    """A flag that has to be given."""
    return dataclasses.field(metadata={"help": help, "metavar": metavar})


def configured(schema: settings.Schema, metavars: Mapping[Any, str] = METAVARS) -> Any:
    """A flag for each field of a configuration. The option is a mapping from the names of those
    given to their texts, which ``settings.load`` takes."""
    metadata = {"tables": schema.tables, "metavars": metavars}
    return dataclasses.field(default_factory=dict, metadata=metadata)


class Flag(NamedTuple):
    """A flag, or a word that stands by itself.

    Attributes:
        name: such as ``out`` or ``train.lr``.
        own: the name in what it sets.
        field: with its type, default and help.
        group: the option that it is a part of; None where it is one by itself.
        shown: what ``--help`` shows in place of a value; empty for a switch, which takes none.
        default: in words.
    """

    name: str
    own: str
    field: "dataclasses.Field[Any]"
    group: "dataclasses.Field[Any] | None"
    shown: str
    default: str

    @property
    def word(self) -> bool:
        """Whether it stands by itself, without dashes."""
        return "word" in self.field.metadata

    @property
    def count(self) -> Any:
        """How many values it takes, as argparse has it: a number, ``+``, or None for just one."""
        kind = _without_none(self.field.type)
        if get_origin(kind) is not tuple:
            return None
        return "+" if ... in get_args(kind) else len(get_args(kind))

    def value(self, given: Any) -> Any:
        """The words that were given, as the field's type. Raises ``BadInput``."""
        if not self.shown:
            return True
        if self.group is not None and "tables" in self.group.metadata:
            return given
        kind = _without_none(self.field.type)
        if isinstance(given, list):
            return tuple(map(self._one, given, (get_args(kind)[0],) * len(given)))
        return self._one(given, kind)

    def _one(self, text: str, kind: Any) -> Any:
        return Path(text) if kind is Path else settings.as_kind(f"--{self.name}", kind, text)


def flags_of(options: type) -> list[Flag]:
    """Every flag of a dataclass."""
    return [flag for field in dataclasses.fields(options) for flag in _flags_of(field)]


def _flags_of(field: "dataclasses.Field[Any]") -> Iterator[Flag]:
    if "tables" in field.metadata:
        for name, one in settings.fields_of(field.metadata["tables"]).items():
            default = f"(unless configured: {_in_words(one.default)})"
            yield Flag(name, name, one, field, field.metadata["metavars"][one.type], default)
    elif dataclasses.is_dataclass(field.type):
        for one in dataclasses.fields(field.type):
            name = f"{field.name}.{one.name}"
            yield Flag(name, one.name, one, field, _shown(one), f"(default: {one.default})")
    else:
        # None, False and the like stand for what the help text says in words.
        value = field.default
        if isinstance(value, tuple):
            value = " ".join(map(str, value))
        # By identity: 0 is equal to False, and a default to be told.
        silent = any(value is one for one in (None, False, dataclasses.MISSING)) or value == ""
        default = "" if silent else f"(default: {value})"
        yield Flag(field.name, field.name, field, None, _shown(field), default)


def _in_words(value: Any) -> str:
    """A default as a user would type it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value == "" else str(value)


def _shown(field: "dataclasses.Field[Any]") -> str:
    if field.type is bool:
        return ""
    kind = _without_none(field.type)
    one = get_args(kind)[0] if get_origin(kind) is tuple else kind
    return field.metadata.get("metavar") or METAVARS[one]


def _without_none(kind: Any) -> Any:
    """X of ``X | None``."""
    return get_args(kind)[0] if get_origin(kind) is types.UnionType else kind


class UnknownFlag(BadInput):
    """A flag that a command does not have, nor one of a similar name."""

    def __init__(self, name: str):
        super().__init__(f"unknown flag --{name}")
        self.name = name


def parse(options: type[Options], argv: Sequence[str], prog: str) -> Options:
    """``argv`` as an instance of the dataclass ``options``.

    Args:
        options: with a docstring whose first line says what the command does.
        argv: the words after the command.
        prog: the command, such as ``jquanta sweep``.

    Raises:
        BadInput: for what cannot be understood, or is missing, naming it and the remedy.
        SystemExit: after printing ``--help``.
    """
    known = {flag.name: flag for flag in flags_of(options)}
    parser = _parser(options, prog)
    if {"--help", "-h"} & set(argv):
        print(parser.format_help(), end="", flush=True)
        raise SystemExit(0)
    # Words without a flag may stand anywhere between the flags: hence "intermixed".
    found = vars(parser.parse_intermixed_args(list(_joined(argv, known))))
    values: dict[str, Any] = {}
    for name, flag in known.items():
        if name not in found or found[name] == []:
            continue
        place = values if flag.group is None else values.setdefault(flag.group.name, {})
        place[flag.own] = flag.value(found[name])
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        if _required(field) and field.name not in values:
            shown = field.metadata["metavar"] if "word" in field.metadata else f"--{field.name}"
            raise BadInput(f"{shown} is missing: give {field.metadata['help']}")
        if dataclasses.is_dataclass(field.type) and field.name in values:
            kind: Any = field.type
            values[field.name] = kind(**vars(field.default) | values[field.name])
    return options(**values)


def _joined(argv: Sequence[str], known: Mapping[str, Flag]) -> Iterator[str]:
    """The words with each flag's only value joined to it, as in ``--task.alpha=-1``: argparse would
    take a value that begins with a dash for a flag. Raises ``BadInput`` for unknown flags."""
    words = list(argv)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            yield word
            continue
        written, equals, value = word[2:].partition("=")
        name = written.replace("-", "_")
        if name == "debug":
            continue  # ``door.enter`` looks for it
        if name not in known or known[name].word:
            raise _unknown(written, name, known)
        flag = known[name]
        if flag.shown and flag.count is None and not equals and words and words[0][:2] != "--":
            equals, value = "=", words.pop(0)
        yield f"--{name}{equals}{value}"


def _unknown(written: str, name: str, known: Mapping[str, Flag]) -> BadInput:
    for flag in known.values():
        if flag.field.metadata.get("was") == name:
            return BadInput(f"--{written} is called --{flag.name} now")
    meant = settings.nearest(name, [flag.name for flag in known.values() if not flag.word])
    if meant is None:
        return UnknownFlag(written)
    return BadInput(f"unknown flag --{written}: did you mean --{meant}?")


def _required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


class _Parser(argparse.ArgumentParser):
    """Argparse, whose errors are ours."""

    def error(self, message: str) -> NoReturn:
        unread = message.removeprefix("unrecognized arguments: ")
        if unread != message:
            message = f"{unread}: no flag stands before it"
        raise BadInput(f"{message.removeprefix('argument ')}; see {self.prog} --help")


def _parser(options: type, prog: str) -> argparse.ArgumentParser:
    """What sorts the words by flag, as texts, and writes the help."""
    fields = dataclasses.fields(options)
    words = [field for field in fields if "word" in field.metadata]
    usage = [prog]
    # Of a word that may be given several times the usage says so.
    shown = {
        f: f.metadata["metavar"] + "…" * any(flag.count for flag in _flags_of(f)) for f in words
    }
    usage += [shown[field] for field in words if _required(field)]
    usage += [f"[{shown[field]}]" for field in words if not _required(field)]
    usage += [
        f"--{field.name} {field.metadata['metavar']}"
        for field in fields
        if _required(field) and field not in words
    ]
    parser = _Parser(
        prog=prog,
        usage=" ".join([*usage, "[FLAGS]"]),
        description=inspect.cleandoc(options.__doc__ or ""),
        epilog=EXITS,
        add_help=False,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=_formatter,
    )
    groups = {"arguments": parser.add_argument_group("arguments")} if words else {}
    groups["flags"] = parser.add_argument_group("flags")
    for field in fields:
        for flag in _flags_of(field):
            title, about = _group_of(flag)
            if title not in groups:
                groups[title] = parser.add_argument_group(title, about)
            takes: dict[str, Any] = {"metavar": flag.shown, "nargs": flag.count}
            if not flag.shown:
                takes = {"action": "store_true"}
            elif flag.word:
                # Whether it is missing is checked by ``parse``.
                takes["nargs"] = "*" if flag.count else "?"
            elif flag.count == "+":
                takes["action"] = "extend"
            text = f"{flag.field.metadata['help']} {flag.default}".strip()
            name = flag.name if flag.word else f"--{flag.name}"
            groups[title].add_argument(name, help=text.replace("%", "%%"), **takes)
    groups["flags"].add_argument("--debug", action="store_true", help="show an error's traceback")
    groups["flags"].add_argument("--help", action="store_true", help="show this text")
    return parser


def _group_of(flag: Flag) -> tuple[str, str | None]:
    """Title and text of the part of the help that lists a flag."""
    if flag.group is None:
        return ("arguments" if flag.word else "flags"), None
    section = flag.name.split(".")[0]
    tables = flag.group.metadata.get("tables", {section: flag.group.type})
    return f"[{section}]", (tables[section].__doc__ or "").splitlines()[0].replace("``", "")


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Descriptions as they are written, and texts of flags from column 30 on."""
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=30)
