"""Hugging Face's names of settings and parameters, and ours, by the tables of the architectures."""

import re
from collections.abc import Mapping
from typing import Any

from jquanta.errors import BadInput
from jquanta.lm.models.config import ACTIVATIONS, GPTNeoXConfig, LMConfig
from jquanta.lm.models.gemma import GemmaConfig
from jquanta.lm.models.gpt2 import GPT2Config
from jquanta.lm.models.gpt_neo import GPTNeoConfig
from jquanta.lm.models.llama import LlamaConfig, MistralConfig
from jquanta.lm.models.network import shapes
from jquanta.lm.models.olmo2 import Olmo2Config
from jquanta.lm.models.qwen import Qwen2Config, Qwen3Config
from jquanta.lm.weights import gpt, llama
from jquanta.lm.weights.architecture import SCALED, Architecture
from jquanta.run.shown import shown

ARCHITECTURES: Mapping[type[LMConfig], Architecture] = {
    GPTNeoXConfig: gpt.NEOX,
    GPTNeoConfig: gpt.NEO,
    GPT2Config: gpt.GPT2,
    LlamaConfig: llama.LLAMA,
    MistralConfig: llama.MISTRAL,
    Qwen2Config: llama.QWEN2,
    Qwen3Config: llama.QWEN3,
    Olmo2Config: llama.OLMO2,
    GemmaConfig: llama.GEMMA,
}
"""The table of each architecture, by the class of its configuration."""

_KINDS = {table.kind: (config, table) for config, table in ARCHITECTURES.items()}
_NEEDED = ("layers", "width", "heads", "vocab", "context")
"""Attributes of our configurations that ``config.json`` must have; the others have defaults."""

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "gain": "weight",
    "embedding": "weight",
    "bias": "bias",
}
"""Flax's names of a module's parameters, and torch's."""

# transformers' defaults are ids of the families' own vocabularies. The embedding of the token that
# pads would take no part in training.
_NO_TOKENS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def architecture(config: LMConfig) -> Architecture:
    """The table for the architecture of a model."""
    return ARCHITECTURES[type(config)]


def source_keys(config: LMConfig) -> dict[str, str]:
    """Hugging Face's name for each of our parameters."""
    modules = architecture(config).modules

    def key(name: str) -> str:
        # "layers.3.mlp.up.kernel": module "layers.3.mlp.up", leaf "kernel", layer 3.
        module, leaf = name.rsplit(".", 1)
        layer = re.search(r"\d+", module)
        number = layer[0] if layer else ""
        theirs = modules[module.replace(f".{number}.", ".{}.") if layer else module]
        return f"{theirs.format(number)}.{_LEAVES[leaf]}"

    return {name: key(name) for name in shapes(config)}


def transposed(config: LMConfig, name: str) -> bool:
    """Whether Hugging Face stores the transpose of our parameter ``name``."""
    return architecture(config).transposed and name.endswith(".kernel")


def from_json(stored: Mapping[str, Any], file: str) -> LMConfig:
    """The configuration of the network that a ``config.json`` describes.

    Args:
        stored: the content of the file.
        file: its name, for error messages.

    Raises:
        BadInput: with a list of the fields that are missing, or whose values are not supported.
    """
    kind = stored.get("model_type")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise BadInput(f"{file}: model_type {kind!r}; supported: {', '.join(_KINDS)}")
    make, table = _KINDS[kind]
    stored = {
        **stored,
        **{name: new for name, (old, new) in table.legacy.items() if stored.get(name) == old},
    }
    said = _said(stored, table, file)
    missing = [table.fields[ours][0] for ours in _NEEDED if not said[ours]]
    missing += [name for name in table.needed if name not in stored]
    if missing:
        raise BadInput(f"{file}: has no {', '.join(sorted(missing))}")
    wrong = [
        f"{name} = {shown(repr(found))} (only {wanted!r})"
        for name, wanted in table.fixed.items()
        if (found := _look_up(stored, name)) is not _ABSENT
        and (type(found) is not type(wanted) or found != wanted)
    ]
    if wrong:
        raise BadInput(f"{file}: not supported: {'; '.join(wrong)}")
    try:
        for ours, by_name in said.items():
            for name, value in by_name.items():
                _require(make, ours, name, value)
        plain = {ours: next(iter(by_name.values())) for ours, by_name in said.items() if by_name}
        for ours in plain.keys() & {ours for ours, own in make.RANGES.items() if not own.whole}:
            plain[ours] = float(plain[ours])
        config = make(**plain, **table.read(stored))
    except (TypeError, KeyError, ValueError) as error:
        raise BadInput(f"{file}: {_in_their_words(str(error), table)}") from None
    _require_agreement(config, said, stored, file)
    return config


