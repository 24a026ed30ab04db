"""Hugging Face's names of settings and parameters, and ours: one table for each architecture."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from jquanta.errors import BadInput
from jquanta.lm.models.config import GPTNeoConfig, GPTNeoXConfig, LMConfig
from jquanta.lm.models.network import shapes


class Architecture(NamedTuple):
    """How Hugging Face stores the parameters of an architecture.

    Attributes:
        modules: our name of each module and theirs; {} stands for the number of the layer.
        aliases: other names of their parameters, and the usual one.
        ties: copies of tied weights that some files contain, and the parameter that each must
            equal.
        ignored: buffers that old files contain, such as masks and rotary frequencies; they follow
            from the configuration and are not read.
    """

    modules: Mapping[str, str]
    aliases: Mapping[str, str]
    ties: Mapping[str, str]
    ignored: re.Pattern[str]


NEOX = Architecture(
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
    aliases={"lm_head.weight": "embed_out.weight"},  # the name in transformers 5
    ties={},
    ignored=re.compile(
        r"gpt_neox\.layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)"
    ),
)

NEO = Architecture(
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
    aliases={},
    ties={"lm_head.weight": "transformer.wte.weight"},
    ignored=re.compile(r"transformer\.h\.\d+\.attn\.attention\.(bias|masked_bias)"),
)

_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}
"""Flax's names of a module's parameters, and torch's."""


def architecture(config: LMConfig) -> Architecture:
    """The table for the architecture of a model."""
    return NEOX if isinstance(config, GPTNeoXConfig) else NEO


def source_keys(config: LMConfig) -> dict[str, str]:
    """Hugging Face's name for each of our parameters.

    They store kernels transposed: [out, in], where ours are [in, out].
    """
    modules = architecture(config).modules

    def key(name: str) -> str:
        # "layers.3.mlp.up.kernel": module "layers.3.mlp.up", leaf "kernel", layer 3.
        module, leaf = name.rsplit(".", 1)
        layer = re.search(r"\d+", module)
        number = layer[0] if layer else ""
        theirs = modules[module.replace(f".{number}.", ".{}.") if layer else module]
        return f"{theirs.format(number)}.{_LEAVES[leaf]}"

    return {name: key(name) for name in shapes(config)}


def from_json(stored: Mapping[str, Any], file: str) -> LMConfig:
    """The configuration of the network that a ``config.json`` describes.

    Args:
        stored: the content of the file.
        file: its name, for error messages.

    Raises:
        BadInput: with a list of the fields that are missing, or whose values are not supported.
    """
    kind = stored.get("model_type")
    if kind not in _READERS:
        raise BadInput(f"{file}: model_type {kind!r}; supported: {', '.join(_READERS)}")
    read = _READERS[kind]
    missing = sorted(name for name in read.needed if name not in stored)
    if missing:
        raise BadInput(f"{file}: has no {', '.join(missing)}")
    wrong = [
        f"{name} = {stored[name]!r} (only {wanted!r})"
        for name, wanted in read.fixed.items()
        if stored.get(name, wanted) != wanted
    ]
    # Both architectures have MLPs of four times the width; the shapes here rely on it.
    width = stored["hidden_size"]
    if stored.get("intermediate_size") not in (None, 4 * width):
        wrong.append(f"intermediate_size = {stored['intermediate_size']!r} (only {4 * width})")
    if wrong:
        raise BadInput(f"{file}: not supported: {'; '.join(wrong)}")
    try:
        return read.make(stored)
    except (TypeError, KeyError, ValueError) as error:
        raise BadInput(f"{file}: {error}") from None


