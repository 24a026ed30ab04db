"""Hugging Face's names of settings and parameters, and ours: one table for each architecture."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jquanta.errors import BadInput
from jquanta.lm.models.config import GPTNeoXConfig, LMConfig
from jquanta.lm.models.gpt_neo import GPTNeoConfig
from jquanta.lm.models.network import shapes
from jquanta.run.shown import shown


class Architecture(NamedTuple):
    """How Hugging Face stores an architecture.

    Attributes:
        kind: ``model_type`` in ``config.json``.
        loads: the name of the class of transformers that loads the model.
        fields: for each attribute of our configuration, the fields of ``config.json`` that say it:
            the first is the one that is written; a dot leads into a table. Those that are there
            must agree. What each may be: ``RANGES`` of the configuration.
        agree: further fields, which transformers does not read, or computes: where they are there,
            they must be as the attribute of our configuration.
        read: computes the other attributes of our configuration from ``config.json``.
        write: the reverse: computes further fields of ``config.json`` from our configuration.
        needed: fields of ``config.json`` that ``read`` requires.
        fixed: fields of ``config.json`` that, where they are there, must have these values.
        modules: our name of each module and theirs; {} stands for the number of the layer.
        ignored: buffers that old files contain, such as masks and rotary frequencies; they follow
            from the configuration and are not read.
        aliases: other names of their parameters, and the usual one.
        ties: copies of tied weights that some files contain, and the parameter that each must
            equal.
        transposed: whether kernels are stored as [out, in], as in ``torch.nn.Linear``; ours are
            [in, out].
    """

    kind: str
    loads: str
    fields: Mapping[str, tuple[str, ...]]
    agree: Mapping[str, str]
    read: Callable[[Mapping[str, Any]], dict[str, Any]]
    write: Callable[[Any], dict[str, Any]]
    needed: tuple[str, ...]
    fixed: Mapping[str, Any]
    modules: Mapping[str, str]
    ignored: re.Pattern[str]
    aliases: Mapping[str, str] = {}
    ties: Mapping[str, str] = {}
    transposed: bool = True


_SCALED = "rope_parameters", "rope_scaling"
"""Tables of rotary embeddings: transformers 5 writes the first one, and older versions, which have
fields for the two numbers, the second, or null."""

NEOX = Architecture(
    kind="gpt_neox",
    loads="GPTNeoXForCausalLM",
    fields={
        "layers": ("num_hidden_layers",),
        "width": ("hidden_size",),
        "heads": ("num_attention_heads",),
        "vocab": ("vocab_size",),
        "context": ("max_position_embeddings",),
        "eps": ("layer_norm_eps",),
        "rotary": ("rotary_pct", *(f"{table}.partial_rotary_factor" for table in _SCALED)),
        "rotary_base": ("rotary_emb_base", *(f"{table}.rope_theta" for table in _SCALED)),
    },
    agree={
        "intermediate_size": "hidden",
        "partial_rotary_factor": "rotary",
        "rope_theta": "rotary_base",
    },
    read=lambda stored: {},
    write=lambda config: {"rope_scaling": None},
    needed=(),
    fixed={
        "hidden_act": "gelu",
        "use_parallel_residual": True,
        "attention_bias": True,
        "tie_word_embeddings": False,
        "quantization_config": None,
        **{f"{table}.{name}": "default" for table in _SCALED for name in ("rope_type", "type")},
    },
    modules={
        "embed": "gpt_neox.embed_in",
        "layers.{}.attention_norm": "gpt_neox.layers.{}.input_layernorm",
        "layers.{}.attention.qkv": "gpt_neox.layers.{}.attention.query_key_value",
        "layers.{}.attention.out": "gpt_neox.layers.{}.attention.dense",
        "layers.{}.mlp_norm": "gpt_neox.layers.{}.post_attention_layernorm",
        "layers.{}.mlp.up": "gpt_neox.layers.{}.mlp.dense_h_to_4h",
        "layers.{}.mlp.down": "gpt_neox.layers.{}.mlp.dense_4h_to_h",
        "final_norm": "gpt_neox.final_layer_norm",
        "unembed": "embed_out",
    },
    ignored=re.compile(
        r"gpt_neox\.layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)"
    ),
    aliases={"lm_head.weight": "embed_out.weight"},  # the name in transformers 5
)


def _read_neo(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Which layers have local attention."""
    # attention_types = [[["global", "local"], 6]] stands for six times (global, local).
    reach: list[str] = []
    for group, times in stored["attention_types"]:
        LMConfig.RANGES["layers"].require("attention_types: times", times)
        reach += [str(word) for word in group] * times
        LMConfig.RANGES["layers"].require("attention_types: layers", len(reach))
    return {"reach": tuple(reach)}


