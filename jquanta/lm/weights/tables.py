"""Hugging Face's names of settings and parameters, and ours: one table for each architecture."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jquanta.errors import BadInput
from jquanta.lm.models.config import GPTNeoXConfig, LMConfig
from jquanta.lm.models.gpt_neo import GPTNeoConfig
from jquanta.lm.models.network import shapes


class Architecture(NamedTuple):
    """How Hugging Face stores an architecture.

    Attributes:
        kind: ``model_type`` in ``config.json``.
        loads: the name of the class of transformers that loads the model.
        fields: for each attribute of our configuration, the field of ``config.json`` with the same
            value.
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
    fields: Mapping[str, str]
    read: Callable[[Mapping[str, Any]], dict[str, Any]]
    write: Callable[[Any], dict[str, Any]]
    needed: tuple[str, ...]
    fixed: Mapping[str, Any]
    modules: Mapping[str, str]
    ignored: re.Pattern[str]
    aliases: Mapping[str, str] = {}
    ties: Mapping[str, str] = {}
    transposed: bool = True


def _read_neox(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of rotary embeddings."""
    # transformers 5 stores them in one table ``rope_parameters``, older versions as two fields.
    rope = {
        "rope_theta": stored.get("rotary_emb_base", 10000),
        "partial_rotary_factor": stored.get("rotary_pct", 0.25),
        **(stored.get("rope_parameters") or {}),
    }
    if rope.get("rope_type", "default") != "default":
        raise ValueError(f"rope_type {rope['rope_type']!r} is not supported (only 'default')")
    return {
        "rotary": rope["partial_rotary_factor"],
        "rotary_base": float(rope["rope_theta"]),
    }


NEOX = Architecture(
    kind="gpt_neox",
    loads="GPTNeoXForCausalLM",
    fields={
        "layers": "num_hidden_layers",
        "width": "hidden_size",
        "heads": "num_attention_heads",
        "hidden": "intermediate_size",
        "vocab": "vocab_size",
        "context": "max_position_embeddings",
        "eps": "layer_norm_eps",
    },
    read=_read_neox,
    write=lambda config: {"rotary_pct": config.rotary, "rotary_emb_base": config.rotary_base},
    needed=(),
    fixed={
        "hidden_act": "gelu",
        "use_parallel_residual": True,
        "attention_bias": True,
        "tie_word_embeddings": False,
        "rope_scaling": None,
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
    """The window of local attention, and which layers have it."""
    return {
        "window": stored.get("window_size", 256),
        # attention_types = [[["global", "local"], 6]] stands for six times (global, local).
        "reach": tuple(
            reach for group, times in stored["attention_types"] for reach in list(group) * times
        ),
    }


NEO = Architecture(
    kind="gpt_neo",
    loads="GPTNeoForCausalLM",
    fields={
        "layers": "num_layers",
        "width": "hidden_size",
        "heads": "num_heads",
        "hidden": "intermediate_size",
        "vocab": "vocab_size",
        "context": "max_position_embeddings",
        "eps": "layer_norm_epsilon",
    },
    read=_read_neo,
    write=lambda config: {
        "window_size": config.window,
        "attention_types": [[[reach], 1] for reach in config.reach],
    },
    needed=("attention_types",),
    fixed={"activation_function": "gelu_new", "tie_word_embeddings": True},
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
_OPTIONAL = ("eps", "hidden")
"""Attributes of our configurations that ``config.json`` may leave out: they have defaults."""

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
    if kind not in _KINDS:
        raise BadInput(f"{file}: model_type {kind!r}; supported: {', '.join(_KINDS)}")
    make, table = _KINDS[kind]
    copied = {ours: theirs for ours, theirs in table.fields.items() if ours != "hidden"}
    needed = [theirs for ours, theirs in copied.items() if ours not in _OPTIONAL]
    missing = sorted(name for name in (*needed, *table.needed) if name not in stored)
    if missing:
        raise BadInput(f"{file}: has no {', '.join(missing)}")
    for ours, theirs in copied.items():
        value = stored.get(theirs, 1)
        kind, what = (float | int, "a number") if ours == "eps" else (int, "a whole number")
        if not isinstance(value, kind) or isinstance(value, bool):
            raise BadInput(f"{file}: {theirs} = {value!r}: give {what}")
    wrong = [
        f"{name} = {stored[name]!r} (only {wanted!r})"
        for name, wanted in table.fixed.items()
        if stored.get(name, wanted) != wanted
    ]
    # Both architectures have MLPs of four times the width; the shapes here rely on it.
    hidden, four = table.fields["hidden"], 4 * stored[table.fields["width"]]
    if stored.get(hidden) not in (None, four):
        wrong.append(f"{hidden} = {stored[hidden]!r} (only {four})")
    if wrong:
        raise BadInput(f"{file}: not supported: {'; '.join(wrong)}")
    plain = {ours: stored[theirs] for ours, theirs in copied.items() if theirs in stored}
    try:
        return make(**plain, **table.read(stored))
    except (TypeError, KeyError, ValueError) as error:
        raise BadInput(f"{file}: {error}") from None


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
        **{theirs: getattr(config, ours) for ours, theirs in table.fields.items()},
        **table.write(config),
        "torch_dtype": dtype,
        **table.fixed,
        **_NO_TOKENS,
    }
