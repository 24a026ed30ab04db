"""How Hugging Face stores an architecture: what a table of names and settings holds."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


def nothing(_: Any) -> dict[str, Any]:
    """For tables whose fields say everything."""
    return {}


class Architecture(NamedTuple):
    """How Hugging Face stores an architecture.

    Attributes:
        kind: ``model_type`` in ``config.json``.
        loads: the name of the class of transformers that loads the model.
        fields: for each attribute of our configuration, the fields of ``config.json`` that say it:
            the first is the one that is written; a dot leads into a table. Those that are there
            must agree. What each may be: ``RANGES`` of the configuration, and the type of its
            attributes.
        modules: our name of each module and theirs; {} stands for the number of the layer.
        ignored: buffers that old files contain, such as masks and rotary frequencies; they follow
            from the configuration and are not read.
        nullable: attributes of our configuration for which null stands for our default.
        agree: further fields, which transformers does not read, or computes: where they are there,
            they must be as the attribute of our configuration.
        read: computes the other attributes of our configuration from ``config.json``.
        makes: for what ``read`` computes, the fields of ``config.json`` that say it.
        write: the reverse: computes further fields of ``config.json`` from our configuration.
        legacy: for fields of ``config.json``, a value of old files, and the one that it means.
        needed: fields of ``config.json`` without which its own defaults would have to be guessed.
        fixed: fields of ``config.json`` that, where they are there, must have these values.
        prefix: of the names of parameters that files of the model without its head leave out.
        aliases: other names of their parameters, and the usual one.
        ties: copies of tied weights that some files contain, and the parameter that each must
            equal.
        transposed: whether kernels are stored as [out, in], as in ``torch.nn.Linear``; ours are
            [in, out].
    """

    kind: str
    loads: str
    fields: Mapping[str, tuple[str, ...]]
    modules: Mapping[str, str]
    ignored: re.Pattern[str]
    nullable: tuple[str, ...] = ()
    agree: Mapping[str, str] = {}
    read: Callable[[Mapping[str, Any]], dict[str, Any]] = nothing
    makes: Mapping[str, str] = {}
    write: Callable[[Any], dict[str, Any]] = nothing
    legacy: Mapping[str, tuple[Any, Any]] = {}
    needed: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = {}
    prefix: str = ""
    aliases: Mapping[str, str] = {}
    ties: Mapping[str, str] = {}
    transposed: bool = True


SCALED = "rope_parameters", "rope_scaling"
"""Tables of rotary embeddings: transformers 5 writes the first one, and older versions, which have
fields for the numbers that all models have, the second, or null."""

FULL = {"quantization_config": None}
"""Weights that were quantised are no numbers of the network."""


def anywhere(field: str, name: str) -> tuple[str, ...]:
    """A field, and the places in tables of rotary embeddings that say the same."""
    return field, *(f"{table}.{name}" for table in SCALED)