def to_json(config: LMConfig, dtype: str) -> dict[str, Any]:
    """The content of the ``config.json`` from which transformers builds this network.

    Args:
        config: the network's shape.
        dtype: name of the dtype of the stored parameters.
    """
    if isinstance(config, GPTNeoXConfig):
        return {
            "architectures": ["GPTNeoXForCausalLM"],
            "model_type": "gpt_neox",
            "num_hidden_layers": config.layers,
            "hidden_size": config.width,
            "num_attention_heads": config.heads,
            "intermediate_size": 4 * config.width,
            "vocab_size": config.vocab,
            "max_position_embeddings": config.context,
            "layer_norm_eps": config.eps,
            "rotary_pct": config.rotary,
            "rotary_emb_base": config.rotary_base,
            "torch_dtype": dtype,
            **_NEOX_FIXED,
            **_NO_TOKENS,
        }
    assert isinstance(config, GPTNeoConfig)
    return {
        "architectures": ["GPTNeoForCausalLM"],
        "model_type": "gpt_neo",
        "num_layers": config.layers,
        "hidden_size": config.width,
        "num_heads": config.heads,
        "intermediate_size": 4 * config.width,
        "vocab_size": config.vocab,
        "max_position_embeddings": config.context,
        "layer_norm_epsilon": config.eps,
        "window_size": config.window,
        "attention_types": [[[reach], 1] for reach in config.reach],
        "torch_dtype": dtype,
        **_NEO_FIXED,
        **_NO_TOKENS,
    }


def _neox(stored: Mapping[str, Any]) -> GPTNeoXConfig:
    """The shape of a GPT-NeoX model from its ``config.json``."""
    # transformers 5 stores the settings of rotary embeddings in one table ``rope_parameters``,
    # older versions as two fields.
    rope = {
        "rope_theta": stored.get("rotary_emb_base", 10000),
        "partial_rotary_factor": stored.get("rotary_pct", 0.25),
        **(stored.get("rope_parameters") or {}),
    }
    if rope.get("rope_type", "default") != "default":
        raise ValueError(f"rope_type {rope['rope_type']!r} is not supported (only 'default')")
    return GPTNeoXConfig(
        layers=stored["num_hidden_layers"],
        width=stored["hidden_size"],
        heads=stored["num_attention_heads"],
        vocab=stored["vocab_size"],
        context=stored["max_position_embeddings"],
        eps=stored.get("layer_norm_eps", 1e-5),
        rotary=rope["partial_rotary_factor"],
        rotary_base=float(rope["rope_theta"]),
    )


def _neo(stored: Mapping[str, Any]) -> GPTNeoConfig:
    """The shape of a GPT-Neo model from its ``config.json``."""
    return GPTNeoConfig(
        layers=stored["num_layers"],
        width=stored["hidden_size"],
        heads=stored["num_heads"],
        vocab=stored["vocab_size"],
        context=stored["max_position_embeddings"],
        eps=stored.get("layer_norm_epsilon", 1e-5),
        window=stored.get("window_size", 256),
        # attention_types = [[["global", "local"], 6]] stands for six times (global, local).
        reach=tuple(
            reach for group, times in stored["attention_types"] for reach in list(group) * times
        ),
    )


class _Reader(NamedTuple):
    """How to read the ``config.json`` of an architecture.

    Attributes:
        make: builds our configuration from the content of the file.
        needed: fields that must be there.
        fixed: fields that, where they are there, must have these values.
    """

    make: Any
    needed: tuple[str, ...]
    fixed: Mapping[str, Any]


_COMMON = ("hidden_size", "vocab_size", "max_position_embeddings")
_NEOX_FIXED = {
    "hidden_act": "gelu",
    "use_parallel_residual": True,
    "attention_bias": True,
    "tie_word_embeddings": False,
    "rope_scaling": None,
}
_NO_TOKENS = {
    "bos_token_id": None,
    "eos_token_id": None,
}  # the defaults are ids of Pythia's and GPT-2's vocabularies
_NEO_FIXED = {"activation_function": "gelu_new", "tie_word_embeddings": True}
_READERS = {
    "gpt_neox": _Reader(_neox, (*_COMMON, "num_hidden_layers", "num_attention_heads"), _NEOX_FIXED),
    "gpt_neo": _Reader(_neo, (*_COMMON, "num_layers", "num_heads", "attention_types"), _NEO_FIXED),
}
