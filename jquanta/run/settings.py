"""Configurations: TOML and flags in, checked values out.

The fields of a configuration are those of frozen dataclasses, one for each TOML table, which are
the single source of every field's name, default, help text and check (``knob``, ``require``). A
``Schema`` says which tables there are, and ``load`` reads any of them.
"""

import dataclasses
import difflib
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple

from jquanta.errors import BadInput
from jquanta.run import kinds, parse
from jquanta.run.files import as_path
from jquanta.run.shown import shown

Fields = Mapping[str, "dataclasses.Field[Any]"]
"""By dotted name, such as ``train.lr``, or by plain name at the top."""

Source = Path | str | Mapping[str, Any] | None
"""A configuration: the path of a TOML file, its content, or None for the default."""

CONFIGS = Path(__file__).parents[1] / "configs"
"""The configurations that come with the package: sweeps, and a folder for each other command."""

COMMANDS = {"configs/": "sweep", "configs/lm/": "pretrain", "configs/qdg/": "qdg"}
"""Which command reads the configurations of a folder."""

MAX_NAME = 100
"""Characters: file systems allow 255 bytes."""

MAX_SEED = 2**32 - 1
"""The largest seed: streams of random numbers take 32 bits."""

MAX_WHOLE = 2**63 - 1
"""The largest whole number of a configuration, as in TOML: 64 bits."""

ALIKE = 0.7
"""Share of equal letters from which on one name may be a misspelling of another."""

MINI = "mini"
"""The table that makes an experiment small."""


def knob(default: Any, help: str, metavar: str = "", **metadata: Any) -> Any:
    """A field with its default and the text that ``--help`` shows.

    Args:
        default: the value where none is given.
        help: what the field means.
        metavar: what ``--help`` shows in place of a value; by default a word for its type.
        metadata: of the field; ``list=True`` for a text that holds a list, such as ``"0, 1, 2"``,
            which TOML may write as one.
    """
    return field(default=default, metadata={"help": help, "metavar": metavar, **metadata})


def same_knob(table: type, name: str) -> Any:
    """A field with the default and the text of another one, which means the same."""
    found = {one.name: one for one in dataclasses.fields(table)}[name]
    return field(default=found.default, metadata=found.metadata)


def require(ok: bool, name: str, value: object, remedy: str) -> None:
    """Raise ``BadInput`` naming the field, its value and the remedy unless ``ok``."""
    if not ok:
        raise BadInput(f"{name} = {shown(value)}: {remedy}")


class Range(NamedTuple):
    """What a number may be.

    Attributes:
        whole: whether it must be a whole number.
        low, high: bounds, both included. What is more is a mistake, and would take hours or the
            memory before anything else could refuse it.
    """

    whole: bool
    low: float
    high: float

    def require(self, name: str, value: Any) -> None:
        """Raise ``BadInput``, which calls it ``name``, unless ``value`` is such a number."""
        kind = Integral if self.whole else Real
        what = "a whole number" if self.whole else "a number"
        right = isinstance(value, kind) and not isinstance(value, bool)
        if not (right and self.low <= value <= self.high):  # NaN is in no range
            raise BadInput(
                f"{name} = {shown(value if right else repr(value))}: give {what} from "
                f"{self.low:,} to {format(self.high, ',' if self.whole else 'g')}"
            )


def require_count(name: str, value: Any, most: int, *, least: int = 1) -> None:
    """Raise ``BadInput`` unless ``value`` is a whole number from ``least`` to ``most``."""
    Range(True, least, most).require(name, value)


def require_one_of(choices: Iterable[str], name: str, value: str) -> None:
    """Raise ``BadInput`` unless the value is one of the choices."""
    require(value in choices, name, repr(value), f"give one of {', '.join(choices)}")