def _in_their_words(message: str, table: Architecture) -> str:
    """A complaint about an attribute of our configuration, by the name that the file has for it."""
    ours, equals, rest = message.partition(" = ")
    return f"{_their_name(ours, table) or ours}{equals}{rest}"


def _their_name(ours: str, table: Architecture) -> str | None:
    """The field that says an attribute of our configuration."""
    return table.fields[ours][0] if ours in table.fields else table.makes.get(ours)


def _require(make: type[LMConfig], ours: str, name: str, value: Any) -> None:
    """Raise ``BadInput``, which calls it ``name``, unless a value may be an attribute's."""
    if ours in make.RANGES:
        make.RANGES[ours].require(name, value)
    elif ours == "activation":
        if not isinstance(value, str) or value not in ACTIVATIONS:
            choices = ", ".join(ACTIVATIONS)
            raise BadInput(f"{name} = {shown(repr(value))}: give one of {choices}")
    elif not isinstance(value, bool):
        raise BadInput(f"{name} = {shown(repr(value))}: give true or false")


def _said(stored: Mapping[str, Any], table: Architecture, file: str) -> dict[str, dict[str, Any]]:
    """For each attribute of our configuration, the values of the fields that say it, by name.

    Raises:
        BadInput: if what should be a table is none.
    """
    for name in SCALED:
        if not isinstance(stored.get(name) or {}, Mapping):
            raise BadInput(f"{file}: {name} = {shown(repr(stored[name]))}: give a table, or null")
    found = {}
    for ours, (first, *others) in table.fields.items():
        values = {name: _look_up(stored, name) for name in (first, *others)}
        found[ours] = {
            name: value
            for name, value in values.items()
            if value is not _ABSENT
            and (value is not None or (name == first and ours not in table.nullable))
        }
    return found


def _require_agreement(
    config: LMConfig, said: Mapping[str, Mapping[str, Any]], stored: Mapping[str, Any], file: str
) -> None:
    """Raise ``BadInput`` if fields of a ``config.json`` that say the same differ: there is no
    telling which one the weights were trained with."""
    table = architecture(config)
    fields = [(ours, name, value) for ours, found in said.items() for name, value in found.items()]
    fields += [(ours, name, _look_up(stored, name)) for name, ours in table.agree.items()]
    wrong = []
    for ours, name, value in fields:
        wanted = getattr(config, ours)
        wanted = list(wanted) if isinstance(wanted, tuple) else wanted
        if value is not _ABSENT and value is not None and value != wanted:
            other = next(iter(said.get(ours, {})), table.makes.get(ours, ""))
            where = f"where {other} says {shown(wanted)}" if other else f"(only {wanted!r})"
            wrong.append(f"{name} = {shown(repr(value))} {where}")
    tables = [stored[name] for name in SCALED if stored.get(name)]
    if len(tables) == 2 and tables[0] != tables[1]:
        wrong.append(f"{SCALED[1]} is another table than {SCALED[0]}")
    if wrong:
        raise BadInput(f"{file}: not supported: {'; '.join(wrong)}")


_ABSENT: Any = object()


def _look_up(stored: Mapping[str, Any], name: str) -> Any:
    """The value of a field, or ``_ABSENT``; a dot leads into a table."""
    outer, _, inner = name.partition(".")
    found = stored.get(outer, _ABSENT)
    if not inner:
        return found
    return found.get(inner, _ABSENT) if isinstance(found, Mapping) else _ABSENT


def to_json(config: LMConfig, dtype: str) -> dict[str, Any]:
    """The content of the ``config.json`` from which transformers builds this network.

    Args:
        config: the network's shape.
        dtype: name of the dtype of the stored parameters.

    Raises:
        BadInput: if the format has no place for something of the shape, such as biases that a
            family does not have.
    """
    table = architecture(config)
    described = {
        "architectures": [table.loads],
        "model_type": table.kind,
        **{names[0]: getattr(config, ours) for ours, names in table.fields.items()},
        **table.write(config),
        "torch_dtype": dtype,
        **{k: v for k, v in table.fixed.items() if "." not in k and v is not None},
        **_NO_TOKENS,
    }
    try:
        same = from_json(described, "config.json") == config
    except BadInput:
        same = False
    if not same:
        raise BadInput(
            f"{config}: transformers' {table.kind} has no such network, so it cannot be stored as "
            "one; give another shape, or another family"
        )
    return described
