"""TOML tables and flags as frozen dataclasses, which are the single source of every field's name,
default, help text and check (``parity.config.knob``, ``require``)."""

import dataclasses
import difflib
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from jquanta.errors import BadInput

Fields = Mapping[str, "dataclasses.Field[Any]"]
"""By dotted name, such as ``train.lr``, or by plain name at the top."""

MAX_NAME = 100
"""Characters: file systems allow 255 bytes."""

MAX_SEED = 2**32 - 1
"""The largest seed: streams of random numbers take 32 bits."""

_METAVARS: dict[Any, str] = {int: "INT", float: "NUMBER", bool: "true|false", str: "TEXT"}


def knob(default: Any, help: str) -> Any:
    """A configuration field with its default and the text that ``--help`` shows."""
    return dataclasses.field(default=default, metadata={"help": help})


def require(ok: bool, name: str, value: object, remedy: str) -> None:
    """Raise ``BadInput`` naming the field, its value and the remedy unless ``ok``."""
    if not ok:
        raise BadInput(f"{name} = {value}: {remedy}")


def listed(default: str, help: str) -> Any:
    """As ``knob``: a text that holds a list, such as ``"0, 1, 2"``, which TOML may write as one."""
    return dataclasses.field(default=default, metadata={"help": help, "list": True})


def fields_of(sections: Mapping[str, type], top: type | None = None) -> dict[str, Any]:
    """The fields of all sections by their dotted names, and those of ``top`` by plain ones."""
    plain = {} if top is None else {f.name: f for f in dataclasses.fields(top)}
    return plain | {
        f"{section}.{f.name}": f
        for section, cls in sections.items()
        for f in dataclasses.fields(cls)
    }


def flags_of(section: str, table: type, metavars: Mapping[Any, str] = _METAVARS) -> Any:
    """A dataclass with one optional text flag for each field of a table, for ``door.parse``.

    ``metavars`` say for each type what ``--help`` shows in place of a value.
    """
    import tyro

    fields = [
        (
            knob.name,
            Annotated[
                str | None,
                tyro.conf.arg(
                    help=knob.metadata["help"],
                    metavar=metavars[knob.type],
                    help_behavior_hint=f"(unless configured: {_shown(knob.default)})",
                ),
            ],
            dataclasses.field(default=None),
        )
        for knob in dataclasses.fields(table)
    ]
    flags = dataclasses.make_dataclass(section, fields, frozen=True)
    flags.__doc__ = table.__doc__
    return flags


def given_flags(options: Any, sections: Iterable[str]) -> dict[str, str]:
    """The flags that were given, by the dotted names of their fields."""
    return {
        f"{section}.{name}": value
        for section in sections
        for name, value in vars(getattr(options, section)).items()
        if value is not None
    }


def read_toml(path: Path, folder: str) -> dict[str, Any]:
    """The content of a TOML file. Raises ``BadInput``, which points to ``folder`` for others."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(
            f"{path}: no such configuration; give the path of a TOML file, such as one in {folder}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not valid TOML: {error}") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None


def require_kind(path: Path, tables: Iterable[str], command: str) -> None:
    """Raise ``BadInput`` unless a run folder's configuration is TOML, with these tables alone."""
    foreign = read_toml(path, "configs/").keys() - {"name", *tables}
    if foreign:
        raise BadInput(
            f"{path.parent}: holds another kind of run ({path.name} has [{min(foreign)}]); give a "
            f"folder of {command}"
        )


def take_name(content: dict[str, Any], default: str) -> str:
    """Take ``name`` out of a document: it also names the default run folder."""
    name = content.pop("name", default)
    fits = isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable()
    if not fits or "/" in name or name.startswith("."):
        raise BadInput(f"name = {str(name)[:40]!r}: give a word that can name a folder")
    return str(name)


def flatten(
    content: Mapping[str, Any], sections: Iterable[str], known: Fields, where: str
) -> dict[str, Any]:
    """The entries of a document by the dotted names of their fields. Raises ``BadInput``."""
    values: dict[str, Any] = {}
    for key, value in content.items():
        if key in sections and not isinstance(value, Mapping):
            raise BadInput(f"{key} = {value!r} in {where}: write its fields under [{key}]")
        table = value if isinstance(value, Mapping) else {None: value}
        for inner, entry in table.items():
            field = key if inner is None else f"{key}.{inner}"
            if field not in known:
                raise unknown(field, where, known)
            values[field] = entry
    return values


def build(section: str, table: type, values: Mapping[str, Any], known: Fields) -> Any:
    """A section's dataclass from what of ``values`` belongs to it. Raises ``BadInput``."""
    return table(
        **{
            name.split(".")[1]: typed(name, known[name], value)
            for name, value in values.items()
            if name.startswith(f"{section}.")
        }
    )


def unknown(field: str, where: str, known: Iterable[str]) -> BadInput:
    """What to say of a field that does not exist."""
    names = list(known)
    same = [name for name in names if name.split(".")[-1] == field.split(".")[-1]]
    close = same or difflib.get_close_matches(field, names, n=1)
    remedy = f"did you mean {close[0]}?" if close else f"fields are {', '.join(names)}"
    return BadInput(f"unknown key {field!r} in {where}: {remedy}")


def from_text(field: "dataclasses.Field[Any]", value: Any) -> Any:
    """A flag's text as the TOML value that it looks like."""
    if field.type is str or not isinstance(value, str):
        return value
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def typed(name: str, field: "dataclasses.Field[Any]", value: Any) -> Any:
    """``value`` as the field's type, without losing anything. Raises ``BadInput``.

    A text that holds a list, such as ``"0, 1, 2"``, may be written as a TOML list.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if field.type is str and isinstance(value, list) and field.metadata.get("list"):
        return ", ".join(map(str, value))
    if field.type is str and number and field.metadata.get("list"):
        return str(value)
    if field.type is str and isinstance(value, str):
        return value
    if field.type is bool and isinstance(value, bool):
        return value
    if field.type is float and number:
        return float(value)
    if field.type is int and number and math.isfinite(value) and value == int(value):
        return int(value)
    wanted: dict[Any, str] = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a text in quotes",
    }
    raise BadInput(f"{name} = {value!r}: wrong type; give {wanted[field.type]}")


def numbers(name: str, text: str) -> tuple[int, ...]:
    """The whole numbers of a text such as ``"0, 1, 2"``; none of an empty one."""
    try:
        return tuple(int(part) for part in text.split(",")) if text.strip() else ()
    except ValueError:
        raise BadInput(f"{name} = {text!r}: give whole numbers such as '0, 1, 2'") from None


def _shown(default: Any) -> str:
    return "none" if default == "" else str(default)


def parse_bytes(text: str, name: str = "--memory") -> int:
    """A number of bytes such as ``4 GB`` or ``500MB``. Raises ``BadInput``, which calls it
    ``name``."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(k|M|G|T)?i?B?\s*", text)
    if not found or float(found[1]) <= 0:
        raise BadInput(f"{name} {text!r}: give a size such as '4 GB' or '500 MB'")
    return int(float(found[1]) * 10 ** (3 * " kMGT".index(found[2] or " ")))


def as_bytes(memory: int | str) -> int:
    """Bytes, given as a number or as text such as ``8 GB``. Raises ``BadInput``."""
    if isinstance(memory, str):
        return parse_bytes(memory, "memory =")
    if memory < 1:
        raise BadInput(f"memory = {memory}: give bytes, or a size such as '8 GB'")
    return memory