@dataclass(frozen=True)
class Schema:
    """What a kind of configuration may hold.

    Attributes:
        name: of a configuration that gives itself none.
        default: the TOML file that is read where no source is given.
        folder: where people find others.
        tables: the dataclass of each table.
        blocks: the name of a list of tables, such as ``sweep`` for ``[[sweep]]``; empty for none.
        block_fields: the fields of each block; those of ``tables`` by default.
    """

    name: str
    default: Path
    folder: str
    tables: Mapping[str, type]
    blocks: str = ""
    block_fields: Fields = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, "dataclasses.Field[Any]"]:
        """Every field of the tables by its dotted name."""
        return fields_of(self.tables)

    def build(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Each table's dataclass, from values by dotted names. Raises ``BadInput``."""
        known = self.fields
        given: dict[str, dict[str, Any]] = {table: {} for table in self.tables}
        for name, value in values.items():
            table, _, own = name.partition(".")
            given[table][own] = typed(name, known[name], value)
        return {table: cls(**given[table]) for table, cls in self.tables.items()}


class Document(NamedTuple):
    """What a configuration says.

    Attributes:
        name: of the experiment.
        values: what it gives, by dotted names, as TOML values or as text of flags.
        blocks: the same of each of its blocks.
    """

    name: str
    values: dict[str, Any]
    blocks: list[dict[str, Any]]


def load(
    schema: Schema,
    source: Source = None,
    *,
    flags: Mapping[str, Any] | None = None,
    mini: bool = False,
) -> Document:
    """Read a configuration and check its names.

    Args:
        schema: what it may hold.
        source: path of a TOML file, the name of one that comes with the package, such as
            ``fig2-width``, its content as a mapping, or None for the schema's default.
        flags: dotted field names to values, as text or as they are; each replaces the table's
            value. (What they do to blocks is the caller's affair.)
        mini: apply the configuration's ``[mini]`` table; its blocks take the place of the others.

    Raises:
        BadInput: naming the file, key or field, and the remedy.
    """
    if isinstance(source, Mapping):
        content, where = dict(source), "the configuration"
    else:
        path = schema.default if source is None else path_of(schema, source)
        content = read_toml(path, schema.folder)
        where = "the configuration" if source is None else str(source)
        own, kind = f"{schema.name} settings", kinds.kind_of(path)
        if kind and kind.name.endswith(" settings") and not kinds.named(own).mark(path):
            raise kinds.wrong(path, own, f"give one of {schema.folder}")
    if "smoke" in content:
        raise BadInput(f"smoke in {where}: [smoke] is called [{MINI}] now; rename it")
    small = content.pop(MINI, None if mini else {})
    if small is None:
        raise BadInput(f"--mini: the configuration has no [{MINI}] table; run it without --mini")
    if not isinstance(small, Mapping):
        raise BadInput(f"{MINI} = {small!r}: write its fields under [{MINI}]")
    found = _split(schema, content, where)
    small = _split(schema, {"name": found.name, **small}, f"[{MINI}]")  # checked in any case
    if mini:
        name = f"{found.name[: MAX_NAME - len(MINI) - 1]}-{MINI}"
        found = Document(name, found.values | small.values, small.blocks or found.blocks)
    known = schema.fields
    for name in (flags or {}).keys() - known.keys():
        raise unknown(name, "a flag", known)
    return found._replace(values=found.values | dict(flags or {}))


def shipped(folder: str) -> dict[str, Path]:
    """The configurations of a folder, such as ``configs/qdg/``, that come with the package."""
    own = CONFIGS.parent / folder
    return {path.stem: path for path in sorted(own.glob("*.toml"))}


def path_of(schema: Schema, source: Path | str) -> Path:
    """The file of a configuration that is given by its path or by its name.

    A file goes before a name. Raises ``BadInput`` for a name that is not there.
    """
    path, own = as_path(source), shipped(schema.folder)
    if path.suffix == ".toml" and path.stem in own and not path.exists():
        raise BadInput(f"{source}: no such file; give the name alone: {path.stem}")
    if path.is_file() or path.suffix or path.is_absolute() or ".." in path.parts:
        return path
    if len(path.parts) > 1:  # such as lm/stdlib, as jquanta configs lists it
        listed = CONFIGS / f"{path}.toml"
        return listed if listed.is_file() else path
    if path.name in own:
        return own[path.name]
    for folder, command in COMMANDS.items():
        if path.name in shipped(folder):
            raise BadInput(
                f"{source}: is a configuration of another command; type jquanta {command} {source}"
            )
    meant = nearest(path.name, own)
    remedy = f"did you mean {meant}?" if meant else "give the path of a TOML file, or a name:"
    raise BadInput(f"{source}: no such configuration; {remedy} jquanta configs lists them")


def _split(schema: Schema, content: dict[str, Any], where: str) -> Document:
    """The name, the fields and the blocks of a document without its ``[mini]``."""
    content, key = dict(content), schema.blocks
    name = take_name(content, schema.name)
    blocks = content.pop(key, []) if key else []
    if not isinstance(blocks, list) or not all(isinstance(block, Mapping) for block in blocks):
        raise BadInput(f"{key} in {where}: write each {key} under its own [[{key}]]")
    own = schema.block_fields
    tables, known = ((), own) if own else (schema.tables, schema.fields)
    return Document(
        name,
        flatten(content, schema.tables, schema.fields, where),
        [flatten(block, tables, known, f"[[{key}]]") for block in blocks],
    )


def fields_of(tables: Mapping[str, type]) -> dict[str, "dataclasses.Field[Any]"]:
    """The fields of all tables by their dotted names, in order."""
    return {
        f"{table}.{one.name}": one
        for table, cls in tables.items()
        for one in dataclasses.fields(cls)
    }


def read_toml(path: Path, folder: str) -> dict[str, Any]:
    """The content of a TOML file. Raises ``BadInput``, which points to ``folder`` for others."""
    try:
        return parse.read_toml(path)
    except FileNotFoundError:
        raise BadInput(
            f"{path}: no such configuration; give the path of a TOML file, or the name of one in "
            f"{folder}: jquanta configs lists them"
        ) from None


def take_name(content: dict[str, Any], default: str) -> str:
    """Take ``name`` out of a document: it also names the default run folder."""
    name = content.pop("name", default)
    fits = isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable()
    if not fits or "/" in name or name.startswith("."):
        raise BadInput(f"name = {str(name)[:40]!r}: give a word that can name a folder")
    return str(name)


def flatten(
    content: Mapping[str, Any], tables: Iterable[str], known: Fields, where: str
) -> dict[str, Any]:
    """The entries of a document by the dotted names of their fields. Raises ``BadInput``."""
    values: dict[str, Any] = {}
    for key, value in content.items():
        if key in tables and not isinstance(value, Mapping):
            raise BadInput(
                f"{key} = {shown(repr(value))} in {where}: write its fields under [{key}]"
            )
        table = value if isinstance(value, Mapping) else {None: value}
        for inner, entry in table.items():
            name = key if inner is None else f"{key}.{inner}"
            if name not in known:
                raise unknown(name, where, known)
            values[name] = entry
    return values


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of a document, from entries by dotted names: ``flatten`` undone."""
    document: dict[str, Any] = {}
    for name, value in values.items():
        table, _, own = name.partition(".")
        document.setdefault(table, {})[own] = value
    return document


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant: the one spelt most alike, as a whole or in its last part.
    None where none is alike."""

    def alike(one: str) -> float:
        pairs = (name, one), (name.split(".")[-1], one.split(".")[-1])
        return max(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)

    best = max(sorted(names), key=alike, default="")
    return best if alike(best) >= ALIKE else None


def unknown(name: str, where: str, known: Collection[str]) -> BadInput:
    """The error for a field that does not exist."""
    meant = nearest(name, known)
    remedy = f"did you mean {meant}?" if meant else f"fields are {', '.join(known)}"
    return BadInput(f"unknown key {name!r} in {where}: {remedy}")


def scalar(text: str) -> int | float | bool | str:
    """A text as the value that it looks like: true, false, a number, or itself."""
    if text in ("true", "false"):
        return text == "true"
    for number in (int, float):
        try:
            return number(text.replace("_", ""))
        except ValueError:
            pass
    return text


_WANTED: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a word or a text in quotes",
}