NEO = Architecture(
    kind="gpt_neo",
    loads="GPTNeoForCausalLM",
    fields={
        "layers": ("num_layers", "num_hidden_layers"),
        "width": ("hidden_size",),
        "heads": ("num_heads", "num_attention_heads"),
        "vocab": ("vocab_size",),
        "context": ("max_position_embeddings",),
        "eps": ("layer_norm_epsilon",),
        "window": ("window_size",),
    },
    agree={"intermediate_size": "hidden", "attention_layers": "reach"},
    read=_read_neo,
    write=lambda config: {"attention_types": [[[reach], 1] for reach in config.reach]},
    needed=("attention_types",),
    fixed={
        "activation_function": "gelu_new",
        "tie_word_embeddings": True,
        "quantization_config": None,
    },
    modules={
        "embed": "transformer.wte",
        "positions": "transformer.wpe",
        "layers.{}.attention_norm": "transformer.h.{}.ln_1",
        "layers.{}.attention.query": "transformer.h.{}.attn.attention.q_proj",
        "layers.{}.attention.key": "transformer.h.{}.attn.attention.k_proj",
        "layers.{}.attention.value": "transformer.h.{}.attn.attention.v_proj",
        "layers.{}.attention.out": "transformer.h.{}.attn.attention.out_proj",
        "layers.{}.mlp_norm": "transformer.h.{}.ln_2",
        "layers.{}.mlp.up": "transformer.h.{}.mlp.c_fc",
        "layers.{}.mlp.down": "transformer.h.{}.mlp.c_proj",
        "final_norm": "transformer.ln_f",
    },
    ignored=re.compile(r"transformer\.h\.\d+\.attn\.attention\.(bias|masked_bias)"),
    ties={"lm_head.weight": "transformer.wte.weight"},
)

ARCHITECTURES: Mapping[type[LMConfig], Architecture] = {GPTNeoXConfig: NEOX, GPTNeoConfig: NEO}
"""The table of each architecture, by the class of its configuration."""

_KINDS = {table.kind: (config, table) for config, table in ARCHITECTURES.items()}
_NEEDED = ("layers", "width", "heads", "vocab", "context")
"""Attributes of our configurations that ``config.json`` must have; the others have defaults."""

_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}
"""Flax's names of a module's parameters, and torch's."""

# transformers' defaults are ids of Pythia's and GPT-2's vocabularies.
_NO_TOKENS = {"bos_token_id": None, "eos_token_id": None}


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
                make.RANGES[ours].require(name, value)
        plain = {ours: next(iter(by_name.values())) for ours, by_name in said.items() if by_name}
        for ours in plain.keys() - {ours for ours, allowed in make.RANGES.items() if allowed.whole}:
            plain[ours] = float(plain[ours])
        config = make(**plain, **table.read(stored))
    except (TypeError, KeyError, ValueError) as error:
        raise BadInput(f"{file}: {error}") from None
    _require_agreement(config, said, stored, file)
    return config


def _said(stored: Mapping[str, Any], table: Architecture, file: str) -> dict[str, dict[str, Any]]:
    """For each attribute of our configuration, the values of the fields that say it, by name.

    Raises:
        BadInput: if what should be a table is none.
    """
    for name in _SCALED:
        if not isinstance(stored.get(name) or {}, Mapping):
            raise BadInput(f"{file}: {name} = {shown(repr(stored[name]))}: give a table, or null")
    found = {}
    for ours, (first, *others) in table.fields.items():
        values = {name: _look_up(stored, name) for name in (first, *others)}
        found[ours] = {
            name: value
            for name, value in values.items()
            if value is not _ABSENT and (value is not None or name == first)
        }
    return found


def _require_agreement(
    config: LMConfig, said: Mapping[str, Mapping[str, Any]], stored: Mapping[str, Any], file: str
) -> None:
    """Raise ``BadInput`` if fields of a ``config.json`` that say the same differ: there is no
    telling which one the weights were trained with."""
    agree = architecture(config).agree
    fields = [(ours, name, value) for ours, found in said.items() for name, value in found.items()]
    fields += [(ours, name, _look_up(stored, name)) for name, ours in agree.items()]
    wrong = []
    for ours, name, value in fields:
        wanted = getattr(config, ours)
        wanted = list(wanted) if isinstance(wanted, tuple) else wanted
        if value is not _ABSENT and value is not None and value != wanted:
            other = next(iter(said.get(ours, {})), "attention_types" if ours == "reach" else "")
            where = f"where {other} says {shown(wanted)}" if other else f"(only {wanted!r})"
            wrong.append(f"{name} = {shown(repr(value))} {where}")
    tables = [stored[name] for name in _SCALED if stored.get(name)]
    if len(tables) == 2 and tables[0] != tables[1]:
        wrong.append(f"{_SCALED[1]} is another table than {_SCALED[0]}")
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
    """
    table = architecture(config)
    return {
        "architectures": [table.loads],
        "model_type": table.kind,
        **{names[0]: getattr(config, ours) for ours, names in table.fields.items()},
        "intermediate_size": config.hidden,
        **table.write(config),
        "torch_dtype": dtype,
        **{k: v for k, v in table.fixed.items() if "." not in k and v is not None},
        **_NO_TOKENS,
    }