def typed(name: str, known: "dataclasses.Field[Any]", value: Any) -> Any:
    """``value``, from TOML or a flag, as the field's type, without losing anything.

    A text that holds a list, such as ``"0, 1, 2"``, may be written as a TOML list. Raises
    ``BadInput``.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if known.metadata.get("list") and (number or isinstance(value, list)):
        value = ", ".join(map(str, value if isinstance(value, list) else [value]))
    return as_kind(name, known.type, value)


def as_kind(name: str, kind: Any, value: Any) -> Any:
    """``value`` as an int, float, bool or str, without losing anything. Raises ``BadInput``, which
    calls it ``name``."""
    given = value
    if isinstance(value, str) and kind is not str:
        value = scalar(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    said = isinstance(given, str) and "inf" in given.lower()
    infinite = (
        isinstance(value, float) and math.isinf(value) and isinstance(given, str) and not said
    )
    if number and (infinite or (isinstance(value, int) and abs(value) > MAX_WHOLE)):
        raise BadInput(f"{name} = {shown(given)}: too large; give at most {MAX_WHOLE:,}")
    if kind is float and number:
        return float(value)
    if kind is int and number and math.isfinite(value) and value == int(value):
        return int(value)
    if kind is str and isinstance(value, str) and not parse.whole_text(value):
        raise BadInput(f"{name} = {shown(ascii(value))}: not UTF-8; write it in UTF-8")
    if kind in (bool, str) and isinstance(value, kind):
        return value
    raise BadInput(f"{name} = {shown(repr(value))}: wrong type; give {_WANTED[kind]}")


def numbers(name: str, text: str) -> tuple[int, ...]:
    """The whole numbers of a text such as ``"0, 1, 2"``; none of an empty one."""
    try:
        return tuple(int(part) for part in text.split(",")) if text.strip() else ()
    except ValueError:
        raise BadInput(
            f"{name} = {shown(repr(text))}: give whole numbers such as '0, 1, 2'"
        ) from None


def parse_bytes(text: str, name: str = "--memory") -> int:
    """A number of bytes such as ``4 GB`` or ``500MB``. Raises ``BadInput``, which calls it
    ``name``."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(k|M|G|T)?i?B?\s*", text)
    size = float(found[1]) * 10.0 ** (3 * " kMGT".index(found[2] or " ")) if found else 0
    if not 1 <= size <= MAX_WHOLE:
        raise BadInput(f"{name} {shown(repr(text))}: give a size such as '4 GB' or '500 MB'")
    return int(size)


def as_bytes(memory: int | str) -> int:
    """Bytes, given as a number or as text such as ``8 GB``. Raises ``BadInput``."""
    if isinstance(memory, str):
        return parse_bytes(memory, "memory =")
    if not 1 <= memory <= MAX_WHOLE:
        raise BadInput(f"memory = {shown(memory)}: give bytes, or a size such as '8 GB'")
    return memory
